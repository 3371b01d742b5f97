//! The one thread that reads messages back for the core.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::{StoreError, StoreReader};
use crate::core::Load;
use crate::core::change::{QueuedMessage, Seq, SessionId};

/// Where the reader gets its work.
pub trait LoadSource: Send + Sync + 'static {
    /// Blocks until something is to be read, or the broker ends (`None`).
    fn next_load(&self) -> Option<Load>;

    /// This was read; none where there is no such row.
    fn loaded(&self, session: SessionId, rows: Vec<(Seq, Option<QueuedMessage>)>);
}

/// Starts the reader. It ends when `source` has nothing more, or when the store cannot be read: then
/// `on_failure` is called once with the reason.
///
/// # Panics
/// If the system cannot start a thread.
pub fn spawn_reader(
    mut reader: Box<dyn StoreReader>,
    source: Arc<dyn LoadSource>,
    on_failure: impl FnOnce(StoreError) + Send + 'static,
) -> JoinHandle<()> {
    let work = move || {
        while let Some(load) = source.next_load() {
            match reader.read(&load.seqs) {
                Ok(rows) => source.loaded(load.session, rows),
                Err(error) => return on_failure(error),
            }
        }
    };
    Builder::new().name("reader".into()).spawn(work).expect("the system can start a thread")
}
