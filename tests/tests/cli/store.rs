//! `outpost store` as an operator uses it: on what a broker left behind.

use std::fs;
use std::path::Path;

use crate::prelude::*;

/// The end of a command on the store of a data directory.
#[track_caller]
fn store(data: &Path, line: &[&str]) -> Ended {
    let data = data.to_str().expect("the temporary folder is UTF-8");
    let arguments: Vec<&str> =
        ["store"].into_iter().chain(line.iter().copied()).chain(["--data-dir", data]).collect();
    Command::outpost(&arguments).end()
}

#[track_caller]
fn fine(data: &Path, line: &[&str]) -> String {
    let ended = store(data, line);
    ended.text().to_owned()
}

/// A broker with a session that waits for three messages and with one retained message, ended.
fn left_behind() -> Broker {
    let mut broker = Broker::with_config("");
    let address = broker.address();
    assert_eq!(start("sub", address, "-t q/# -q 1 -c -i keeper -E", &[]).end().text(), "");
    for n in 1..=3 {
        publish(address, &format!("-t q/{n} -m number-{n} -q 1"), &[]);
    }
    publish(address, "-t kept -m value -q 1 -r", &[]);
    broker.terminate();
    assert!(broker.wait().success());
    broker
}

#[test]
fn inspect_shows_who_waits_for_what() {
    if Broker::is_external() {
        return;
    }
    let broker = left_behind();
    let data = broker.dir().join("data");
    let text = fine(&data, &["inspect"]);
    let first = text.lines().next().expect("a first line");
    assert!(first.starts_with(&format!("{}: ", data.join("outpost.redb").display())), "{text}");
    assert!(text.contains("\nqueued: 3 messages, 33 B"), "{text}");
    assert!(text.contains("\nretained: 1 messages, 9 B, largest kept (9 B)\n"), "{text}");
    assert!(text.contains("\n  keeper: 3 messages, 33 B"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&fine(&data, &["inspect", "--json", "--topics"])).expect("JSON");
    assert_eq!(json["damaged"], 0);
    assert_eq!(json["sessions"][0]["client_id"], "keeper");
    assert_eq!(json["sessions"][0]["queue"]["messages"], 3);
    assert_eq!(json["topics"]["q/2"]["queued"], 1);
    assert_eq!(json["topics"]["kept"]["retained_bytes"], 9);
    let one = fine(&data, &["inspect", "--session", "keeper"]);
    assert!(one.ends_with("\n    q/#\n"), "{one}");
    let nobody = store(&data, &["inspect", "--session", "nobody"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.errors.ends_with("outpost.redb: there is no session of \"nobody\"\n"));
}

#[test]
fn export_and_import_carry_a_store_to_another_broker() {
    if Broker::is_external() {
        return;
    }
    let old = left_behind();
    let data = old.dir().join("data");
    let file = old.dir().join("export.jsonl");
    let file_name = file.to_str().expect("UTF-8");
    let ended = store(&data, &["export", file_name]);
    assert_eq!((ended.text(), ended.errors.as_str()), ("", "exported 6 records\n"));
    assert_eq!(fine(&data, &["export", "-"]), fs::read_to_string(&file).expect("the export"));
    let again = store(&data, &["export", file_name]);
    assert_eq!(again.errors, format!("outpost: {file_name}: cannot create: File exists\n"));
    assert_eq!(again.code, Some(1));

    let mut new = Broker::with_config("");
    new.terminate();
    assert!(new.wait().success());
    let new_data = new.dir().join("data");
    let ended = store(&new_data, &["import", file_name]);
    assert_eq!((ended.text(), ended.errors.as_str()), ("", "imported 6 records\n"));
    let again = store(&new_data, &["import", file_name]);
    assert_eq!(again.code, Some(1));
    assert!(
        again
            .errors
            .ends_with("the store is not empty; import makes a new one, and merges nothing\n")
    );
    assert!(fine(&new_data, &["verify"]).ends_with(": OK\n"));
    new.restart();
    let sub = start("sub", new.address(), "-t q/# -q 1 -c -i keeper -C 3 -v", &[]);
    assert_eq!(sub.end().text(), "q/1 number-1\nq/2 number-2\nq/3 number-3\n");
    let sub = start("sub", new.address(), "-t kept -C 1", &[]);
    assert_eq!(sub.end().text(), "value\n");
}

#[test]
fn an_import_names_the_line_that_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("wrong.jsonl");
    let header =
        r#"{"outpost_store":{"format":1,"written_by":"me","next_seq":1,"next_session":1}}"#;
    fs::write(&file, format!("{header}\n{{\"sesion\":1}}\n")).expect("write");
    let data = dir.path().join("data");
    let ended = store(&data, &["import", file.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(1));
    let start = format!("outpost: {}:2: unknown variant `sesion`", file.display());
    assert!(ended.errors.starts_with(&start), "{}", ended.errors);
    assert!(!data.join("outpost.redb").exists());
}

#[test]
fn verify_tells_what_is_wrong_and_compact_refuses_it() {
    if Broker::is_external() {
        return;
    }
    let broker = left_behind();
    let data = broker.dir().join("data");
    let path = data.join("outpost.redb");
    let text = fine(&data, &["verify"]);
    assert!(text.starts_with("sessions: 1\nsubscriptions: 1\nretained messages: 1\n"), "{text}");
    let sizes = fine(&data, &["compact"]);
    assert!(sizes.starts_with("before: ") && sizes.contains("\nafter: "), "{sizes}");
    let mut bytes = fs::read(&path).expect("read the store");
    let at = find(&bytes, b"number-2").expect("a payload");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("write the store");
    let ended = store(&data, &["verify"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.contains(": 1 pages cannot be read, or have a wrong checksum\n"),
        "{ended:?}"
    );
    let ended = store(&data, &["compact"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.ends_with("the store is damaged: 1 of its pages cannot be read\n"));
    assert!(fs::read(&path).expect("read the store") == bytes, "nothing was written");
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[test]
fn a_store_in_use_is_left_alone() {
    if Broker::is_external() {
        return;
    }
    let broker = Broker::with_config("");
    let data = broker.dir().join("data");
    let file = data.join("outpost.redb");
    let expected =
        format!("outpost: {}: the store is in use by a running broker\n", file.display());
    for line in [&["inspect"][..], &["verify"], &["export", "-"], &["compact"]] {
        let ended = store(&data, line);
        assert_eq!((ended.errors.as_str(), ended.code), (expected.as_str(), Some(1)), "{line:?}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = store(dir.path(), &["inspect"]);
    let file = dir.path().join("outpost.redb");
    let expected = format!("outpost: {}: cannot open: No such file or directory\n", file.display());
    assert_eq!((ended.errors.as_str(), ended.code), (expected.as_str(), Some(1)));
    let config = dir.path().join("c.toml");
    fs::write(&config, format!("[store]\npath = \"{}\"\n", dir.path().display())).expect("write");
    let config = config.to_str().expect("UTF-8");
    let ended = Command::outpost(&["store", "verify", "--config", config]).end();
    assert_eq!((ended.errors.as_str(), ended.code), (expected.as_str(), Some(1)));
}
