//! What goes wrong with a store, told apart by what the operator has to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::rows::RowFault;

/// Why the store cannot be opened, read or written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The lock of the file is taken.
    #[error("{}: another process has this store open", path.display())]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be created, opened or read: permissions, a wrong path.
    #[error("{}: cannot {action}: {source}", path.display())]
    Access {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged, or was never a store.
    #[error(
        "{}: the store is damaged: {what}",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A row does not hold what this program writes.
    #[error(
        "{}: the store is damaged: table {table}, row {key}: {fault}",
        path.display()
    )]
    CorruptRow {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// The key of the row.
        key: String,
        /// What is wrong with the row.
        fault: RowFault,
    },
    /// The file was written by a version of Outpost with another schema.
    #[error(
        "{}: the store has schema version {found}, this program knows version {known}: start it \
         with the version of Outpost that wrote it, or move the file aside",
        path.display()
    )]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The version of this program.
        known: u64,
    },
    /// The disk or the quota is full.
    #[error("{}: no space left for the store: {source}", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("{}: cannot {action} the store: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The batch holds a row that could not be read back. A fault of the broker, not of the disk;
    /// nothing of the batch was stored.
    #[error(
        "{}: refused to store an invalid row (a fault of Outpost, please report it): table \
         {table}, row {key}: {fault}",
        path.display()
    )]
    InvalidRow {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// The key of the row.
        key: String,
        /// What is wrong with the row.
        fault: RowFault,
    },
    /// An earlier commit failed: what is on the disk is unknown until the store is opened again.
    #[error("{}: an earlier commit failed, nothing more is written", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
    },
    /// The store thread panicked. A fault of Outpost or of redb.
    #[error("the store thread panicked: {what}")]
    Panicked {
        /// The message of the panic.
        what: String,
    },
}

impl StoreError {
    /// Whether the file itself is damaged, so that what it holds may be salvaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::CorruptRow { .. })
    }

    /// Whether damage may be behind it: redb panics on some.
    pub fn may_be_damage(&self) -> bool {
        self.is_damage() || matches!(self, Self::Panicked { .. })
    }

    /// Sorts an error of redb; `action` says what was tried, as a verb.
    pub(super) fn of_redb(path: &Path, action: &'static str, error: redb::Error) -> Self {
        let path = path.to_path_buf();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::AlreadyOpen { path },
            redb::Error::Io(source) => Self::of_io(&path, action, source),
            redb::Error::PreviousIo => Self::Failed { path },
            redb::Error::Backend(source) => {
                Self::Io { path, action, source: io::Error::other(source) }
            }
            redb::Error::Unsupported => {
                Self::Io { path, action, source: io::ErrorKind::Unsupported.into() }
            }
            other => Self::Corrupt { path, what: other.to_string() },
        }
    }

    /// Sorts an error of the system that came out of reading or writing the store.
    pub(super) fn of_io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            // redb says so of a file that is no database, and a file cut short ends early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Corrupt { path, what: source.to_string() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io { path, action, source },
        }
    }
}

/// The text of a caught panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_string()
}
