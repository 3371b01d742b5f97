//! Reading the whole store at the start.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use super::error::StoreError;
use super::redb_store::{MESSAGES, RETAINED, RedbStore, SESSIONS, SUBSCRIPTIONS, redb_error};
use super::rows::{self, Interner, RowFault};
use crate::core::change::{Loaded, Seq, SessionId, SessionRecord};

impl RedbStore {
    /// All rows, and the bytes of their values.
    pub(super) fn load_all(&self) -> Result<(Loaded, u64), StoreError> {
        let read = self.db.begin_read().map_err(redb_error(&self.path, "read"))?;
        let mut loader = Loader { store: self, read, interner: Interner::default(), row_bytes: 0 };
        let mut loaded = loader.tables()?;
        let row_bytes = loader.row_bytes;
        loaded.next_seq = Seq(self.marks.seq.max(lowest_free_seq(&loaded)));
        loaded.next_session = self.marks.session.max(lowest_free_session(&loaded));
        Ok((loaded, row_bytes))
    }

    /// A queue that has drained leaves a large empty file behind: redb never shrinks one by itself.
    pub(super) fn compact_if_hollow(&mut self, row_bytes: u64) -> Result<(), StoreError> {
        let file_bytes = self.metrics.file_bytes.load(Relaxed);
        if file_bytes < self.options.compact_above_bytes || row_bytes > file_bytes / 4 {
            return Ok(());
        }
        self.db.compact().map_err(redb_error(&self.path, "compact"))?;
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
                StoreError::CorruptRow {
                    path: self.store.path.clone(),
                    table: definition.name().to_string(),
                    key: format!("{:?}", key.value().borrow()),
                    fault,
                }
            })?;
        }
        Ok(())
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
