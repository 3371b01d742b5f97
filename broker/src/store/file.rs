//! The file of the store: found or created, and never overwritten.
//!
//! A new store is built whole under another name and renamed when it is durable. So a power cut
//! during its creation leaves no half a store, and an empty `outpost.redb` is always damage, never
//! an invitation to begin anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::error::StoreError;

/// The name of the store in the data directory.
pub const FILE_NAME: &str = "outpost.redb";

/// The name it has while it is created.
const NEW_FILE_NAME: &str = "outpost.redb.new";

/// A data directory. It is locked only while a store is created in it; an open store is locked by
/// redb's lock of the file.
pub(super) struct DataDir {
    path: PathBuf,
    handle: File,
}

impl DataDir {
    /// Opens the directory; creates it where it is missing (for its owner alone, as messages are
    /// nobody else's business).
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        create_dir(path)?;
        Self::existing(path)
    }

    /// Opens a directory that is there already.
    pub(super) fn existing(path: &Path) -> Result<Self, StoreError> {
        let handle = File::open(path).map_err(access(path, "open the data directory"))?;
        Ok(Self { path: path.to_path_buf(), handle })
    }

    /// Where the store is.
    pub(super) fn store_path(&self) -> PathBuf {
        self.path.join(FILE_NAME)
    }

    /// The store of this directory; none if there is none yet.
    pub(super) fn open_store(&self) -> Result<Option<File>, StoreError> {
        let path = self.store_path();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(access(&path, "open")(error)),
        };
        let metadata = file.metadata().map_err(access(&path, "look at"))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(access(&path, "open")(error));
        }
        if metadata.len() == 0 {
            return Err(StoreError::Corrupt { path, what: "the file is empty".into() });
        }
        Ok(Some(file))
    }

    /// Creates the store: `build` fills the empty file and makes it durable; only then does it get
    /// its name. None if another process was faster; its store is there then.
    pub(super) fn create_store<T>(
        &self,
        build: impl FnOnce(File) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let _lock = self.lock()?;
        let path = self.store_path();
        if path.try_exists().map_err(access(&path, "look for"))? {
            return Ok(None);
        }
        self.build_store(build).map(Some)
    }

    /// The file of a store that was refused, locked as redb does it.
    pub(super) fn open_damaged(&self) -> Result<FileBackend, StoreError> {
        let path = self.store_path();
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let failed = |error| StoreError::of_redb(&path, "open", redb::Error::from(error));
        let backend = FileBackend::new(file.map_err(access(&path, "open"))?).map_err(failed)?;
        match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) | Err(BackendError::Unsupported) => Ok(backend),
            Ok(false) => Err(StoreError::AlreadyOpen { path }),
            Err(error) => Err(StoreError::of_io(&path, "lock", io::Error::other(error))),
        }
    }

    /// Puts a new store in the place of a damaged one, which is kept under the name that is returned.
    /// A power cut on the way leaves the damaged file under both names, or under its own.
    pub(super) fn replace_store<T>(
        &self,
        build: impl FnOnce(File) -> Result<T, StoreError>,
    ) -> Result<(T, PathBuf), StoreError> {
        let path = self.store_path();
        self.put_store(|file| {
            let built = build(file)?;
            Ok((built, self.keep_aside(&path)?))
        })
    }

    /// Puts a new store in the place of whatever is there: `build` fills an empty file and makes it
    /// durable; only then does it get its name.
    pub(super) fn put_store<T, E: From<StoreError>>(
        &self,
        build: impl FnOnce(File) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.lock()?;
        self.build_store(build)
    }

    fn build_store<T, E: From<StoreError>>(
        &self,
        build: impl FnOnce(File) -> Result<T, E>,
    ) -> Result<T, E> {
        let (path, new_path) = (self.store_path(), self.path.join(NEW_FILE_NAME));
        let built = build(self.create_new(&new_path)?).inspect_err(|_| {
            // What is left of the attempt is nobody's; the next one would write over it.
            fs::remove_file(&new_path).ok();
        })?;
        fs::rename(&new_path, &path).map_err(access(&new_path, "rename"))?;
        self.handle.sync_all().map_err(access(&self.path, "sync the data directory"))?;
        Ok(built)
    }

    /// Gives a file a second name with the date in it, one that no file has.
    fn keep_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ");
        for number in 1.. {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let aside = self.path.join(format!("{FILE_NAME}.corrupt-{now}{suffix}"));
            match fs::hard_link(path, &aside) {
                Ok(()) => return Ok(aside),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // A file system without links (FAT): the file has one name at a time.
                Err(_) if !aside.exists() => {
                    fs::rename(path, &aside).map_err(access(&aside, "keep the damaged file as"))?;
                    return Ok(aside);
                }
                Err(error) => return Err(access(&aside, "keep the damaged file as")(error)),
            }
        }
        unreachable!("there are more numbers than files")
    }

    /// A new file, empty. Whatever stands there is what a power cut left of an earlier attempt.
    fn create_new(&self, new_path: &Path) -> Result<File, StoreError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(new_path)
            .map_err(access(new_path, "create"))
    }

    /// Keeps a second process from creating at the same time. The lock goes with the handle. A
    /// file system without locks gets none.
    fn lock(&self) -> Result<File, StoreError> {
        let handle =
            self.handle.try_clone().map_err(access(&self.path, "open the data directory"))?;
        match handle.lock() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                Err(access(&self.path, "lock the data directory")(error))
            }
            _ => Ok(handle),
        }
    }
}

/// Creates a directory with its parents and makes the new entries durable.
fn create_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            Err(access(path, "create the data directory")(error))
        }
        _ => {
            let parent = parent.unwrap_or(Path::new("."));
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(access(parent, "sync the directory"))
        }
    }
}

/// Sorts an error of the file system at opening.
fn access(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::DiskFull { path: path.to_path_buf(), source }
        }
        _ => StoreError::Access { path: path.to_path_buf(), action, source },
    }
}
