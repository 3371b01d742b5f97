//! Reading the whole store at the start.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use super::error::StoreError;
use super::redb_store::{
    MESSAGES, RETAINED, RedbStore, SESSIONS, SUBSCRIPTIONS, corrupt_row, guarded, redb_error,
};
use super::rows::{self, Interner, RowFault};
use crate::core::change::{
    Loaded, Numbers, QueuedMessage, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    StoredTarget, Target, topic_hash,
};

impl RedbStore {
    /// Reads all that is stored, payloads as well: what [`Store::load`](super::Store::load) does not do.
    ///
    /// # Errors
    /// As [`Store::load`](super::Store::load).
    pub fn load_all(&mut self) -> Result<Loaded, StoreError> {
        let path = self.path.clone();
        let (loaded, row_bytes) = guarded(&path, || self.loaded())?;
        self.open_gate()?;
        self.compact_if_hollow(row_bytes)?;
        Ok(loaded)
    }

    /// Tells `into` all rows. The bytes of their values.
    pub(super) fn restore(&self, into: &mut dyn Restore) -> Result<(Numbers, u64), StoreError> {
        let (loaded, row_bytes) = self.loaded()?;
        loaded.sessions.into_iter().for_each(|(id, record)| into.session(id, record));
        for (id, filter, record) in loaded.subscriptions {
            into.subscription(id, filter, record);
        }
        loaded.retained.into_iter().for_each(|message| into.retained(message));
        for (seq, queued) in &loaded.messages {
            let stored = |target: &Target| StoredTarget {
                session: target.session,
                is_shared: target.share.is_some(),
            };
            let targets: Vec<StoredTarget> = queued.targets.iter().map(stored).collect();
            into.message(*seq, &stored_message(queued, &targets));
        }
        let numbers = Numbers { next_seq: loaded.next_seq, next_session: loaded.next_session };
        Ok((numbers, row_bytes))
    }

    /// All rows, and the bytes of their values.
    fn loaded(&self) -> Result<(Loaded, u64), StoreError> {
        let db = self.shared.get()?;
        let read = db.begin_read().map_err(redb_error(&self.path, "read"))?;
        let mut loader = Loader { store: self, read, interner: Interner::default(), row_bytes: 0 };
        let mut loaded = loader.tables()?;
        let row_bytes = loader.row_bytes;
        loaded.next_seq = Seq(self.marks.seq.max(lowest_free_seq(&loaded)));
        loaded.next_session = self.marks.session.max(lowest_free_session(&loaded));
        Ok((loaded, row_bytes))
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
    store: &'a RedbStore,
    read: ReadTransaction,
    interner: Interner,
    row_bytes: u64,
}

impl Loader<'_> {
    fn tables(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        self.rows(MESSAGES, |seq, row, interner| {
            loaded.messages.push((Seq(seq), rows::decode_queued(row, interner)?));
            Ok(())
        })?;
        self.rows(SESSIONS, |id, row, interner| {
            loaded.sessions.push((SessionId(id), rows::decode_session(row, interner)?));
            Ok(())
        })?;
        self.rows(SUBSCRIPTIONS, |(id, filter), row, interner| {
            let record = rows::decode_subscription(row)?;
            loaded.subscriptions.push((SessionId(id), interner.filter(filter)?, record));
            Ok(())
        })?;
        self.rows(RETAINED, |topic, row, interner| {
            loaded.retained.push(Arc::new(rows::decode_retained(topic, row, interner)?));
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Hands every row of a table to `take`, in the order of the keys.
    fn rows<K: redb::Key>(
        &mut self,
        definition: TableDefinition<'static, K, &'static [u8]>,
        mut take: impl FnMut(K::SelfType<'_>, &[u8], &mut Interner) -> Result<(), RowFault>,
    ) -> Result<(), StoreError> {
        let error = redb_error(&self.store.path, "read");
        let table =
            self.read.open_table(definition).map_err(redb_error(&self.store.path, "read"))?;
        for row in table.iter().map_err(error)? {
            let (key, value) = row.map_err(error)?;
            self.row_bytes += value.value().len() as u64;
            take(key.value(), value.value(), &mut self.interner).map_err(|fault| {
                corrupt_row(&self.store.path, definition.name(), key.value().borrow(), fault)
            })?;
        }
        Ok(())
    }
}

fn stored_message<'a>(queued: &QueuedMessage, targets: &'a [StoredTarget]) -> StoredMessage<'a> {
    StoredMessage {
        bytes: u32::try_from(queued.message.bytes()).unwrap_or(u32::MAX),
        arrived_at: queued.arrived_at,
        expires_at: queued.message.expires_at,
        topic_hash: topic_hash(&queued.message.topic),
        targets,
    }
}

/// One more than every sequence number in a row. The marks are above it already; this is for a file
/// whose `meta` was tampered with.
fn lowest_free_seq(loaded: &Loaded) -> u64 {
    let message = loaded.messages.last().map_or(0, |(seq, _)| seq.0.saturating_add(1));
    let session = |(_, session): &(SessionId, SessionRecord)| {
        let done = session.done.last().map_or(0, |(_, last)| last.0.saturating_add(1));
        let inflight = session.inflight.iter().filter_map(|record| record.seq);
        let inflight = inflight.map(|seq| seq.0.saturating_add(1)).max().unwrap_or(0);
        session.cursor.0.max(done).max(inflight)
    };
    loaded.sessions.iter().map(session).max().unwrap_or(0).max(message)
}

fn lowest_free_session(loaded: &Loaded) -> u32 {
    loaded.sessions.last().map_or(0, |(id, _)| id.0.saturating_add(1))
}
