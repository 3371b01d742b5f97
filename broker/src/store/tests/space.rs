//! A disk that is full for a while, or fails for good.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::Rng;
use super::samples::{self, Model};
use crate::store::{RedbStore, SpaceWaiter, Store, StoreError, StoreOptions};

/// A disk in memory whose writes and syncs can be made to fail.
#[derive(Debug, Default)]
struct Disk {
    inner: InMemoryBackend,
    /// After so many writes there is no space left; `u64::MAX`: there is.
    writes_left: AtomicU64,
    error: AtomicU32,
    syncs_fail: AtomicU32,
}

#[derive(Clone, Debug)]
struct Handle(Arc<Disk>);

impl Disk {
    fn new() -> Arc<Self> {
        let disk = Self::default();
        disk.writes_left.store(u64::MAX, SeqCst);
        Arc::new(disk)
    }

    fn take_write(&self) -> io::Result<()> {
        let left = self.writes_left.load(SeqCst);
        if left == 0 {
            return Err(io::Error::from_raw_os_error(self.error.load(SeqCst) as i32));
        }
        if left != u64::MAX {
            self.writes_left.store(left - 1, SeqCst);
        }
        Ok(())
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.take_write()?;
        self.0.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.syncs_fail.load(SeqCst) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code as i32)),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.take_write()?;
        self.0.inner.write(offset, data)
    }
}

/// Gives the disk space again at the `attempts`th time it is asked, or no more time.
#[derive(Debug)]
struct Waiter {
    disk: Arc<Disk>,
    attempts: u32,
    gives_up: bool,
    asked: AtomicU32,
}

impl SpaceWaiter for Waiter {
    fn wait_for_space(&self, _: &io::Error, attempt: u32) -> bool {
        self.asked.fetch_add(1, SeqCst);
        if attempt + 1 >= self.attempts {
            if self.gives_up {
                return false;
            }
            self.disk.writes_left.store(u64::MAX, SeqCst);
        }
        true
    }
}

const ENOSPC: u32 = 28;
const EDQUOT: u32 = 122;
const EROFS: u32 = 30;
const EIO: u32 = 5;

fn open(disk: &Arc<Disk>) -> RedbStore {
    RedbStore::with_backend(Handle(disk.clone()), "test.redb", &StoreOptions::default()).unwrap()
}

fn waiting(disk: &Arc<Disk>, attempts: u32, gives_up: bool) -> (RedbStore, Arc<Waiter>) {
    let store = open(disk);
    let waiter = Waiter { disk: disk.clone(), attempts, gives_up, asked: AtomicU32::new(0) };
    let waiter = Arc::new(waiter);
    store.wait_for_space(waiter.clone());
    (store, waiter)
}

#[test]
fn a_commit_waits_for_space_at_any_write_and_loses_nothing() {
    let mut waited = 0;
    for writes_left in 0..40 {
        let disk = Disk::new();
        let (mut store, waiter) = waiting(&disk, 3, false);
        let (mut rng, mut model) = (Rng(writes_left), Model::default());
        for number in 1..=8 {
            let batch = samples::batch(&mut rng, &model);
            if number == 5 {
                disk.error.store(rng.pick(&[ENOSPC, EDQUOT, EROFS]), SeqCst);
                disk.writes_left.store(writes_left, SeqCst);
            }
            store.commit(&batch).unwrap();
            model.apply(&batch);
        }
        drop(store);
        // The commits may have needed fewer writes than there was room for.
        disk.writes_left.store(u64::MAX, SeqCst);
        model.assert_is(&open(&disk).load_all().unwrap());
        waited += waiter.asked.load(SeqCst);
    }
    assert!(waited >= 30, "commits met the full disk: {waited}");
}

#[test]
fn when_there_is_no_time_left_the_commit_fails_and_is_not_stored() {
    let disk = Disk::new();
    let (mut store, waiter) = waiting(&disk, 2, true);
    let (mut rng, mut model) = (Rng(1), Model::default());
    let batch = samples::batch(&mut rng, &model);
    store.commit(&batch).unwrap();
    model.apply(&batch);
    disk.error.store(ENOSPC, SeqCst);
    disk.writes_left.store(0, SeqCst);
    let error = store.commit(&samples::batch(&mut rng, &model)).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(error.to_string().starts_with("test.redb: "), "{error}");
    drop(store);
    assert!(waiter.asked.load(SeqCst) >= 2);
    disk.writes_left.store(u64::MAX, SeqCst);
    model.assert_is(&open(&disk).load_all().unwrap());
}

#[test]
fn a_failed_sync_or_a_broken_disk_is_not_waited_for() {
    for (write_error, sync_error) in [(EIO, 0), (0, EIO), (0, ENOSPC)] {
        let disk = Disk::new();
        let (mut store, waiter) = waiting(&disk, 1, false);
        let (mut rng, model) = (Rng(1), Model::default());
        disk.syncs_fail.store(sync_error, SeqCst);
        if write_error != 0 {
            disk.error.store(write_error, SeqCst);
            disk.writes_left.store(0, SeqCst);
        }
        let batch = samples::batch(&mut rng, &model);
        let error = store.commit(&batch).unwrap_err();
        assert!(error.to_string().starts_with("test.redb: "), "{error}");
        assert!(matches!(store.commit(&batch), Err(StoreError::Failed { .. })));
        assert_eq!(waiter.asked.load(SeqCst), 0);
    }
}
