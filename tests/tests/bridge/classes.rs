//! Classes: links of their own for some topics, with priorities, hours, rates, a share for what is new,
//! and the time told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outpost_protocol::{Packet, Property, Publish, QoS};
use outpost_tests::{Broker, Proxy, PubAck, Publish as Received, Quality, message, v5};
use serde_json::Value;

use crate::control::{bridge, centre, port};

fn gateway(central: SocketAddr, classes: &str) -> Broker {
    Broker::with_config(&format!(
        "[sys]\ninterval_s = 1\n\
         [[bridge]]\nname = \"up\"\naddress = \"{central}\"\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n{classes}\n\
         [[bridge.topic]]\nfilter = \"alarms/#\"\ndirection = \"out\"\nclass = \"alarms\"\n\
         [[bridge.topic]]\nfilter = \"#\"\ndirection = \"out\"\nclass = \"bulk\"\n"
    ))
}

const CLASSES: &str = "[[bridge.class]]\nname = \"alarms\"\npriority = 90\n";

fn publish(broker: &Broker, topic: &str, payloads: impl IntoIterator<Item = String>) {
    let mut client = broker.connect(&v5("publisher"));
    let mut count = 0;
    for payload in payloads {
        let packet_id = Some(client.next_packet_id());
        let publish = message(topic, payload.as_bytes());
        let publish = Publish { qos: QoS::AtLeastOnce, packet_id, ..publish };
        client.send(&Packet::Publish(publish));
        count += 1;
    }
    for _ in 0..count {
        client.expect::<PubAck>();
    }
}

fn numbered(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{name}{number}"))
}

fn reports(broker: &Broker, name: &str) -> Vec<Value> {
    let ended = bridge(broker, &["status", name, "--json"]);
    let reports: Value = serde_json::from_str(ended.text()).expect("JSON");
    reports.as_array().expect("a list").clone()
}

fn names(reports: &[Value]) -> Vec<&str> {
    reports.iter().filter_map(|report| report["name"].as_str()).collect()
}

#[test]
fn each_class_has_a_session_and_a_status() {
    let address = port();
    let central = centre(address);
    let bulk = "[[bridge.class]]\nname = \"bulk\"\n";
    let gateway = gateway(address, &format!("{CLASSES}{bulk}"));
    let mut all = central.connect(&v5("all"));
    all.subscribe("#", QoS::AtLeastOnce);
    publish(&gateway, "alarms/fire", ["1".to_owned()]);
    assert_eq!(all.take().payload, b"1", "and once, although two rules fit it");
    publish(&gateway, "other", ["2".to_owned()]);
    assert_eq!(all.take().payload, b"2");
    assert_eq!(names(&reports(&gateway, "up")), ["up.alarms", "up.bulk"]);
    assert_eq!(names(&reports(&gateway, "up.bulk")), ["up.bulk"]);
    let explained = bridge(&gateway, &["explain", "alarms/fire", "--from", "local"]);
    let expected = "in class alarms; it waits in the queue of outpost-up.alarms";
    assert!(explained.text().contains(expected), "{explained:?}");
    // One class pauses, and the other goes on.
    assert_eq!(bridge(&gateway, &["pause", "up.bulk"]).text(), "up.bulk: paused\n");
    publish(&gateway, "other", ["3".to_owned()]);
    publish(&gateway, "alarms/fire", ["4".to_owned()]);
    assert_eq!(all.take().payload, b"4");
    assert_eq!(bridge(&gateway, &["resume", "up"]).text(), "up: resumed\n");
    assert_eq!(all.take().payload, b"3");
    let drained = bridge(&gateway, &["drain", "up", "--timeout", "10"]);
    assert_eq!(drained.text(), "up: drained\n");
}

/// An hour that is not now.
#[test]
fn outside_its_hours_a_class_waits_and_others_do_not() {
    let address = port();
    let central = centre(address);
    let bulk = |allow: &str| format!("[[bridge.class]]\nname = \"bulk\"\nallow = [{allow}]\n");
    let far = |hours: u64| {
        let zone = jiff::Zoned::now();
        let at = |more: u64| (u64::from(zone.hour().unsigned_abs()) + hours + more) % 24;
        format!("\"{:02}:30-{:02}:30\"", at(0), at(1))
    };
    let gateway = gateway(address, &format!("{CLASSES}{}", bulk(&far(5))));
    let mut all = central.connect(&v5("all"));
    all.subscribe("#", QoS::AtLeastOnce);
    publish(&gateway, "other", ["bulk".to_owned()]);
    publish(&gateway, "alarms/fire", ["alarm".to_owned()]);
    assert_eq!(all.take().payload, b"alarm");
    let report = &reports(&gateway, "up.bulk")[0];
    assert_eq!(report["state"], "outside_hours", "{report:#}");
    assert_eq!(report["backlog"]["messages"], 1, "{report:#}");
    assert!(report["next_attempt_s"].as_u64().is_some_and(|s| s > 3600), "{report:#}");
    // The operator needs it now.
    let file = gateway.dir().join("outpost.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let changed = text.replace(&far(5), "\"00:00-24:00\"");
    std::fs::write(&file, changed).expect("write");
    assert!(bridge(&gateway, &["reload"]).text().contains("up.bulk: changed"));
    assert_eq!(all.take().payload, b"bulk");
}

#[test]
fn a_rate_holds_and_alarms_do_not_wait_for_it() {
    let address = port();
    let central = centre(address);
    let bulk = "[[bridge.class]]\nname = \"bulk\"\nmessages_per_s = 20\n";
    let gateway = gateway(address, &format!("{CLASSES}{bulk}"));
    let mut all = central.connect(&v5("all"));
    all.subscribe("#", QoS::AtLeastOnce);
    publish(&gateway, "alarms/fire", ["up".to_owned()]);
    assert_eq!(all.take().payload, b"up");
    let start = Instant::now();
    publish(&gateway, "other", numbered("", 40));
    publish(&gateway, "alarms/fire", ["alarm".to_owned()]);
    let mut before = 0;
    let mut got: Vec<Vec<u8>> = Vec::new();
    while got.len() < 41 {
        let payload = all.take().payload;
        if payload == b"alarm" {
            before = got.len();
        }
        got.push(payload);
    }
    // 40 messages at 20 a second, of which two and one go at once.
    assert!(start.elapsed() >= Duration::from_millis(1_800), "{:?}", start.elapsed());
    assert!(before < 40, "the alarm came after {before}");
    got.retain(|payload| payload != b"alarm");
    assert!(got.iter().map(|p| String::from_utf8_lossy(p).into_owned()).eq(numbered("", 40)));
}

#[test]
fn new_messages_come_between_old_ones_and_all_tell_their_time() {
    const OLD: usize = 500;
    let address = port();
    let bulk = "[[bridge.class]]\nname = \"bulk\"\nlive_percent = 50\nstamp = true\n\
                messages_per_s = 500\n";
    let gateway = gateway(address, &format!("inflight_max = 100\n{CLASSES}{bulk}"));
    publish(&gateway, "other", numbered("old", OLD));
    // Times are told in whole seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let central = centre(address);
    let mut all = central.connect(&v5("all"));
    all.subscribe("#", QoS::AtLeastOnce);
    let first = all.take();
    assert_eq!(first.payload, b"old0");
    assert_eq!(keys(&first), ["outpost-time", "outpost-backlog"]);
    publish(&gateway, "other", ["new".to_owned()]);
    let mut old = 1;
    let mut new_after = None;
    while old < OLD {
        let message = all.take();
        if message.payload == b"new" {
            assert_eq!(keys(&message), ["outpost-time"]);
            new_after = Some(old);
        } else {
            assert_eq!(message.payload, format!("old{old}").as_bytes());
            old += 1;
        }
    }
    assert!(new_after.is_some_and(|after| after < OLD), "{new_after:?}");
}

/// The link carries 1 MB a second for each connection; alarms have four to send.
#[test]
fn alarms_that_fill_the_link_go_first() {
    const ALARMS: usize = 200;
    let central = Broker::start();
    let bytes_per_s = Some(1_000_000);
    let link = Proxy::start(central.address(), Quality { delay: Duration::ZERO, bytes_per_s });
    let plain = "compression = \"none\"\n[[bridge.class]]\nname = \"bulk\"\npriority = 10\n";
    let gateway = gateway(link.address(), &format!("{plain}{CLASSES}"));
    let mut all = central.connect(&v5("all"));
    all.subscribe("#", QoS::AtLeastOnce);
    publish(&gateway, "alarms/fire", (0..ALARMS).map(|_| "x".repeat(20_000)));
    assert_eq!(all.take().topic, "alarms/fire");
    publish(&gateway, "other", ["bulk".to_owned()]);
    let before = (1..=ALARMS).find(|_| all.take().topic == "other");
    // The last alarms are on their way by then, in the buffers of the link.
    assert!(before.is_some_and(|before| before > ALARMS / 2), "{before:?}");
}

fn keys(message: &Received) -> Vec<String> {
    let properties = message.props();
    let keys = properties.iter().filter_map(|property| match property {
        Property::UserProperty(key, _) if key != "outpost-origin" => Some(key.to_owned()),
        _ => None,
    });
    keys.collect()
}
