//! The computer that the broker runs on: a disk, and a process with core and store.

use std::sync::Arc;

use outpost_broker::core::change::Batch;
use outpost_broker::core::time::Instant;
use outpost_broker::core::{Broker, Counters, Load, Settings};
use outpost_broker::store::{RedbStore, Store, StoreError, StoreOptions, StoreReader};

use crate::contents::{Contents, Tee};
use crate::disk::{Disk, Patience};

/// The computer.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    settings: Settings,
    options: StoreOptions,
    process: Option<Process>,
    /// What every broker does wrong.
    #[cfg(feature = "seeded-bugs")]
    pub(crate) bug: Option<outpost_broker::core::Bug>,
}

/// The broker's process.
struct Process {
    broker: Broker,
    store: RedbStore,
    reader: Box<dyn StoreReader>,
    under_commit: Option<Arc<Batch>>,
}

impl Machine {
    /// A computer with nothing on its disk.
    pub(crate) fn new(settings: Settings, options: StoreOptions, disk: Disk) -> Self {
        Self {
            disk,
            settings,
            options,
            process: None,
            #[cfg(feature = "seeded-bugs")]
            bug: None,
        }
    }

    /// Starts the broker. What it found on the disk.
    ///
    /// # Errors
    /// What the store says. Nothing runs then.
    pub(crate) fn start(&mut self, now: Instant) -> Result<Contents, StoreError> {
        let mut store = RedbStore::with_backend(self.disk.open(), "simulated.redb", &self.options)?;
        let mut broker = Broker::new(now, self.settings.clone());
        #[cfg(feature = "seeded-bugs")]
        broker.plant(self.bug);
        let mut restoring = broker.restore(now);
        let mut tee = Tee { contents: Contents::default(), broker: &mut restoring };
        let numbers = store.load(&mut tee)?;
        let contents = tee.contents;
        restoring.finish(numbers);
        store.wait_for_space(Arc::new(Patience::new(self.disk.clone())));
        let reader = store.reader();
        self.process = Some(Process { broker, store, reader, under_commit: None });
        Ok(contents)
    }

    /// What a broker would find that started now.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn look(&self) -> Result<Contents, StoreError> {
        let copy = self.disk.copy();
        let mut store = RedbStore::with_backend(copy.open(), "copy.redb", &self.options)?;
        let mut contents = Contents::default();
        store.load(&mut contents)?;
        contents.keep_what_is_there(&mut *store.reader())?;
        Ok(contents)
    }

    /// The broker, if it runs.
    pub(crate) fn broker(&mut self) -> Option<&mut Broker> {
        self.process.as_mut().map(|process| &mut process.broker)
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// When the core wants to be called again by itself.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.process.as_ref()?.broker.poll_timeout()
    }

    /// When a batch is to be taken.
    pub(crate) fn batch_due(&self) -> Option<Instant> {
        self.process.as_ref()?.broker.batch_due()
    }

    /// Whether a commit is under way.
    pub(crate) fn is_committing(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.under_commit.is_some())
    }

    /// Takes the open batch. False: there is none.
    pub(crate) fn begin_commit(&mut self, now: Instant) -> bool {
        let Some(process) = &mut self.process else { return false };
        process.under_commit = process.broker.poll_batch(now);
        process.under_commit.is_some()
    }

    /// Does the commit that is under way, and tells the core.
    ///
    /// # Errors
    /// What the store says: the process has to end.
    pub(crate) fn end_commit(&mut self, now: Instant) -> Result<(), StoreError> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(batch) = process.under_commit.take() else { return Ok(()) };
        let before = process.store.counts().device_bytes;
        process.store.commit(&batch)?;
        let written = process.store.counts().device_bytes - before;
        process.broker.handle_committed(now, batch.number, written);
        Ok(())
    }

    /// The power goes. A commit that is under way comes as far as `steps` calls of the disk.
    pub(crate) fn cut_power(&mut self, steps: u64) {
        if let Some(mut process) = self.process.take() {
            self.disk.cut_power_after(steps);
            if let Some(batch) = process.under_commit.take() {
                // Whether it came to its end nobody will ever know.
                let _ = process.store.commit(&batch);
            }
            self.disk.cut_power();
            drop(process);
        } else {
            self.disk.cut_power();
        }
    }

    /// The commit that is under way finds no space, and tries again later.
    pub(crate) fn stall(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.broker.handle_store_stalled(now, "the disk is full");
        }
    }

    /// What is to be read from the store.
    pub(crate) fn poll_load(&mut self) -> Option<Load> {
        self.process.as_mut()?.broker.poll_load()
    }

    /// Reads it, and tells the core.
    ///
    /// # Errors
    /// What the store says: the process has to end.
    pub(crate) fn load(&mut self, now: Instant, load: &Load) -> Result<(), StoreError> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let rows = process.reader.read(&load.seqs)?;
        process.broker.handle_loaded(now, load.session, rows);
        Ok(())
    }

    /// The power goes while the broker starts, after `steps` calls of the disk or when it has started.
    pub(crate) fn cut_power_while_starting(&mut self, steps: u64) {
        let handle = self.disk.open();
        self.disk.cut_power_after(steps);
        // It may be open before the power goes, or not.
        let opened = RedbStore::with_backend(handle, "simulated.redb", &self.options);
        let loaded = opened.and_then(|mut store| {
            store.load(&mut Contents::default())?;
            Ok(store)
        });
        self.disk.cut_power();
        drop(loaded);
    }

    /// What the running broker has counted.
    pub(crate) fn counters(&mut self) -> Counters {
        self.broker().map(|broker| broker.counters()).unwrap_or_default()
    }

    /// The process is killed: what it wrote stays readable.
    pub(crate) fn kill(&mut self, steps: u64) {
        let Some(mut process) = self.process.take() else { return };
        self.disk.cut_power_after(steps);
        if let Some(batch) = process.under_commit.take() {
            let _ = process.store.commit(&batch);
        }
        self.disk.end_process();
    }

    /// Ends the broker in order: what is not stored is, and the file is closed.
    ///
    /// The process is to be [killed](Self::kill) after that.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn shut_down(&mut self, now: Instant) -> Result<(), StoreError> {
        self.end_commit(now)?;
        if let Some(process) = &mut self.process {
            process.broker.handle_shutdown(now);
        }
        while self.begin_commit(now) {
            self.end_commit(now)?;
        }
        self.process = None;
        self.disk.end_process();
        Ok(())
    }
}
