//! The open database, shared by the store and its readers.
//!
//! redb lets readers work beside the writer (each sees the last commit as it was). But closing and
//! compacting need the database alone: that is what the lock is for. Reading and committing hold it
//! shared, and do not wait for each other. After [`close`](SharedDatabase::close), the same file
//! opened again can be [`put`](SharedDatabase::put) in its place, and the readers read on.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::Database;

use super::error::StoreError;

/// The database of one store, and its place in errors. Empty while it is closed.
#[derive(Debug)]
pub(super) struct SharedDatabase {
    pub(super) path: PathBuf,
    db: RwLock<Option<Database>>,
}

impl SharedDatabase {
    pub(super) fn closed(path: &Path) -> Self {
        Self { path: path.to_path_buf(), db: RwLock::default() }
    }

    /// Takes in a database that was opened.
    pub(super) fn put(&self, db: Database) {
        *self.lock() = Some(db);
    }

    /// The database, to read or to commit. The guard is to be dropped soon: a page that a reader may
    /// still look at is not used again.
    ///
    /// # Errors
    /// [`StoreError::Failed`] while it is closed.
    pub(super) fn get(&self) -> Result<impl Deref<Target = Database>, StoreError> {
        let guard = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() { Ok(Shared(guard)) } else { Err(self.failed()) }
    }

    /// The database for the caller alone. Waits for whoever reads.
    ///
    /// # Errors
    /// [`StoreError::Failed`] while it is closed.
    pub(super) fn alone(&self) -> Result<impl DerefMut<Target = Database>, StoreError> {
        let guard = self.lock();
        if guard.is_some() { Ok(Alone(guard)) } else { Err(self.failed()) }
    }

    /// Closes the database in order, if it is open. Waits for whoever reads.
    ///
    /// redb may panic when it closes a damaged file. Then there is nothing left to save, and no
    /// reason to take the process down, in the worst case while it reports the damage.
    pub(super) fn close(&self) {
        let database = self.lock().take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("the store could not be closed in order");
        }
    }

    /// What is in the lock is whole at any time: a thread that panicked does not matter.
    fn lock(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.db.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> StoreError {
        StoreError::Failed { path: self.path.clone() }
    }
}

/// A guard of a database that is open.
struct Shared<'a>(RwLockReadGuard<'a, Option<Database>>);

/// Likewise.
struct Alone<'a>(RwLockWriteGuard<'a, Option<Database>>);

const OPEN: &str = "whoever made this guard has looked";

impl Deref for Shared<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect(OPEN)
    }
}

impl Deref for Alone<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect(OPEN)
    }
}

impl DerefMut for Alone<'_> {
    fn deref_mut(&mut self) -> &mut Database {
        self.0.as_mut().expect(OPEN)
    }
}
