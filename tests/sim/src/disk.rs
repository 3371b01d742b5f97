//! A disk that behaves as badly as disks do.
//!
//! What is written can be read at once, and is safe only after a sync that succeeded. At a power cut
//! each write since then is kept, lost or torn by itself, sector by sector, and so is each change of
//! the file's length. While it runs it may be full, fail to write or fail to sync.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outpost_broker::store::SpaceWaiter;
use redb::StorageBackend;

use crate::draw::Draw;

/// What the disk did, for the summary.
#[derive(Debug, Default, Clone, Copy)]
pub struct DiskCounts {
    /// Writes of which a power cut kept a part.
    pub torn_writes: u64,
    /// Writes that a power cut took.
    pub lost_writes: u64,
    /// Changes of the file's length that a power cut took.
    pub lost_extensions: u64,
    /// Writes refused for want of space.
    pub refused_full: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
}

/// What is wrong with the disk while it runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// There is no space for a longer file, nor for parts of it that were never written.
    Full,
    /// The next write fails.
    Write,
    /// The next sync fails: what was written is then on the disk or not.
    Sync,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug)]
struct State {
    /// What reading sees.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What it may leave besides, in any part.
    pending: Vec<Change>,
    /// How far the file was ever written: beyond it is no space on a full disk.
    allocated: usize,
    fault: Fault,
    has_failed: bool,
    /// Syncs are said to be done that are not.
    is_lying: bool,
    /// After so many more calls that change something the power is gone.
    steps_left: Option<u64>,
    /// Who may use the disk: the process of this number. Those before it are dead.
    process: u64,
    sector_bytes: usize,
    draw: Draw,
    counts: DiskCounts,
}

/// The disk. It outlives the processes that use it.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// How a commit waits for space: for a few attempts, then there is some, or no time is left.
#[derive(Debug)]
pub(crate) struct Patience(Disk);

impl Patience {
    /// With this disk.
    pub(crate) fn new(disk: Disk) -> Self {
        Self(disk)
    }
}

impl SpaceWaiter for Patience {
    fn wait_for_space(&self, _why: &io::Error, attempt: u32) -> bool {
        let mut state = self.0.state();
        if attempt > 0 && state.draw.one_in(2) {
            state.fault = Fault::None;
        }
        !state.draw.one_in(8)
    }
}

/// One process's hold on the file.
#[derive(Debug)]
pub(crate) struct Handle {
    disk: Disk,
    process: u64,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(mut draw: Draw) -> Self {
        let sector_bytes = draw.of(&[512, 4096]);
        Self(Arc::new(Mutex::new(State {
            live: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
            allocated: 0,
            fault: Fault::None,
            has_failed: false,
            is_lying: false,
            steps_left: None,
            process: 0,
            sector_bytes,
            draw,
            counts: DiskCounts::default(),
        })))
    }

    /// The file, for a process that starts now. Older processes can do nothing any more.
    pub(crate) fn open(&self) -> Handle {
        let mut state = self.state();
        state.process += 1;
        state.steps_left = None;
        state.has_failed = false;
        Handle { disk: self.clone(), process: state.process }
    }

    /// Ends the process that uses the disk. What it wrote stays readable.
    pub(crate) fn end_process(&self) {
        self.state().process += 1;
    }

    /// Lets the power go after so many more writes, syncs and changes of length.
    pub(crate) fn cut_power_after(&self, steps: u64) {
        self.state().steps_left = Some(steps);
    }

    /// The power is gone: what was not synced is kept, lost or torn.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        state.process += 1;
        state.steps_left = None;
        state.lose_pending();
    }

    /// What is wrong from now on.
    pub(crate) fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// From now on syncs are said to be done that are not.
    pub(crate) fn lie(&self) {
        self.state().is_lying = true;
    }

    /// It has no space.
    pub(crate) fn is_full(&self) -> bool {
        self.state().fault == Fault::Full
    }

    /// It is at fault, or was since a process last opened the file.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        state.has_failed || state.fault != Fault::None
    }

    /// What it did so far.
    pub(crate) fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// Another disk with the same file.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state();
        let copy = Self::new(state.draw.clone());
        {
            let mut other = copy.state();
            other.live = state.live.clone();
            other.durable = state.live.clone();
            other.allocated = state.live.len();
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose_pending(&mut self) {
        let keeps_percent = self.draw.of(&[0, 20, 50, 80, 100]);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::SetLen(len) if self.draw.percent(keeps_percent) => {
                    self.durable.resize(len, 0);
                }
                Change::SetLen(_) => self.counts.lost_extensions += 1,
                Change::Write(offset, data) => self.lose_write(keeps_percent, offset, &data),
            }
        }
        self.live = self.durable.clone();
        self.allocated = self.live.len();
    }

    fn lose_write(&mut self, keeps_percent: u64, offset: usize, data: &[u8]) {
        let (mut kept, mut lost) = (false, false);
        let mut at = 0;
        while at < data.len() {
            // Sectors are those of the disk, wherever the write begins.
            let end = ((offset + at) / self.sector_bytes + 1) * self.sector_bytes - offset;
            let end = end.min(data.len());
            if self.draw.percent(keeps_percent) {
                write(&mut self.durable, offset + at, &data[at..end]);
                kept = true;
            } else {
                lost = true;
            }
            at = end;
        }
        self.counts.torn_writes += u64::from(kept && lost);
        self.counts.lost_writes += u64::from(lost && !kept);
    }

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

    fn check_space(&mut self, end: usize) -> io::Result<()> {
        if self.fault == Fault::Full && end > self.allocated {
            self.counts.refused_full += 1;
            self.has_failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.fault == Fault::Sync {
            self.fault = Fault::None;
            self.counts.failed_syncs += 1;
            self.has_failed = true;
            // What the system could not write it forgets; reading sees what is on the disk.
            self.lose_pending();
            return Err(io::Error::other("input/output error"));
        }
        if self.is_lying {
            return Ok(());
        }
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::SetLen(len) => self.durable.resize(len, 0),
                Change::Write(offset, data) => write(&mut self.durable, offset, &data),
            }
        }
        Ok(())
    }
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.process == self.process {
            Ok(state)
        } else {
            Err(io::Error::other("the process is dead"))
        }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state()?;
        let from = place(offset)?;
        let bytes = state.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let len = place(len)?;
        state.check_space(len)?;
        state.live.resize(len, 0);
        state.allocated = state.allocated.min(len);
        state.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        state.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let offset = place(offset)?;
        if state.fault == Fault::Write {
            state.fault = Fault::None;
            state.counts.failed_writes += 1;
            state.has_failed = true;
            return Err(io::Error::other("input/output error"));
        }
        let end = offset + data.len();
        state.check_space(end)?;
        state.allocated = state.allocated.max(end);
        write(&mut state.live, offset, data);
        state.pending.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn write(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}
