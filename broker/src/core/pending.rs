//! The open batch, and when it is due.
//!
//! Changes are of three degrees of haste:
//! - *urgent*: somebody waits for an acknowledgement that promises it. A message whose receivers are
//!   all there is awaited less: it is given the commit interval to be acknowledged by them, and then
//!   never written.
//! - *lazy*: nobody waits, but a restart would repeat something. It is due after a longer while, or
//!   when so much has gathered that memory would tell.
//! - *riding along*: a restart would hardly notice. It goes with the next batch, and at the end.
//!
//! One batch is under commit at a time; meanwhile the next one gathers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use outpost_bridge::peering::NodeId;

use super::Broker;
use super::change::{
    Batch, QueuedMessage, SEQ_STEP, Seq, SessionId, SessionRecord, SubscriptionRecord, seq_mark,
};
use super::connection::ConnId;
use super::durability::Durability;
use super::event::Event;
use super::message::{Message, Topic};
use super::parked::Waiter;
use super::policy::{Budget, BudgetStatus, CommitPolicy};
use super::time::Instant;
use super::topics::SessionKey;

/// How often it is told that the budget is exceeded.
const TELL_EVERY_MS: u64 = 3_600_000;

/// How many times as many rows and bytes gather while nothing has to be written.
const SPARED_FACTOR: usize = 8;

/// What a message of a batch takes in memory beside its bytes: its targets, its places in tables.
/// Measured: 8 MiB of messages of 256 bytes took 16.
const ROW_OVERHEAD: u64 = 256;

/// So many rows at most are removed with one batch for a session that ended with a long queue.
const STALE_ROWS_MAX: usize = 4096;

/// So many rows that nobody waits for are not left to gather: the drain of a long queue removes
/// hundreds of thousands a second, and a commit of all of them would keep publishers waiting.
const LAZY_ROWS_MAX: usize = 16_384;

/// The open batch and what waits.
#[derive(Debug)]
pub(super) struct Pending {
    policy: CommitPolicy,
    batch: Batch,
    dirty: Vec<SessionKey>,
    bytes: u64,
    /// Since when somebody waits for what only the commit can release.
    urgent_since: Option<Instant>,
    lazy_since: Option<Instant>,
    /// Messages in the open batch or under commit whose publisher waits.
    awaited: BTreeMap<Seq, (Instant, Waiter)>,
    /// Messages of the open batch that are acknowledged already, by the time until which they are to
    /// be stored.
    promised: BTreeSet<(Instant, Seq)>,
    /// The same of what else the open batch holds: the earliest.
    promised_by: Option<Instant>,
    /// The first message of the open batch.
    open_from: Seq,
    /// The mark of the store: a restart gives away no number below it. And the one under commit.
    seq_mark: Seq,
    next_seq_mark: Seq,
    budget: Budget,
    excess_told_at: Option<Instant>,
    last_taken_at: Option<Instant>,
    /// What the store has taken and not yet confirmed, with the bytes of its messages.
    under_commit: Option<(Arc<Batch>, u64)>,
    committed: u64,
    /// Connections with outputs that wait, by batch: one that waits for the batch under commit may
    /// come after one that waits for the open batch.
    parked: BTreeSet<(u64, ConnId)>,
    tickets: u64,
    /// A publisher waits until less waits for the store.
    pub is_room_awaited: bool,
    /// Clients whose stored session is over, until the batch that says so is committed.
    leaving: BTreeMap<Arc<str>, u64>,
}

impl Pending {
    pub(super) fn new(policy: CommitPolicy) -> Self {
        Self {
            policy,
            batch: Batch { number: 1, ..Batch::default() },
            dirty: Vec::new(),
            bytes: 0,
            urgent_since: None,
            lazy_since: None,
            awaited: BTreeMap::new(),
            promised: BTreeSet::new(),
            promised_by: None,
            open_from: Seq(0),
            seq_mark: Seq(0),
            next_seq_mark: Seq(0),
            budget: Budget::new(policy.flash_budget_per_day),
            excess_told_at: None,
            last_taken_at: None,
            under_commit: None,
            committed: 0,
            parked: BTreeSet::new(),
            tickets: 0,
            is_room_awaited: false,
            leaving: BTreeMap::new(),
        }
    }

    /// Bytes of messages that are not yet committed, with what they take besides in memory.
    pub(super) fn backlog_bytes(&self) -> u64 {
        let of = |batch: &Batch, bytes: u64| bytes + batch.messages.len() as u64 * ROW_OVERHEAD;
        let under_commit = self.under_commit.as_ref();
        of(&self.batch, self.bytes) + under_commit.map_or(0, |(batch, bytes)| of(batch, *bytes))
    }

    pub(super) fn put_message(&mut self, seq: Seq, queued: QueuedMessage) {
        self.bytes += queued.message.bytes();
        self.batch.messages.insert(seq, queued);
    }

    /// A message that the store may not have yet: in the open batch, or in the one under commit.
    pub(super) fn find_message(&self, seq: Seq) -> Option<&QueuedMessage> {
        if self.batch.removed.contains(seq) {
            return None;
        }
        let under_commit = self.under_commit.as_ref();
        let row = self.batch.messages.get(&seq);
        row.or_else(|| under_commit?.0.messages.get(&seq))
    }

    /// A message that nobody needs any more. One that is still in the open batch is struck from it
    /// (true): it is never written. With it comes who waits for it.
    pub(super) fn remove_message(&mut self, now: Instant, seq: Seq) -> (bool, Option<Waiter>) {
        let is_open = if let Some(queued) = self.batch.messages.remove(&seq) {
            self.bytes -= queued.message.bytes();
            if let Some(until) = promised_until(&queued) {
                self.promised.remove(&(until, seq));
            }
            true
        } else {
            self.batch.removed.insert(seq);
            self.lazy(now);
            false
        };
        (is_open, self.awaited.remove(&seq).map(|(_, waiter)| waiter))
    }

    /// Whether a message stands in the open batch.
    pub(super) fn is_open(&self, seq: Seq) -> bool {
        self.batch.messages.contains_key(&seq)
    }

    /// The batch that stores a message; 0: it is stored, or never will be.
    pub(super) fn batch_of(&self, seq: Seq) -> u64 {
        match &self.under_commit {
            _ if self.is_open(seq) => self.batch.number,
            Some((batch, _)) if batch.messages.contains_key(&seq) => batch.number,
            _ => 0,
        }
    }

    /// Somebody waits until a message of the open batch is stored, or done.
    pub(super) fn await_message(&mut self, now: Instant, seq: Seq, waiter: Waiter) {
        self.awaited.insert(seq, (now, waiter));
    }

    /// These messages are acknowledged, and are to be stored within their window.
    pub(super) fn promise(&mut self, messages: Range<Seq>) {
        for (seq, row) in self.batch.messages.range(messages) {
            let until = promised_until(row);
            self.promised.extend(until.map(|until| (until, *seq)));
        }
    }

    /// The open batch is to be stored by then.
    pub(super) fn promise_by(&mut self, until: Instant) {
        self.promised_by = Some(self.promised_by.map_or(until, |earliest| earliest.min(until)));
    }

    /// Who waits for a message now waits for the commit, as the message gets another number. What
    /// was promised of it stands.
    pub(super) fn hold_to_commit(&mut self, now: Instant, seq: Seq) {
        if let Some(row) = self.batch.messages.get(&seq)
            && let Some(until) = promised_until(row)
        {
            self.promise_by(until);
        }
        if self.awaited.remove(&seq).is_some() && seq >= self.open_from {
            self.urgent(now);
        }
    }

    /// The mark of a store that was loaded, and the name that it is to keep, if it has none.
    pub(super) fn begin(&mut self, seq_mark: Seq, node: Option<NodeId>) {
        (self.seq_mark, self.next_seq_mark) = (seq_mark, seq_mark);
        self.batch.node = node;
    }

    /// Whether no restart gives this number away again.
    pub(super) fn is_reserved(&self, seq: Seq) -> bool {
        seq < self.seq_mark
    }

    /// Whether it is time for the mark to move, so that numbers up to this one and many more are
    /// reserved.
    pub(super) fn needs_reserve(&self, seq: Seq) -> bool {
        seq.0 + SEQ_STEP / 4 > self.next_seq_mark.0
    }

    /// The number of the open batch.
    pub(super) fn number(&self) -> u64 {
        self.batch.number
    }

    /// Whether a batch is durable, and all before it.
    pub(super) fn is_committed(&self, batch: u64) -> bool {
        batch <= self.committed
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    pub(super) fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Outputs of this connection wait for this batch.
    pub(super) fn wake_after(&mut self, batch: u64, id: ConnId) {
        self.parked.insert((batch, id));
    }

    pub(super) fn put_retained(&mut self, topic: Topic, message: Option<Arc<Message>>) {
        self.bytes += message.as_ref().map_or(0, |m| m.bytes());
        if let Some(Some(old)) = self.batch.retained.insert(topic, message) {
            self.bytes -= old.bytes();
        }
    }

    /// Whether what is retained at a topic is not yet in the store as it is in memory.
    pub(super) fn has_retained(&self, topic: &Topic) -> bool {
        let under_commit = self.under_commit.as_ref();
        self.batch.retained.contains_key(topic)
            || under_commit.is_some_and(|(batch, _)| batch.retained.contains_key(topic))
    }

    pub(super) fn put_subscription(
        &mut self,
        session: SessionId,
        filter: Arc<str>,
        record: Option<SubscriptionRecord>,
    ) {
        self.batch.subscriptions.insert((session, filter), record);
    }

    pub(super) fn remove_session(&mut self, session: SessionId) {
        self.batch.sessions.insert(session, None);
    }

    /// Notes that the stored session of a client is over with the open batch.
    pub(super) fn leave(&mut self, client_id: Arc<str>) {
        self.leaving.insert(client_id, self.batch.number);
    }

    /// The batch after whose commit no crash brings back what a client's session was before; 0:
    /// none can.
    pub(super) fn gone_after(&mut self, now: Instant, client_id: &str) -> u64 {
        match self.leaving.get(client_id).copied() {
            Some(batch) if batch == self.batch.number => self.urgent(now),
            Some(batch) => batch,
            None => 0,
        }
    }

    fn pop_parked(&mut self, committed: u64) -> Option<(u64, ConnId)> {
        let (batch, _) = self.parked.first()?;
        if *batch <= committed { self.parked.pop_first() } else { None }
    }

    pub(super) fn urgent(&mut self, now: Instant) -> u64 {
        self.urgent_since.get_or_insert(now);
        self.batch.number
    }

    pub(super) fn lazy(&mut self, now: Instant) {
        self.lazy_since.get_or_insert(now);
    }

    fn due(&self) -> Option<Instant> {
        if self.under_commit.is_some() {
            return None;
        }
        let allowed_at = self.allowed_at();
        let earliest = if self.is_full() { allowed_at } else { self.next_at(allowed_at) };
        let interval_ms = if self.is_full() { 0 } else { self.policy.interval_ms };
        let awaited = self.awaited.range(self.open_from..).next();
        let awaited = awaited.map(|(_, (at, _))| at.plus_ms(interval_ms).max(allowed_at));
        let urgent = self.urgent_since.map(|at| at.max(earliest));
        let is_much = self.rows() >= LAZY_ROWS_MAX;
        let lazy_interval_ms = if is_much { 0 } else { self.policy.lazy_interval_ms };
        let lazy = self.lazy_since.map(|at| at.plus_ms(lazy_interval_ms).max(allowed_at));
        // What the budget stretches is no window of loss.
        let promised = self.promised.first().map(|(until, _)| *until);
        let promised = [promised, self.promised_by].into_iter().flatten().min();
        let promised = promised.map(|at| if self.is_full() { at.min(allowed_at) } else { at });
        [urgent, awaited, promised, lazy].into_iter().flatten().min()
    }

    /// When the budget allows the next commit; it stretches the interval so far and no further.
    fn allowed_at(&self) -> Instant {
        self.latest_at().min(self.budget.allows_at())
    }

    /// When the next commit is to be, whatever the budget says.
    fn latest_at(&self) -> Instant {
        let interval_max_ms = self.policy.interval_max_ms;
        self.last_taken_at.map_or(Instant(0), |at| at.plus_ms(interval_max_ms))
    }

    /// How the budget stands.
    pub(super) fn budget_status(&self, now: Instant) -> BudgetStatus {
        let allowed_at = self.allowed_at();
        let stretched_ms = self.last_taken_at.map_or(0, |at| allowed_at.since_ms(at));
        let (bytes_left, _) = self.budget.balance(now);
        let state = match self.policy.flash_budget_per_day {
            0 => "none",
            _ if self.budget.allows_at() > self.latest_at().max(now) => "exceeded",
            _ if allowed_at > now => "stretched",
            _ => "ok",
        };
        BudgetStatus { interval_ms: self.policy.interval_ms.max(stretched_ms), bytes_left, state }
    }

    fn next_at(&self, allowed_at: Instant) -> Instant {
        let interval_ms = self.policy.interval_ms;
        self.last_taken_at.map_or(allowed_at, |at| at.plus_ms(interval_ms).max(allowed_at))
    }

    /// Whether the batch is handed over without waiting. While every message in it may still be
    /// spared, it has room for more: a fast publisher is ahead of its receivers by a window.
    fn is_full(&self) -> bool {
        let factor = if self.urgent_since.is_some() { 1 } else { SPARED_FACTOR };
        self.rows() >= self.policy.rows_max.saturating_mul(factor)
            || self.bytes >= self.policy.bytes_max.saturating_mul(factor as u64)
    }

    fn rows(&self) -> usize {
        self.batch.messages.len()
            + self.batch.removed.len()
            + self.batch.retained.len()
            + self.dirty.len()
    }
}

/// Until when a message is to be stored that was acknowledged when it came.
fn promised_until(row: &QueuedMessage) -> Option<Instant> {
    match row.message.durability {
        Durability::Interval { window_ms } => Some(row.arrived_at?.plus_ms(window_ms.into())),
        Durability::Durable | Durability::Volatile => None,
    }
}

impl Broker {
    /// When [`Self::poll_batch`] is to be called: none while there is nothing to commit, or while a
    /// batch is under commit.
    pub fn batch_due(&self) -> Option<Instant> {
        self.pending.due()
    }

    /// Takes the open batch, if there is anything in it and none is under commit.
    pub fn poll_batch(&mut self, now: Instant) -> Option<Arc<Batch>> {
        self.pending.due()?;
        let number = self.pending.batch.number;
        let mut batch = std::mem::take(&mut self.pending.batch);
        self.pending.batch.number = number + 1;
        self.pending.urgent_since = None;
        self.pending.lazy_since = None;
        self.pending.promised.clear();
        self.pending.promised_by = None;
        self.pending.open_from = self.next_seq;
        self.pending.last_taken_at = Some(now);
        batch.origins = self.origins.take_rows();
        self.pending.next_seq_mark = seq_mark(self.pending.seq_mark, self.next_seq);
        batch.sessions.append(&mut self.dirty_records());
        self.add_stale_rows(now, &mut batch);
        batch.next_seq = self.next_seq;
        batch.next_session = self.next_session;
        let batch = Arc::new(batch);
        let bytes = std::mem::take(&mut self.pending.bytes);
        self.pending.under_commit = Some((batch.clone(), bytes));
        Some(batch)
    }

    /// Rows that nobody needs any more, where they are too many for one batch.
    fn add_stale_rows(&mut self, now: Instant, batch: &mut Batch) {
        for _ in 0..STALE_ROWS_MAX {
            let Some(seq) = self.stale.pop_first() else { return };
            batch.removed.insert(seq);
        }
        self.pending.lazy(now);
    }

    /// The store has made this batch durable, and all before it; it wrote so many bytes for it.
    pub fn handle_committed(&mut self, now: Instant, number: u64, written_bytes: u64) {
        self.end_stall(now);
        self.pending.committed = number;
        self.pending.seq_mark = self.pending.next_seq_mark;
        self.spend_budget(now, written_bytes);
        if let Some((batch, _)) = self.pending.under_commit.take() {
            for seq in batch.messages.keys() {
                self.pending.awaited.remove(seq);
            }
            let rows = batch.rows();
            self.counters.commits += u64::from(rows > 0);
            self.counters.rows_committed += rows as u64;
            self.counters.bytes_committed += written_bytes;
        }
        self.pending.leaving.retain(|_, batch| *batch > number);
        while let Some((_, id)) = self.pending.pop_parked(number) {
            self.release_committed(now, id);
        }
        self.wake_waiting();
        self.take_up_held(now);
    }

    fn spend_budget(&mut self, now: Instant, written_bytes: u64) {
        let pending = &mut self.pending;
        pending.budget.spend(now, written_bytes);
        let latest = pending.latest_at();
        let is_told = pending.excess_told_at.is_some_and(|at| now.since_ms(at) < TELL_EVERY_MS);
        if pending.budget.allows_at() > latest && !is_told {
            pending.excess_told_at = Some(now);
            let (_, excess_bytes) = pending.budget.balance(now);
            self.push_event(Event::BudgetExceeded { excess_bytes });
        }
    }

    /// The batch after whose commit all that is known now is durable; 0: it is already.
    pub(super) fn all_durable_after(&self) -> u64 {
        if self.pending.urgent_since.is_some() {
            self.pending.batch.number
        } else {
            self.pending.under_commit.as_ref().map_or(0, |(batch, _)| batch.number)
        }
    }

    /// Has the row of a session written with the open batch: a restart needs what has changed.
    pub(super) fn touch_session(&mut self, now: Instant, key: SessionKey) {
        let session = &mut self.sessions[key as usize];
        if session.is_stored || session.keeps_row() {
            session.needs_row = true;
            self.note_flight(key);
            self.pending.lazy(now);
        }
    }

    /// A QoS 1 message has been given a packet identifier. Where the message is stored, the row of
    /// its session rides along, so that it comes with the same identifier, and DUP, after a restart.
    pub(super) fn note_flight(&mut self, key: SessionKey) {
        let session = &mut self.sessions[key as usize];
        if !session.is_dirty {
            session.is_dirty = true;
            self.pending.dirty.push(key);
        }
    }

    /// The program ends: what rides along is to be written too.
    pub(super) fn commit_what_rides(&mut self, now: Instant) {
        if !self.pending.dirty.is_empty() {
            self.pending.lazy(now);
        }
    }

    fn dirty_records(&mut self) -> BTreeMap<SessionId, Option<SessionRecord>> {
        let mut records = BTreeMap::new();
        for key in std::mem::take(&mut self.pending.dirty) {
            if self.is_untold(key) {
                self.pending.dirty.push(key);
                continue;
            }
            // A session that ended meanwhile has left its row's end in the batch, and its place may
            // have a new owner, who then stands in the list himself.
            let Some(session) = self.sessions.get_mut(key as usize).filter(|s| s.is_dirty) else {
                continue;
            };
            session.is_dirty = false;
            if !std::mem::take(&mut session.needs_row) && !session.has_stored_flight() {
                continue;
            }
            let keeps = session.keeps_row();
            if keeps || session.is_stored {
                records.insert(session.id, keeps.then(|| session.record(self.next_seq)));
            }
            session.is_stored = keeps;
            session.is_stored_durable = session.is_durable();
        }
        records
    }

    /// The client of a new session has not been told of it yet. After a crash it would take that one for
    /// the session it had before, with subscriptions that are gone: it is stored once CONNACK is out.
    fn is_untold(&self, key: SessionKey) -> bool {
        let session = self.sessions.get(key as usize);
        let connection = session.and_then(|session| self.connection(session.connection?));
        connection.is_some_and(|connection| connection.has_new_session && !connection.is_accepted)
    }

    /// Lets every connection try again whose packet found no room.
    pub(super) fn wake_waiting(&mut self) {
        for id in std::mem::take(&mut self.waiting_connections) {
            self.wake(id);
            self.room_for.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outpost_protocol::QoS;

    #[test]
    fn finds_messages_that_the_store_may_not_have_yet() {
        let mut pending = Pending::new(CommitPolicy::default());
        let message = Message::new("t".into(), QoS::AtLeastOnce, false, None, b"", b"1");
        let row =
            QueuedMessage { message: Arc::new(message), arrived_at: None, targets: Vec::new() };
        pending.put_message(Seq(1), row.clone());
        assert_eq!(pending.find_message(Seq(1)), Some(&row));
        assert_eq!(pending.find_message(Seq(2)), None);

        let batch = std::mem::replace(&mut pending.batch, Batch { number: 2, ..Batch::default() });
        pending.under_commit = Some((Arc::new(batch), 0));
        assert_eq!(pending.find_message(Seq(1)), Some(&row));
        pending.remove_message(Instant(0), Seq(1));
        assert_eq!(pending.find_message(Seq(1)), None);
    }

    #[test]
    fn a_drain_does_not_gather_its_removals_in_memory() {
        let mut pending = Pending::new(CommitPolicy::default());
        let rows = LAZY_ROWS_MAX as u64;
        for seq in 0..rows - 1 {
            pending.remove_message(Instant(5), Seq(seq));
        }
        assert_eq!(pending.due(), Some(Instant(1_005)));
        pending.remove_message(Instant(5), Seq(rows));
        assert_eq!(pending.due(), Some(Instant(5)));
    }
}
