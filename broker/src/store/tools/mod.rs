//! What the operator's commands do with a store that no broker has open.
//!
//! All but [`compact`] read the file without redb and never write to it; `import` makes a new one.
//! Memory grows with the number of sessions (and of topics, where those are asked for), not with the
//! messages.

mod inspect;
mod lines;
mod transfer;
mod verify;

use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

pub use inspect::{Inspection, Queue, Retained, SessionSummary, TopicSummary, inspect};
pub use transfer::{ExportError, Exported, ImportError, export, import};
pub use verify::{Verified, verify};

use super::contents::Contents;
use super::error::StoreError;
use super::file::DataDir;
use super::{RedbStore, StoreOptions};
use crate::core::change::{Seq, SessionRecord};

/// A store's file, locked for as long as this lives.
#[derive(Debug)]
pub struct StoreFile {
    path: PathBuf,
    file: FileBackend,
}

impl StoreFile {
    /// Locks the store of a data directory.
    ///
    /// # Errors
    /// [`StoreError::AlreadyOpen`]: a broker has it open. [`StoreError::Access`]: it is not there,
    /// or may not be read.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let dir = DataDir::existing(data_dir)?;
        Ok(Self { path: dir.store_path(), file: dir.open_damaged()? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length. It is sparse: it may occupy less.
    ///
    /// # Errors
    /// What the system says.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        self.file.len().map_err(|error| StoreError::of_io(&self.path, "read", error))
    }

    fn contents(&self) -> Result<Contents<'_>, StoreError> {
        Contents::new(&self.file, &self.path)
    }
}

/// Makes the file of a store as small as its rows allow. The length before and after.
///
/// # Errors
/// As [`StoreFile::open`]; the store is damaged, or cannot be written.
pub fn compact(data_dir: &Path, options: &StoreOptions) -> Result<(u64, u64), StoreError> {
    let file = StoreFile::open(data_dir)?;
    let before = file.bytes()?;
    let contents = file.contents()?;
    let damaged = contents.damaged_pages + contents.damaged_bookkeeping;
    drop(contents);
    if damaged > 0 {
        let what = format!("{damaged} of its pages cannot be read");
        return Err(StoreError::Corrupt { path: file.path, what });
    }
    drop(file);
    RedbStore::open(data_dir, options)?.compact()?;
    Ok((before, StoreFile::open(data_dir)?.bytes()?))
}

/// Whether a session is done with a message.
fn is_done(record: &SessionRecord, seq: Seq) -> bool {
    seq < record.cursor
        || record
            .done
            .binary_search_by(|(first, last)| {
                if *last < seq {
                    std::cmp::Ordering::Less
                } else if *first > seq {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
}
