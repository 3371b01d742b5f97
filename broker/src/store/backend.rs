//! What stands between redb and the file: it counts, and it keeps redb from changing a file before
//! the store is known to be sound.
//!
//! redb writes on opening (it marks the file as in use, it repairs) and on closing (it trims), also
//! when a file is about to be refused. So until [`Gate::open`] all changes are held back in memory,
//! where redb reads them; a store that is refused is dropped, and its file is what it was to the
//! byte. Opening the gate carries the changes out in their order, syncs included.

use std::io;
use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::{BackendError, StorageBackend};

use super::metrics::StoreMetrics;
use super::space::{SpaceWaiter, is_want_of_space};

/// So many bytes are held back at most. Opening a store writes a few pages, however large the store
/// is; should it ever be more than this, the gate opens early.
const HELD_BYTES_MAX: usize = 16 << 20;

/// The backend that redb gets.
#[derive(Debug)]
pub(super) struct GatedBackend(Arc<Gate>);

/// The store's handle on its backend.
#[derive(Debug)]
pub(super) struct Gate {
    inner: Box<dyn StorageBackend>,
    metrics: Arc<StoreMetrics>,
    state: Mutex<State>,
    /// Who waits for space; until there is somebody, want of space is an error like any other.
    waiter: OnceLock<Arc<dyn SpaceWaiter>>,
}

#[derive(Debug)]
enum State {
    Closed(Held),
    Open,
    /// Some of what was held back is in the file and some is not. Anything more on top of that could
    /// do what no crash can.
    Broken,
}

/// What was not yet done to the file, and the length that it would have.
#[derive(Debug)]
struct Held {
    changes: Vec<Change>,
    bytes: usize,
    len: u64,
}

#[derive(Debug)]
enum Change {
    SetLen(u64),
    Write(u64, Vec<u8>),
    Sync,
}

impl GatedBackend {
    pub(super) fn new(
        inner: impl StorageBackend,
        metrics: Arc<StoreMetrics>,
    ) -> io::Result<(Self, Arc<Gate>)> {
        let len = inner.len()?;
        metrics.file_bytes.store(len, Relaxed);
        let held = Held { changes: Vec::new(), bytes: 0, len };
        let state = Mutex::new(State::Closed(held));
        let gate =
            Arc::new(Gate { inner: Box::new(inner), metrics, state, waiter: OnceLock::new() });
        Ok((Self(gate.clone()), gate))
    }
}

impl Gate {
    /// Has writes that find no space wait for it. The first waiter stays.
    pub(super) fn wait_for_space(&self, waiter: Arc<dyn SpaceWaiter>) {
        self.waiter.get_or_init(|| waiter);
    }

    /// From now on changes reach the file; first those that were held back.
    ///
    /// # Errors
    /// What the file said. Some of the changes are done then, as in a crash, which redb repairs.
    pub(super) fn open(&self) -> io::Result<()> {
        self.carry_out(&mut self.state())
    }

    fn carry_out(&self, state: &mut State) -> io::Result<()> {
        let State::Closed(held) = state else { return Ok(()) };
        let changes = std::mem::take(&mut held.changes);
        *state = State::Broken;
        for change in changes {
            match change {
                Change::SetLen(len) => self.set_len(len)?,
                Change::Write(offset, data) => self.write(offset, &data)?,
                Change::Sync => self.sync()?,
            }
        }
        *state = State::Open;
        Ok(())
    }

    /// Holds the change back if the gate is closed; false: it is for the caller to do it.
    fn hold(&self, change: impl FnOnce() -> Change) -> io::Result<bool> {
        let mut state = self.state();
        let held = match &mut *state {
            State::Open => return Ok(false),
            State::Broken => return Err(io::Error::other("an earlier write failed")),
            State::Closed(held) => held,
        };
        let change = change();
        match &change {
            Change::SetLen(len) => held.len = *len,
            Change::Write(offset, data) => {
                held.len = held.len.max(offset.saturating_add(data.len() as u64));
                held.bytes += data.len();
            }
            Change::Sync => {}
        }
        held.changes.push(change);
        if held.bytes > HELD_BYTES_MAX {
            self.carry_out(&mut state)?;
        }
        Ok(true)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_space(|| self.inner.set_len(len))?;
        self.metrics.file_bytes.store(len, Relaxed);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.metrics.device_bytes.fetch_add(data.len() as u64, Relaxed);
        self.with_space(|| self.inner.write(offset, data))
    }

    /// Makes a change, again and again while there is no space for it. What a failed attempt wrote
    /// of it is written over by the next.
    fn with_space(&self, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
        for attempt in 0.. {
            match (change(), self.waiter.get()) {
                (Err(why), Some(waiter))
                    if is_want_of_space(&why) && waiter.wait_for_space(&why, attempt) => {}
                (result, _) => return result,
            }
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.metrics.syncs.fetch_add(1, Relaxed);
        self.inner.sync_data()
    }

    /// A panic while it was locked leaves it closed or broken, never half way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Reads what the file would hold.
    fn read(&self, file: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = overlap(offset, out.len(), 0, file.len()?);
        let (from_file, beyond) = out.split_at_mut(in_file.len());
        beyond.fill(0);
        if !from_file.is_empty() {
            file.read(offset, from_file)?;
        }
        for change in &self.changes {
            match change {
                Change::SetLen(len) => {
                    let range = overlap(offset, out.len(), *len, u64::MAX);
                    out[range].fill(0);
                }
                Change::Write(at, data) => {
                    let range = overlap(offset, out.len(), *at, at + data.len() as u64);
                    if !range.is_empty() {
                        let from = (offset + range.start as u64 - at) as usize;
                        let data = &data[from..from + range.len()];
                        out[range].copy_from_slice(data);
                    }
                }
                Change::Sync => {}
            }
        }
        Ok(())
    }
}

/// The part of a buffer of `len` bytes, read at `offset`, that lies in `start..end` of the file.
fn overlap(offset: u64, len: usize, start: u64, end: u64) -> std::ops::Range<usize> {
    let in_buffer = |at: u64| at.saturating_sub(offset).min(len as u64) as usize;
    let start = in_buffer(start);
    start..in_buffer(end).max(start)
}

impl StorageBackend for GatedBackend {
    fn len(&self) -> io::Result<u64> {
        match &*self.0.state() {
            State::Closed(held) => Ok(held.len),
            _ => self.0.inner.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.0.state() {
            State::Closed(held) => held.read(&*self.0.inner, offset, out),
            _ => self.0.inner.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.0.hold(|| Change::SetLen(len))? { Ok(()) } else { self.0.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.hold(|| Change::Sync)? { Ok(()) } else { self.0.sync() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let is_held = self.0.hold(|| Change::Write(offset, data.to_vec()))?;
        if is_held { Ok(()) } else { self.0.write(offset, data) }
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}
