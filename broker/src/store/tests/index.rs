//! The index: it tells the same as reading everything, without reading everything.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outpost_protocol::QoS;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::Rng;
use super::crash::CrashBackend;
use super::reader::{Taken, Told};
use super::samples::{self, Model};
use crate::core::change::{Batch, QueuedMessage, Seq, SessionId, Target};
use crate::core::message::Message;
use crate::core::time::Instant;
use crate::store::{RedbStore, SCHEMA_VERSION, Store, StoreOptions};

/// Counts what is read.
#[derive(Clone, Debug, Default)]
struct CountingBackend {
    inner: Arc<InMemoryBackendCell>,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct InMemoryBackendCell(InMemoryBackend);

impl Default for InMemoryBackendCell {
    fn default() -> Self {
        Self(InMemoryBackend::new())
    }
}

impl StorageBackend for CountingBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.inner.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.0.write(offset, data)
    }
}

fn open(backend: &(impl StorageBackend + Clone)) -> RedbStore {
    RedbStore::with_backend(backend.clone(), "test.redb", &StoreOptions::default()).unwrap()
}

fn queued(seq: u64, payload_len: usize) -> QueuedMessage {
    let topic = format!("plant/{}", seq % 100).into();
    let message =
        Message::new(topic, QoS::AtLeastOnce, false, None, &[], &vec![seq as u8; payload_len]);
    let target = Target {
        session: SessionId(3),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        share: None,
    };
    QueuedMessage {
        message: Arc::new(message),
        arrived_at: Some(Instant(1_790_000_000_000 + seq)),
        targets: vec![target],
    }
}

fn put(seqs: std::ops::Range<u64>, payload_len: usize) -> Batch {
    let messages = seqs.clone().map(|seq| (Seq(seq), queued(seq, payload_len))).collect();
    Batch { messages, next_seq: Seq(seqs.end), ..Batch::default() }
}

fn remove(seqs: impl Iterator<Item = u64>, next_seq: u64) -> Batch {
    Batch { removed: seqs.map(Seq).collect(), next_seq: Seq(next_seq), ..Batch::default() }
}

/// All that is told of messages.
fn told(store: &mut RedbStore) -> BTreeMap<Seq, Told> {
    let mut taken = Taken::default();
    store.load(&mut taken).unwrap();
    taken.messages
}

/// Rows of a table.
fn rows(store: &RedbStore, table: &str) -> usize {
    use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
    let table: TableDefinition<'_, u64, &[u8]> = TableDefinition::new(table);
    let db = store.shared.get().unwrap();
    let read = db.begin_read().unwrap();
    read.open_table(table).unwrap().len().unwrap() as usize
}

#[test]
fn loading_reads_a_small_part_of_a_store_with_a_long_queue() {
    let backend = CountingBackend::default();
    let mut store = open(&backend);
    for first in (0..40_000).step_by(1000) {
        store.commit(&put(first..first + 1000, 1000)).unwrap();
    }
    drop(store);
    let file_bytes = backend.len().unwrap();
    assert!(file_bytes > 40_000 * 1000);
    // Without a cache, for a build of redb with debug assertions reads all pages on opening.
    let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
    let mut store = RedbStore::with_backend(backend.clone(), "test.redb", &options).unwrap();
    backend.read.store(0, Ordering::Relaxed);
    let told = told(&mut store);
    let read = backend.read.load(Ordering::Relaxed);
    assert_eq!(told.len(), 40_000);
    assert!(told.iter().all(|(seq, told)| *told == Told::of(&queued(seq.0, 1000))));
    // The newest 4,096 messages at most have no index yet.
    assert!(read < file_bytes / 6, "{read} of {file_bytes} bytes were read");
    assert!(rows(&store, "msg_index") > 100);
}

#[test]
fn messages_that_are_done_soon_are_never_in_the_index() {
    let backend = CountingBackend::default();
    let mut store = open(&backend);
    for first in (0..20_000).step_by(500) {
        store.commit(&put(first..first + 500, 10)).unwrap();
        store.commit(&remove(first..first + 500, first + 500)).unwrap();
    }
    assert_eq!(rows(&store, "msg_index"), 0);
    assert!(told(&mut store).is_empty());
}

#[test]
fn the_index_goes_with_the_queue() {
    let backend = CountingBackend::default();
    let mut store = open(&backend);
    store.commit(&put(0..10_000, 10)).unwrap();
    let parts = rows(&store, "msg_index");
    assert!(parts > 10);
    // Every part keeps a message: all of the index stays, and tells more than there is.
    store.commit(&remove((0..10_000).filter(|seq| seq % 20 != 0), 10_000)).unwrap();
    assert_eq!(rows(&store, "msg_index"), parts);
    drop(store);
    let mut store = open(&backend);
    assert!(told(&mut store).keys().filter(|seq| seq.0 % 20 == 0).count() == 500);
    store.commit(&remove((0..10_000).step_by(20), 10_000)).unwrap();
    assert_eq!((rows(&store, "msg"), rows(&store, "msg_index")), (0, 0));
    assert!(told(&mut store).is_empty());
}

#[test]
fn a_message_written_anew_is_told_as_it_is_now() {
    let backend = CountingBackend::default();
    let mut store = open(&backend);
    store.commit(&put(0..10_000, 10)).unwrap();
    let mut batch = put(5000..5001, 99);
    batch.messages.get_mut(&Seq(5000)).unwrap().targets.clear();
    batch.next_seq = Seq(10_000);
    store.commit(&batch).unwrap();
    drop(store);
    let mut store = open(&backend);
    let expect_new = |told: BTreeMap<Seq, Told>| {
        assert_eq!(told.len(), 10_000);
        let new = &batch.messages[&Seq(5000)];
        assert_eq!(told[&Seq(5000)], Told::of(new));
        assert_eq!(told[&Seq(5001)], Told::of(&queued(5001, 10)));
    };
    expect_new(told(&mut store));
    // Until the part is written again, too.
    store.commit(&put(10_000..15_000, 10)).unwrap();
    store.commit(&remove(10_000..15_000, 15_000)).unwrap();
    drop(store);
    expect_new(told(&mut open(&backend)));
}

/// Long queues with random holes, rows written anew, and restarts: what is told is never less than
/// what is there, and right; what is told besides was there once.
#[test]
fn random_long_queues_agree_with_a_model() {
    for seed in 0..4 {
        let mut rng = Rng(seed);
        let backend = CountingBackend::default();
        let mut store = open(&backend);
        let mut model = Model::default();
        let mut ever: BTreeMap<Seq, Told> = BTreeMap::new();
        let mut parts_told = 0;
        for _ in 0..30 {
            let first = model.next_seq.0;
            let mut batch = put(first..first + rng.below(2000), 5);
            let anew = rng.below(4);
            let keep = 1 + rng.below(8);
            let removal = rng.below(6);
            for (i, seq) in model.messages.keys().enumerate() {
                if i as u64 <= anew && rng.one_in(2) {
                    batch.messages.insert(*seq, samples::queued(&mut rng));
                } else if (removal == 0 && i < 2000)
                    || (removal == 1 && !rng.one_in(keep) && rng.one_in(2))
                {
                    batch.removed.insert(*seq);
                }
            }
            store.commit(&batch).unwrap();
            model.apply(&batch);
            ever.extend(batch.messages.iter().map(|(seq, row)| (*seq, Told::of(row))));
            if rng.one_in(4) {
                drop(store);
                store = open(&backend);
                parts_told += rows(&store, "msg_index");
                let mut told = told(&mut store);
                for (seq, queued) in &model.messages {
                    assert_eq!(told.remove(seq), Some(Told::of(queued)), "seed {seed}");
                }
                for (seq, told) in told {
                    assert_eq!(told, ever[&seq], "seed {seed}");
                }
                model.assert_is(&store.load_all().unwrap());
                model.next_seq = store.load(&mut Taken::default()).unwrap().next_seq;
            }
        }
        assert!(parts_told > 0, "seed {seed}");
    }
}

/// A store of schema 1 as its program wrote it, byte by byte: never to be changed.
fn write_schema_1(backend: impl StorageBackend, messages: u64) {
    use redb::{Database, TableDefinition};
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let msg: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("msg");
    let sess: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sess");
    let sub: TableDefinition<'_, (u32, &str), &[u8]> = TableDefinition::new("sub");
    let retained: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");
    let db: Database = redb::Builder::new().create_with_backend(backend).unwrap();
    let write = db.begin_write().unwrap();
    {
        let mut meta = write.open_table(meta).unwrap();
        meta.insert("schema", 1).unwrap();
        meta.insert("seq_mark", 2_000_000).unwrap();
        meta.insert("session_mark", 300).unwrap();
        let mut msg = write.open_table(msg).unwrap();
        // Version 1, "a/b", QoS 1, no expiry, no properties, "hey"; for session 3 with QoS 1.
        let row = b"\x01\x03a/b\x01\x00\x00\x03hey\x01\x03\x01\x00\x00";
        for seq in 0..messages {
            msg.insert(seq, row.as_slice()).unwrap();
        }
        // Version 1, "c1", never expires, connected, no will, cursor 0, nothing done or in flight.
        let row = b"\x01\x02c1\xff\xff\xff\xff\x0f\x00\x00\x00\x00\x00\x00";
        write.open_table(sess).unwrap().insert(3, row.as_slice()).unwrap();
        // Version 1, QoS 1, no identifier.
        write.open_table(sub).unwrap().insert((3, "a/#"), [1, 1, 0].as_slice()).unwrap();
        // Version 1, QoS 0, RETAIN, no expiry, no properties, "r".
        let row = b"\x01\x04\x00\x00\x01r";
        write.open_table(retained).unwrap().insert("a/b", row.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

fn assert_is_the_store_of_schema_1(store: &mut RedbStore, messages: u64) {
    let mut taken = Taken::default();
    let numbers = store.load(&mut taken).unwrap();
    assert_eq!((numbers.next_seq, numbers.next_session), (Seq(2_000_000), 300));
    let loaded = store.load_all().unwrap();
    let expected = Message::new("a/b".into(), QoS::AtLeastOnce, false, None, &[], b"hey");
    assert_eq!(loaded.messages.len() as u64, messages);
    for (_, queued) in &loaded.messages {
        assert_eq!((&*queued.message, queued.arrived_at), (&expected, None));
        assert_eq!(queued.targets.len(), 1);
    }
    let told = loaded.messages.iter().map(|(seq, queued)| (*seq, Told::of(queued)));
    assert_eq!(taken.messages, told.collect());
    assert_eq!(&*loaded.sessions[0].1.client_id, "c1");
    assert_eq!((loaded.subscriptions.len(), &*loaded.subscriptions[0].1), (1, "a/#"));
    assert_eq!((loaded.retained.len(), loaded.retained[0].payload()), (1, b"r".as_slice()));
}

#[test]
fn a_store_of_schema_1_opens() {
    for messages in [0, 3, 10_000] {
        let backend = CountingBackend::default();
        write_schema_1(backend.clone(), messages);
        let mut store = open(&backend);
        assert_is_the_store_of_schema_1(&mut store, messages);
        assert_eq!(rows(&store, "msg_index") > 0, messages > 4096);
        store.commit(&put(2_000_000..2_000_001, 1)).unwrap();
        store.commit(&remove(2_000_000..2_000_001, 2_000_001)).unwrap();
        drop(store);
        let mut store = open(&backend);
        assert_eq!(store.meta.schema, SCHEMA_VERSION);
        assert_eq!(told(&mut store).len() as u64, messages);
    }
    // Also if nobody loads it.
    let backend = CountingBackend::default();
    write_schema_1(backend.clone(), 3);
    open(&backend).commit(&put(2_000_000..2_000_001, 1)).unwrap();
    let mut store = open(&backend);
    assert_eq!((store.meta.schema, told(&mut store).len()), (SCHEMA_VERSION, 4));
}

#[test]
fn a_power_cut_while_a_store_of_schema_1_is_upgraded_costs_nothing() {
    let first = CrashBackend::default();
    write_schema_1(first.clone(), 6000);
    let first = first.image_after_power_cut(&mut Rng(0));
    let (mut upgraded, mut was_old) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let backend = CrashBackend::with_image(first.clone());
        backend.cut_power_after(rng.below(60));
        let options = StoreOptions::default();
        let opened = RedbStore::with_backend(backend.clone(), "test.redb", &options);
        drop(opened.and_then(|mut store| store.load(&mut Taken::default())));
        let image = backend.image_after_power_cut(&mut rng);
        let mut store = open(&CrashBackend::with_image(image));
        if store.meta.schema == SCHEMA_VERSION {
            upgraded += 1;
        } else {
            was_old += 1;
        }
        assert_is_the_store_of_schema_1(&mut store, 6000);
    }
    assert!(upgraded > 0 && was_old > 0, "{upgraded} {was_old}");
}
