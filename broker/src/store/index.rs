//! The index of waiting messages: what has to be known of them at the start, without their payloads.
//!
//! It is a table of *parts*. A part covers a range of sequence numbers, and has an entry for every
//! message that was stored in it when the part was written, as many as fit into a page of redb. The
//! newest messages have no part yet, their entries are *open*: so a message that is done soon is never
//! in a part, and parts are written many at a time.
//!
//! Every stored message is in exactly one part or open. The reverse does not hold: a part is not
//! written anew when one of its messages goes, only removed with the last of them; so it may tell of
//! messages that are gone. A message that is written anew has its part taken apart, its entries are
//! open again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use redb::{ReadableTable, Table, TableDefinition, TableHandle};

use super::error::StoreError;
use super::index_rows::{self, Entry};
use super::redb_store::{corrupt_row, redb_error};
use super::rows::RowFault;
use crate::core::change::QueuedMessage;

/// The index while it is written.
pub(super) type IndexTable<'t> = Table<'t, u64, &'static [u8]>;

pub(super) const INDEX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("msg_index");

/// So many entries are open before they are put into parts: some 100 KB, of which none is written
/// twice.
const OPEN_MAX: usize = 4096;

/// A part is no longer than this, unless one entry is: with its key it fills a page of 4096 bytes.
const PART_BYTES_MAX: usize = 4064;

/// What is in memory of the index. It follows the transaction that is being written; when that fails,
/// so has the store.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The ranges of the parts: first number, and the one after the last.
    parts: BTreeMap<u64, u64>,
    /// The entries that are in no part, encoded.
    open: BTreeMap<u64, Box<[u8]>>,
    /// Parts that are not yet in the table.
    unwritten: Vec<(u64, Vec<u8>)>,
    /// Parts of which a message was written anew since the last [`write`](Self::write).
    torn: BTreeSet<u64>,
    /// Parts of which a message went since then.
    thinned: BTreeSet<u64>,
}

impl Index {
    /// A part that is in the table. Parts are to be told in order.
    ///
    /// # Errors
    /// It begins before the one before it ends.
    pub(super) fn add_part(&mut self, first: u64, end: u64) -> Result<(), RowFault> {
        if self.parts.last_key_value().is_some_and(|(_, before)| first < *before) {
            return Err(RowFault::Value("it begins before the part before it ends"));
        }
        self.parts.insert(first, end);
        Ok(())
    }

    /// A message that is stored and in no part.
    pub(super) fn add_open(&mut self, seq: u64, entry: &Entry<'_>) {
        self.insert(seq, index_rows::encode_entry(entry));
        if self.open.len() >= OPEN_MAX {
            self.close();
        }
    }

    /// A message is written, new or anew.
    pub(super) fn put(&mut self, seq: u64, queued: &QueuedMessage) {
        self.torn.extend(self.part_of(seq));
        self.insert(seq, index_rows::encode_queued(queued));
    }

    fn insert(&mut self, seq: u64, entry: Box<[u8]>) {
        // The last number there can be is in no range. No broker comes that far, a damaged row may.
        if seq < u64::MAX {
            self.open.insert(seq, entry);
        }
    }

    /// A message goes.
    pub(super) fn remove(&mut self, seq: u64) {
        if self.open.remove(&seq).is_none() {
            self.thinned.extend(self.part_of(seq));
        }
    }

    /// Whether there is something to [`write`](Self::write).
    pub(super) fn is_due(&self) -> bool {
        self.open.len() >= OPEN_MAX
            || !(self.unwritten.is_empty() && self.thinned.is_empty() && self.torn.is_empty())
    }

    /// Brings the table up to date, after all messages of a transaction. `path` is for errors. Rows
    /// written or removed, and their bytes.
    pub(super) fn write(
        &mut self,
        path: &Path,
        messages: &impl ReadableTable<u64, &'static [u8]>,
        table: &mut IndexTable<'_>,
    ) -> Result<(u64, u64), StoreError> {
        let mut removed = 0;
        for first in std::mem::take(&mut self.torn) {
            self.take_apart(path, first, table)?;
            removed += 1;
        }
        for first in std::mem::take(&mut self.thinned) {
            removed += u64::from(self.remove_if_empty(path, first, messages, table)?);
        }
        if self.open.len() >= OPEN_MAX {
            self.close();
        }
        let (mut rows, mut bytes) = (removed, 8 * removed);
        for (first, part) in self.unwritten.drain(..) {
            table.insert(first, part.as_slice()).map_err(redb_error(path, "write"))?;
            rows += 1;
            bytes += 8 + part.len() as u64;
        }
        Ok((rows, bytes))
    }

    fn part_of(&self, seq: u64) -> Option<u64> {
        let (first, end) = self.parts.range(..=seq).next_back()?;
        (seq < *end).then_some(*first)
    }

    /// Removes a part, and makes its entries open again, unless there are newer ones.
    fn take_apart(
        &mut self,
        path: &Path,
        first: u64,
        table: &mut IndexTable<'_>,
    ) -> Result<(), StoreError> {
        self.parts.remove(&first);
        let part = table.remove(first).map_err(redb_error(path, "write"))?;
        let Some(part) = part else { return Ok(()) };
        let fault = |fault| corrupt_row(path, INDEX.name(), first, fault);
        for entry in index_rows::decode_part(first, part.value()).map_err(fault)?.entries() {
            let (seq, entry) = entry.map_err(fault)?;
            let entry = || index_rows::encode_entry(&entry.as_entry());
            self.open.entry(seq).or_insert_with(entry);
        }
        Ok(())
    }

    fn remove_if_empty(
        &mut self,
        path: &Path,
        first: u64,
        messages: &impl ReadableTable<u64, &'static [u8]>,
        table: &mut IndexTable<'_>,
    ) -> Result<bool, StoreError> {
        let error = redb_error(path, "write");
        let Some(end) = self.parts.get(&first) else { return Ok(false) };
        if messages.range(first..*end).map_err(error)?.next().is_some() {
            return Ok(false);
        }
        self.parts.remove(&first);
        table.remove(first).map_err(error)?;
        Ok(true)
    }

    /// Puts all open entries into parts. Parts made together cover what is between them, unless an
    /// older part is there.
    fn close(&mut self) {
        let mut part = PartBuilder::default();
        for (seq, entry) in std::mem::take(&mut self.open) {
            let is_apart =
                part.last().is_some_and(|last| self.parts.range(last..seq).next().is_some());
            if is_apart {
                self.finish(&mut part, None);
            } else if part.bytes() + entry.len() > PART_BYTES_MAX {
                self.finish(&mut part, Some(seq));
            }
            part.push(seq, &entry);
        }
        self.finish(&mut part, None);
    }

    fn finish(&mut self, part: &mut PartBuilder, end: Option<u64>) {
        if let Some((first, end, bytes)) = part.take(end) {
            self.parts.insert(first, end);
            self.unwritten.push((first, bytes));
        }
    }
}

/// The part that is being put together.
#[derive(Default)]
struct PartBuilder(Option<(u64, u64, Vec<u8>)>);

impl PartBuilder {
    fn last(&self) -> Option<u64> {
        self.0.as_ref().map(|(_, last, _)| *last)
    }

    /// What the part takes, with room for the number of one more entry and for the end.
    fn bytes(&self) -> usize {
        const NUMBERS_BYTES_MAX: usize = 1 + 2 * 10;
        self.0.as_ref().map_or(0, |(_, _, entries)| entries.len() + NUMBERS_BYTES_MAX)
    }

    fn push(&mut self, seq: u64, entry: &[u8]) {
        let (_, last, entries) = self.0.get_or_insert_with(|| (seq, seq, Vec::new()));
        index_rows::push_entry(
            entries,
            if entries.is_empty() { 0 } else { seq - *last - 1 },
            entry,
        );
        *last = seq;
    }

    /// First number, end (as given, or right behind the last entry) and row.
    fn take(&mut self, end: Option<u64>) -> Option<(u64, u64, Vec<u8>)> {
        let (first, last, entries) = self.0.take()?;
        let end = end.unwrap_or(last.saturating_add(1));
        Some((first, end, index_rows::encode_part(end - first, &entries)))
    }
}
