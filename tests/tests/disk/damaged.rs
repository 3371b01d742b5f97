//! A damaged store at the start: salvaged, or refused, and always kept.

use std::fs;
use std::path::PathBuf;

use outpost_protocol::{Connect, Properties, Property, QoS};
use outpost_tests::{Broker, Command, RawClient, message, v5};

/// A session that outlives its connection.
fn keeper(broker: &Broker) -> RawClient {
    let properties = [Property::SessionExpiryInterval(3_600)];
    let properties = Properties::list(&properties);
    broker.connect(&Connect { properties, clean_start: false, ..v5("keeper") })
}

/// A broker that has ended, with a session that waits for 100 messages and with 100 retained ones.
fn filled(config: &str) -> (Broker, PathBuf) {
    let mut broker = Broker::with_config(config);
    let mut keeper = keeper(&broker);
    keeper.subscribe("q/#", QoS::AtLeastOnce);
    keeper.disconnect();
    let mut publisher = broker.connect(&v5("publisher"));
    for n in 0..100 {
        let (queued, kept) = (format!("q/{n}"), format!("kept/{n}"));
        let payload = format!("payload-{n}").repeat(20);
        let publish = message(&queued, payload.as_bytes());
        publisher.publish(&outpost_protocol::Publish { qos: QoS::AtLeastOnce, ..publish });
        let publish = message(&kept, payload.as_bytes());
        let retain = true;
        publisher.publish(&outpost_protocol::Publish { qos: QoS::AtLeastOnce, retain, ..publish });
    }
    broker.terminate();
    assert!(broker.wait().success());
    let path = broker.dir().join("data").join("outpost.redb");
    (broker, path)
}

/// Damages the file so that the broker cannot open it.
fn damage(path: &PathBuf) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("read the store");
    // The header's page size: redb does not open it then, the pages are all there.
    bytes[12..16].fill(0xff);
    fs::write(path, &bytes).expect("damage the store");
    bytes
}

fn set_aside(broker: &Broker) -> Vec<PathBuf> {
    let entries = fs::read_dir(broker.dir().join("data")).expect("list the data directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_aside = |path: &PathBuf| path.to_string_lossy().contains("outpost.redb.corrupt-");
    paths.filter(is_aside).collect()
}

#[test]
fn it_is_salvaged_and_kept() {
    if Broker::is_external() {
        return;
    }
    let (mut broker, path) = filled("[sys]\ninterval_s = 1\n");
    let damaged = damage(&path);
    broker.restart();
    let [aside] = &set_aside(&broker)[..] else { panic!("{:?}", set_aside(&broker)) };
    assert!(fs::read(aside).expect("read what was set aside") == damaged);
    let log = broker.log();
    assert!(log.contains(&aside.display().to_string()), "{log}");
    for rows in ["queued messages", "retained messages"] {
        assert!(log.contains(&format!("rows=\"{rows}\" kept=100 lost=0")), "{log}");
    }
    let mut client = broker.connect(&v5("watcher"));
    client.subscribe("$SYS/broker/store/salvaged", QoS::AtMostOnce);
    assert_eq!(client.take().text(), "202");
    client.subscribe("kept/#", QoS::AtMostOnce);
    (0..100).for_each(|_| assert!(client.take().retain));
    let mut keeper = keeper(&broker);
    assert!(keeper.connack().session_present);
    for n in 0..100 {
        assert_eq!(keeper.take().topic, format!("q/{n}"));
    }
}

#[test]
fn it_is_refused_and_left_as_it_is() {
    if Broker::is_external() {
        return;
    }
    let (broker, path) = filled("");
    let damaged = damage(&path);
    let data = broker.dir().join("data");
    let config = broker.dir().join("refuse.toml");
    fs::write(&config, "[store]\non_corrupt = \"refuse\"\n").expect("write the configuration");
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (config, data) = (text(&config), text(&data));
    let line = ["run", "-c", &config, "--listen", "127.0.0.1:0", "--data", &data];
    let ended = Command::outpost(&line).end();
    assert_eq!(ended.code, Some(1));
    let start = format!("outpost: {}: the store is damaged", path.display());
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.starts_with(&start), "{}", ended.errors);
    assert!(last.contains("store.on_corrupt = \"refuse\""), "{}", ended.errors);
    assert!(fs::read(&path).expect("read the store") == damaged, "not a byte has changed");
    assert!(set_aside(&broker).is_empty());
}

/// Damage that an earlier run met: redb would open the file without a word, so every page is looked
/// at.
#[test]
fn a_store_under_suspicion_is_checked_and_salvaged() {
    if Broker::is_external() {
        return;
    }
    let (mut broker, path) = filled("");
    let note = path.with_file_name("outpost.redb.suspect");
    fs::write(&note, "a page could not be read").expect("write the note");
    broker.restart();
    assert!(!note.exists() && set_aside(&broker).is_empty(), "it is sound");
    broker.terminate();
    assert!(broker.wait().success());

    let mut bytes = fs::read(&path).expect("read the store");
    let at = find(&bytes, b"payload-50payload").expect("a payload");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("damage the store");
    fs::write(&note, "a page could not be read").expect("write the note");
    broker.restart();
    let log = broker.log();
    assert_eq!(log.matches("checking every page").count(), 2, "{log}");
    assert!(!note.exists());
    let [aside] = &set_aside(&broker)[..] else { panic!("{:?}", set_aside(&broker)) };
    assert!(fs::read(aside).expect("read what was set aside") == bytes);
    assert!(log.contains("damaged_pages=1"), "{log}");
    let mut session = keeper(&broker);
    assert!(session.take().topic.starts_with("q/"), "what is on other pages is there");
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
