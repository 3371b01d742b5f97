//! What a store holds, as far as the oracle asks for it.

use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use outpost_broker::core::change::{
    OriginRecord, Restore, Seq, SessionId, SessionRecord, StoredMessage, SubscriptionRecord,
};
use outpost_broker::core::message::Message;
use outpost_broker::store::{StoreError, StoreReader};

use crate::packet::message_of;

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) messages: Vec<Seq>,
    pub(crate) sessions: usize,
    /// Sessions with QoS 2 flows that are not complete.
    pub(crate) busy_sessions: Vec<SessionRecord>,
    pub(crate) subscriptions: usize,
    /// Topics, and the numbers of their messages.
    pub(crate) retained: Vec<(String, Option<usize>)>,
}

impl Contents {
    /// Leaves out messages of which the store has no row any more.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn keep_what_is_there(
        &mut self,
        reader: &mut dyn StoreReader,
    ) -> Result<(), StoreError> {
        let rows = reader.read(&self.messages)?;
        self.messages = rows.iter().filter(|(_, row)| row.is_some()).map(|(seq, _)| *seq).collect();
        Ok(())
    }
}

impl Restore for Contents {
    fn session(&mut self, _id: SessionId, record: SessionRecord) {
        self.sessions += 1;
        // A message in flight counts by its own row: where that is gone, a restart takes no notice.
        let is_busy =
            record.inflight.iter().any(|i| i.seq.is_none()) || !record.received.is_empty();
        // One that is kept for its will alone ends with the next start.
        if is_busy && record.expiry_interval_s > 0 {
            self.busy_sessions.push(record);
        }
    }

    fn subscription(&mut self, _id: SessionId, _filter: Arc<str>, _record: SubscriptionRecord) {
        self.subscriptions += 1;
    }

    fn retained(&mut self, message: Arc<Message>) {
        self.retained.push((message.topic.to_string(), message_of(message.payload())));
    }

    fn origin(&mut self, _node: NodeId, _record: OriginRecord) {}

    fn message(&mut self, seq: Seq, _message: &StoredMessage<'_>) {
        self.messages.push(seq);
    }
}

/// Tells a broker what its store holds, and takes note of it.
pub(crate) struct Tee<'a> {
    pub(crate) contents: Contents,
    pub(crate) broker: &'a mut dyn Restore,
}

impl Restore for Tee<'_> {
    fn session(&mut self, id: SessionId, record: SessionRecord) {
        self.contents.session(id, record.clone());
        self.broker.session(id, record);
    }

    fn subscription(&mut self, id: SessionId, filter: Arc<str>, record: SubscriptionRecord) {
        self.contents.subscription(id, filter.clone(), record);
        self.broker.subscription(id, filter, record);
    }

    fn retained(&mut self, message: Arc<Message>) {
        self.contents.retained(message.clone());
        self.broker.retained(message);
    }

    fn origin(&mut self, node: NodeId, record: OriginRecord) {
        self.broker.origin(node, record);
    }

    fn message(&mut self, seq: Seq, message: &StoredMessage<'_>) {
        self.contents.message(seq, message);
        self.broker.message(seq, message);
    }
}
