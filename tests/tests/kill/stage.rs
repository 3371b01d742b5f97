//! What publishers, subscribers and the conductor know of each other: the broker's lives, counts of
//! events, and whether somebody failed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a number of events may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shared by all threads of the test.
pub struct Stage {
    pub address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts the broker's starts.
    life: u32,
    /// Clients may connect, and who loses a connection has a reason to complain.
    is_up: bool,
    /// No more kills: publishers finish what is in flight, subscribers stay.
    is_last: bool,
    has_failed: bool,
    publishers_done: usize,
    counts: Counts,
    /// For each retained topic the last number that was acknowledged.
    retained: BTreeMap<String, u32>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub acknowledged: u64,
    /// Repetitions included.
    pub received: u64,
}

impl Stage {
    /// The broker lives its first life.
    pub fn new(address: SocketAddr) -> Self {
        let state = State { life: 1, is_up: true, ..State::default() };
        Self { address, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Does a client's part; if it panics, everybody else ends, too.
    pub fn play(&self, part: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(part)) {
            self.change(|state| state.has_failed = true);
            resume_unwind(panic);
        }
    }

    // ---- for clients

    /// Waits for a life that suits; nothing when the test has failed.
    pub fn wait_for_life(&self, suits: impl Fn(u32) -> bool) -> Option<u32> {
        let state = self.wait(|state| state.is_up && (state.is_last || suits(state.life)))?;
        Some(state.life)
    }

    /// Takes a lost connection of a life.
    ///
    /// # Panics
    /// When the broker was not killed.
    #[track_caller]
    pub fn expect_killed(&self, life: u32) {
        let state = self.lock();
        let is_alive = state.is_up && state.life == life && !state.has_failed;
        assert!(!is_alive, "the broker closed a connection in life {life}");
    }

    pub fn is_last(&self) -> bool {
        self.lock().is_last
    }

    pub fn acknowledged(&self, count: u64) {
        self.change(|state| state.counts.acknowledged += count);
    }

    pub fn received(&self) {
        self.change(|state| state.counts.received += 1);
    }

    pub fn retained(&self, topic: &str, number: u32) {
        self.change(|state| {
            state.retained.insert(topic.to_owned(), number);
        });
    }

    pub fn publisher_is_done(&self) {
        self.change(|state| state.publishers_done += 1);
    }

    // ---- for the conductor

    /// Waits until so many more messages have been acknowledged or received; false when the test has
    /// failed.
    pub fn wait_for_events(&self, count: u64) -> bool {
        let begin = self.counts();
        let goal = begin.acknowledged + begin.received + count;
        self.wait(|state| state.counts.acknowledged + state.counts.received >= goal).is_some()
    }

    /// Waits until all publishers have left; false when the test has failed.
    pub fn wait_for_publishers(&self, count: usize) -> bool {
        self.wait(|state| state.publishers_done == count).is_some()
    }

    /// From now on lost connections are no fault of the broker.
    pub fn goes_down(&self) {
        self.change(|state| state.is_up = false);
    }

    /// The broker listens again.
    pub fn is_up_again(&self, is_last: bool) {
        self.change(|state| {
            state.life += 1;
            (state.is_up, state.is_last) = (true, is_last);
        });
    }

    /// For each retained topic the last number that was acknowledged.
    pub fn retained_topics(&self) -> BTreeMap<String, u32> {
        self.lock().retained.clone()
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `is_so`; nothing when the test has failed meanwhile.
    ///
    /// # Panics
    /// When it takes too long.
    #[track_caller]
    fn wait(&self, is_so: impl Fn(&State) -> bool) -> Option<MutexGuard<'_, State>> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !state.has_failed {
            if is_so(&state) {
                return Some(state);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "life {}: no end after {:?}", state.life, state.counts);
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// A client that panics does so without the lock, or leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
