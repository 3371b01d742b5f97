//! Bridges without a broker: `outpost bridge -c FILE` between two brokers of any make, killed in the
//! middle of what it carries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use outpost_tests::{Broker, Command, DEADLINE, Ended, unique};
use serde_json::Value;
use tempfile::TempDir;

use crate::control::port;

const POLL: Duration = Duration::from_millis(20);

/// Messages of each topic between two kills.
const ROUND: usize = 200;

const ROUNDS: usize = 4;

/// A broker, of one make or the other.
enum Site {
    Outpost(Broker),
    Mosquitto { address: SocketAddr, process: Option<Command>, dir: TempDir },
}

impl Site {
    fn outpost() -> Self {
        Self::Outpost(Broker::with_config("[limits]\nqueue_messages_max = 100000\n"))
    }

    fn mosquitto() -> Self {
        let (address, dir) = (port(), tempfile::tempdir().expect("a directory"));
        let text = format!(
            "user root\nlistener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
             persistence true\nautosave_interval 1\npersistence_location {}/\n",
            address.port(),
            dir.path().display()
        );
        fs::write(dir.path().join("mosquitto.conf"), text).expect("write mosquitto.conf");
        let mut site = Self::Mosquitto { address, process: None, dir };
        site.start();
        site
    }

    fn start(&mut self) {
        match self {
            Self::Outpost(broker) => broker.restart(),
            Self::Mosquitto { address, process, dir } => {
                let file = dir.path().join("mosquitto.conf");
                let arguments = ["-c", file.to_str().expect("UTF-8")];
                *process = Some(Command::start("mosquitto", &arguments));
                let deadline = Instant::now() + DEADLINE;
                while std::net::TcpStream::connect(*address).is_err() {
                    assert!(Instant::now() < deadline, "mosquitto does not listen");
                    thread::sleep(POLL);
                }
            }
        }
    }

    /// Ends it in order: Mosquitto writes its sessions down.
    fn stop(&mut self) {
        match self {
            Self::Outpost(broker) => {
                broker.terminate();
                broker.wait();
            }
            Self::Mosquitto { process, .. } => {
                let process = process.take().expect("it runs");
                process.signal("TERM");
                process.end();
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Outpost(broker) => broker.address(),
            Self::Mosquitto { address, .. } => *address,
        }
    }

    /// Publishes these numbers to a topic.
    fn publish(&self, topic: &str, qos: &str, numbers: std::ops::Range<usize>) -> Command {
        let port = self.address().port().to_string();
        let mut publisher = Command::outpost(&["pub", "-p", &port, "-t", topic, "-q", qos, "-l"]);
        let lines: String = numbers.map(|number| format!("{number}\n")).collect();
        publisher.write(lines.as_bytes());
        publisher.close_input();
        publisher
    }

    /// A subscriber whose lines are topics and payloads.
    fn subscribe(&self, filter: &str) -> Command {
        let port = self.address().port().to_string();
        let filters = ["-t", filter, "-t", "ready"];
        let words = ["sub", "-p", &port, "-q", "2", "-v"];
        let mut subscriber = Command::outpost(&[&words[..], &filters].concat());
        let ready = ["pub", "-p", &port, "-t", "ready", "-m", "1", "-r"];
        assert_eq!(Command::outpost(&ready).end().code, Some(0));
        assert_eq!(subscriber.line(), "ready 1");
        subscriber
    }
}

/// `outpost bridge -c FILE`, with its file and its socket.
struct Alone {
    dir: TempDir,
    process: Option<Command>,
}

impl Alone {
    /// Topics below `out` go out, those below `in` come in.
    fn between(local: &Site, local_version: &str, remote: &Site, remote_version: &str) -> Self {
        let alone = Self { dir: tempfile::tempdir().expect("a directory"), process: None };
        alone.configure(&config(local.address(), local_version, remote.address(), remote_version));
        alone.started()
    }

    fn started(mut self) -> Self {
        self.start();
        self
    }

    fn configure(&self, text: &str) {
        fs::write(self.file(), text).expect("write the configuration");
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("bridge.toml")
    }

    fn socket(&self) -> String {
        self.dir.path().join("bridge.sock").display().to_string()
    }

    fn start(&mut self) {
        let file = self.file().display().to_string();
        let arguments = ["bridge", "-c", &file, "--socket", &self.socket()];
        self.process = Some(Command::outpost(&arguments));
    }

    fn process(&self) -> &Command {
        self.process.as_ref().expect("it runs")
    }

    fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal("KILL");
        assert_eq!(process.end().code, None);
    }

    fn command(&self, arguments: &[&str]) -> Ended {
        let socket = self.socket();
        Command::outpost(&[&["bridge"], arguments, &["--socket", &socket]].concat()).end()
    }

    fn wait_for(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ended = self.command(&["status", "up", "--json"]);
            let reports: Value = serde_json::from_slice(&ended.output).unwrap_or_default();
            if is_so(&reports[0]) {
                return reports[0].clone();
            }
            assert!(Instant::now() < deadline, "{ended:?}");
            thread::sleep(POLL);
        }
    }

    fn wait_until_connected(&self) -> Value {
        self.wait_for(|status| status["state"] == "connected")
    }
}

fn config(
    local: SocketAddr,
    local_version: &str,
    remote: SocketAddr,
    remote_version: &str,
) -> String {
    format!(
        "[local]\naddress = \"{local}\"\nversion = \"{local_version}\"\n\
         [[bridge]]\nname = \"up\"\naddress = \"{remote}\"\nversion = \"{remote_version}\"\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n\
         [[bridge.topic]]\nfilter = \"out/#\"\ndirection = \"out\"\nqos = 2\n\
         remote_prefix = \"far/\"\n\
         [[bridge.topic]]\nfilter = \"in/#\"\ndirection = \"in\"\nqos = 2\n\
         remote_prefix = \"far/\"\n"
    )
}

/// What one subscriber got, by topic.
#[derive(Default)]
struct Got(BTreeMap<String, Vec<usize>>);

impl Got {
    fn take(&mut self, subscriber: &mut Command) -> String {
        let line = subscriber.line();
        let (topic, number) = line.split_once(' ').expect("a topic and a payload");
        self.0.entry(topic.into()).or_default().push(number.parse().expect("a number"));
        line
    }

    /// Each once and in order, nothing missing.
    fn check(&self, topic: &str) {
        self.check_numbers(topic, self.numbers(topic));
    }

    /// Nothing missing, in order; some may have been repeated.
    fn check_repeated(&self, topic: &str) {
        let mut seen = BTreeSet::new();
        let mut numbers = self.numbers(topic);
        numbers.retain(|number| seen.insert(*number));
        self.check_numbers(topic, numbers);
    }

    /// Nothing missing.
    fn check_present(&self, topic: &str) {
        let numbers: BTreeSet<usize> = self.numbers(topic).into_iter().collect();
        self.check_numbers(topic, numbers.into_iter().collect());
    }

    fn numbers(&self, topic: &str) -> Vec<usize> {
        self.0.get(topic).cloned().unwrap_or_default()
    }

    fn check_numbers(&self, topic: &str, numbers: Vec<usize>) {
        let all: Vec<usize> = (0..ROUND * ROUNDS).collect();
        assert!(numbers == all, "{topic}: {numbers:?}");
    }
}

/// Messages of QoS 1 and 2 in both directions while the bridge is killed again and again.
fn carries_all_through_kills(local: &Site, local_version: &str, remote: &Site, version: &str) {
    let mut alone = Alone::between(local, local_version, remote, version);
    alone.wait_until_connected();
    let mut far = remote.subscribe("far/out/#");
    let mut near = local.subscribe("in/#");
    let (mut got_far, mut got_near) = (Got::default(), Got::default());
    for round in 0..ROUNDS {
        let numbers = round * ROUND..(round + 1) * ROUND;
        let publishers = [(local, "out/"), (remote, "far/in/")].map(|(site, topic)| {
            ["1", "2"].map(|qos| site.publish(&format!("{topic}{qos}"), qos, numbers.clone()))
        });
        // In the middle of it.
        for _ in 0..30 {
            got_far.take(&mut far);
            got_near.take(&mut near);
        }
        alone.kill();
        for publisher in publishers.into_iter().flatten() {
            assert_eq!(publisher.end().code, Some(0));
        }
        alone.start();
        alone.wait_until_connected();
    }
    for (site, topic) in [(local, "out/end"), (remote, "far/in/end")] {
        assert_eq!(site.publish(topic, "2", 0..1).end().code, Some(0));
    }
    while got_far.take(&mut far) != "far/out/end 0" {}
    while got_near.take(&mut near) != "in/end 0" {}
    for (from, to, got, topic) in
        [(local, remote, &got_far, "far/out/"), (remote, local, &got_near, "in/")]
    {
        got.check(&format!("{topic}2"));
        let topic = format!("{topic}1");
        match (from, to) {
            (Site::Outpost(_), Site::Outpost(_)) => got.check(&topic),
            (Site::Outpost(_), Site::Mosquitto { .. }) => got.check_repeated(&topic),
            // After a reconnection version 2.0.11 may send what has been queued before what was under
            // way.
            (Site::Mosquitto { .. }, _) => got.check_present(&topic),
        }
    }
}

#[test]
fn between_two_mosquittos_with_3_1_1_and_5() {
    if Broker::is_external() {
        return;
    }
    for (local_version, version) in [("3.1.1", "3.1.1"), ("5", "3.1.1"), ("5", "5")] {
        carries_all_through_kills(&Site::mosquitto(), local_version, &Site::mosquitto(), version);
    }
}

/// QoS 1 is exactly once, too.
#[test]
fn between_two_outposts() {
    if Broker::is_external() {
        return;
    }
    carries_all_through_kills(&Site::outpost(), "5", &Site::outpost(), "5");
}

#[test]
fn between_a_mosquitto_and_an_outpost() {
    if Broker::is_external() {
        return;
    }
    carries_all_through_kills(&Site::mosquitto(), "5", &Site::outpost(), "5");
    carries_all_through_kills(&Site::outpost(), "3.1.1", &Site::mosquitto(), "5");
}

/// Before the first link, after it, and while the local broker itself is away.
#[test]
fn a_site_that_is_away_loses_nothing() {
    if Broker::is_external() {
        return;
    }
    let (mut local, mut remote) = (Site::mosquitto(), Site::outpost());
    remote.stop();
    let alone = Alone::between(&local, "3.1.1", &remote, "5");
    alone.wait_for(|status| status["last_error"]["kind"] == "tcp");
    assert_eq!(local.publish("out/2", "2", 0..100).end().code, Some(0));
    assert_eq!(alone.command(&["pause", "up"]).code, Some(0));
    remote.start();
    let mut far = remote.subscribe("far/out/#");
    assert_eq!(alone.command(&["resume", "up"]).code, Some(0));
    let mut got = Got::default();
    while got.take(&mut far) != "far/out/2 99" {}
    alone.wait_for(|status| status["out"]["forwarded"] == 100);

    local.stop();
    let away = alone.wait_for(|status| status["last_error"]["kind"] == "local");
    assert_eq!(away["local_address"], local.address().to_string());
    assert_eq!(remote.publish("far/in/2", "2", 0..100).end().code, Some(0));
    local.start();
    let mut near = local.subscribe("in/#");
    let mut got_near = Got::default();
    while got_near.take(&mut near) != "in/2 99" {}
    assert_eq!(local.publish("out/2", "2", 100..200).end().code, Some(0));
    while got.take(&mut far) != "far/out/2 199" {}
    assert_eq!(got.0["far/out/2"], (0..200).collect::<Vec<_>>());
}

#[test]
fn the_operator_sees_and_steers_it() {
    if Broker::is_external() {
        return;
    }
    let (local, remote) = (Site::outpost(), Site::outpost());
    let mut alone = Alone::between(&local, "5", &remote, "5");
    alone.wait_until_connected();
    let shown = alone.command(&["status"]);
    assert!(shown.text().contains(&format!("local         {}", local.address())), "{shown:?}");
    let explained = alone.command(&["explain", "out/7", "--from", "local"]);
    assert!(explained.text().contains("\"far/out/7\""), "{explained:?}");
    assert_eq!(alone.command(&["pause", "up"]).text(), "up: paused\n");
    alone.wait_for(|status| status["state"] == "paused");
    assert_eq!(alone.command(&["resume", "up"]).text(), "up: resumed\n");
    alone.wait_until_connected();
    let drained = alone.command(&["drain", "up"]);
    assert!(
        drained.errors.contains("in the local broker, which is another program"),
        "{drained:?}"
    );

    let two = Command::outpost(&[
        "bridge",
        "-c",
        alone.file().to_str().expect("UTF-8"),
        "--socket",
        &alone.socket(),
    ])
    .end();
    assert_eq!(two.code, Some(1));
    assert!(two.errors.contains("another program runs with this control socket"), "{two:?}");

    let (here, there) = (local.address(), remote.address());
    alone.configure(&config(here, "5", there, "5").replace("out/#", "new/#"));
    alone.process().signal("HUP");
    alone.process().wait_for_error("changed", 1);
    alone.wait_until_connected();
    let mut far = remote.subscribe("far/new/#");
    assert_eq!(local.publish("new/2", "2", 0..1).end().code, Some(0));
    assert_eq!(far.line(), "far/new/2 0");
    alone.configure("[log]\nlevel = \"info\"\n");
    let refused = alone.command(&["reload"]);
    assert!(refused.errors.contains("[local] has come or gone"), "{refused:?}");

    alone.process().signal("TERM");
    let ended = alone.process.take().expect("it runs").end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!Path::new(&alone.socket()).exists());
    assert_eq!(alone.command(&["status"]).code, Some(1));
}

/// Messages that a bridge brought do not go back by it: no-local with 5.0, the bridge bit with 3.1.1.
#[test]
fn both_ways_does_not_go_round() {
    if Broker::is_external() {
        return;
    }
    for version in ["3.1.1", "5"] {
        let (local, remote) = (Site::mosquitto(), Site::mosquitto());
        let mut alone = Alone { dir: tempfile::tempdir().expect("a directory"), process: None };
        let both = format!(
            "[local]\naddress = \"{}\"\nversion = \"{version}\"\n\
             [[bridge]]\nname = \"up\"\naddress = \"{}\"\nversion = \"{version}\"\n\
             [[bridge.topic]]\nfilter = \"shared/#\"\ndirection = \"both\"\nqos = 2\n",
            local.address(),
            remote.address()
        );
        alone.configure(&both);
        alone.start();
        alone.wait_until_connected();
        let (mut near, mut far) = (local.subscribe("shared/#"), remote.subscribe("shared/#"));
        let topic = format!("shared/{}", unique("t"));
        for (site, number) in [(&local, 1), (&remote, 2), (&local, 3)] {
            assert_eq!(site.publish(&topic, "2", number..number + 1).end().code, Some(0));
            for subscriber in [&mut near, &mut far] {
                assert_eq!(subscriber.line(), format!("{topic} {number}"));
            }
        }
    }
}

#[test]
fn what_is_wrong_with_its_file_is_told() {
    if Broker::is_external() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("f.toml").display().to_string();
    let wrong = |command: &[&str], text: &str| {
        fs::write(&file, text).expect("write");
        let ended = Command::outpost(&[command, &["-c", &file]].concat()).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.errors.replace(&file, "FILE")
    };
    let local = "[local]\naddress = \"127.0.0.1:1883\"\n";
    assert_eq!(
        wrong(&["bridge"], &format!("{local}version = \"6\"\n")),
        "outpost: FILE:3: local.version = \"6\": must be \"5\" or \"3.1.1\"\n"
    );
    assert!(wrong(&["bridge"], "").starts_with("outpost: FILE: local: is missing"));
    assert!(wrong(&["run"], local).starts_with("outpost: FILE: local: a file with [local] is for"));
    assert!(wrong(&["bridge", "status"], local).contains("give --socket PATH"));
    let ended = Command::outpost(&["bridge"]).end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
