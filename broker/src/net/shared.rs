//! The one lock around the core, and the one door to it.
//!
//! Whatever is done to the core may wake connections, make a batch due or set a timer. [`enter`]
//! sees to all of that after the lock is released, so that no caller can forget it.
//!
//! [`enter`]: Shared::enter

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use outpost_protocol::ReasonCode;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::log_budget::LogBudget;
use crate::config::io_reason;
use crate::core::change::{Batch, QueuedMessage, Seq, SessionId};
use crate::core::time::Instant;
use crate::core::{Broker, ConnId, Event, Load};
use crate::store::{BatchSource, LoadSource, SpaceWaiter, StoreCounts};

/// How long the store waits for space before it tries again: one second at first, then up to this.
const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The core, shared by all connections.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// A batch may have become due, or the end has come.
    batch: Condvar,
    /// Messages are to be read from the store, or the end has come.
    load: Condvar,
    /// The next timer is another one.
    timer: Notify,
    clock: Clock,
    log_budget: LogBudget,
}

#[derive(Debug)]
struct Inner {
    broker: Broker,
    /// Of each connection, by its index: how to wake its task.
    wakers: Vec<Option<Waker>>,
    /// When the writer looks again by itself; none: it waits to be told.
    writer_looks_at: Option<Instant>,
    timer_at: Option<Instant>,
    loads: VecDeque<Load>,
    is_ending: bool,
}

/// The core, for as long as the lock is held.
pub(crate) struct Entered<'a> {
    pub(crate) broker: &'a mut Broker,
    pub(crate) now: Instant,
    wakers: &'a mut Vec<Option<Waker>>,
}

impl Entered<'_> {
    /// Has the task of a connection woken when there is something for it.
    pub(crate) fn register(&mut self, id: ConnId, waker: &Waker) {
        if self.wakers.len() <= id.index() {
            self.wakers.resize(id.index() + 1, None);
        }
        match &mut self.wakers[id.index()] {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
    }

    /// The connection is at its end: a waker that nobody calls would keep the memory of its task.
    pub(crate) fn forget(&mut self, id: ConnId) {
        if let Some(slot) = self.wakers.get_mut(id.index()) {
            *slot = None;
        }
    }
}

impl Shared {
    pub(crate) fn new(broker: Broker, clock: Clock) -> Arc<Self> {
        let inner = Inner {
            broker,
            wakers: Vec::new(),
            writer_looks_at: None,
            timer_at: None,
            loads: VecDeque::new(),
            is_ending: false,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            batch: Condvar::new(),
            load: Condvar::new(),
            timer: Notify::new(),
            log_budget: LogBudget::new(clock.now()),
            clock,
        })
    }

    /// Does something to the core. `own` is the connection that the caller serves: it is not woken,
    /// as it is awake.
    pub(crate) fn enter<R>(&self, own: Option<ConnId>, f: impl FnOnce(&mut Entered<'_>) -> R) -> R {
        let mut woken: Vec<Waker> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        let mut guard = self.lock();
        let inner = &mut *guard;
        let mut entered =
            Entered { broker: &mut inner.broker, now: self.clock.now(), wakers: &mut inner.wakers };
        let result = f(&mut entered);
        while let Some(id) = inner.broker.poll_wakeup() {
            if own != Some(id)
                && let Some(waker) = inner.wakers.get_mut(id.index()).and_then(Option::take)
            {
                woken.push(waker);
            }
        }
        while let Some(event) = inner.broker.poll_event() {
            events.push(event);
        }
        let batch_due = inner.broker.batch_due();
        let wakes_writer = match (batch_due, inner.writer_looks_at) {
            (Some(due), Some(looks)) => due < looks,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if wakes_writer {
            inner.writer_looks_at = batch_due;
        }
        let timer_at = inner.broker.poll_timeout();
        let sets_timer = timer_at.is_some_and(|at| inner.timer_at.is_none_or(|old| at < old));
        if sets_timer {
            inner.timer_at = timer_at;
        }
        let loads_before = inner.loads.len();
        while let Some(load) = inner.broker.poll_load() {
            inner.loads.push_back(load);
        }
        let wakes_reader = inner.loads.len() > loads_before;
        drop(guard);
        if wakes_reader {
            self.load.notify_one();
        }
        if wakes_writer {
            self.batch.notify_one();
        }
        if sets_timer {
            self.timer.notify_one();
        }
        woken.into_iter().for_each(Waker::wake);
        let is_told = |event: &Event| is_rationed(event) || self.may_log();
        events.into_iter().filter(is_told).for_each(log);
        result
    }

    /// Whether there may be one more line about a client in the log.
    pub(crate) fn may_log(&self) -> bool {
        self.log_budget.allows(self.clock.now())
    }

    /// Serves the core's timers for as long as it is polled.
    pub(crate) async fn run_timers(&self) {
        loop {
            let at = self.lock().timer_at;
            let wait = at.map(|at| Duration::from_millis(at.since_ms(self.clock.now())));
            match wait {
                Some(wait) if wait.is_zero() => {
                    self.lock().timer_at = None;
                    self.enter(None, |core| core.broker.handle_timeout(core.now));
                }
                Some(wait) => {
                    // Earlier or not: either way the loop looks again.
                    let _ = tokio::time::timeout(wait, self.timer.notified()).await;
                }
                None => self.timer.notified().await,
            }
        }
    }

    /// Lets the writer take what is left, and both it and the reader come to their end.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.batch.notify_one();
        self.load.notify_one();
    }

    /// A panic under the lock leaves a state that nobody knows: nothing may be acknowledged from it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|_| std::process::abort())
    }
}

impl BatchSource for Shared {
    fn next_batch(&self) -> Option<Arc<Batch>> {
        let mut guard = self.lock();
        loop {
            let now = self.clock.now();
            let due = guard.broker.batch_due();
            let is_ending = guard.is_ending;
            if due.is_some_and(|due| due <= now || is_ending) {
                return guard.broker.poll_batch(now);
            }
            if is_ending {
                return None;
            }
            guard.writer_looks_at = due;
            guard = match due {
                Some(due) => {
                    let wait = Duration::from_millis(due.since_ms(now));
                    let waited = self.batch.wait_timeout(guard, wait);
                    waited.unwrap_or_else(|_| std::process::abort()).0
                }
                None => self.batch.wait(guard).unwrap_or_else(|_| std::process::abort()),
            };
        }
    }

    fn committed(&self, number: u64, written_bytes: u64) {
        self.enter(None, |core| core.broker.handle_committed(core.now, number, written_bytes));
    }

    fn counted(&self, counts: &StoreCounts) {
        self.lock().broker.count_file(counts.file_bytes);
    }
}

impl SpaceWaiter for Shared {
    fn wait_for_space(&self, why: &io::Error, attempt: u32) -> bool {
        let why = io_reason(why);
        self.enter(None, |core| core.broker.handle_store_stalled(core.now, &why));
        let wait = Duration::from_secs(1 << attempt.min(4)).min(SPACE_WAIT_MAX);
        let guard = self.lock();
        let waited = self.batch.wait_timeout_while(guard, wait, |inner| !inner.is_ending);
        !waited.unwrap_or_else(|_| std::process::abort()).0.is_ending
    }
}

/// What the core itself keeps from filling the log.
fn is_rationed(event: &Event) -> bool {
    use Event::{BudgetExceeded, Full, StoreRecovered, StoreStalled};
    matches!(
        event,
        Full { .. } | BudgetExceeded { .. } | StoreStalled { .. } | StoreRecovered { .. }
    )
}

impl LoadSource for Shared {
    fn next_load(&self) -> Option<Load> {
        let mut guard = self.lock();
        while !guard.is_ending {
            if let Some(load) = guard.loads.pop_front() {
                return Some(load);
            }
            guard = self.load.wait(guard).unwrap_or_else(|_| std::process::abort());
        }
        None
    }

    fn loaded(&self, session: SessionId, rows: Vec<(Seq, Option<QueuedMessage>)>) {
        self.enter(None, |core| core.broker.handle_loaded(core.now, session, rows));
    }
}

fn log(event: Event) {
    match event {
        Event::Connected {
            client_id,
            address,
            user_name,
            level,
            session_present,
            is_compressed,
        } => {
            let user = user_name.as_deref();
            let version = version(level);
            // Said of those alone that can be: other clients have enough to read.
            let compressed = is_compressed.then_some(true);
            info!(
                client = %client_id, %address, user, version, session_present, compressed,
                "client connected"
            );
        }
        Event::Refused { client_id, address, reason, why } => {
            warn!(client = %client_id, %address, %reason, why, "client refused");
        }
        Event::Disconnected { client_id, address, reason, why }
            if reason.is_error() && reason != ReasonCode::ServerShuttingDown =>
        {
            // "Unspecified error" says nothing that the words do not.
            let reason = Some(reason).filter(|reason| *reason != ReasonCode::UnspecifiedError);
            let reason = reason.map(tracing::field::display);
            warn!(client = %client_id, %address, reason, why, "client lost");
        }
        Event::Disconnected { client_id, address, .. } => {
            info!(client = %client_id, %address, "client disconnected");
        }
        Event::SessionEnded { client_id, dropped } => {
            info!(client = %client_id, dropped, "session ended");
        }
        Event::StoreStalled { why, lasts_ms } => {
            let lasts_s = lasts_ms / 1000;
            error!(%why, lasts_s, "the store cannot write: what needs it is not acknowledged");
        }
        Event::StoreRecovered { lasted_ms } => {
            warn!(lasted_s = lasted_ms / 1000, "the store can write again");
        }
        Event::BudgetExceeded { excess_bytes } => {
            warn!(
                excess_bytes,
                "more is written than store.flash_budget_per_day allows; \
                 store.commit_interval_max_ms keeps commits from waiting longer"
            );
        }
        Event::Damaged { client_id, number } => {
            error!(client = %client_id, number, "a message is missing in the store: it is lost");
        }
        Event::Loop { topic, hops, times } => {
            warn!(%topic, hops, times, "a message goes round over bridges, and was dropped");
        }
        Event::Full { what, done, times } => warn!(%what, done, times, "a limit is reached"),
    }
}

/// What people call a protocol level.
fn version(level: u8) -> &'static str {
    match level {
        3 => "3.1",
        4 => "3.1.1",
        _ => "5.0",
    }
}
