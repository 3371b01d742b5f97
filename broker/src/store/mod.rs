//! The store: what survives a power cut.
//!
//! It takes the core's [`Batch`]es and commits each in one transaction; at the start it tells a
//! [`Restore`] what is there, and while it runs, a [`StoreReader`] reads messages back. It knows rows
//! and files, but neither sessions' rules nor sockets nor time. `docs/STORE-FORMAT.md` writes the
//! format down byte by byte.
//!
//! - `redb_store.rs`: the store in a redb file; `schema.rs` makes and checks its tables, `load.rs` reads
//!   it at the start, `commit.rs` writes a batch, `rows.rs` knows its rows.
//! - `index.rs`, `index_rows.rs`: what spares the start the payloads.
//! - `reader.rs`, `shared_db.rs`: reading beside the writer.
//! - `file.rs`: the file itself: found, created, never overwritten.
//! - `contents.rs`: what a file holds, read without redb, page by page (`pages.rs`) and record by record
//!   (`record.rs`): for `salvage.rs`, which makes the best of a damaged file, and for `tools`.
//!   `suspicion.rs`: damage that was found late.
//! - `backend.rs`, `metrics.rs`: what reaches the device, counted.
//! - `writer.rs`: the one thread that commits; `space.rs`: how it waits on a full disk.

mod backend;
mod commit;
mod contents;
mod error;
mod file;
mod index;
mod index_rows;
mod load;
mod loads;
mod metrics;
mod pages;
mod reader;
mod record;
mod redb_store;
mod rows;
mod salvage;
mod schema;
mod shared_db;
mod space;
mod suspicion;
#[cfg(test)]
mod tests;
pub mod tools;
mod writer;

pub use error::StoreError;
pub use file::FILE_NAME;
pub use loads::{LoadSource, spawn_reader};
pub use metrics::{StoreCounts, StoreMetrics};
pub use redb_store::{RedbStore, SCHEMA_VERSION, StoreOptions};
pub use rows::RowFault;
pub use salvage::{Count, Found, Salvaged, salvage, words_of};
pub use space::SpaceWaiter;
pub use suspicion::{check_suspect, suspect};
pub use writer::{BatchSource, spawn_writer};

use crate::core::change::{Batch, Numbers, QueuedMessage, Restore, Seq};

/// Where the core's state survives. A trait, so that another store (a preallocated log in front of
/// redb writes several times less for a small commit) can take its place.
pub trait Store: Send {
    /// Tells `into` all that is stored, but for the payloads of waiting messages. Called once, before
    /// the first [`commit`](Self::commit).
    ///
    /// # Errors
    /// What cannot be read, or is not what this program wrote. The store is left as it is; `into` may
    /// have been told a part.
    fn load(&mut self, into: &mut dyn Restore) -> Result<Numbers, StoreError>;

    /// Makes the changes of `batch` durable, all or none of them. When this returns `Ok` they
    /// survive a power cut; a batch without changes costs nothing.
    ///
    /// # Errors
    /// Whether the batch is stored is then unknown until the store is opened again; every further
    /// commit fails with [`StoreError::Failed`].
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// What it did since it was opened. A store that does not count says nothing.
    fn counts(&self) -> StoreCounts {
        StoreCounts::default()
    }

    /// A reader for another thread.
    fn reader(&self) -> Box<dyn StoreReader>;
}

/// Reads messages back while the store is written. It waits for no commit, and no commit for it.
pub trait StoreReader: Send {
    /// The messages of these numbers (ascending), in their order; none where there is none (any
    /// more). Sees every commit that returned before the call.
    ///
    /// # Errors
    /// What cannot be read. [`StoreError::Failed`] when the store is closed.
    fn read(&mut self, seqs: &[Seq]) -> Result<Vec<(Seq, Option<QueuedMessage>)>, StoreError>;
}
