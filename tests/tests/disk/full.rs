//! A disk that is full for a while. The space is taken away by a limit on the length of the files
//! that the broker may write (which any user may set, also in a container): beyond it the system
//! refuses the broker's writes, and lets them through again when it is lifted. And once by a file
//! system of its own that is filled up, where a user may mount one.

use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outpost_protocol::{Connect, Packet, Properties, Property, Publish, QoS, ReasonCode};
use outpost_tests::{Broker, PubAck, RawClient, Received, free_port, message, v5};

/// So much goes into a message: a few hundred of them outgrow any file that the broker begins with.
const PAYLOAD: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// A session that outlives its connection.
fn keeper(broker: &Broker) -> RawClient {
    let properties = [Property::SessionExpiryInterval(3_600)];
    let properties = Properties::list(&properties);
    broker.connect(&Connect { properties, clean_start: false, ..v5("keeper") })
}

/// Sets the limit on the length of files; none: there is no limit.
fn limit_files(broker: &Broker, bytes: Option<u64>) {
    let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let status = Command::new("prlimit")
        .args(["--pid", &broker.pid().to_string(), &format!("--fsize={soft}:unlimited")])
        .stdin(Stdio::null())
        .status()
        .expect("run prlimit");
    assert!(status.success(), "prlimit");
}

/// A broker with an absent session on `q`, whose store can no longer grow.
fn without_space() -> Broker {
    let broker = Broker::with_config_ignoring("XFSZ", "[sys]\ninterval_s = 1\n");
    leave_session(&broker);
    let store = broker.dir().join("data").join("outpost.redb");
    limit_files(&broker, Some(fs::metadata(store).expect("the store").len()));
    broker
}

fn leave_session(broker: &Broker) {
    let mut session = keeper(broker);
    session.subscribe("q", QoS::AtLeastOnce);
    session.disconnect();
}

fn publish(payload: &[u8]) -> Publish<'_> {
    Publish { qos: QoS::AtLeastOnce, ..message("q", payload) }
}

/// Publishes until the store is stuck; how many were acknowledged, and the publisher.
fn fill(broker: &Broker) -> (usize, RawClient) {
    let mut publisher = broker.connect(&v5("filler"));
    let mut acknowledged = 0;
    let stalled = "the store cannot write: what needs it is not acknowledged";
    let deadline = Instant::now() + Duration::from_secs(60);
    while !broker.log().contains(stalled) {
        assert!(Instant::now() < deadline, "the disk is not full");
        let packet_id = Some(publisher.next_packet_id());
        publisher.send(&Packet::Publish(Publish { packet_id, ..publish(&PAYLOAD) }));
        let reasons = acknowledged_by_now(&mut publisher);
        assert!(reasons.iter().all(|reason| *reason == ReasonCode::Success), "{reasons:?}");
        acknowledged += reasons.len();
    }
    (acknowledged, publisher)
}

/// The PUBACKs that come before the answer to a PINGREQ.
fn acknowledged_by_now(client: &mut RawClient) -> Vec<ReasonCode> {
    client.send(&Packet::PingReq);
    let mut reasons = Vec::new();
    loop {
        match client.next_packet().expect("the connection is open") {
            Received::PubAck(ack) => reasons.push(ack.reason),
            Received::PingResp => return reasons,
            other => panic!("{other:?}"),
        }
    }
}

/// What becomes of one QoS 1 message by the time that a PINGRESP is back: its PUBACK, or none yet.
fn try_publish(broker: &Broker) -> Option<ReasonCode> {
    let mut client = broker.connect(&v5("try"));
    let packet_id = Some(client.next_packet_id());
    client.send(&Packet::Publish(Publish { packet_id, ..publish(b"small") }));
    acknowledged_by_now(&mut client).pop()
}

/// The broker runs out of space, as the system says by `why`, and gets it back.
fn goes_on_by_itself(mut broker: Broker, why: &str, give_back: impl FnOnce(&Broker)) {
    let mut live = broker.connect(&v5("live"));
    live.subscribe("live", QoS::AtMostOnce);
    let (acknowledged, mut waiting) = fill(&broker);

    let mut publisher = broker.connect(&v5("publisher"));
    publisher.publish(&message("live", b"goes on"));
    assert_eq!(live.take().text(), "goes on", "QoS 0 needs no store");
    live.subscribe("$SYS/broker/store/state", QoS::AtMostOnce);
    let stalled = format!("stalled: {why}");
    while live.take().text() != stalled {}
    assert_eq!(live.take().text(), stalled, "a second later");
    assert_eq!(try_publish(&broker), Some(ReasonCode::QuotaExceeded));

    give_back(&broker);
    broker.wait_for_log("the store can write again");
    while live.take().text() != "ok" {}
    assert_eq!(waiting.wait_for::<PubAck>().reason, ReasonCode::Success);
    broker.kill();
    broker.restart();
    let mut session = keeper(&broker);
    for _ in 0..=acknowledged {
        assert_eq!(session.take().payload, PAYLOAD);
    }
}

#[test]
fn what_is_acknowledged_is_there_and_all_goes_on_by_itself() {
    if Broker::is_external() {
        return;
    }
    goes_on_by_itself(without_space(), "File too large", |broker| limit_files(broker, None));
}

/// Set in the process that has a file system of its own: its directory.
const MOUNTED: &str = "OUTPOST_TEST_FULL_DISK";

#[test]
#[allow(clippy::print_stderr, reason = "who reads the output is to know what was not tested")]
fn a_file_system_that_is_full_is_waited_for() {
    if Broker::is_external() {
        return;
    }
    if let Some(dir) = env::var_os(MOUNTED) {
        return on_a_full_file_system(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let in_namespace = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--mount", "--map-root-user"]).arg(program).args(arguments);
        command.env(MOUNTED, dir.path()).stdin(Stdio::null()).output()
    };
    let path = dir.path().to_str().expect("the temporary folder is UTF-8");
    let mount = ["-t", "tmpfs", "-o", "size=64m", "outpost", path];
    match in_namespace(Path::new("mount"), &mount) {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => {
            let why = String::from_utf8_lossy(&probe.stderr).into_owned();
            return eprintln!("skipped: no file system can be mounted here: {why}");
        }
        Err(error) => return eprintln!("skipped: no unshare: {error}"),
    }
    let this = env::current_exe().expect("the path of this test");
    let name = "full::a_file_system_that_is_full_is_waited_for";
    let ended = in_namespace(&this, &["--exact", name, "--nocapture"]).expect("run this test");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&ended.stderr));
}

fn on_a_full_file_system(dir: &Path) {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64m", "outpost"]).arg(dir);
    assert!(mount.status().expect("run mount").success(), "mount");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let data = dir.display();
    let config = format!(
        "[sys]\ninterval_s = 1\n[[listener]]\naddress = \"{address}\"\n[store]\npath = \"{data}\"\n"
    );
    let broker = Broker::with_config_alone(&config, address);
    leave_session(&broker);
    let ballast = dir.join("ballast");
    fill_up(&ballast);
    let give_back = |_: &Broker| fs::remove_file(&ballast).expect("remove the ballast");
    goes_on_by_itself(broker, "No space left on device", give_back);
}

fn fill_up(ballast: &Path) {
    let mut file = File::create(ballast).expect("create the ballast");
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("fill the disk: {error}"),
        }
    }
}

#[test]
fn told_to_end_without_space_it_says_what_is_not_stored() {
    if Broker::is_external() {
        return;
    }
    let mut broker = without_space();
    fill(&broker);
    broker.terminate();
    assert_eq!(broker.wait().code(), Some(1));
    let log = broker.log();
    let store = broker.dir().join("data").join("outpost.redb");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("outpost: {}: ", store.display())), "{log}");
    assert!(last.contains("File too large"), "{log}");
}
