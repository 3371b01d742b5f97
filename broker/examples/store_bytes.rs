//! What a commit costs: bytes that reach the file, and time, by the number of messages in it.
//!
//! `cargo run --release -p outpost-broker --example store_bytes [DIRECTORY]`
//!
//! A steady queue of 10,000 messages of 200 bytes for one session; each commit puts B messages,
//! removes the B oldest, and writes the row of the session. `written` is what the store wrote to its
//! file; `process` is what the system says that this process wrote (`write_bytes` of
//! `/proc/self/io`, in whole pages, without the journal of the file system).
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outpost_broker::core::change::{Batch, QueuedMessage, Seq, SessionId, SessionRecord, Target};
use outpost_broker::core::message::Message;
use outpost_broker::core::time::Instant;
use outpost_broker::store::{RedbStore, Store, StoreError, StoreOptions};
use outpost_protocol::QoS;

const DEPTH: u64 = 10_000;

fn main() -> Result<(), StoreError> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("    B  commits  written/commit  process/commit  written/message  us/commit");
    for (per_commit, commits) in [(1, 300), (10, 300), (100, 100), (1000, 30)] {
        let dir = parent.join(format!("outpost-store-bytes-{}", std::process::id()));
        let result = measure(&dir, per_commit, commits);
        // What cannot be removed is left for the user to see.
        let _ = std::fs::remove_dir_all(&dir);
        result?;
    }
    Ok(())
}

fn measure(dir: &Path, per_commit: u64, commits: u64) -> Result<(), StoreError> {
    let mut store = RedbStore::open(dir, &StoreOptions::default())?;
    let topic: Arc<str> = "plant/7/line/3/temperature".into();
    store.commit(&batch(&topic, 0, DEPTH, 0))?;
    let metrics = store.metrics();
    let (before, process_before) = (metrics.counts(), process_write_bytes());
    let started = std::time::Instant::now();
    for i in 0..commits {
        store.commit(&batch(&topic, DEPTH + i * per_commit, per_commit, per_commit))?;
    }
    let us = started.elapsed().as_micros() as u64 / commits;
    let written = (metrics.counts().device_bytes - before.device_bytes) / commits;
    let process = (process_write_bytes() - process_before) / commits;
    let each = written / per_commit;
    println!("{per_commit:5} {commits:8} {written:15} {process:15} {each:16} {us:10}");
    Ok(())
}

/// Puts `put` messages from `first` on, and removes the `remove` oldest of a queue of `DEPTH`.
fn batch(topic: &Arc<str>, first: u64, put: u64, remove: u64) -> Batch {
    let mut batch = Batch { next_seq: Seq(first + put), next_session: 1, ..Batch::default() };
    for seq in first..first + put {
        batch.messages.insert(Seq(seq), Some(message(topic, seq)));
    }
    let oldest = first.saturating_sub(DEPTH);
    for seq in oldest..oldest + remove {
        batch.messages.insert(Seq(seq), None);
    }
    batch.sessions.insert(SessionId(0), Some(session(Seq(oldest + remove))));
    batch
}

fn message(topic: &Arc<str>, seq: u64) -> QueuedMessage {
    let payload: Vec<u8> = (0..174_u64).map(|i| (seq.wrapping_mul(31) >> (i % 8)) as u8).collect();
    let target = Target {
        session: SessionId(0),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        share: None,
    };
    let message = Message::new(topic.clone(), QoS::AtLeastOnce, false, None, &[], &payload);
    QueuedMessage {
        message: Arc::new(message),
        arrived_at: Some(Instant(1_790_000_000_000)),
        targets: vec![target],
    }
}

fn session(cursor: Seq) -> SessionRecord {
    SessionRecord {
        client_id: "historian".into(),
        expiry_interval_s: u32::MAX,
        expires_at: None,
        will: None,
        cursor,
        done: Vec::new(),
        inflight: Vec::new(),
        received: Vec::new(),
    }
}

fn process_write_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}
