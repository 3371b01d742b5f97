//! Damage of every kind: what was in the store may come back, nothing else, and the file is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::samples::{self, Model};
use super::whole::Loaded;
use super::{Rng, TempDir, open};
use crate::core::change::{Batch, Seq, SessionId, SessionRecord, Target};
use crate::store::salvage::{Found, salvage_into};
use crate::store::{
    FILE_NAME, RedbStore, Store, StoreError, StoreOptions, check_suspect, salvage, suspect,
};

const PAGE: usize = 4096;

/// A store with many pages in each table, and every row it ever had.
struct Sample {
    image: Vec<u8>,
    model: Model,
    /// Of each key in words, all values in words that were ever committed.
    history: BTreeMap<String, BTreeSet<String>>,
}

impl Sample {
    fn new(seed: u64) -> Self {
        let dir = TempDir::new();
        let mut store = open(dir.path());
        let mut sample =
            Self { image: Vec::new(), model: Model::default(), history: BTreeMap::new() };
        let mut rng = Rng(seed);
        for _ in 0..12 {
            let batch = batch(&mut rng, &sample.model);
            store.commit(&batch).unwrap();
            sample.model.apply(&batch);
            sample.note(&batch);
        }
        drop(store);
        sample.image = fs::read(dir.path().join(FILE_NAME)).unwrap();
        sample
    }

    fn note(&mut self, batch: &Batch) {
        let mut note = |key: String, row: String| {
            self.history.entry(key).or_default().insert(row);
        };
        for (key, row) in &batch.messages {
            note(format!("{key:?}"), format!("{row:?}"));
        }
        for (key, row) in &batch.sessions {
            row.iter().for_each(|row| note(format!("{key:?}"), format!("{row:?}")));
        }
        for (key, row) in &batch.subscriptions {
            row.iter().for_each(|row| note(format!("{key:?}"), format!("{row:?}")));
        }
        for (key, row) in &batch.origins {
            row.iter().for_each(|row| note(format!("{key:?}"), format!("{row:?}")));
        }
        for (key, row) in &batch.retained {
            row.iter().for_each(|row| note(format!("{key:?}"), format!("{row:?}")));
        }
    }

    /// Asserts that all of `loaded` was in the store once.
    fn assert_held(&self, loaded: &Loaded) {
        let held = |key: String, row: String| {
            let known = self.history.get(&key).is_some_and(|rows| rows.contains(&row));
            assert!(known, "{key} was never {row}");
        };
        loaded.messages.iter().for_each(|(k, v)| held(format!("{k:?}"), format!("{v:?}")));
        loaded.sessions.iter().for_each(|(k, v)| held(format!("{k:?}"), format!("{v:?}")));
        for (id, filter, record) in &loaded.subscriptions {
            held(format!("{:?}", (id, filter)), format!("{record:?}"));
        }
        loaded.origins.iter().for_each(|(k, v)| held(format!("{k:?}"), format!("{v:?}")));
        loaded.retained.iter().for_each(|m| held(format!("{:?}", m.topic), format!("{m:?}")));
    }
}

/// Larger than the samples': tables of several levels. Every message waits for a session that is
/// there, and every subscription has its session.
pub(super) fn batch(rng: &mut Rng, model: &Model) -> Batch {
    let mut batch =
        Batch { next_seq: model.next_seq, next_session: model.next_session, ..Batch::default() };
    for _ in 0..20 {
        let id = SessionId(batch.next_session);
        batch.next_session += 1;
        batch.sessions.insert(id, Some(session(rng, id, batch.next_seq)));
        for n in 0..4 {
            let filter = Arc::from(format!("plant/{}/{n}/+", id.0));
            batch.subscriptions.insert((id, filter), Some(samples::subscription(rng)));
        }
    }
    for id in model.sessions.keys() {
        if rng.one_in(4) {
            batch.sessions.insert(*id, Some(session(rng, *id, batch.next_seq)));
        }
    }
    for _ in 0..150 {
        let mut queued = samples::queued(rng);
        let session = SessionId(rng.below(u64::from(batch.next_session)) as u32);
        let qos = outpost_protocol::QoS::AtLeastOnce;
        let target =
            Target { session, qos, retain: false, subscription_ids: Vec::new(), share: None };
        queued.targets.push(target);
        batch.messages.insert(batch.next_seq, queued);
        batch.next_seq.0 += 1;
    }
    for seq in model.messages.keys().filter(|_| rng.one_in(5)) {
        batch.removed.insert(*seq);
    }
    for _ in 0..10 {
        let message = samples::retained(rng);
        batch.retained.insert(message.topic.clone(), Some(message));
        batch.origins.insert(NodeId(rng.below(1_000)), Some(samples::origin(rng)));
    }
    batch
}

/// A session whose client has no other.
fn session(rng: &mut Rng, id: SessionId, next_seq: Seq) -> SessionRecord {
    let client_id = format!("client-{}", id.0).into();
    SessionRecord { client_id, ..samples::session(rng, next_seq) }
}

fn salvaged(image: &[u8]) -> (Found, Loaded) {
    let damaged = InMemoryBackend::new();
    damaged.set_len(image.len() as u64).unwrap();
    damaged.write(0, image).unwrap();
    let backend = InMemoryBackend::new();
    let path = Path::new("damaged.redb");
    let mut store = RedbStore::with_backend(backend, "new.redb", &StoreOptions::default()).unwrap();
    let found = salvage_into(&damaged, path, &mut store).unwrap();
    let mut after = vec![0; image.len()];
    damaged.read(0, &mut after).unwrap();
    assert_eq!(after, image, "the damaged file is only read");
    (found, store.load_all().unwrap())
}

/// One to three damages: bits, pages, stretches, a lost end.
fn damage(rng: &mut Rng, image: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let len = image.len() as u64;
        if len < 2 {
            return;
        }
        let at = rng.below(len) as usize;
        match rng.below(5) {
            0 => image[at] ^= 1 << rng.below(8),
            1 => {
                let page = at / PAGE * PAGE;
                let end = (page + PAGE).min(image.len());
                image[page..end].fill(0);
            }
            2 => {
                let end = (at + rng.below(3 * PAGE as u64) as usize).min(image.len());
                image[at..end].iter_mut().for_each(|byte| *byte = rng.next() as u8);
            }
            3 => image.truncate(at),
            _ => image[..(at % 400).min(len as usize)]
                .iter_mut()
                .for_each(|b| *b ^= rng.next() as u8),
        }
    }
}

#[test]
fn a_sound_store_is_salvaged_whole() {
    let sample = Sample::new(1);
    let (found, loaded) = salvaged(&sample.image);
    sample.model.assert_is(&loaded);
    assert_eq!(found.damaged_pages, 0, "{found}");
    assert_eq!(found.total().lost, Some(0), "{found}");
    assert_eq!(found.messages.kept, sample.model.messages.len() as u64);
    assert_eq!(found.sessions.kept, sample.model.sessions.len() as u64);
}

#[test]
fn nothing_comes_back_that_was_not_in_the_store() {
    let sample = Sample::new(2);
    let mut kept = 0;
    for seed in 0..60 {
        let mut image = sample.image.clone();
        damage(&mut Rng(seed), &mut image);
        let (found, loaded) = salvaged(&image);
        sample.assert_held(&loaded);
        assert_eq!(found.messages.kept, loaded.messages.len() as u64, "seed {seed}");
        kept += usize::from(found.total().kept > 0);
    }
    assert!(kept > 40, "most damages leave something: {kept}");
}

#[test]
fn one_damaged_page_costs_what_is_below_it() {
    let sample = Sample::new(3);
    let whole = salvaged(&sample.image).0.total().kept;
    for page in (1..sample.image.len() / PAGE).step_by(8) {
        let mut image = sample.image.clone();
        image[page * PAGE + 100] ^= 0xff;
        let (found, loaded) = salvaged(&image);
        sample.assert_held(&loaded);
        let kept = found.total().kept;
        assert!(kept * 3 > whole, "page {page}: {kept} of {whole}: {found}");
    }
}

#[test]
fn without_its_header_a_store_is_found_by_its_tables() {
    let sample = Sample::new(4);
    let mut image = sample.image.clone();
    image[..PAGE].fill(0);
    let (found, loaded) = salvaged(&image);
    sample.model.assert_is(&loaded);
    assert_eq!(found.damaged_pages, 1);
}

#[test]
fn what_is_no_database_at_all_becomes_an_empty_store() {
    for image in [&b""[..], b"x", &[0; 5 * PAGE], &[0xff; 3 * PAGE]] {
        let (found, loaded) = salvaged(image);
        assert_eq!(found.total().kept, 0);
        assert!(loaded.sessions.is_empty() && loaded.messages.is_empty());
    }
}

#[test]
fn numbers_of_what_was_lost_are_not_given_away_again() {
    let sample = Sample::new(5);
    let (_, loaded) = salvaged(&sample.image);
    assert!(loaded.next_seq >= sample.model.next_seq);
    assert!(loaded.next_session >= sample.model.next_session);
    assert!(loaded.next_seq > Seq(0));
}

/// The whole way, with real files: refused, salvaged, opened; the damaged file kept to the byte.
#[test]
fn a_damaged_file_is_kept_and_replaced() {
    let sample = Sample::new(6);
    let mut salvages = 0;
    for seed in 0..30 {
        let dir = TempDir::new();
        let path = dir.path().join(FILE_NAME);
        let mut image = sample.image.clone();
        damage(&mut Rng(1_000 + seed), &mut image);
        fs::write(&path, &image).unwrap();
        let opened = RedbStore::open(dir.path(), &StoreOptions::default())
            .and_then(|mut store| store.load_all());
        let Err(error) = opened else { continue };
        assert!(error.is_damage(), "seed {seed}: {error}");
        assert_eq!(fs::read(&path).unwrap(), image, "seed {seed}: refused, not changed");
        let salvaged = salvage(dir.path(), &StoreOptions::default()).unwrap();
        assert_eq!(fs::read(&salvaged.set_aside).unwrap(), image, "seed {seed}: kept");
        let loaded = open(dir.path()).load_all().unwrap();
        sample.assert_held(&loaded);
        assert_eq!(loaded.messages.len() as u64, salvaged.found.messages.kept);
        salvages += 1;
    }
    assert!(salvages > 10, "{salvages}");
}

#[test]
fn names_of_kept_files_are_never_used_twice() {
    let dir = TempDir::new();
    let mut kept = BTreeSet::new();
    for n in 0..5 {
        let text = format!("no store {n}");
        fs::write(dir.path().join(FILE_NAME), &text).unwrap();
        let salvaged = salvage(dir.path(), &StoreOptions::default()).unwrap();
        let name = salvaged.set_aside.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("outpost.redb.corrupt-2"), "{name}");
        assert_eq!(fs::read_to_string(&salvaged.set_aside).unwrap(), text);
        kept.insert(name);
    }
    assert_eq!(kept.len(), 5);
}

#[test]
fn a_store_in_use_or_of_a_later_schema_is_no_damage() {
    let dir = TempDir::new();
    let store = open(dir.path());
    let error = salvage(dir.path(), &StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyOpen { .. }), "{error}");
    drop(store);
    let db = redb::Database::open(dir.path().join(FILE_NAME)).unwrap();
    let write = db.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("schema", 99).unwrap();
    write.commit().unwrap();
    drop(db);
    let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
    let error = salvage(dir.path(), &StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::SchemaVersion { found: 99, .. }), "{error}");
    assert!(!error.is_damage());
    assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
}

#[test]
fn suspicion_ends_with_a_look_at_every_page() {
    let sample = Sample::new(7);
    let dir = TempDir::new();
    let path = dir.path().join(FILE_NAME);
    let why = StoreError::Panicked { what: "at a page".into() };
    let is_suspect = || fs::read_dir(dir.path()).unwrap().count() > 1;
    fs::write(&path, &sample.image).unwrap();
    check_suspect(dir.path()).unwrap();
    suspect(dir.path(), &why).unwrap();
    assert!(is_suspect());
    check_suspect(dir.path()).unwrap();
    assert!(!is_suspect(), "it is sound");

    let page = (1..sample.image.len() / PAGE).map(|page| page * PAGE + 200).find(|at| {
        let mut image = sample.image.clone();
        image[*at] ^= 1;
        salvaged(&image).0.damaged_pages > 0
    });
    let mut image = sample.image.clone();
    image[page.unwrap()] ^= 1;
    fs::write(&path, &image).unwrap();
    check_suspect(dir.path()).unwrap();
    suspect(dir.path(), &why).unwrap();
    let error = check_suspect(dir.path()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(is_suspect(), "until it is salvaged");
    salvage(dir.path(), &StoreOptions::default()).unwrap();
    check_suspect(dir.path()).unwrap();
    assert!(!dir.path().join("outpost.redb.suspect").exists());
}

/// A queue that grew commit by commit leaves many lists of tables behind, whose pages other tables
/// have taken over: the list that is in use has to be told from those.
#[test]
fn without_its_header_a_long_queue_is_found_all_the_same() {
    let dir = TempDir::new();
    let mut store = open(dir.path());
    let mut rng = Rng(5);
    let target = Target {
        session: SessionId(1),
        qos: outpost_protocol::QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        share: None,
    };
    let mut batch = Batch { next_seq: Seq(1), next_session: 2, ..Batch::default() };
    batch.sessions.insert(SessionId(1), Some(session(&mut rng, SessionId(1), Seq(1))));
    let row = crate::core::change::QueuedMessage {
        message: Arc::new(crate::core::message::Message::new(
            "t/1".into(),
            outpost_protocol::QoS::AtLeastOnce,
            false,
            None,
            b"",
            &[7; 300],
        )),
        arrived_at: None,
        targets: vec![target],
    };
    let mut messages = 0;
    // One of the shapes in which a list that is no longer in use was taken for the newest.
    for _ in 0..40 {
        for _ in 0..60 {
            batch.messages.insert(batch.next_seq, row.clone());
            batch.next_seq.0 += 1;
            messages += 1;
        }
        store.commit(&batch).unwrap();
        batch = Batch { next_seq: batch.next_seq, next_session: 2, ..Batch::default() };
    }
    drop(store);
    let mut image = fs::read(dir.path().join(FILE_NAME)).unwrap();
    image[..PAGE].fill(0);
    let (found, loaded) = salvaged(&image);
    assert_eq!((found.messages.kept, found.sessions.kept), (messages, 1), "{found}");
    assert_eq!(loaded.messages.len() as u64, messages);
}

#[test]
fn of_a_table_that_is_gone_nobody_knows_how_much_was_lost() {
    let image = vec![0x55; 3 * PAGE];
    let (found, _) = salvaged(&image);
    assert_eq!(found.total().lost, None, "{found}");
    assert!(found.to_string().contains("unknown lost"), "{found}");
}
