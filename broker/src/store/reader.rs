//! Reading messages back while the store is written: the other end of a queue that is on disk.

use std::sync::Arc;

use redb::ReadableDatabase;

use super::StoreReader;
use super::error::StoreError;
use super::redb_store::{MESSAGES, corrupt_row, guarded, redb_error};
use super::rows::{self, Interner};
use super::shared_db::SharedDatabase;
use crate::core::change::{QueuedMessage, Seq};

/// So many topics are remembered at most, to be kept once in memory.
const TOPICS_MAX: usize = 4096;

/// Reads beside the store that it came from, in another thread.
pub(super) struct RedbReader {
    shared: Arc<SharedDatabase>,
    interner: Interner,
}

impl RedbReader {
    pub(super) fn new(shared: Arc<SharedDatabase>) -> Self {
        Self { shared, interner: Interner::default() }
    }
}

impl StoreReader for RedbReader {
    fn read(&mut self, seqs: &[Seq]) -> Result<Vec<(Seq, Option<QueuedMessage>)>, StoreError> {
        self.interner.forget_above(TOPICS_MAX);
        let shared = self.shared.clone();
        guarded(&shared.path, || self.rows(seqs))
    }
}

impl RedbReader {
    fn rows(&mut self, seqs: &[Seq]) -> Result<Vec<(Seq, Option<QueuedMessage>)>, StoreError> {
        let path = &self.shared.path;
        let error = redb_error(path, "read");
        let db = self.shared.get()?;
        let read = db.begin_read().map_err(redb_error(path, "read"))?;
        let table = read.open_table(MESSAGES).map_err(redb_error(path, "read"))?;
        let mut found = Vec::with_capacity(seqs.len());
        for &seq in seqs {
            let row = table.get(seq.0).map_err(error)?;
            let queued =
                row.map(|row| rows::decode_queued(row.value(), &mut self.interner)).transpose();
            found.push((seq, queued.map_err(|fault| corrupt_row(path, "msg", seq.0, fault))?));
        }
        Ok(found)
    }
}
