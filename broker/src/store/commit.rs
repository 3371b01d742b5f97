//! Writing a batch into one transaction, row by row. Touches no table that the batch does not change.

use std::borrow::Borrow;
use std::path::Path;

use outpost_bridge::peering::NodeId;
use redb::{Table, TableDefinition, TableHandle, WriteTransaction};

use super::error::StoreError;
use super::index::{INDEX, Index};
use super::redb_store::{
    MESSAGES, META, Marks, NODE_KEY, ORIGINS, RETAINED, SCHEMA_KEY, SCHEMA_VERSION, SEQ_MARK_KEY,
    SESSION_MARK_KEY, SESSIONS, SUBSCRIPTIONS, redb_error,
};
use super::rows::{self, RowFault};
use crate::core::change::Batch;

type MessageTable<'t> = Table<'t, u64, &'static [u8]>;

/// Writes rows and counts them.
pub(super) struct RowWriter<'a> {
    write: &'a WriteTransaction,
    path: &'a Path,
    scratch: &'a mut Vec<u8>,
    index: &'a mut Index,
    rows: u64,
    bytes: u64,
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(
        write: &'a WriteTransaction,
        path: &'a Path,
        scratch: &'a mut Vec<u8>,
        index: &'a mut Index,
    ) -> Self {
        Self { write, path, scratch, index, rows: 0, bytes: 0 }
    }

    /// Rows written or removed, and the bytes of their keys and values.
    pub(super) fn written(&self) -> (u64, u64) {
        (self.rows, self.bytes)
    }

    pub(super) fn batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.messages(batch)?;
        self.sessions(batch)?;
        self.subscriptions(batch)?;
        self.retained(batch)?;
        self.origins(batch)?;
        match batch.node {
            Some(node) => self.node(node),
            None => Ok(()),
        }
    }

    /// Makes a store of an earlier schema one of this schema. The index is still to be written.
    pub(super) fn upgrade(&mut self) -> Result<(), StoreError> {
        self.table(INDEX)?;
        self.table(ORIGINS)?;
        let mut table = self.table(META)?;
        table.insert(SCHEMA_KEY, SCHEMA_VERSION).map_err(redb_error(self.path, "write"))?;
        Ok(())
    }

    /// Writes the index after loading.
    pub(super) fn index_alone(&mut self) -> Result<(), StoreError> {
        let messages = self.table(MESSAGES)?;
        self.index(&messages)
    }

    pub(super) fn marks(&mut self, marks: Marks) -> Result<(), StoreError> {
        let mut table = self.table(META)?;
        for (key, mark) in [(SEQ_MARK_KEY, marks.seq), (SESSION_MARK_KEY, u64::from(marks.session))]
        {
            table.insert(key, mark).map_err(redb_error(self.path, "write"))?;
            self.rows += 1;
            self.bytes += key.len() as u64 + 8;
        }
        Ok(())
    }

    fn node(&mut self, node: NodeId) -> Result<(), StoreError> {
        let mut table = self.table(META)?;
        table.insert(NODE_KEY, node.0).map_err(redb_error(self.path, "write"))?;
        self.rows += 1;
        self.bytes += NODE_KEY.len() as u64 + 8;
        Ok(())
    }

    fn origins(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.origins.is_empty() {
            return Ok(());
        }
        let mut table = self.table(ORIGINS)?;
        for (node, record) in &batch.origins {
            let encode =
                record.as_ref().map(|record| |out: &mut _| rows::encode_origin(record, out));
            self.row(&mut table, node.0, 8, encode)?;
        }
        Ok(())
    }

    fn messages(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.messages.is_empty() && batch.removed.is_empty() {
            return Ok(());
        }
        let mut table = self.table(MESSAGES)?;
        for seq in batch.removed.iter() {
            self.row(&mut table, seq.0, 8, None::<fn(&mut Vec<u8>) -> _>)?;
            self.index.remove(seq.0);
        }
        for (seq, queued) in &batch.messages {
            let encode = |out: &mut _| rows::encode_queued(queued, out);
            self.row(&mut table, seq.0, 8, Some(encode))?;
            self.index.put(seq.0, queued);
        }
        self.index(&table)
    }

    /// Writes what the index has to write.
    fn index(&mut self, messages: &MessageTable<'_>) -> Result<(), StoreError> {
        if self.index.is_due() {
            let mut table = self.table(INDEX)?;
            let (rows, bytes) = self.index.write(self.path, messages, &mut table)?;
            self.rows += rows;
            self.bytes += bytes;
        }
        Ok(())
    }

    fn sessions(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.sessions.is_empty() {
            return Ok(());
        }
        let mut table = self.table(SESSIONS)?;
        for (id, session) in &batch.sessions {
            let encode =
                session.as_ref().map(|session| |out: &mut _| rows::encode_session(session, out));
            self.row(&mut table, id.0, 4, encode)?;
        }
        Ok(())
    }

    fn subscriptions(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.subscriptions.is_empty() {
            return Ok(());
        }
        let mut table = self.table(SUBSCRIPTIONS)?;
        for ((id, filter), record) in &batch.subscriptions {
            let encode = record
                .as_ref()
                .map(|record| |out: &mut _| rows::encode_subscription(filter, record, out));
            self.row(&mut table, (id.0, &**filter), 4 + filter.len(), encode)?;
        }
        Ok(())
    }

    fn retained(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.retained.is_empty() {
            return Ok(());
        }
        let mut table = self.table(RETAINED)?;
        for (topic, message) in &batch.retained {
            let encode = message
                .as_ref()
                .map(|message| |out: &mut _| rows::encode_retained(topic, message, out));
            self.row(&mut table, &**topic, topic.len(), encode)?;
        }
        Ok(())
    }

    fn table<K: redb::Key, V: redb::Value>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Table<'a, K, V>, StoreError> {
        self.write.open_table(definition).map_err(redb_error(self.path, "write"))
    }

    /// Puts the row that `encode` makes, or removes it where there is none.
    fn row<'k, K: redb::Key>(
        &mut self,
        table: &mut Table<'_, K, &'static [u8]>,
        key: impl Borrow<K::SelfType<'k>>,
        key_len: usize,
        encode: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), RowFault>>,
    ) -> Result<(), StoreError> {
        self.rows += 1;
        self.bytes += key_len as u64;
        let Some(encode) = encode else {
            table.remove(key).map_err(redb_error(self.path, "write"))?;
            return Ok(());
        };
        if let Err(fault) = encode(self.scratch) {
            let (table, key) = (table.name().to_string(), format!("{:?}", key.borrow()));
            return Err(StoreError::InvalidRow { path: self.path.into(), table, key, fault });
        }
        self.bytes += self.scratch.len() as u64;
        table.insert(key, self.scratch.as_slice()).map_err(redb_error(self.path, "write"))?;
        Ok(())
    }
}
