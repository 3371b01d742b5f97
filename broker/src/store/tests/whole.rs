//! All that a store holds, got as the broker gets it: told at the start, messages read afterwards.

use std::sync::Arc;

use crate::core::change::{
    OriginRecord, QueuedMessage, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    SubscriptionRecord,
};
use crate::core::message::Message;
use crate::store::{RedbStore, Store, StoreError};
use outpost_bridge::peering::NodeId;

/// All that a store holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Messages by number, ascending.
    pub(super) messages: Vec<(Seq, QueuedMessage)>,
    /// Sessions by number, ascending.
    pub(super) sessions: Vec<(SessionId, SessionRecord)>,
    /// Subscriptions.
    pub(super) subscriptions: Vec<(SessionId, Arc<str>, SubscriptionRecord)>,
    /// Retained messages.
    pub(super) retained: Vec<Arc<Message>>,
    /// The lowest sequence number not yet given away.
    pub(super) next_seq: Seq,
    /// The lowest session number not yet given away.
    pub(super) next_session: u32,
    pub(super) node: Option<NodeId>,
    pub(super) origins: Vec<(NodeId, OriginRecord)>,
    /// The messages that were told of, with their bytes.
    pub(super) told: Vec<(Seq, u32)>,
}

impl RedbStore {
    /// Loads the store and reads all messages that it tells of.
    pub(super) fn load_all(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let numbers = self.load(&mut loaded)?;
        (loaded.next_seq, loaded.next_session) = (numbers.next_seq, numbers.next_session);
        loaded.node = numbers.node;
        let told = std::mem::take(&mut loaded.told);
        let seqs: Vec<Seq> = told.iter().map(|(seq, _)| *seq).collect();
        for ((seq, row), (_, bytes)) in self.reader().read(&seqs)?.into_iter().zip(told) {
            let Some(queued) = row else { continue };
            assert_eq!(queued.message.bytes(), u64::from(bytes), "{seq:?}");
            loaded.messages.push((seq, queued));
        }
        Ok(loaded)
    }
}

impl Restore for Loaded {
    fn session(&mut self, id: SessionId, record: SessionRecord) {
        self.sessions.push((id, record));
    }

    fn subscription(&mut self, id: SessionId, filter: Arc<str>, record: SubscriptionRecord) {
        self.subscriptions.push((id, filter, record));
    }

    fn retained(&mut self, message: Arc<Message>) {
        self.retained.push(message);
    }

    fn origin(&mut self, node: NodeId, record: OriginRecord) {
        self.origins.push((node, record));
    }

    fn message(&mut self, seq: Seq, message: &StoredMessage<'_>) {
        self.told.push((seq, message.bytes));
    }
}
