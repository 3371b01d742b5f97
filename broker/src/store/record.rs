//! Whole records one by one, whatever table they are in: what salvage and the tools read and write.

use std::sync::Arc;

use outpost_bridge::peering::NodeId;

use super::error::StoreError;
use super::rows::{self, Interner, RowFault};
use super::{RedbStore, Store};
use crate::core::change::{
    Batch, OriginRecord, QueuedMessage, Seq, SessionId, SessionRecord, SubscriptionRecord,
};
use crate::core::message::Message;

/// A batch is committed at so many bytes or records.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_RECORDS: usize = 20_000;

/// The tables of records, in the order in which they are read: what refers comes after what it
/// refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Sessions,
    Subscriptions,
    Retained,
    Origins,
    Messages,
}

impl Table {
    pub(super) const ALL: [Self; 5] =
        [Self::Sessions, Self::Subscriptions, Self::Retained, Self::Origins, Self::Messages];

    /// Its name in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sess",
            Self::Subscriptions => "sub",
            Self::Retained => "retained",
            Self::Origins => "origin",
            Self::Messages => "msg",
        }
    }

    /// A key of it, for people.
    pub(super) fn key_in_words(self, key: &[u8]) -> String {
        let text = |key| String::from_utf8_lossy(key).into_owned();
        match (self, key.split_at_checked(4)) {
            (Self::Messages, _) if key.len() == 8 => {
                u64::from_le_bytes(key.try_into().unwrap_or_default()).to_string()
            }
            (Self::Origins, _) if key.len() == 8 => {
                NodeId(u64::from_le_bytes(key.try_into().unwrap_or_default())).to_string()
            }
            (Self::Sessions | Self::Subscriptions, Some((id, filter))) => {
                let id = u32::from_le_bytes(id.try_into().unwrap_or_default());
                if filter.is_empty() { id.to_string() } else { format!("{id} {}", text(filter)) }
            }
            _ => text(key),
        }
    }

    /// What its rows are, for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Retained => "retained messages",
            Self::Origins => "origins of bridged messages",
            Self::Messages => "queued messages",
        }
    }
}

/// A row with its key, decoded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A session.
    Session(SessionId, SessionRecord),
    /// A subscription: its session, its filter (`$share/…` included), its options.
    Subscription(SessionId, Arc<str>, SubscriptionRecord),
    /// A retained message.
    Retained(Arc<Message>),
    /// The messages of another broker that came here.
    Origin(NodeId, OriginRecord),
    /// A message that waits for sessions.
    Message(Seq, QueuedMessage),
}

impl Record {
    /// Decodes a row as redb has it.
    pub(super) fn decode(
        table: Table,
        key: &[u8],
        row: &[u8],
        interner: &mut Interner,
    ) -> Result<Self, RowFault> {
        const KEY: RowFault = RowFault::Value("the key is invalid");
        let text = |key| std::str::from_utf8(key).map_err(|_| KEY);
        let session = |key: &[u8]| key.try_into().map(u32::from_le_bytes).map_err(|_| KEY);
        Ok(match table {
            Table::Sessions => {
                let id = SessionId(session(key)?);
                Self::Session(id, rows::decode_session(row, interner)?)
            }
            Table::Subscriptions => {
                let (id, filter) = key.split_at_checked(4).ok_or(KEY)?;
                let record = rows::decode_subscription(row)?;
                let filter = interner.filter(text(filter)?)?;
                Self::Subscription(SessionId(session(id)?), filter, record)
            }
            Table::Retained => {
                Self::Retained(Arc::new(rows::decode_retained(text(key)?, row, interner)?))
            }
            Table::Origins => {
                let node = key.try_into().map(u64::from_le_bytes).map_err(|_| KEY)?;
                Self::Origin(NodeId(node), rows::decode_origin(row)?)
            }
            Table::Messages => {
                let seq = key.try_into().map(u64::from_le_bytes).map_err(|_| KEY)?;
                Self::Message(Seq(seq), rows::decode_queued(row, interner)?)
            }
        })
    }

    /// Whether it can be stored.
    pub(super) fn check(&self) -> Result<(), RowFault> {
        let mut out = Vec::new();
        match self {
            Self::Session(_, record) => rows::encode_session(record, &mut out),
            Self::Subscription(_, filter, record) => {
                rows::encode_subscription(filter, record, &mut out)
            }
            Self::Retained(message) => rows::encode_retained(&message.topic, message, &mut out),
            Self::Origin(_, record) => rows::encode_origin(record, &mut out),
            Self::Message(_, queued) => rows::encode_queued(queued, &mut out),
        }
    }

    /// About the bytes that it takes.
    fn bytes(&self) -> u64 {
        match self {
            Self::Session(_, record) => record.client_id.len() as u64 + 64,
            Self::Subscription(_, filter, _) => filter.len() as u64 + 16,
            Self::Retained(message) => message.bytes() + 16,
            Self::Origin(_, record) => record.numbers.len() as u64 * 8 + 16,
            Self::Message(_, queued) => queued.message.bytes() + 16,
        }
    }
}

/// Fills a store with records, some at a time.
pub(super) struct Filler<'s> {
    store: &'s mut RedbStore,
    batch: Batch,
    bytes: u64,
}

impl<'s> Filler<'s> {
    /// `next_seq` and `next_session`: no lower number is given away later. Every record put moves
    /// them above its own numbers.
    pub(super) fn new(store: &'s mut RedbStore, next_seq: u64, next_session: u32) -> Self {
        let batch = Batch { next_seq: Seq(next_seq), next_session, ..Batch::default() };
        Self { store, batch, bytes: 0 }
    }

    pub(super) fn put(&mut self, record: Record) -> Result<(), StoreError> {
        self.bytes += record.bytes();
        let batch = &mut self.batch;
        match record {
            Record::Session(id, record) => {
                batch.next_session = batch.next_session.max(id.0.saturating_add(1));
                batch.next_seq = batch.next_seq.max(numbers_end(&record));
                batch.sessions.insert(id, Some(record));
            }
            Record::Subscription(id, filter, record) => {
                batch.subscriptions.insert((id, filter), Some(record));
            }
            Record::Retained(message) => {
                batch.retained.insert(message.topic.clone(), Some(message));
            }
            Record::Origin(node, record) => {
                batch.origins.insert(node, Some(record));
            }
            Record::Message(seq, queued) => {
                batch.next_seq = batch.next_seq.max(Seq(seq.0.saturating_add(1)));
                batch.messages.insert(seq, queued);
            }
        }
        let records = batch.sessions.len()
            + batch.subscriptions.len()
            + batch.retained.len()
            + batch.origins.len()
            + batch.messages.len();
        if self.bytes >= BATCH_BYTES || records >= BATCH_RECORDS { self.commit() } else { Ok(()) }
    }

    /// Commits what is left.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.commit()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.store.commit(&self.batch)?;
        let Batch { next_seq, next_session, .. } = self.batch;
        self.batch = Batch { next_seq, next_session, ..Batch::default() };
        self.bytes = 0;
        Ok(())
    }
}

/// A number above all that a session speaks of.
fn numbers_end(record: &SessionRecord) -> Seq {
    let done = record.done.last().map(|(_, last)| *last);
    let inflight = record.inflight.iter().filter_map(|record| record.seq).max();
    let last = done.max(inflight).map_or(0, |last| last.0.saturating_add(1));
    Seq(last.max(record.cursor.0))
}
