//! What a commit costs: bytes that reach the file, and time, by the number of messages in it.
//!
//! `cargo run --release -p outpost-broker --example store_bytes [DIRECTORY]`
//!
//! *Offline*: each commit puts B messages into a queue that nobody takes from, behind a backlog.
//! *Steady*: each commit puts B messages into a queue of 10,000, removes the B oldest, and writes the
//! row of the session. `written` is what the store wrote to its file; `process` is what the system says
//! that this process wrote (`write_bytes` of `/proc/self/io`, in whole pages, without the journal of
//! the file system).
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outpost_broker::core::change::{Batch, QueuedMessage, Seq, SessionId, SessionRecord, Target};
use outpost_broker::core::message::Message;
use outpost_broker::core::time::Instant;
use outpost_broker::store::{RedbStore, Store, StoreError, StoreOptions};
use outpost_protocol::QoS;

/// One line of the table.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    payload_bytes: u64,
    /// Messages that wait before the first commit counts.
    backlog: u64,
    /// Whether as many are removed as are put.
    is_steady: bool,
    per_commit: u64,
    commits: u64,
}

const OFFLINE: Case = Case {
    what: "offline",
    payload_bytes: 64,
    backlog: 10_000,
    is_steady: false,
    per_commit: 50,
    commits: 300,
};
const STEADY: Case = Case { what: "steady", payload_bytes: 174, is_steady: true, ..OFFLINE };

const CASES: [Case; 10] = [
    Case { per_commit: 1, ..OFFLINE },
    Case { per_commit: 10, ..OFFLINE },
    OFFLINE,
    Case { per_commit: 1000, commits: 30, ..OFFLINE },
    Case { backlog: 1_000_000, ..OFFLINE },
    Case { per_commit: 1, ..STEADY },
    Case { per_commit: 10, ..STEADY },
    STEADY,
    Case { per_commit: 100, commits: 100, ..STEADY },
    Case { per_commit: 1000, commits: 30, ..STEADY },
];

fn main() -> Result<(), StoreError> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "   case  payload  backlog     B  written/commit  process/commit  /message  us/commit"
    );
    for case in CASES {
        let dir = parent.join(format!("outpost-store-bytes-{}", std::process::id()));
        let result = measure(&dir, case);
        // What cannot be removed is left for the user to see.
        let _ = std::fs::remove_dir_all(&dir);
        result?;
    }
    Ok(())
}

fn measure(dir: &Path, case: Case) -> Result<(), StoreError> {
    let Case { what, payload_bytes, backlog, per_commit, commits, .. } = case;
    let mut store = RedbStore::open(dir, &StoreOptions::default())?;
    let topic: Arc<str> = "plant/7/line/3/temperature".into();
    for first in (0..backlog).step_by(10_000) {
        store.commit(&batch(&topic, Case { is_steady: false, ..case }, first, 10_000))?;
    }
    let metrics = store.metrics();
    let (before, process_before) = (metrics.counts(), process_write_bytes());
    let started = std::time::Instant::now();
    for i in 0..commits {
        store.commit(&batch(&topic, case, backlog + i * per_commit, per_commit))?;
    }
    let us = started.elapsed().as_micros() as u64 / commits;
    let written = (metrics.counts().device_bytes - before.device_bytes) / commits;
    let process = (process_write_bytes() - process_before) / commits;
    let each = written / per_commit;
    println!(
        "{what:>7} {payload_bytes:8} {backlog:8} {per_commit:5} {written:15} {process:15} \
         {each:9} {us:10}"
    );
    Ok(())
}

/// Puts `put` messages from `first` on; in a steady queue, as many of the oldest go.
fn batch(topic: &Arc<str>, case: Case, first: u64, put: u64) -> Batch {
    let mut batch = Batch { next_seq: Seq(first + put), next_session: 1, ..Batch::default() };
    for seq in first..first + put {
        batch.messages.insert(Seq(seq), message(topic, seq, case.payload_bytes));
    }
    if case.is_steady {
        let oldest = first - case.backlog;
        for seq in oldest..oldest + put {
            batch.removed.insert(Seq(seq));
        }
        batch.sessions.insert(SessionId(0), Some(session(Seq(oldest + put))));
    }
    batch
}

fn message(topic: &Arc<str>, seq: u64, payload_bytes: u64) -> QueuedMessage {
    let payload: Vec<u8> =
        (0..payload_bytes).map(|i| (seq.wrapping_mul(31) >> (i % 8)) as u8).collect();
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
        arrived_at: Some(Instant(1_790_000_000_000 + seq * 100)),
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
