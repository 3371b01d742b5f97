//! Status, pause, resume and drain over the control socket, and the status topics.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use outpost_protocol::{Publish, QoS};
use outpost_tests::{Broker, Command, DEADLINE, Ended, free_port, message, v5};
use serde_json::Value;

const POLL: Duration = Duration::from_millis(20);

pub fn port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A gateway with one bridge, "up", to this address.
pub fn gateway(central: SocketAddr) -> Broker {
    Broker::with_config(&config(central))
}

pub fn config(central: SocketAddr) -> String {
    format!(
        "[sys]\ninterval_s = 1\n\
         [[bridge]]\nname = \"up\"\naddress = \"{central}\"\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n\
         [[bridge.topic]]\nfilter = \"t/#\"\ndirection = \"out\"\nremote_prefix = \"far/\"\n"
    )
}

/// A centre that listens on an address known before.
pub fn centre(address: SocketAddr) -> Broker {
    let config = format!("[[listener]]\naddress = \"{address}\"\n[store]\npath = \"data\"\n");
    Broker::with_config_alone(&config, address)
}

pub fn bridge(broker: &Broker, arguments: &[&str]) -> Ended {
    let socket = broker.dir().join("data/control.sock").display().to_string();
    let all = [&["bridge"], arguments, &["--socket", &socket]].concat();
    Command::outpost(&all).end()
}

pub fn status(broker: &Broker) -> Value {
    let ended = bridge(broker, &["status", "up", "--json"]);
    let reports: Value = serde_json::from_str(ended.text()).expect("JSON");
    reports[0].clone()
}

/// Waits until the status is as it should be.
pub fn wait_for(broker: &Broker, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = status(broker);
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}\n{}", broker.log());
        thread::sleep(POLL);
    }
}

fn publish(broker: &Broker, topic: &str, count: usize) {
    let mut client = broker.connect(&v5("publisher"));
    for _ in 0..count {
        client.publish(&Publish { qos: QoS::AtLeastOnce, ..message(topic, b"x") });
    }
}

#[test]
fn status_backlog_pause_resume_and_drain() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let gateway = gateway(address);
    publish(&gateway, "t/1", 5);
    let waiting = wait_for(&gateway, |s| s["state"] == "waiting");
    assert_eq!(waiting["backlog"]["messages"], 5, "{waiting:#}");
    assert_eq!(waiting["last_error"]["kind"], "tcp", "{waiting:#}");
    assert_eq!(waiting["drain_s"], Value::Null, "{waiting:#}");
    let late = bridge(&gateway, &["drain", "up", "--timeout", "0"]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.errors.contains("up: 5 messages are not acknowledged"), "{late:?}");

    let _centre = centre(address);
    assert_eq!(bridge(&gateway, &["drain", "up", "--timeout", "10"]).text(), "up: drained\n");
    let connected = wait_for(&gateway, |s| s["state"] == "connected");
    assert_eq!(connected["backlog"]["messages"], 0, "{connected:#}");
    assert_eq!(connected["out"]["forwarded"], 5, "{connected:#}");
    assert_eq!(connected["address"], address.to_string());
    assert_eq!(connected["wire"]["compressed"], true, "{connected:#}");
    let sent = connected["wire"]["sent_bytes"].as_u64().expect("a number");
    let published = connected["out"]["bytes"].as_u64().expect("a number");
    assert!((1..published + 200).contains(&sent), "{connected:#}");

    assert_eq!(bridge(&gateway, &["pause", "up"]).text(), "up: paused\n");
    publish(&gateway, "t/1", 3);
    let paused = status(&gateway);
    assert_eq!((&paused["state"], &paused["backlog"]["messages"]), (&"paused".into(), &3.into()));
    assert_eq!(paused["out"]["forwarded"], 5, "counts go on");
    assert_eq!(bridge(&gateway, &["resume", "up"]).text(), "up: resumed\n");
    assert_eq!(bridge(&gateway, &["drain", "up", "--timeout", "10"]).text(), "up: drained\n");
    wait_for(&gateway, |s| s["out"]["forwarded"] == 8 && s["state"] == "connected");

    let told = bridge(&gateway, &["status"]);
    assert!(told.text().contains("8 messages"), "{}", told.text());
    let wrong = bridge(&gateway, &["pause", "down"]);
    assert_eq!(wrong.errors, "outpost: there is no bridge \"down\"; there are: up\n");
    let explained = bridge(&gateway, &["explain", "t/7", "--from", "local"]);
    assert!(explained.text().contains("far/t/7"), "{}", explained.text());
    assert!(explained.text().contains("by topic table 1"), "{}", explained.text());
}

#[test]
fn status_topics_tell_the_state_at_once() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let gateway = gateway(address);
    let port = gateway.address().port().to_string();
    let topics = ["-p", &port, "-t", "$SYS/broker/bridge/up/state"];
    let more = ["-t", "$SYS/broker/bridge/up/backlog/messages", "-v"];
    let mut sub = Command::outpost(&[&["sub"], &topics[..], &more].concat());
    sub.line_with("state waiting");
    publish(&gateway, "t/1", 2);
    sub.line_with("backlog/messages 2");
    let _centre = centre(address);
    sub.line_with("state connected");
    sub.line_with("backlog/messages 0");
    bridge(&gateway, &["pause", "up"]);
    sub.line_with("state paused");
}

#[test]
fn the_socket_is_its_owners_and_takes_no_nonsense() {
    if Broker::is_external() {
        return;
    }
    use std::io::{Read, Write};
    let mut gateway = gateway(port());
    let socket = gateway.dir().join("data/control.sock");
    let mode = socket.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for nonsense in ["{}\n", "no JSON\n", "{\"command\":\"status\",\"more\":1}\n"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("connect");
        stream.write_all(nonsense.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("{\"error\":\"no request that is known"), "{answer}");
    }
    gateway.kill();
    assert!(socket.exists(), "it is left behind");
    let ended = bridge(&gateway, &["status"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("nobody runs with this control socket"), "{ended:?}");
    gateway.restart();
    status(&gateway);
    gateway.terminate();
    gateway.wait();
    assert!(!socket.exists());
}
