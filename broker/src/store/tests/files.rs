//! The file: created, locked, refused when it is not a sound store, and then left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use outpost_protocol::QoS;
use redb::{Database, TableDefinition};

use super::{Rng, TempDir, open, reload};
use crate::core::change::{Batch, QueuedMessage, Seq};
use crate::core::message::Message;
use crate::store::{FILE_NAME, RedbStore, Store, StoreError, StoreOptions};

fn try_open(dir: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(dir, &StoreOptions::default())
}

/// A directory with a closed store that holds `count` messages.
fn filled(count: u64) -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let message = |seq: u64| {
        let payload = vec![seq as u8; 1000];
        let topic = "plant/1".into();
        let message = Message::new(topic, QoS::AtLeastOnce, false, None, &[], &payload);
        QueuedMessage { message: Arc::new(message), arrived_at: None, targets: Vec::new() }
    };
    let messages = (0..count).map(|seq| (Seq(seq), message(seq))).collect();
    let batch = Batch { messages, next_seq: Seq(count), ..Batch::default() };
    open(dir.path()).commit(&batch).unwrap();
    let path = dir.path().join(FILE_NAME);
    (dir, path)
}

#[test]
fn directories_are_created_and_the_file_is_for_its_owner_only() {
    let dir = TempDir::new();
    let data_dir = dir.path().join("var/lib/outpost");
    drop(open(&data_dir));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join(FILE_NAME)), 0o600);
    let names: Vec<_> = fs::read_dir(&data_dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [FILE_NAME]);
}

#[test]
fn what_a_power_cut_left_of_a_creation_is_no_obstacle() {
    let dir = TempDir::new();
    fs::write(dir.path().join("outpost.redb.new"), "half a store").unwrap();
    drop(open(dir.path()));
    assert!(!dir.path().join("outpost.redb.new").exists());
    assert!(reload(dir.path()).messages.is_empty());
}

#[test]
fn a_store_is_opened_once_only() {
    let dir = TempDir::new();
    let store = open(dir.path());
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyOpen { .. }), "{error}");
    assert!(error.to_string().contains(FILE_NAME), "{error}");
    drop(store);
    drop(open(dir.path()));
}

const SECOND_OPENER_DIR: &str = "OUTPOST_TEST_SECOND_OPENER_DIR";

#[test]
fn a_second_process_is_told_that_the_store_is_open() {
    let dir = TempDir::new();
    let opener = || {
        let this_test = std::env::current_exe().unwrap();
        let output = Command::new(this_test)
            .args(["--exact", "store::tests::files::second_opener", "--ignored", "--nocapture"])
            .env(SECOND_OPENER_DIR, dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let store = open(dir.path());
    let told = opener();
    assert!(told.contains("outpost.redb: another process has this store open"), "{told}");
    drop(store);
    let told = opener();
    assert!(told.contains("opened"), "{told}");
}

#[test]
#[ignore = "the second process of a_second_process_is_told_that_the_store_is_open"]
#[expect(clippy::print_stdout, reason = "tells the first process")]
fn second_opener() {
    if let Some(dir) = std::env::var_os(SECOND_OPENER_DIR) {
        match try_open(Path::new(&dir)) {
            Ok(_) => println!("opened"),
            Err(error) => println!("{error}"),
        }
    }
}

#[test]
fn many_that_create_at_once_make_one_store() {
    let dir = TempDir::new();
    let path = dir.path();
    let opened = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| try_open(path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(opened.iter().filter(|store| store.is_ok()).count(), 1);
    for error in opened.iter().filter_map(|store| store.as_ref().err()) {
        assert!(matches!(error, StoreError::AlreadyOpen { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let (good_dir, good) = filled(10);
    let good_bytes = fs::read(&good).unwrap();
    drop(good_dir);
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"hello".to_vec(),
        vec![0; 100_000],
        (0..100_000u32).map(|i| (i * 31) as u8).collect(),
    ];
    for len in [1, 9, 64, 320, 4096, 5000, good_bytes.len() / 2, good_bytes.len() - 1] {
        cases.push(good_bytes[..len].to_vec());
    }
    for bytes in cases {
        let dir = TempDir::new();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, &bytes).unwrap();
        let error = try_open(dir.path()).and_then(|mut store| store.load_all()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{} bytes: {error}", bytes.len());
        let text = error.to_string();
        let expected = format!("{}: the store is damaged", path.display());
        assert!(text.starts_with(&expected), "{text}");
        assert!(fs::read(&path).unwrap() == bytes, "{} bytes: the file changed", bytes.len());
    }
}

#[test]
fn a_damaged_file_is_refused_and_left_alone_or_read_and_nothing_panics() {
    let (_dir, good) = filled(200);
    let good_bytes = fs::read(&good).unwrap();
    let mut rng = Rng(7);
    let mut refused = 0;
    for _ in 0..150 {
        let mut bytes = good_bytes.clone();
        // Half of the time in the header and the first pages, where the most depends on a byte.
        let end = if rng.one_in(2) { 20_000 } else { bytes.len() as u64 };
        for _ in 0..1 + rng.below(40) {
            let at = rng.below(end) as usize;
            bytes[at] = rng.next() as u8;
        }
        let dir = TempDir::new();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = try_open(dir.path()).and_then(|mut store| store.load_all()) {
            refused += 1;
            assert!(fs::read(&path).unwrap() == bytes, "the file changed");
            assert!(
                matches!(
                    error,
                    StoreError::Corrupt { .. }
                        | StoreError::CorruptRow { .. }
                        | StoreError::SchemaVersion { .. }
                ),
                "{error}"
            );
        }
    }
    assert!(refused > 0);
}

#[test]
fn verifying_finds_a_changed_byte() {
    let (dir, path) = filled(200);
    let mut bytes = fs::read(&path).unwrap();
    let payload = bytes.windows(100).position(|run| run == [100; 100]).unwrap();
    bytes[payload + 50] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let options = StoreOptions { verify_on_open: true, ..StoreOptions::default() };
    let error = RedbStore::open(dir.path(), &options).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(fs::read(&path).unwrap() == bytes, "the file changed");
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let (dir, path) = filled(3);
    let table: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("msg");
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(table).unwrap().insert(1, [1, 0xff, 0xff].as_slice()).unwrap();
    write.commit().unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = open(dir.path()).load_all().unwrap_err().to_string();
    assert!(error.contains("outpost.redb: the store is damaged: table msg, row 1: "), "{error}");
    assert!(fs::read(&path).unwrap() == before, "the file changed");
}

#[test]
fn another_schema_version_is_refused() {
    let (dir, path) = filled(3);
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(table).unwrap().insert("schema", 4).unwrap();
    write.commit().unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::SchemaVersion { found: 4, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("schema version 4"), "{error}");
    assert!(fs::read(&path).unwrap() == before, "the file changed");
}

#[test]
fn a_foreign_redb_database_is_refused() {
    let dir = TempDir::new();
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("accounts");
    let db = Database::create(dir.path().join(FILE_NAME)).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(table).unwrap().insert("alice", 3).unwrap();
    write.commit().unwrap();
    drop(db);
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("not one of Outpost"), "{error}");
}

#[test]
fn a_path_that_cannot_be_used_is_named() {
    let dir = TempDir::new();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = try_open(&file.join("data")).unwrap_err();
    assert!(matches!(error, StoreError::Access { .. }), "{error}");
    assert!(error.to_string().contains("file"), "{error}");

    fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Access { .. }), "{error}");
    assert!(error.to_string().contains("outpost.redb: cannot open"), "{error}");
}
