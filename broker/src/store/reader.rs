//! Reading messages back while the store is written: the other end of a queue that is on disk.

use std::path::Path;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadableDatabase, TableHandle};

use super::StoreReader;
use super::error::StoreError;
use super::redb_store::{MESSAGES, corrupt_row, guarded, redb_error};
use super::rows::{self, Interner};
use super::shared_db::SharedDatabase;
use crate::core::change::{QueuedMessage, Seq};

/// So many topics are remembered at most, to be kept once in memory.
const TOPICS_MAX: usize = 4096;

/// Rows between two that are wanted are passed over, up to so many: that takes less than finding the
/// second from the root of the table.
const GAP_MAX: u64 = 32;

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
        let db = self.shared.get()?;
        let read = db.begin_read().map_err(redb_error(path, "read"))?;
        let table = read.open_table(MESSAGES).map_err(redb_error(path, "read"))?;
        let mut found = Vec::with_capacity(seqs.len());
        for run in seqs.chunk_by(|before, seq| seq.0 <= before.0.saturating_add(GAP_MAX)) {
            read_run(path, &table, run, &mut self.interner, &mut found)?;
        }
        Ok(found)
    }
}

/// Reads numbers that are close to each other in one pass over the table.
fn read_run(
    path: &Path,
    table: &ReadOnlyTable<u64, &'static [u8]>,
    run: &[Seq],
    interner: &mut Interner,
    found: &mut Vec<(Seq, Option<QueuedMessage>)>,
) -> Result<(), StoreError> {
    let error = redb_error(path, "read");
    let [first, ..] = run else { return Ok(()) };
    let last = run.last().map_or(first.0, |last| last.0);
    let mut rows = table.range(first.0..=last).map_err(error)?;
    let mut next = rows.next().transpose().map_err(error)?;
    for seq in run {
        while let Some((key, _)) = &next
            && key.value() < seq.0
        {
            next = rows.next().transpose().map_err(error)?;
        }
        let row = next.as_ref().filter(|(key, _)| key.value() == seq.0);
        let queued = row.map(|(_, row)| rows::decode_queued(row.value(), interner)).transpose();
        let queued = queued.map_err(|fault| corrupt_row(path, MESSAGES.name(), seq.0, fault))?;
        found.push((*seq, queued));
    }
    Ok(())
}
