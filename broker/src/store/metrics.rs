//! What the store did, for the metrics: counters that the store thread adds to and anyone reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of one open store. Shared; each is read on its own, so that two of them may be one
/// commit apart.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    pub(super) commits: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) row_bytes: AtomicU64,
    pub(super) device_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) file_bytes: AtomicU64,
    pub(super) last_commit_us: AtomicU64,
}

/// The counters at one moment, counted since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Commits that wrote something.
    pub commits: u64,
    /// Rows written or removed.
    pub rows: u64,
    /// Their bytes: keys and values as encoded, what the broker had to say.
    pub row_bytes: u64,
    /// Bytes that were written to the file for it, what the flash has to bear (the file system adds
    /// its own). Opening and repairing count too.
    pub device_bytes: u64,
    /// Times that the file was synced.
    pub syncs: u64,
    /// The length of the file. The file is sparse: it may occupy less.
    pub file_bytes: u64,
    /// How long the last commit took, in microseconds.
    pub last_commit_us: u64,
}

impl StoreMetrics {
    /// The counters as they are.
    pub fn counts(&self) -> StoreCounts {
        StoreCounts {
            commits: self.commits.load(Relaxed),
            rows: self.rows.load(Relaxed),
            row_bytes: self.row_bytes.load(Relaxed),
            device_bytes: self.device_bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            file_bytes: self.file_bytes.load(Relaxed),
            last_commit_us: self.last_commit_us.load(Relaxed),
        }
    }
}
