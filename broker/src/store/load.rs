//! Reading the store at the start: all but the payloads of waiting messages.

use std::borrow::Borrow;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outpost_bridge::peering::NodeId;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle,
};

use super::error::StoreError;
use super::index::{INDEX, Index};
use super::index_rows;
use super::redb_store::{
    MESSAGES, ORIGINS, RETAINED, RedbStore, SESSIONS, SUBSCRIPTIONS, corrupt_row, guarded,
    redb_error,
};
use super::rows::{self, Interner, RowFault};
use crate::core::change::{
    Numbers, OriginRecord, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    SubscriptionRecord,
};
use crate::core::message::Message;

/// What reading found, besides what was told.
pub(super) struct Restored {
    pub(super) numbers: Numbers,
    pub(super) index: Index,
    /// About the bytes of all rows.
    pub(super) bytes: u64,
}

impl RedbStore {
    /// Tells `into` all that is stored.
    pub(super) fn restore(&self, into: &mut dyn Restore) -> Result<Restored, StoreError> {
        let db = self.shared.get()?;
        let mut loader = Loader::new(&db, &self.path)?;
        loader.tables(into)?;
        let Loader { index, bytes, next_seq, next_session, .. } = loader;
        let marks = self.meta.marks;
        let numbers = Numbers {
            next_seq: Seq(marks.seq.max(next_seq)),
            next_session: marks.session.max(next_session),
            node: self.meta.node,
        };
        Ok(Restored { numbers, index, bytes })
    }

    /// Makes the file as small as its rows allow.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        self.open_gate()?;
        guarded(&self.path, || {
            let mut db = self.shared.alone()?;
            db.compact().map_err(redb_error(&self.path, "compact")).map(drop)
        })
    }

    /// A queue that has drained leaves a large empty file behind: redb never shrinks one by itself.
    pub(super) fn compact_if_hollow(&mut self, row_bytes: u64) -> Result<(), StoreError> {
        let file_bytes = self.metrics.file_bytes.load(Relaxed);
        if file_bytes < self.options.compact_above_bytes || row_bytes > file_bytes / 4 {
            return Ok(());
        }
        self.shared.alone()?.compact().map_err(redb_error(&self.path, "compact"))?;
        let now_bytes = self.metrics.file_bytes.load(Relaxed);
        tracing::info!(store = %self.path.display(), file_bytes, now_bytes, "compacted the store");
        Ok(())
    }
}

/// Reads one snapshot of the tables.
struct Loader<'a> {
    path: &'a Path,
    read: ReadTransaction,
    interner: Interner,
    index: Index,
    bytes: u64,
    /// One more than every number in a row. The marks are above it already; this is for a file whose
    /// `meta` was tampered with.
    next_seq: u64,
    next_session: u32,
}

impl<'a> Loader<'a> {
    fn new(db: &redb::Database, path: &'a Path) -> Result<Self, StoreError> {
        Ok(Self {
            path,
            read: db.begin_read().map_err(redb_error(path, "read"))?,
            interner: Interner::default(),
            index: Index::default(),
            bytes: 0,
            next_seq: 0,
            next_session: 0,
        })
    }

    fn tables(&mut self, into: &mut dyn Restore) -> Result<(), StoreError> {
        let (mut next_seq, mut next_session) = (0, 0);
        self.rows(SESSIONS, |id, row, interner| {
            let session = rows::decode_session(row, interner)?;
            next_seq = next_seq.max(lowest_free_seq(&session));
            next_session = id.saturating_add(1);
            into.session(SessionId(id), session);
            Ok(())
        })?;
        (self.next_seq, self.next_session) = (next_seq, next_session);
        self.rows(SUBSCRIPTIONS, |(id, filter), row, interner| {
            let record = rows::decode_subscription(row)?;
            into.subscription(SessionId(id), interner.filter(filter)?, record);
            Ok(())
        })?;
        self.rows(RETAINED, |topic, row, interner| {
            into.retained(Arc::new(rows::decode_retained(topic, row, interner)?));
            Ok(())
        })?;
        self.origins(into)?;
        self.messages(into)
    }

    /// A store of schema 2 has no such table.
    fn origins(&mut self, into: &mut dyn Restore) -> Result<(), StoreError> {
        match self.read.open_table(ORIGINS) {
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            _ => self.rows(ORIGINS, |node, row, _| {
                into.origin(NodeId(node), rows::decode_origin(row)?);
                Ok(())
            }),
        }
    }

    /// The parts of the index, and what is stored between them and behind them.
    fn messages(&mut self, into: &mut dyn Restore) -> Result<(), StoreError> {
        let error = redb_error(self.path, "read");
        let messages = self.read.open_table(MESSAGES).map_err(redb_error(self.path, "read"))?;
        let mut covered = 0;
        if let Some(parts) = self.index_table()? {
            for row in parts.iter().map_err(error)? {
                let (first, part) = row.map_err(error)?;
                let (first, part) = (first.value(), part.value());
                self.scan(&messages, covered..first.max(covered), into)?;
                covered = self
                    .part(first, part, into)
                    .map_err(|fault| corrupt_row(self.path, INDEX.name(), first, fault))?;
            }
        }
        self.scan(&messages, covered.., into)
    }

    /// The index; a store of schema 1 has none.
    fn index_table(&self) -> Result<Option<ReadOnlyTable<u64, &'static [u8]>>, StoreError> {
        match self.read.open_table(INDEX) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(redb_error(self.path, "read")(error)),
        }
    }

    fn part(&mut self, first: u64, row: &[u8], into: &mut dyn Restore) -> Result<u64, RowFault> {
        let part = index_rows::decode_part(first, row)?;
        self.index.add_part(first, part.end)?;
        for entry in part.entries() {
            let (seq, entry) = entry?;
            self.tell(seq, &entry.as_entry(), into);
        }
        Ok(part.end)
    }

    fn scan(
        &mut self,
        messages: &ReadOnlyTable<u64, &'static [u8]>,
        range: impl RangeBounds<u64>,
        into: &mut dyn Restore,
    ) -> Result<(), StoreError> {
        let error = redb_error(self.path, "read");
        for row in messages.range(range).map_err(error)? {
            let (seq, row) = row.map_err(error)?;
            let seq = seq.value();
            let entry = rows::decode_entry(row.value(), &mut self.interner)
                .map_err(|fault| corrupt_row(self.path, MESSAGES.name(), seq, fault))?;
            self.index.add_open(seq, &entry.as_entry());
            self.tell(seq, &entry.as_entry(), into);
        }
        Ok(())
    }

    fn tell(&mut self, seq: u64, message: &StoredMessage<'_>, into: &mut dyn Restore) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        self.bytes += u64::from(message.bytes);
        into.message(Seq(seq), message);
    }

    /// Hands every row of a table to `take`, in the order of the keys.
    fn rows<K: redb::Key>(
        &mut self,
        definition: TableDefinition<'static, K, &'static [u8]>,
        mut take: impl FnMut(K::SelfType<'_>, &[u8], &mut Interner) -> Result<(), RowFault>,
    ) -> Result<(), StoreError> {
        let error = redb_error(self.path, "read");
        let table = self.read.open_table(definition).map_err(redb_error(self.path, "read"))?;
        for row in table.iter().map_err(error)? {
            let (key, value) = row.map_err(error)?;
            self.bytes += value.value().len() as u64;
            take(key.value(), value.value(), &mut self.interner).map_err(|fault| {
                corrupt_row(self.path, definition.name(), key.value().borrow(), fault)
            })?;
        }
        Ok(())
    }
}

/// One more than every sequence number in a session's row.
fn lowest_free_seq(session: &SessionRecord) -> u64 {
    let done = session.done.last().map_or(0, |(_, last)| last.0.saturating_add(1));
    let inflight = session.inflight.iter().filter_map(|record| record.seq);
    let inflight = inflight.map(|seq| seq.0.saturating_add(1)).max().unwrap_or(0);
    session.cursor.0.max(done).max(inflight)
}

/// Takes nothing: for a store that is only written.
pub(super) struct Nothing;

impl Restore for Nothing {
    fn session(&mut self, _: SessionId, _: SessionRecord) {}

    fn subscription(&mut self, _: SessionId, _: Arc<str>, _: SubscriptionRecord) {}

    fn retained(&mut self, _: Arc<Message>) {}

    fn origin(&mut self, _: NodeId, _: OriginRecord) {}

    fn message(&mut self, _: Seq, _: &StoredMessage<'_>) {}
}
