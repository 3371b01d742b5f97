//! How long a full store takes to open and to drain, by the size of its messages.
//!
//! `cargo run --release -p outpost-broker --example store_load [DIRECTORY]`
//!
//! *load* is opening the file and telling all that is in it to something that keeps nothing; *repair* is
//! the same after the process was killed; *read* is reading all messages in order, 256 at a time.
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outpost_bridge::peering::NodeId;
use outpost_broker::core::change::{
    Batch, OriginRecord, QueuedMessage, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    SubscriptionRecord, Target,
};
use outpost_broker::core::message::Message;
use outpost_broker::core::time;
use outpost_broker::store::{FILE_NAME, RedbStore, Store, StoreError, StoreOptions};
use outpost_protocol::QoS;

const PER_COMMIT: u64 = 10_000;
const PER_READ: u64 = 256;

fn main() -> Result<(), StoreError> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("retained  messages  payload  file MiB  load ms  repair ms  read rows/s");
    for (retained, messages, payload) in
        [(100_000, 1_000_000, 64), (100_000, 1_000_000, 256), (0, 200_000, 4096)]
    {
        let dir = parent.join(format!("outpost-store-load-{}", std::process::id()));
        let result = measure(&dir, retained, messages, payload);
        // What cannot be removed is left for the user to see.
        let _ = std::fs::remove_dir_all(&dir);
        result?;
    }
    Ok(())
}

fn measure(dir: &Path, retained: u64, messages: u64, payload: usize) -> Result<(), StoreError> {
    fill(dir, retained, messages, payload)?;
    let mib = std::fs::metadata(dir.join(FILE_NAME)).map_or(0, |file| file.len() >> 20);
    let (mut store, load) = load(dir)?;
    let started = Instant::now();
    let mut reader = store.reader();
    for first in (0..messages).step_by(PER_READ as usize) {
        let seqs: Vec<Seq> = (first..messages.min(first + PER_READ)).map(Seq).collect();
        assert!(reader.read(&seqs)?.iter().all(|(_, row)| row.is_some()));
    }
    let rows_s = messages * 1000 / (started.elapsed().as_millis() as u64).max(1);
    // A copy of an open store is what a killed process leaves.
    store.commit(&Batch { next_seq: Seq(messages << 22), ..Batch::default() })?;
    let copy = dir.join("killed");
    let copied = std::fs::create_dir(&copy)
        .and_then(|()| std::fs::copy(dir.join(FILE_NAME), copy.join(FILE_NAME)));
    drop(store);
    let repair = match copied {
        Ok(_) => self::load(&copy)?.1.as_millis().to_string(),
        Err(error) => error.to_string(),
    };
    let load = load.as_millis();
    println!(
        "{retained:8}  {messages:8}  {payload:7}  {mib:8}  {load:7}  {repair:>9}  {rows_s:11}"
    );
    Ok(())
}

fn load(dir: &Path) -> Result<(RedbStore, Duration), StoreError> {
    let started = Instant::now();
    let mut store = RedbStore::open(dir, &StoreOptions::default())?;
    let mut counted = Counted::default();
    store.load(&mut counted)?;
    Ok((store, started.elapsed()))
}

fn fill(dir: &Path, retained: u64, messages: u64, payload: usize) -> Result<(), StoreError> {
    let mut store = RedbStore::open(dir, &StoreOptions::default())?;
    for first in (0..messages).step_by(PER_COMMIT as usize) {
        let end = messages.min(first + PER_COMMIT);
        let rows = (first..end).map(|seq| (Seq(seq), queued(seq, payload)));
        store.commit(&Batch {
            messages: rows.collect(),
            next_seq: Seq(end),
            ..Batch::default()
        })?;
    }
    for first in (0..retained).step_by(PER_COMMIT as usize) {
        let rows = (first..retained.min(first + PER_COMMIT)).map(|number| {
            let topic: Arc<str> = format!("plant/{}/line/{number}/state", number % 100).into();
            (topic.clone(), Some(Arc::new(message(topic, true, payload))))
        });
        let next_seq = Seq(messages);
        store.commit(&Batch { retained: rows.collect(), next_seq, ..Batch::default() })?;
    }
    Ok(())
}

fn queued(seq: u64, payload: usize) -> QueuedMessage {
    let topic = format!("plant/7/line/{}/temperature", seq % 1000).into();
    let target = Target {
        session: SessionId(0),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        share: None,
    };
    QueuedMessage {
        message: Arc::new(message(topic, false, payload)),
        arrived_at: Some(time::Instant(1_790_000_000_000 + seq * 100)),
        targets: vec![target],
    }
}

fn message(topic: Arc<str>, retain: bool, payload: usize) -> Message {
    Message::new(topic, QoS::AtLeastOnce, retain, None, &[], &vec![0xa5; payload])
}

/// Keeps nothing but how much there was.
#[derive(Default)]
struct Counted(u64);

impl Restore for Counted {
    fn session(&mut self, _: SessionId, _: SessionRecord) {
        self.0 += 1;
    }

    fn subscription(&mut self, _: SessionId, _: Arc<str>, _: SubscriptionRecord) {
        self.0 += 1;
    }

    fn retained(&mut self, _: Arc<Message>) {
        self.0 += 1;
    }

    fn origin(&mut self, _: NodeId, _: OriginRecord) {}

    fn message(&mut self, _: Seq, _: &StoredMessage<'_>) {
        self.0 += 1;
    }
}
