//! The operator's tools: what they tell agrees with what was stored, and what goes out comes in again.

use std::fs;
use std::path::Path;

use super::salvage::batch;
use super::samples::{self, Model};
use super::whole::Loaded;
use super::{Rng, TempDir, open};
use crate::core::change::{Seq, SessionRecord};
use crate::store::tools::{self, ImportError, StoreFile};
use crate::store::{FILE_NAME, Store, StoreError, StoreOptions};

/// A store with something in every table, and what it holds.
fn filled(seed: u64, batches: u32) -> (TempDir, Model) {
    let dir = TempDir::new();
    let (mut rng, mut model) = (Rng(seed), Model::default());
    let mut store = open(dir.path());
    for _ in 0..batches {
        let batch = batch(&mut rng, &model);
        store.commit(&batch).unwrap();
        model.apply(&batch);
    }
    (dir, model)
}

fn exported(dir: &Path) -> String {
    let mut out = Vec::new();
    let exported = tools::export(&StoreFile::open(dir).unwrap(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(exported.records + 1, text.lines().count() as u64);
    assert_eq!(exported.damaged, 0);
    text
}

fn import(dir: &Path, text: &str) -> Result<u64, ImportError> {
    tools::import(dir, &StoreOptions::default(), &mut text.as_bytes())
}

fn rows(loaded: &Loaded) -> String {
    let Loaded { messages, sessions, subscriptions, retained, .. } = loaded;
    format!("{messages:?}{sessions:?}{subscriptions:?}{retained:?}")
}

#[test]
fn what_is_exported_is_imported_again_unaltered() {
    for seed in 0..20 {
        // Random rows, also such that belong to nothing.
        let dir = TempDir::new();
        let (mut rng, mut model) = (Rng(seed), Model::default());
        let mut store = open(dir.path());
        for _ in 0..10 {
            let batch = samples::batch(&mut rng, &model);
            store.commit(&batch).unwrap();
            model.apply(&batch);
        }
        drop(store);
        let text = exported(dir.path());
        let copy = TempDir::new();
        let records = import(copy.path(), &text).unwrap();
        assert_eq!(records + 1, text.lines().count() as u64);
        let header = |text: &str| text.split_once('\n').unwrap().1.to_owned();
        assert_eq!(header(&exported(copy.path())), header(&text), "seed {seed}");
        // Numbers that the copy gives away are not those of the store that it was.
        model.node = None;
        model.assert_is(&open(copy.path()).load_all().unwrap());
    }
}

#[test]
fn an_import_is_all_or_nothing() {
    let (dir, _) = filled(1, 2);
    let text = exported(dir.path());
    let lines: Vec<&str> = text.lines().collect();
    let header = lines[0];
    let cases = [
        (String::new(), "line 1: not an export, which begins with an outpost_store line"),
        ("hello\n".to_owned(), "line 1: not an export, which begins with an outpost_store line"),
        (lines[1].to_owned(), "line 1: not an export, which begins with an outpost_store line"),
        (
            header.replace("\"format\":1", "\"format\":2"),
            "line 1: format = 2: this program knows 1",
        ),
        (format!("{header}\n{header}\n"), "line 2: a second outpost_store line"),
        (
            format!("{header}\n{}\n{{\"sess", lines[1]),
            "line 3: EOF while parsing a string (column 6)",
        ),
        (
            format!(
                "{header}\n{{\"retained\":{{\"topic\":\"a/#\",\"qos\":1,\"retain\":true,\
                 \"expires_at\":null,\"payload\":\"x\"}}}}"
            ),
            "line 2: the topic name is invalid",
        ),
        (
            format!(
                "{header}\n{{\"retained\":{{\"topic\":\"a\",\"qos\":3,\"retain\":true,\
                 \"expires_at\":null,\"payload\":\"x\"}}}}"
            ),
            "line 2: qos = 3: must be 0, 1 or 2",
        ),
    ];
    for (text, expected) in cases {
        let copy = TempDir::new();
        let error = import(copy.path(), &text).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 0, "nothing is left of it");
    }
}

#[test]
fn an_import_replaces_an_empty_store_and_no_other() {
    let (dir, model) = filled(2, 2);
    let text = exported(dir.path());
    let error = import(dir.path(), &text).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty(_)), "{error}");
    let copy = TempDir::new();
    let store = open(copy.path());
    let error = import(copy.path(), &text).unwrap_err();
    assert!(matches!(error, ImportError::Store(StoreError::AlreadyOpen { .. })), "{error}");
    drop(store);
    import(copy.path(), &text).unwrap();
    model.assert_is(&open(copy.path()).load_all().unwrap());
}

#[test]
fn a_sound_store_is_verified_and_left_as_it_is() {
    let (dir, model) = filled(3, 6);
    let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
    let verified = tools::verify(&StoreFile::open(dir.path()).unwrap()).unwrap();
    assert_eq!(verified.problems, [""; 0]);
    let counts = [
        ("sessions", model.sessions.len()),
        ("subscriptions", model.subscriptions.len()),
        ("retained messages", model.retained.len()),
        ("origins of bridged messages", model.origins.len()),
        ("queued messages", model.messages.len()),
    ];
    let expected = counts.map(|(table, rows)| (table, rows as u64));
    assert_eq!(verified.rows, expected);
    assert!(fs::read(dir.path().join(FILE_NAME)).unwrap() == before);
}

/// Where verify finds nothing, the store is what it was.
#[test]
fn damage_is_found_wherever_it_matters() {
    let (dir, _) = filled(4, 4);
    let path = dir.path().join(FILE_NAME);
    let image = fs::read(&path).unwrap();
    let whole = rows(&open(dir.path()).load_all().unwrap());
    let mut found = 0;
    for page in 1..image.len() / 4096 {
        let mut damaged = image.clone();
        damaged[page * 4096 + 60] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let verified = tools::verify(&StoreFile::open(dir.path()).unwrap()).unwrap();
        assert!(fs::read(&path).unwrap() == damaged, "verify changes nothing");
        if verified.count > 0 {
            found += 1;
            assert!(!verified.problems.is_empty());
        } else {
            let loaded = open(dir.path()).load_all().unwrap();
            assert!(rows(&loaded) == whole, "page {page}");
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn rows_that_contradict_each_other_are_found() {
    let dir = TempDir::new();
    let mut rng = Rng(5);
    let mut batch = batch(&mut rng, &Model::default());
    let twice = batch.sessions.values().flatten().next().unwrap().client_id.clone();
    for record in batch.sessions.values_mut().flatten().skip(1).take(1) {
        *record = SessionRecord { client_id: twice.clone(), ..record.clone() };
    }
    let filter = "nobody/#".into();
    let nobody = crate::core::change::SessionId(9_999);
    batch.subscriptions.insert((nobody, filter), Some(samples::subscription(&mut rng)));
    open(dir.path()).commit(&batch).unwrap();
    let verified = tools::verify(&StoreFile::open(dir.path()).unwrap()).unwrap();
    let expected = [
        format!("table sess, row 1: session 0 has client {twice} too"),
        "table sub, row 9999 nobody/#: there is no session 9999".to_owned(),
    ];
    assert_eq!(verified.problems, expected);
}

/// Enough messages for parts of the index, some of which are removed again.
#[test]
fn an_index_that_leaves_out_a_message_is_found() {
    let dir = TempDir::new();
    let mut rng = Rng(8);
    let mut batch = batch(&mut rng, &Model::default());
    let queued = batch.messages.values().next().unwrap().clone();
    for seq in 1_000..16_000 {
        batch.messages.insert(Seq(seq), queued.clone());
    }
    batch.next_seq = Seq(16_000);
    open(dir.path()).commit(&batch).unwrap();
    let removed = (1_000..3_000).step_by(7).map(Seq).collect();
    let (next_seq, next_session) = (batch.next_seq, batch.next_session);
    let removal =
        crate::core::change::Batch { removed, next_seq, next_session, ..Default::default() };
    let mut store = open(dir.path());
    store.load_all().unwrap();
    store.commit(&removal).unwrap();
    drop(store);
    let verified = tools::verify(&StoreFile::open(dir.path()).unwrap()).unwrap();
    assert_eq!(verified.problems, [""; 0]);

    let db = redb::Database::open(dir.path().join(FILE_NAME)).unwrap();
    let write = db.begin_write().unwrap();
    let index = redb::TableDefinition::<u64, &[u8]>::new("msg_index");
    {
        let mut index = write.open_table(index).unwrap();
        let (first, part) = {
            let row = redb::ReadableTable::first(&index).unwrap().unwrap();
            (row.0.value(), row.1.value().to_vec())
        };
        let decoded = crate::store::index_rows::decode_part(first, &part).unwrap();
        let width = decoded.end - first;
        index.insert(first, &*crate::store::index_rows::encode_part(width, &[])).unwrap();
    }
    write.commit().unwrap();
    drop(db);
    let verified = tools::verify(&StoreFile::open(dir.path()).unwrap()).unwrap();
    assert!(verified.damage > 0);
    let first = &verified.problems[0];
    assert!(first.starts_with("table msg_index: it leaves out message "), "{first}");
}

#[test]
fn an_inspection_counts_what_waits_for_whom() {
    let (dir, model) = filled(6, 4);
    let file = StoreFile::open(dir.path()).unwrap();
    let inspection = tools::inspect(&file, None, true).unwrap();
    assert_eq!(inspection.damaged, 0);
    assert_eq!(inspection.sessions.len(), model.sessions.len());
    let waits = |record: &SessionRecord, seq: Seq| {
        seq >= record.cursor && !record.done.iter().any(|(a, b)| *a <= seq && seq <= *b)
    };
    for session in &inspection.sessions {
        let (id, record) = model.sessions.iter().find(|(id, _)| id.0 == session.id).unwrap();
        let queue = model.messages.iter().filter(|(seq, queued)| {
            queued.targets.iter().any(|t| t.session == *id) && waits(record, **seq)
        });
        let (mut messages, mut bytes) = (0, 0);
        for (_, queued) in queue {
            let times = queued.targets.iter().filter(|t| t.session == *id).count() as u64;
            messages += times;
            bytes += times * queued.message.bytes();
        }
        assert_eq!((session.queue.messages, session.queue.bytes), (messages, bytes));
        assert_eq!(session.client_id, record.client_id);
        assert_eq!(session.in_flight, record.inflight.len() as u64);
        let subscriptions = model.subscriptions.keys().filter(|(of, _)| of == id).count();
        assert_eq!(session.subscriptions, subscriptions as u64);
    }
    assert_eq!(inspection.retained.messages, model.retained.len() as u64);
    let largest = model.retained.values().map(|m| m.bytes()).max().unwrap();
    assert_eq!(inspection.retained.largest_bytes, largest);
    let by_topic: u64 = inspection.topics.unwrap().values().map(|t| t.queued).sum();
    assert_eq!(by_topic, inspection.messages.messages);
}

#[test]
fn a_drained_store_is_made_small_and_keeps_what_it_holds() {
    let (dir, mut model) = filled(7, 6);
    let mut store = open(dir.path());
    let removed = model.messages.keys().copied().collect();
    let (next_seq, next_session) = (model.next_seq, model.next_session);
    let drained =
        crate::core::change::Batch { removed, next_seq, next_session, ..Default::default() };
    store.commit(&drained).unwrap();
    model.apply(&drained);
    drop(store);
    let (before, after) = tools::compact(dir.path(), &StoreOptions::default()).unwrap();
    assert!(after < before / 2, "{before} to {after}");
    assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().len(), after);
    model.assert_is(&open(dir.path()).load_all().unwrap());
}

#[test]
fn a_store_in_use_or_missing_is_told() {
    let dir = TempDir::new();
    let error = StoreFile::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Access { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is created");
    let _store = open(dir.path());
    for error in [
        StoreFile::open(dir.path()).unwrap_err(),
        tools::compact(dir.path(), &StoreOptions::default()).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::AlreadyOpen { .. }), "{error}");
    }
}
