//! The open batch, when it is due, and the acknowledgements that wait for it.
//!
//! A change is *urgent* when somebody waits for an acknowledgement that promises it, and *lazy*
//! otherwise (an acknowledgement of a subscriber, say: forgetting it costs one repeated message). A
//! lazy change rides with the next urgent one, or goes alone after a longer while.
//!
//! One batch is under commit at a time; meanwhile the next one gathers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Broker;
use super::change::{Batch, QueuedMessage, Seq, SessionId, SessionRecord, SubscriptionRecord};
use super::connection::ConnId;
use super::message::{Message, Topic};
use super::output::Output;
use super::time::Instant;
use super::topics::SessionKey;

/// When the open batch is handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPolicy {
    /// At most one commit in so many milliseconds: how long an acknowledgement may wait for company.
    /// After a pause the first change is committed at once.
    pub interval_ms: u64,
    /// How long changes that nobody waits for may gather.
    pub lazy_interval_ms: u64,
    /// A batch of so many rows is handed over without waiting.
    pub rows_max: usize,
    /// Likewise one of so many bytes.
    pub bytes_max: u64,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self { interval_ms: 20, lazy_interval_ms: 1_000, rows_max: 1_000, bytes_max: 256 << 10 }
    }
}

/// The open batch and what waits.
#[derive(Debug)]
pub(super) struct Pending {
    policy: CommitPolicy,
    batch: Batch,
    dirty: Vec<SessionKey>,
    bytes: u64,
    urgent_since: Option<Instant>,
    lazy_since: Option<Instant>,
    last_taken_at: Option<Instant>,
    /// What the store has taken and not yet confirmed, with the bytes of its messages.
    under_commit: Option<(Arc<Batch>, u64)>,
    committed: u64,
    /// Connections with outputs that wait, by batch: one that waits for the batch under commit may
    /// come after one that waits for the open batch.
    parked: BTreeSet<(u64, ConnId)>,
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
            last_taken_at: None,
            under_commit: None,
            committed: 0,
            parked: BTreeSet::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Bytes of messages that are not yet committed.
    pub(super) fn backlog_bytes(&self) -> u64 {
        self.bytes + self.under_commit.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    pub(super) fn put_message(&mut self, seq: Seq, queued: QueuedMessage) {
        self.bytes += queued.message.bytes();
        self.batch.messages.insert(seq, Some(queued));
    }

    /// A message that the store may not have yet: in the open batch, or in the one under commit.
    #[allow(dead_code, reason = "queues on disk will look here first")]
    pub(super) fn find_message(&self, seq: Seq) -> Option<&QueuedMessage> {
        let under_commit = self.under_commit.as_ref();
        let row = self.batch.messages.get(&seq);
        row.or_else(|| under_commit?.0.messages.get(&seq))?.as_ref()
    }

    /// A message that nobody needs any more. One that is still in the open batch is struck from it:
    /// it is never written.
    pub(super) fn remove_message(&mut self, now: Instant, seq: Seq) {
        if let Some(Some(queued)) = self.batch.messages.remove(&seq) {
            self.bytes -= queued.message.bytes();
        } else {
            self.batch.messages.insert(seq, None);
            self.lazy(now);
        }
    }

    pub(super) fn put_retained(&mut self, topic: Topic, message: Option<Arc<Message>>) {
        self.bytes += message.as_ref().map_or(0, |m| m.bytes());
        if let Some(Some(old)) = self.batch.retained.insert(topic, message) {
            self.bytes -= old.bytes();
        }
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

    fn is_urgent(&self) -> bool {
        self.urgent_since.is_some()
    }

    fn due(&self) -> Option<Instant> {
        if self.under_commit.is_some() {
            return None;
        }
        let lazy = self.lazy_since.map(|at| at.plus_ms(self.policy.lazy_interval_ms));
        let urgent = self.urgent_since.map(|at| {
            if self.rows() >= self.policy.rows_max || self.bytes >= self.policy.bytes_max {
                return at;
            }
            match self.last_taken_at {
                Some(last) => at.max(last.plus_ms(self.policy.interval_ms)),
                None => at,
            }
        });
        match (urgent, lazy) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn rows(&self) -> usize {
        self.batch.messages.len() + self.batch.retained.len() + self.dirty.len()
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
        self.pending.last_taken_at = Some(now);
        batch.sessions.append(&mut self.dirty_records());
        batch.next_seq = self.next_seq;
        batch.next_session = self.next_session;
        let batch = Arc::new(batch);
        let bytes = std::mem::take(&mut self.pending.bytes);
        self.pending.under_commit = Some((batch.clone(), bytes));
        Some(batch)
    }

    /// The store has made this batch durable, and all before it; it wrote so many bytes for it.
    pub fn handle_committed(&mut self, now: Instant, number: u64, _written_bytes: u64) {
        self.end_stall(now);
        self.pending.committed = number;
        self.pending.under_commit = None;
        self.pending.leaving.retain(|_, batch| *batch > number);
        while let Some((_, id)) = self.pending.pop_parked(number) {
            self.release_parked(now, id);
        }
        self.wake_waiting();
        self.take_up_held(now);
    }

    /// Gives out what a connection's client may get now that `committed` is what it is.
    fn release_parked(&mut self, now: Instant, id: ConnId) {
        let committed = self.pending.committed;
        let Some(connection) = self.connection_mut(id) else { return };
        while let Some((_, output)) =
            connection.parked.pop_front_if(|(batch, _)| *batch <= committed)
        {
            connection.push(output);
        }
        let (session, is_accepted) = (connection.session, connection.is_accepted);
        self.wake(id);
        match session {
            Some(session) if is_accepted => self.send_retained_ahead(now, session),
            Some(session) => self.accept(now, id, session),
            None => {}
        }
    }

    /// An output that leaves when `batch` is committed (0: at once), and never before what was
    /// given here for the same connection earlier.
    pub(super) fn push_after(&mut self, id: ConnId, batch: u64, output: Output) {
        let committed = self.pending.committed;
        let Some(connection) = self.connection_mut(id) else { return };
        if batch <= committed && connection.parked.is_empty() {
            self.push_output(id, output);
            return;
        }
        let newest = connection.parked.back().map_or(0, |(batch, _)| *batch);
        let batch = batch.max(newest);
        connection.parked.push_back((batch, output));
        if batch > newest {
            self.pending.parked.insert((batch, id));
        }
    }

    /// Whether a batch is durable, and all before it.
    pub(super) fn is_committed(&self, batch: u64) -> bool {
        batch <= self.pending.committed
    }

    /// The batch after whose commit all that is known now is durable; 0: it is already.
    pub(super) fn all_durable_after(&self) -> u64 {
        if self.pending.is_urgent() {
            self.pending.batch.number
        } else {
            self.pending.under_commit.as_ref().map_or(0, |(batch, _)| batch.number)
        }
    }

    /// Has the row of a session written with the open batch.
    pub(super) fn touch_session(&mut self, now: Instant, key: SessionKey) {
        let session = &mut self.sessions[key as usize];
        if !session.is_dirty
            && (session.is_stored || session.is_durable() || session.will.is_some())
        {
            session.is_dirty = true;
            self.pending.dirty.push(key);
            self.pending.lazy(now);
        }
    }

    fn dirty_records(&mut self) -> BTreeMap<SessionId, Option<SessionRecord>> {
        let mut records = BTreeMap::new();
        for key in std::mem::take(&mut self.pending.dirty) {
            // A session that ended meanwhile has left its row's end in the batch, and its place may
            // have a new owner, who then stands in the list himself.
            let Some(session) = self.sessions.get_mut(key as usize).filter(|s| s.is_dirty) else {
                continue;
            };
            session.is_dirty = false;
            let keeps = session.is_durable() || session.will.is_some();
            if keeps || session.is_stored {
                records.insert(session.id, keeps.then(|| session.record(self.next_seq)));
            }
            session.is_stored = keeps;
            session.is_stored_durable = session.is_durable();
        }
        records
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
}
