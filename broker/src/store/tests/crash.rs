//! Power cuts: what `commit` returned `Ok` for is there, what it did not is there whole or not at
//! all. The real redb on a disk that loses, keeps and tears what was not synced, as it likes.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::Rng;
use super::samples::{self, Model};
use crate::store::{RedbStore, Store, StoreError, StoreOptions};

/// A sector reaches the disk whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug, Default)]
struct Disk {
    /// What reading sees.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What it may leave besides, in any part.
    pending: Vec<Change>,
    /// After so many changes and syncs the power is gone; every call fails then.
    steps_left: Option<u64>,
    /// Report syncs as done that were not (a bad disk; proves that the test would notice).
    lying: bool,
}

/// A handle on a [`Disk`].
#[derive(Clone, Debug, Default)]
pub(super) struct CrashBackend(Arc<Mutex<Disk>>);

impl CrashBackend {
    pub(super) fn with_image(image: Vec<u8>) -> Self {
        let disk = Disk { live: image.clone(), durable: image, ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)))
    }

    pub(super) fn cut_power_after(&self, steps: u64) {
        self.0.lock().unwrap().steps_left = Some(steps);
    }

    pub(super) fn restore_power(&self) {
        self.0.lock().unwrap().steps_left = None;
    }

    fn lie(&self) {
        self.0.lock().unwrap().lying = true;
    }

    /// What the disk holds when the power comes back.
    pub(super) fn image_after_power_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        let mut image = disk.durable.clone();
        let keep_one_in = 1 + rng.below(4);
        for change in &disk.pending {
            match change {
                Change::SetLen(len) if rng.one_in(keep_one_in) => image.resize(*len, 0),
                Change::SetLen(_) => {}
                Change::Write(offset, data) => {
                    for (i, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        if rng.one_in(keep_one_in) {
                            write(&mut image, offset + i * SECTOR_BYTES, sector);
                        }
                    }
                }
            }
        }
        image
    }
}

impl Disk {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps_left {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for CrashBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = disk.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let len = usize::try_from(len).unwrap();
        disk.live.resize(len, 0);
        disk.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        if disk.lying {
            return Ok(());
        }
        for change in std::mem::take(&mut disk.pending) {
            match change {
                Change::SetLen(len) => disk.durable.resize(len, 0),
                Change::Write(offset, data) => write(&mut disk.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let offset = usize::try_from(offset).unwrap();
        write(&mut disk.live, offset, data);
        disk.pending.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn write(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

fn open(backend: &CrashBackend, options: &StoreOptions) -> Result<RedbStore, StoreError> {
    RedbStore::with_backend(backend.clone(), "simulated.redb", options)
}

/// Commits random batches until the power goes. The model that the last `Ok` promised, and the one
/// that the commit in progress may have left.
fn run_until_power_cut(store: &mut RedbStore, model: &Model, rng: &mut Rng) -> (Model, Model) {
    let mut promised = model.clone();
    loop {
        let batch = samples::batch(rng, &promised);
        let mut next = promised.clone();
        next.apply(&batch);
        if store.commit(&batch).is_err() {
            return (promised, next);
        }
        promised = next;
    }
}

#[test]
fn what_was_committed_survives_power_cuts() {
    let mut in_progress_survived = 0;
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let options = StoreOptions {
            quick_repair_above_bytes: if seed % 2 == 0 { 0 } else { u64::MAX },
            ..StoreOptions::default()
        };
        let mut backend = CrashBackend::default();
        let mut store = open(&backend, &options).unwrap();
        let mut model = Model::default();
        for _ in 0..4 {
            backend.cut_power_after(rng.below(300));
            let (promised, next) = run_until_power_cut(&mut store, &model, &mut rng);
            let image = backend.image_after_power_cut(&mut rng);
            drop(store);
            backend = open_with_further_power_cuts(image, &options, &mut rng);
            store = open(&backend, &options).unwrap();
            let loaded = store.load_all().unwrap();
            assert!(promised.is(&loaded) || next.is(&loaded), "seed {seed}");
            in_progress_survived += u32::from(next.is(&loaded) && !promised.is(&loaded));
            model = if promised.is(&loaded) { promised } else { next };
            model.next_seq = loaded.next_seq;
            model.next_session = loaded.next_session;
        }
    }
    assert!(in_progress_survived > 0, "no power cut hit the end of a commit: the test is too tame");
}

/// The power goes again while the store is being opened and repaired, a few times.
fn open_with_further_power_cuts(
    mut image: Vec<u8>,
    options: &StoreOptions,
    rng: &mut Rng,
) -> CrashBackend {
    for _ in 0..rng.below(3) {
        let backend = CrashBackend::with_image(image);
        backend.cut_power_after(rng.below(10));
        // Loading lets the repair through to the disk. It may end in time or not.
        drop(open(&backend, options).and_then(|mut store| store.load_all()));
        image = backend.image_after_power_cut(rng);
    }
    CrashBackend::with_image(image)
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let mut lost = 0;
    for seed in 0..10 {
        let mut rng = Rng(seed);
        let options = StoreOptions::default();
        let backend = CrashBackend::default();
        let mut store = open(&backend, &options).unwrap();
        backend.lie();
        backend.cut_power_after(100);
        let (promised, next) = run_until_power_cut(&mut store, &Model::default(), &mut rng);
        let image = backend.image_after_power_cut(&mut rng);
        drop(store);
        let loaded =
            open(&CrashBackend::with_image(image), &options).and_then(|mut store| store.load_all());
        lost += u32::from(!loaded.is_ok_and(|is| promised.is(&is) || next.is(&is)));
    }
    assert!(lost > 0, "the crash test would not notice a commit that is not durable");
}

#[test]
fn after_a_failed_commit_every_commit_fails() {
    let mut rng = Rng(5);
    let backend = CrashBackend::default();
    let mut store = open(&backend, &StoreOptions::default()).unwrap();
    backend.cut_power_after(0);
    let model = Model::default();
    let batch = std::iter::repeat_with(|| samples::batch(&mut rng, &model))
        .find(|batch| !batch.messages.is_empty())
        .unwrap();
    let error = store.commit(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().starts_with("simulated.redb: cannot write the store"), "{error}");
    backend.restore_power();
    assert!(matches!(store.commit(&batch), Err(StoreError::Failed { .. })));
}
