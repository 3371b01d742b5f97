//! Remote brokers that send as fast as they can, or take nothing: the gateway's memory stays bounded,
//! and it goes on serving its clients.

use std::fs;
use std::sync::mpsc;
use std::thread;

use outpost_protocol::{Packet, PacketId, Publish, QoS};
use outpost_tests::{Broker, Caller, DEADLINE, FakeRemote, message, v5};
use serde_json::Value;

use crate::control::wait_for;
use crate::remote_errors::{OUT_AND_IN, gateway, publish};

/// What a flood is made of.
const FLOOD_BYTES: usize = 100 << 20;

/// What the gateway may grow by, though: its queues, buffers and windows are full then.
const GROWTH_BYTES_MAX: u64 = 50 << 20;

/// The most memory that it has ever had resident.
fn peak_bytes(broker: &Broker) -> u64 {
    let path = format!("/proc/{}/status", broker.pid());
    let status = fs::read_to_string(path).expect("the broker runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is there");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("in kB");
    kib * 1024
}

#[track_caller]
fn assert_bounded(broker: &Broker, before: u64) {
    let growth = peak_bytes(broker) - before;
    assert!(growth < GROWTH_BYTES_MAX, "it grew by {} MiB", growth >> 20);
}

/// Sends messages of 1 KiB, with identifiers in turn, and takes what comes meanwhile.
fn flood(caller: &mut Caller, topic: &str, qos: QoS) -> Option<()> {
    let mut reader = caller.stream.try_clone().expect("clone the socket");
    let swallowed = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let payload = [b'x'; 1024];
    let mut id = 0;
    let sent = (0..FLOOD_BYTES / payload.len()).try_for_each(|_| {
        id = id % 60_000 + 1;
        let packet_id = PacketId::new(id).filter(|_| qos != QoS::AtMostOnce);
        caller.send(&Packet::Publish(Publish { qos, packet_id, ..message(topic, &payload) }))
    });
    drop(swallowed);
    sent
}

/// The gateway while a remote broker floods it once, and its status after that.
#[track_caller]
fn flooded(version: &str, topic: &'static str, qos: QoS) -> Value {
    let (sender, done) = mpsc::channel();
    let remote = FakeRemote::start(move |caller| {
        caller.welcome(&[])?;
        caller.answer_one()?;
        if caller.number == 0 {
            let all = flood(caller, topic, qos);
            let _ = sender.send(all.is_some());
            return None;
        }
        caller.serve(|packet, answer| answer.politely(packet))
    });
    let limits = "[limits]\nmemory_queue_bytes_max = \"1 MiB\"\n";
    let gateway = gateway(&remote, version, &format!("{OUT_AND_IN}{limits}"));
    let before = peak_bytes(&gateway);
    let mut client = gateway.connect(&v5("client"));
    client.subscribe("down/#", QoS::AtLeastOnce);
    let mut own = gateway.connect(&v5("own"));
    while done.try_recv().is_err() {
        own.ping();
    }
    assert_bounded(&gateway, before);
    // The next link is as good as any.
    wait_for(&gateway, |status| remote.connections() > 1 && status["state"] == "connected")
}

#[test]
fn qos_0() {
    flooded("5", "down/x", QoS::AtMostOnce);
}

#[test]
fn qos_1() {
    for version in ["3.1.1", "5"] {
        flooded(version, "down/x", QoS::AtLeastOnce);
    }
}

#[test]
fn topics_that_were_not_subscribed_to() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let status = flooded("5", "elsewhere", qos);
        assert_eq!(status["in"]["forwarded"], 0, "{status:#}");
        assert!(status["in"]["dropped"]["unmapped"].as_u64() > Some(0), "{status:#}");
    }
}

#[test]
fn a_remote_that_takes_no_bytes() {
    let remote = FakeRemote::start(|caller| {
        caller.welcome(&[])?;
        caller.answer_one()?;
        thread::sleep(DEADLINE);
        None
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    wait_for(&gateway, |status| status["state"] == "connected");
    let before = peak_bytes(&gateway);
    let payload = "x".repeat(100 * 1024);
    publish(&gateway, "up/x", QoS::AtLeastOnce, &vec![payload.as_str(); 300]);
    let status = wait_for(&gateway, |status| status["last_error"]["kind"] == "timeout");
    assert_eq!(status["last_error"]["what"], "remote broker took no bytes for 1 s", "{status:#}");
    assert_eq!(status["backlog"]["messages"], 300, "{status:#}");
    assert_bounded(&gateway, before);
}
