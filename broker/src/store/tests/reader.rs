//! What a store tells at the start, and what its readers see while it is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::samples::{self, Model};
use super::{Rng, TempDir, open};
use crate::core::change::{
    Batch, OriginRecord, QueuedMessage, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    StoredTarget, SubscriptionRecord, topic_hash,
};
use crate::core::message::Message;
use crate::core::time::Instant;
use crate::store::{Store, StoreError};
use outpost_bridge::peering::NodeId;

/// What was told of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    bytes: u32,
    arrived_at: Option<Instant>,
    expires_at: Option<Instant>,
    topic_hash: u64,
    targets: Vec<StoredTarget>,
}

impl Told {
    pub(super) fn of(queued: &QueuedMessage) -> Self {
        let targets = queued.targets.iter().map(|target| StoredTarget {
            session: target.session,
            is_shared: target.share.is_some(),
        });
        Self {
            bytes: queued.message.bytes() as u32,
            arrived_at: queued.arrived_at,
            expires_at: queued.message.expires_at,
            topic_hash: topic_hash(&queued.message.topic),
            targets: targets.collect(),
        }
    }
}

/// Takes everything, and notes what it was told last: the order is part of the contract.
#[derive(Default)]
pub(super) struct Taken {
    sessions: BTreeMap<SessionId, SessionRecord>,
    subscriptions: BTreeMap<(SessionId, Arc<str>), SubscriptionRecord>,
    retained: BTreeMap<Arc<str>, Arc<Message>>,
    pub(super) messages: BTreeMap<Seq, Told>,
    step: u8,
}

impl Taken {
    fn step(&mut self, step: u8) {
        assert!(step >= self.step, "kind {step} after kind {}", self.step);
        self.step = step;
    }
}

impl Restore for Taken {
    fn session(&mut self, id: SessionId, record: SessionRecord) {
        self.step(0);
        assert!(self.sessions.insert(id, record).is_none());
    }

    fn subscription(&mut self, id: SessionId, filter: Arc<str>, record: SubscriptionRecord) {
        self.step(1);
        assert!(self.subscriptions.insert((id, filter), record).is_none());
    }

    fn retained(&mut self, message: Arc<Message>) {
        self.step(2);
        assert!(self.retained.insert(message.topic.clone(), message).is_none());
    }

    fn origin(&mut self, _: NodeId, _: OriginRecord) {}

    fn message(&mut self, seq: Seq, message: &StoredMessage<'_>) {
        self.step(3);
        assert!(self.messages.last_key_value().is_none_or(|(last, _)| *last < seq));
        let StoredMessage { bytes, arrived_at, expires_at, topic_hash, targets } = *message;
        let targets = targets.to_vec();
        self.messages.insert(seq, Told { bytes, arrived_at, expires_at, topic_hash, targets });
    }
}

#[test]
fn all_is_told_in_order_without_payloads() {
    let dir = TempDir::new();
    let mut rng = Rng(31);
    let mut model = Model::default();
    let mut store = open(dir.path());
    for _ in 0..200 {
        let batch = samples::batch(&mut rng, &model);
        store.commit(&batch).unwrap();
        model.apply(&batch);
    }
    drop(store);
    let mut taken = Taken::default();
    let numbers = open(dir.path()).load(&mut taken).unwrap();
    assert_eq!(taken.sessions, model.sessions);
    assert_eq!(taken.subscriptions, model.subscriptions);
    assert_eq!(taken.retained, model.retained);
    assert!(taken.step == 3 && model.messages.len() > 10);
    let told = model.messages.iter().map(|(seq, queued)| (*seq, Told::of(queued))).collect();
    assert_eq!(taken.messages, told);
    assert!(numbers.next_seq >= model.next_seq && numbers.next_session >= model.next_session);
}

#[test]
fn the_hash_of_a_topic_never_changes() {
    assert_eq!(topic_hash(""), 0xd1fb_a762_150c_532c);
    assert_eq!(topic_hash("plant/1/temperature"), 0x0973_2953_b630_0d01);
}

fn one_message(seq: u64) -> Batch {
    let mut batch = Batch { next_seq: Seq(seq + 1), ..Batch::default() };
    batch.messages.insert(Seq(seq), samples::queued(&mut Rng(seq)));
    batch
}

fn queued_of(batch: &Batch) -> Vec<(Seq, Option<QueuedMessage>)> {
    batch.messages.iter().map(|(seq, queued)| (*seq, Some(queued.clone()))).collect()
}

#[test]
fn a_reader_in_another_thread_sees_what_was_committed_before_it_reads() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let mut reader = store.reader();
    let (committed, to_read) = sync_channel::<u64>(0);
    let reading = std::thread::spawn(move || {
        for seq in to_read {
            let seqs: Vec<Seq> = (0..=seq).map(Seq).collect();
            let expected = (0..=seq).flat_map(|seq| queued_of(&one_message(seq)));
            assert_eq!(reader.read(&seqs).unwrap(), expected.collect::<Vec<_>>());
        }
    });
    for seq in 0..50 {
        store.commit(&one_message(seq)).unwrap();
        committed.send(seq).unwrap();
    }
    drop(committed);
    reading.join().unwrap();
}

#[test]
fn what_is_not_there_is_told_in_its_place() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let mut reader = store.reader();
    let batches = [3, 5, 6, 900].map(one_message);
    for batch in &batches {
        store.commit(batch).unwrap();
    }
    let mut gone = Batch { next_seq: Seq(901), ..Batch::default() };
    gone.removed.insert(Seq(5));
    store.commit(&gone).unwrap();
    let read = reader.read(&[1, 3, 4, 5, 6, 7, 900, 901].map(Seq)).unwrap();
    let there: Vec<u64> = read.iter().filter(|(_, row)| row.is_some()).map(|(s, _)| s.0).collect();
    assert_eq!(there, [3, 6, 900]);
    assert_eq!(read.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7, 900, 901]);
    assert_eq!(read[1], queued_of(&batches[0])[0]);
    assert!(reader.read(&[]).unwrap().is_empty());
}

#[test]
fn any_choice_of_numbers_is_read_right() {
    let dir = TempDir::new();
    let mut rng = Rng(32);
    let mut store = open(dir.path());
    let mut batch = Batch { next_seq: Seq(3000), ..Batch::default() };
    for seq in 0..3000 {
        if !rng.one_in(5) && !(1000..1200).contains(&seq) {
            batch.messages.insert(Seq(seq), samples::queued(&mut rng));
        }
    }
    store.commit(&batch).unwrap();
    let mut reader = store.reader();
    for _ in 0..100 {
        let sparse = 1 + rng.below(100);
        let (first, count) = (rng.below(3000), rng.below(400));
        let mut seq = first;
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(Seq(seq));
            seq += 1 + rng.below(sparse);
        }
        let expected = seqs.iter().map(|seq| (*seq, batch.messages.get(seq).cloned()));
        assert!(reader.read(&seqs).unwrap() == expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_outlives_its_store_but_reads_no_more() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let mut reader = store.reader();
    store.commit(&one_message(1)).unwrap();
    drop(store);
    assert!(matches!(reader.read(&[Seq(1)]), Err(StoreError::Failed { .. })));
    // The file is closed: it can be opened again.
    assert!(open(dir.path()).reader().read(&[Seq(1)]).unwrap()[0].1.is_some());
}
