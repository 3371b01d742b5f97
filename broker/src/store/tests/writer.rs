//! The store thread: in order, and never on after a failure.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use crate::core::change::{Batch, Numbers, Restore, Seq};
use crate::store::{BatchSource, Store, StoreCounts, StoreError, StoreReader, spawn_writer};

/// What happened, in order.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Stored(u64),
    Committed(u64),
    Failed(String),
    Closed,
}

struct Source {
    batches: Mutex<VecDeque<Batch>>,
    events: Sender<Event>,
    panic_at: u64,
}

impl BatchSource for Source {
    fn next_batch(&self) -> Option<Arc<Batch>> {
        self.batches.lock().unwrap().pop_front().map(Arc::new)
    }

    fn committed(&self, number: u64, written_bytes: u64) {
        assert_eq!(written_bytes, number * 100);
        assert_ne!(number, self.panic_at, "the core is broken");
        self.events.send(Event::Committed(number)).unwrap();
    }
}

struct FakeStore {
    events: Sender<Event>,
    fail_at: u64,
    counts: StoreCounts,
}

impl Store for FakeStore {
    fn load(&mut self, _: &mut dyn Restore) -> Result<Numbers, StoreError> {
        Ok(Numbers::default())
    }

    fn reader(&self) -> Box<dyn StoreReader> {
        unreachable!("the writer reads nothing")
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.number == self.fail_at {
            return Err(StoreError::Failed { path: "fake.redb".into() });
        }
        self.events.send(Event::Stored(batch.number)).unwrap();
        self.counts.device_bytes += batch.number * 100;
        Ok(())
    }

    fn counts(&self) -> StoreCounts {
        self.counts
    }
}

impl Drop for FakeStore {
    fn drop(&mut self) {
        self.events.send(Event::Closed).unwrap();
    }
}

/// All that happens with three batches, until the thread has ended.
fn events(fail_at: u64, panic_at: u64) -> Vec<Event> {
    let (sender, receiver) = channel();
    let batch = |number| Batch { number, next_seq: Seq(number), ..Batch::default() };
    let source = Arc::new(Source {
        batches: Mutex::new((1..=3).map(batch).collect()),
        events: sender.clone(),
        panic_at,
    });
    let store =
        Box::new(FakeStore { events: sender.clone(), fail_at, counts: StoreCounts::default() });
    let on_failure =
        move |error: StoreError| sender.send(Event::Failed(error.to_string())).unwrap();
    spawn_writer(store, source, on_failure).join().unwrap();
    receiver.iter().collect()
}

#[test]
fn every_batch_is_confirmed_after_it_is_stored_and_the_store_is_closed() {
    use Event::{Closed, Committed, Stored};
    let expected =
        [Stored(1), Committed(1), Stored(2), Committed(2), Stored(3), Committed(3), Closed];
    assert_eq!(events(0, 0), expected);
}

#[test]
fn after_a_failed_commit_nothing_is_confirmed_or_stored() {
    use Event::{Closed, Committed, Failed, Stored};
    let reason = "fake.redb: an earlier commit failed, nothing more is written".to_string();
    assert_eq!(events(2, 0), [Stored(1), Committed(1), Failed(reason), Closed]);
}

#[test]
fn a_panic_is_a_failure_too() {
    let events = events(0, 2);
    let [
        Event::Stored(1),
        Event::Committed(1),
        Event::Stored(2),
        Event::Failed(reason),
        Event::Closed,
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert!(reason.contains("the core is broken"), "{reason}");
}
