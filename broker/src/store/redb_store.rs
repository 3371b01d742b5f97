//! The store in one redb file.
//!
//! What a commit costs is decided here: some 25 KB for the commit itself and 4 to 12 KB for each
//! further table, however small the change (`docs/STORE-FORMAT.md` counts the pages). So a table is
//! touched only if a row of it changes, and the numbers that must never be used again cost no table
//! of their own: `meta` holds a mark above all that were ever stored, and moves it far ahead whenever
//! it is reached ([`Marks`]).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use redb::backends::FileBackend;
use redb::{Builder, Durability, ReadableDatabase, StorageBackend, TableDefinition};

use super::backend::{Gate, GatedBackend};
use super::commit::RowWriter;
use super::error::{StoreError, panic_text};
use super::file::DataDir;
use super::index::Index;
use super::load::Nothing;
use super::metrics::{StoreCounts, StoreMetrics};
use super::reader::RedbReader;
use super::rows::RowFault;
use super::schema::{self, Meta};
use super::shared_db::SharedDatabase;
use super::space::SpaceWaiter;
use super::{Store, StoreReader};
use crate::core::change::{Batch, Numbers, Restore, Seq, seq_mark};

/// The version of the tables and their keys. Rows have versions of their own.
pub const SCHEMA_VERSION: u64 = 3;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("msg");
pub(super) const SESSIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sess");
pub(super) const SUBSCRIPTIONS: TableDefinition<'_, (u32, &str), &[u8]> =
    TableDefinition::new("sub");
pub(super) const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");

pub(super) const ORIGINS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("origin");

pub(super) const SCHEMA_KEY: &str = "schema";
pub(super) const NODE_KEY: &str = "node";
pub(super) const SEQ_MARK_KEY: &str = "seq_mark";
pub(super) const SESSION_MARK_KEY: &str = "session_mark";

/// How far the mark of sessions moves ahead: a restart skips at most as many numbers, and so many can
/// be given away for one more write of `meta`.
const SESSION_STEP: u32 = 1 << 8;

/// The encoding buffer is given back when one huge row has made it larger than this.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of memory for redb's page cache. Worst case: as many, beside one batch of changes.
    pub cache_bytes: usize,
    /// From this file length on, every commit writes more (some 30 KB in a file of 128 MiB, twice as
    /// much in one of 512 MiB), so that opening after a crash takes milliseconds and not a reading
    /// of the whole file. It doubles what a small commit costs, hence only for files whose reading
    /// takes long: 512 MiB are a second from an SSD, some 15 from an SD card.
    pub quick_repair_above_bytes: u64,
    /// From this file length on, a file that is not even a quarter full is made smaller when it is
    /// loaded.
    pub compact_above_bytes: u64,
    /// Verify the checksum of every page when opening. Reads the whole file.
    pub verify_on_open: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            quick_repair_above_bytes: 512 << 20,
            compact_above_bytes: 64 << 20,
            verify_on_open: false,
        }
    }
}

/// The store in a redb file. Dropping it closes the file in order.
///
/// Nothing in the file is changed before it was [loaded](Store::load) (committing to a store that was
/// not loaded does that first): a file that is refused stays as it was.
#[derive(Debug)]
pub struct RedbStore {
    pub(super) shared: Arc<SharedDatabase>,
    gate: Arc<Gate>,
    pub(super) path: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) metrics: Arc<StoreMetrics>,
    pub(super) meta: Meta,
    index: Index,
    is_loaded: bool,
    failed: bool,
    scratch: Vec<u8>,
}

/// The lowest numbers that were never stored and may be given away after a restart. Every number in
/// a stored row is below its mark, because the mark moves in the same transaction. Numbers that were
/// given away but never reached a commit are unknown to every row, and hence free to be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) seq: u64,
    pub(super) session: u32,
}

impl Marks {
    /// The marks that `batch` needs.
    fn after(self, batch: &Batch) -> Self {
        let mut marks = self;
        marks.seq = seq_mark(Seq(marks.seq), batch.next_seq).0;
        if batch.next_session > marks.session {
            marks.session = batch.next_session.saturating_add(SESSION_STEP);
        }
        marks
    }
}

impl RedbStore {
    /// Opens the store `outpost.redb` in the directory `data_dir`; creates what is missing (the
    /// directory with mode 0700, the file with mode 0600).
    ///
    /// # Errors
    /// Every [`StoreError`] but those of a commit. A file that is damaged or not a store is left
    /// alone. redb panics on some kinds of damage: such a panic is caught and becomes
    /// [`StoreError::Corrupt`], but the panic hook sees it.
    pub fn open(data_dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let dir = DataDir::open(data_dir)?;
        let path = dir.store_path();
        let build = |file| {
            let backend = FileBackend::new(file)
                .map_err(|error| StoreError::of_redb(&path, "open", error.into()))?;
            Self::with_backend(backend, &path, options)
        };
        if dir.open_store()?.is_none()
            && let Some(created) = dir.create_store(build)?
        {
            return Ok(created);
        }
        match dir.open_store()? {
            Some(file) => build(file),
            None => Err(StoreError::Access {
                path,
                action: "open",
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    /// Opens the store on any backend of redb, as the simulation does. `name` stands for the path
    /// in errors. An empty backend becomes a new store.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_backend(
        backend: impl StorageBackend,
        name: impl Into<PathBuf>,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(SharedDatabase::closed(&name.into()));
        let metrics = Arc::new(StoreMetrics::default());
        let (gate, meta) = open_database(backend, &shared, options, &metrics)?;
        Ok(Self {
            path: shared.path.clone(),
            shared,
            gate,
            options: options.clone(),
            metrics,
            meta,
            index: Index::default(),
            is_loaded: false,
            failed: false,
            scratch: Vec::new(),
        })
    }

    /// The counters of this store.
    pub fn metrics(&self) -> Arc<StoreMetrics> {
        self.metrics.clone()
    }

    /// Has commits that find no space wait for it where they are, instead of failing.
    pub fn wait_for_space(&self, waiter: Arc<dyn SpaceWaiter>) {
        self.gate.wait_for_space(waiter);
    }

    /// Lets changes through to the file, now that it is known to be sound.
    pub(super) fn open_gate(&self) -> Result<(), StoreError> {
        open_gate(&self.gate, &self.path)
    }

    fn write_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let marks = self.meta.marks.after(batch);
        if is_empty(batch) && marks == self.meta.marks {
            return Ok(());
        }
        let marks_move = marks != self.meta.marks;
        self.write(|rows| {
            rows.batch(batch)?;
            if marks_move { rows.marks(marks) } else { Ok(()) }
        })?;
        self.meta.marks = marks;
        self.meta.node = batch.node.or(self.meta.node);
        self.metrics.commits.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Puts into the file what loading found to be missing: the schema of this version, and the index
    /// of messages that have none.
    fn complete(&mut self) -> Result<(), StoreError> {
        let is_old = self.meta.schema != SCHEMA_VERSION;
        if !is_old && !self.index.is_due() {
            return Ok(());
        }
        self.write(|rows| {
            if is_old {
                rows.upgrade()?;
            }
            rows.index_alone()
        })?;
        if is_old {
            let (from, to, store) = (self.meta.schema, SCHEMA_VERSION, self.path.display());
            tracing::info!(%store, from, to, "the store was upgraded to another schema version");
        }
        self.meta.schema = SCHEMA_VERSION;
        Ok(())
    }

    /// One transaction, all or nothing of what `change` writes.
    fn write(
        &mut self,
        change: impl FnOnce(&mut RowWriter<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let db = self.shared.get()?;
        // With nobody reading, redb frees the pages that this commit replaces right after it, in a
        // commit in memory whose notes the next one has to write: one page more each time. While
        // somebody reads the last state, it frees them with the next commit, in passing.
        let _last_state = db.begin_read().map_err(redb_error(&self.path, "write"))?;
        let mut write = db.begin_write().map_err(redb_error(&self.path, "write"))?;
        write.set_durability(Durability::Immediate).map_err(redb_error(&self.path, "write"))?;
        let file_bytes = self.metrics.file_bytes.load(Relaxed);
        write.set_quick_repair(file_bytes > self.options.quick_repair_above_bytes);
        let mut rows = RowWriter::new(&write, &self.path, &mut self.scratch, &mut self.index);
        change(&mut rows)?;
        let (rows, bytes) = rows.written();
        write.commit().map_err(redb_error(&self.path, "write"))?;
        self.metrics.rows.fetch_add(rows, Relaxed);
        self.metrics.row_bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for RedbStore {
    /// Readers may outlive the store, but its file is closed with it.
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Store for RedbStore {
    fn load(&mut self, into: &mut dyn Restore) -> Result<Numbers, StoreError> {
        let path = self.path.clone();
        let restored = guarded(&path, || self.restore(into))?;
        self.index = restored.index;
        self.open_gate()?;
        self.complete()?;
        self.compact_if_hollow(restored.bytes)?;
        self.is_loaded = true;
        Ok(restored.numbers)
    }

    fn reader(&self) -> Box<dyn StoreReader> {
        Box::new(RedbReader::new(self.shared.clone()))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed { path: self.path.clone() });
        }
        if !self.is_loaded {
            self.load(&mut Nothing)?;
        }
        let started = Instant::now();
        // Set first, so that a panic on the way leaves it set.
        self.failed = true;
        self.write_batch(batch)?;
        self.failed = false;
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics.last_commit_us.store(took_us, Relaxed);
        Ok(())
    }

    fn counts(&self) -> StoreCounts {
        self.metrics.counts()
    }
}

/// Opens the database into `shared`, which is closed, and stays so if that fails.
fn open_database(
    backend: impl StorageBackend,
    shared: &SharedDatabase,
    options: &StoreOptions,
    metrics: &Arc<StoreMetrics>,
) -> Result<(Arc<Gate>, Meta), StoreError> {
    let path = &shared.path;
    let opened = guarded(path, || {
        let (backend, gate) = GatedBackend::new(backend, metrics.clone())
            .map_err(|error| StoreError::of_io(path, "open", error))?;
        let db = Builder::new()
            .set_cache_size(options.cache_bytes)
            .set_check_integrity_on_open(options.verify_on_open)
            .set_repair_callback(warn_once(path))
            .create_with_backend(backend)
            .map_err(|error| StoreError::of_redb(path, "open", error.into()))?;
        shared.put(db);
        let meta = schema::check_or_create(shared, &gate)?;
        Ok((gate, meta))
    });
    if opened.is_err() {
        shared.close();
    }
    opened
}

fn is_empty(batch: &Batch) -> bool {
    batch.messages.is_empty()
        && batch.removed.is_empty()
        && batch.sessions.is_empty()
        && batch.subscriptions.is_empty()
        && batch.retained.is_empty()
        && batch.origins.is_empty()
        && batch.node.is_none()
}

/// Lets changes through to the file.
pub(super) fn open_gate(gate: &Gate, path: &Path) -> Result<(), StoreError> {
    gate.open().map_err(|error| StoreError::of_io(path, "write", error))
}

/// Turns an error of redb into ours; `action` says what was tried.
pub(super) fn redb_error<E: Into<redb::Error>>(
    path: &Path,
    action: &'static str,
) -> impl Fn(E) -> StoreError + Copy {
    move |error| StoreError::of_redb(path, action, error.into())
}

/// A row that does not hold what this program writes.
pub(super) fn corrupt_row(
    path: &Path,
    table: &str,
    key: impl std::fmt::Debug,
    fault: RowFault,
) -> StoreError {
    let (path, table, key) = (path.to_path_buf(), table.to_string(), format!("{key:?}"));
    StoreError::CorruptRow { path, table, key, fault }
}

/// A callback for redb, which calls it several times while it repairs.
fn warn_once(path: &Path) -> impl Fn(&mut redb::RepairSession) + 'static {
    let store = path.display().to_string();
    let told = Cell::new(false);
    move |_| {
        if !told.replace(true) {
            tracing::warn!(store, "the store was not closed in order; repairing it");
        }
    }
}

/// Runs `read`, and takes a panic of redb for what it is at this point: a damaged file.
pub(super) fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(StoreError::Corrupt { path: path.to_path_buf(), what: panic_text(&*panic) })
    })
}
