//! The store thread: takes batches where they come from, commits them, says so.
//!
//! It stops at the first failure and never goes on: after a failed sync nobody knows what is on the
//! disk, and an acknowledgement given then could be a lie. What to do about it (end the process) is
//! for whoever started the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::error::{StoreError, panic_text};
use super::{Store, StoreCounts};
use crate::core::change::Batch;

/// What the writer needs of the shared broker. Implemented by `net/shared.rs`.
pub trait BatchSource: Send + Sync + 'static {
    /// Blocks until a batch is due, or the broker ends (`None`: after the last batch was taken).
    fn next_batch(&self) -> Option<Arc<Batch>>;

    /// Batch `number` is durable, and so are all before it. It cost so many bytes on the device.
    fn committed(&self, number: u64, written_bytes: u64);

    /// What the store counts, at the start and after each commit.
    fn counted(&self, _counts: &StoreCounts) {}
}

/// Starts the store thread. It ends when `source` has no more batches; the store is closed in order
/// before the thread can be joined.
///
/// When a commit fails, or anything here panics, `on_failure` is called once with the reason,
/// [`BatchSource::committed`] is never called again, and the thread ends.
///
/// # Panics
/// If the system cannot start a thread.
pub fn spawn_writer(
    mut store: Box<dyn Store>,
    source: Arc<dyn BatchSource>,
    on_failure: impl FnOnce(StoreError) + Send + 'static,
) -> JoinHandle<()> {
    let work = move || {
        // A panic must not end this thread in silence: publishers would wait for ever.
        let ended = catch_unwind(AssertUnwindSafe(|| commit_all(&mut *store, &*source)));
        let ended =
            ended.unwrap_or_else(|panic| Err(StoreError::Panicked { what: panic_text(&*panic) }));
        if let Err(error) = ended {
            on_failure(error);
        }
    };
    Builder::new().name("store".into()).spawn(work).expect("the system can start the store thread")
}

fn commit_all(store: &mut dyn Store, source: &dyn BatchSource) -> Result<(), StoreError> {
    source.counted(&store.counts());
    while let Some(batch) = source.next_batch() {
        let before = store.counts().device_bytes;
        store.commit(&batch)?;
        let counts = store.counts();
        source.counted(&counts);
        source.committed(batch.number, counts.device_bytes - before);
    }
    Ok(())
}
