//! A damaged store: what can be read of it goes into a new one, and the file is kept under another
//! name.
//!
//! Row by row: whatever is behind an intact checksum and decodes is taken over, but for what is of
//! no use alone (a subscription without its session, a message that waits for none of the sessions
//! that are left). The new store is built beside the damaged file and takes its place when it is
//! durable, so that a power cut on the way leaves the damaged file where it was.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::contents::Contents;
use super::error::StoreError;
use super::file::DataDir;
use super::record::{Filler, Record, Table};
use super::{RedbStore, StoreOptions, suspicion};
use crate::core::change::SessionId;

/// What became of a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged file is now.
    pub set_aside: PathBuf,
    /// What was found in it.
    pub found: Found,
}

/// What a damaged store held that can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sessions.
    pub sessions: Count,
    /// Subscriptions.
    pub subscriptions: Count,
    /// Retained messages.
    pub retained: Count,
    /// Other brokers, whose messages are remembered.
    pub origins: Count,
    /// Messages that wait for sessions.
    pub messages: Count,
    /// Pages that could not be read; what was below them is not known page by page.
    pub damaged_pages: u64,
}

/// Rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Taken over.
    pub kept: u64,
    /// Lost: unreadable, or of no use without what is. None: the whole table is lost, and nobody
    /// knows how many rows it had.
    pub lost: Option<u64>,
}

impl Found {
    /// Rows of all tables.
    pub fn total(&self) -> Count {
        let Self { sessions, subscriptions, retained, origins, messages, .. } = self;
        let counts = [sessions, subscriptions, retained, origins, messages];
        Count {
            kept: counts.iter().map(|count| count.kept).sum(),
            lost: counts.iter().map(|count| count.lost).sum(),
        }
    }

    fn count(&mut self, table: Table) -> &mut Count {
        match table {
            Table::Sessions => &mut self.sessions,
            Table::Subscriptions => &mut self.subscriptions,
            Table::Retained => &mut self.retained,
            Table::Origins => &mut self.origins,
            Table::Messages => &mut self.messages,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.clone();
        for table in Table::ALL {
            let Count { kept, lost } = *counts.count(table);
            let lost = words_of(lost);
            write!(f, "{}: {kept} kept, {lost} lost; ", table.words())?;
        }
        write!(f, "damaged pages: {}", self.damaged_pages)
    }
}

/// How many rows were lost, as far as that is known.
pub fn words_of(lost: Option<u64>) -> String {
    lost.map_or("unknown".to_owned(), |lost| lost.to_string())
}

/// Replaces the store of a data directory by what can be read of it. The damaged file is kept, with
/// the date in its name. To be called for a store that [`RedbStore::open`] or loading refused as
/// damaged.
///
/// # Errors
/// The file is not there or in use by another process, the schema is of a later version, or the new
/// store cannot be written; then the damaged file is where it was.
pub fn salvage(data_dir: &Path, options: &StoreOptions) -> Result<Salvaged, StoreError> {
    let dir = DataDir::open(data_dir)?;
    let path = dir.store_path();
    let damaged = dir.open_damaged()?;
    let (found, set_aside) = dir.replace_store(|file| {
        let new = FileBackend::new(file)
            .map_err(|error| StoreError::of_redb(&path, "create", error.into()))?;
        let mut store = RedbStore::with_backend(new, &path, options)?;
        salvage_into(&damaged, &path, &mut store)
    })?;
    suspicion::clear(data_dir)?;
    Ok(Salvaged { set_aside, found })
}

/// Takes over what can be read of `damaged`, a redb file, into an empty store.
pub(super) fn salvage_into(
    damaged: &dyn StorageBackend,
    path: &Path,
    store: &mut RedbStore,
) -> Result<Found, StoreError> {
    let contents = Contents::new(damaged, path)?;
    let filler = Filler::new(store, contents.meta.seq_mark, contents.meta.session_mark);
    let found = Found { damaged_pages: contents.damaged_pages, ..Found::default() };
    let mut salvager = Salvager { filler, found, sessions: BTreeSet::new() };
    for table in Table::ALL {
        salvager.table(table, &contents)?;
    }
    salvager.filler.finish()?;
    Ok(salvager.found)
}

struct Salvager<'s> {
    filler: Filler<'s>,
    found: Found,
    /// Those that were taken over.
    sessions: BTreeSet<SessionId>,
}

impl Salvager<'_> {
    fn table(&mut self, table: Table, contents: &Contents<'_>) -> Result<(), StoreError> {
        let mut failed = Ok(());
        let mut kept = 0;
        contents.each(table, &mut |record| {
            if let Some(record) = record.ok().filter(|record| self.is_of_use(record))
                && failed.is_ok()
            {
                failed = self.filler.put(record);
                kept += 1;
            }
        });
        let lost = contents.rows(table).map(|rows| rows.saturating_sub(kept));
        *self.found.count(table) = Count { kept, lost };
        failed
    }

    fn is_of_use(&mut self, record: &Record) -> bool {
        match record {
            Record::Session(id, _) => self.sessions.insert(*id),
            Record::Subscription(id, ..) => self.sessions.contains(id),
            Record::Retained(_) | Record::Origin(..) => true,
            Record::Message(_, queued) => {
                queued.targets.iter().any(|target| self.sessions.contains(&target.session))
            }
        }
    }
}
