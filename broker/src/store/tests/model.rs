//! What is committed is there after reopening, as it was: single cases, then random batches.

use std::sync::Arc;

use outpost_protocol::QoS;

use super::samples::{self, Model};
use super::{Rng, TempDir, open, reload};
use crate::core::change::{Batch, QueuedMessage, Seq, SessionId, Target};
use crate::core::message::Message;
use crate::store::{RedbStore, Store, StoreError, StoreOptions};

fn queued(payload: &str) -> QueuedMessage {
    let topic = "plant/1".into();
    let message = Message::new(topic, QoS::AtLeastOnce, false, None, &[], payload.as_bytes());
    QueuedMessage { message: Arc::new(message), arrived_at: None, targets: Vec::new() }
}

fn message_batch(rows: Vec<(u64, Option<QueuedMessage>)>, next_seq: u64) -> Batch {
    let mut batch = Batch { next_seq: Seq(next_seq), ..Batch::default() };
    for (seq, row) in rows {
        match row {
            Some(row) => drop(batch.messages.insert(Seq(seq), row)),
            None => {
                batch.removed.insert(Seq(seq));
            }
        }
    }
    batch
}

fn payloads(loaded: &super::whole::Loaded) -> Vec<(u64, String)> {
    let payload = |queued: &QueuedMessage| String::from_utf8_lossy(queued.message.payload()).into();
    loaded.messages.iter().map(|(seq, queued)| (seq.0, payload(queued))).collect()
}

#[test]
fn a_new_store_is_empty() {
    let dir = TempDir::new();
    Model::default().assert_is(&open(dir.path()).load_all().unwrap());
    Model::default().assert_is(&reload(dir.path()));
}

#[test]
fn every_kind_of_record_comes_back_as_it_was() {
    let dir = TempDir::new();
    let mut rng = Rng(1);
    let mut model = Model { next_seq: Seq(50), next_session: 40, ..Model::default() };
    let mut batch = samples::batch(&mut rng, &model);
    for id in 0..40 {
        batch.sessions.insert(SessionId(id), Some(samples::session(&mut rng, batch.next_seq)));
        let filter = format!("filter/{id}/#").into();
        batch.subscriptions.insert((SessionId(id), filter), Some(samples::subscription(&mut rng)));
        batch.messages.insert(Seq(u64::from(id)), samples::queued(&mut rng));
        let message = samples::message(&mut rng);
        batch.retained.insert(message.topic.clone(), Some(message));
    }
    open(dir.path()).commit(&batch).unwrap();
    model.apply(&batch);
    let loaded = reload(dir.path());
    model.assert_is(&loaded);
    assert!(loaded.sessions.iter().any(|(_, session)| session.will.is_some()));
    assert!(loaded.sessions.iter().any(|(_, session)| !session.done.is_empty()));
    assert!(loaded.messages.iter().any(|(_, queued)| queued.targets.len() > 1));
}

#[test]
fn extreme_values_come_back_as_they_were() {
    let dir = TempDir::new();
    let topic: Arc<str> = "t".repeat(65_535).into();
    let payload = vec![0xa5; 3 << 20];
    let message = Arc::new(Message::new(
        topic.clone(),
        QoS::ExactlyOnce,
        true,
        Some(crate::core::time::Instant(u64::MAX)),
        &[],
        &payload,
    ));
    let target = Target {
        session: SessionId(u32::MAX),
        qos: QoS::ExactlyOnce,
        retain: true,
        subscription_ids: vec![1, 268_435_455],
        share: Some("$share/g/#".into()),
    };
    let queued = QueuedMessage {
        message: message.clone(),
        arrived_at: Some(crate::core::time::Instant(u64::MAX)),
        targets: vec![target; 1000],
    };
    let mut batch = message_batch(vec![(u64::MAX - 1, Some(queued))], u64::MAX);
    batch.retained.insert(topic, Some(message));
    open(dir.path()).commit(&batch).unwrap();
    let mut model = Model::default();
    model.apply(&batch);
    model.assert_is(&reload(dir.path()));
}

#[test]
fn rows_are_replaced_removed_and_come_back_in_order() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let rows = [300, 2, 65_536, 1, 256].map(|seq| (seq, Some(queued(&seq.to_string()))));
    store.commit(&message_batch(rows.to_vec(), 65_537)).unwrap();
    let rows = vec![(2, None), (256, Some(queued("new"))), (777, None)];
    store.commit(&message_batch(rows, 65_537)).unwrap();
    drop(store);
    let expected = [(1, "1"), (256, "new"), (300, "300"), (65_536, "65536")];
    let loaded = reload(dir.path());
    assert_eq!(payloads(&loaded), expected.map(|(seq, text)| (seq, text.to_string())));
}

#[test]
fn loading_twice_and_committing_after_it_works() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    store.commit(&message_batch(vec![(0, Some(queued("a")))], 1)).unwrap();
    assert_eq!(payloads(&store.load_all().unwrap()), payloads(&store.load_all().unwrap()));
    store.commit(&message_batch(vec![(1, Some(queued("b")))], 2)).unwrap();
    drop(store);
    let both = vec![(0, "a".to_string()), (1, "b".to_string())];
    assert_eq!(payloads(&reload(dir.path())), both);
}

#[test]
fn topics_are_kept_once_in_memory() {
    let dir = TempDir::new();
    let rows = vec![(0, Some(queued("a"))), (1, Some(queued("b")))];
    open(dir.path()).commit(&message_batch(rows, 2)).unwrap();
    let loaded = reload(dir.path());
    let topics = [&loaded.messages[0].1.message.topic, &loaded.messages[1].1.message.topic];
    assert!(Arc::ptr_eq(topics[0], topics[1]));
}

#[test]
fn numbers_are_never_used_again_though_all_rows_are_gone() {
    let dir = TempDir::new();
    let mut given = (Seq(0), 0);
    for _ in 0..5 {
        let mut store = open(dir.path());
        let loaded = store.load_all().unwrap();
        assert!(loaded.next_seq >= given.0 && loaded.next_session >= given.1);
        let (seq, session) = (loaded.next_seq, SessionId(loaded.next_session));
        given = (Seq(seq.0 + 1), session.0 + 1);
        let mut batch = message_batch(vec![(seq.0, Some(queued("a")))], given.0.0);
        batch.next_session = given.1;
        batch.sessions.insert(session, Some(samples::session(&mut Rng(3), given.0)));
        store.commit(&batch).unwrap();
        batch.messages.clear();
        batch.removed.insert(seq);
        batch.sessions.insert(session, None);
        store.commit(&batch).unwrap();
        assert!(store.load_all().unwrap().messages.is_empty());
    }
}

#[test]
fn numbers_given_away_without_a_row_are_not_used_again() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    store.commit(&message_batch(Vec::new(), 5_000_000)).unwrap();
    store
        .commit(&Batch { next_seq: Seq(5_000_001), next_session: 70_000, ..Batch::default() })
        .unwrap();
    drop(store);
    let loaded = reload(dir.path());
    assert!(loaded.next_seq >= Seq(5_000_001) && loaded.next_session >= 70_000);
}

#[test]
fn marks_are_rarely_written() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    for seq in 0..100 {
        store.commit(&message_batch(vec![(seq, Some(queued("")))], seq + 1)).unwrap();
    }
    // One row a commit, and once both marks.
    assert_eq!(store.metrics().counts().rows, 102);
}

#[test]
fn a_batch_without_changes_writes_nothing() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    store.commit(&message_batch(vec![(0, Some(queued("a")))], 1)).unwrap();
    let before = store.metrics().counts();
    store.commit(&message_batch(Vec::new(), 2)).unwrap();
    assert_eq!(store.metrics().counts().device_bytes, before.device_bytes);
    assert_eq!(store.metrics().counts().commits, 1);
}

#[test]
fn a_commit_is_counted() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let opened = store.metrics().counts();
    store.commit(&message_batch(vec![(0, Some(queued("payload")))], 1)).unwrap();
    let counts = store.metrics().counts();
    assert_eq!((counts.commits, counts.rows), (1, 3));
    assert!(counts.row_bytes > 8 + 14 && counts.row_bytes < 100);
    assert!(counts.device_bytes >= opened.device_bytes + 4096 && counts.syncs > opened.syncs);
    let path = dir.path().join(crate::store::FILE_NAME);
    assert_eq!(counts.file_bytes, std::fs::metadata(path).unwrap().len());
}

#[test]
fn an_invalid_row_is_refused_and_nothing_more_is_written() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    store.commit(&message_batch(vec![(0, Some(queued("a")))], 1)).unwrap();
    let mut session = samples::session(&mut Rng(1), Seq(1));
    session.received = vec![9, 3];
    let mut batch = message_batch(vec![(1, Some(queued("b")))], 2);
    batch.sessions.insert(SessionId(7), Some(session));
    let error = store.commit(&batch).unwrap_err();
    assert!(matches!(error, StoreError::InvalidRow { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("outpost.redb") && text.contains("table sess, row 7:"), "{text}");
    let good = message_batch(vec![(2, Some(queued("c")))], 3);
    assert!(matches!(store.commit(&good), Err(StoreError::Failed { .. })));
    drop(store);
    assert_eq!(payloads(&reload(dir.path())), [(0, "a".to_string())]);
}

#[test]
fn a_hollow_file_is_made_smaller_when_loaded() {
    let dir = TempDir::new();
    let options = StoreOptions { compact_above_bytes: 4 << 20, ..StoreOptions::default() };
    let mut store = RedbStore::open(dir.path(), &options).unwrap();
    let big = "x".repeat(100_000);
    let rows: Vec<_> = (0..100).map(|seq| (seq, Some(queued(&big)))).collect();
    store.commit(&message_batch(rows, 100)).unwrap();
    let gone = (0..99).map(|seq| (seq, None)).collect();
    store.commit(&message_batch(gone, 100)).unwrap();
    drop(store);
    let mut store = RedbStore::open(dir.path(), &options).unwrap();
    let before = store.metrics().counts().file_bytes;
    assert_eq!(payloads(&store.load_all().unwrap()), [(99, big.clone())]);
    let after = store.metrics().counts().file_bytes;
    assert!(before > 8 << 20 && after < 4 << 20, "{before} bytes became {after}");
    store.commit(&message_batch(vec![(100, Some(queued("b")))], 101)).unwrap();
    drop(store);
    assert_eq!(payloads(&reload(dir.path())), [(99, big), (100, "b".to_string())]);
}

#[test]
fn a_thousand_random_batches_agree_with_a_model() {
    let dir = TempDir::new();
    let mut rng = Rng(2);
    let mut model = Model::default();
    let mut store = open(dir.path());
    for number in 1..=1000 {
        let mut batch = samples::batch(&mut rng, &model);
        batch.number = number;
        store.commit(&batch).unwrap();
        model.apply(&batch);
        if rng.one_in(25) {
            drop(store);
            store = open(dir.path());
            let loaded = store.load_all().unwrap();
            model.assert_is(&loaded);
            model.next_seq = loaded.next_seq;
            model.next_session = loaded.next_session;
        }
    }
    model.assert_is(&store.load_all().unwrap());
    assert!(!model.messages.is_empty() && !model.sessions.is_empty());
}
