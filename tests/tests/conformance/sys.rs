//! `$SYS`: what the broker tells of itself, under Mosquitto's names.

use crate::prelude::*;

/// A broker that has told of itself once.
fn broker() -> Broker {
    let broker = Broker::with_config("[sys]\ninterval_s = 1\n");
    let mut client = broker.connect(&v5("first"));
    client.subscribe("$SYS/broker/uptime", AtMostOnce);
    client.take();
    client.disconnect();
    broker
}

/// All of them are there, retained, for a subscriber that comes at any time.
#[test]
fn basics_are_retained() {
    needs_own_broker!();
    let broker = broker();
    let mut client = broker.connect(&v5("c"));
    let names = [
        "version",
        "uptime",
        "clients/connected",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "bytes/sent",
    ];
    for name in names {
        let topic = format!("$SYS/broker/{name}");
        client.subscribe(&topic, AtMostOnce);
        let got = client.take();
        assert_eq!((&got.topic, got.retain), (&topic, true));
        match name {
            "version" => assert!(got.text().contains(char::is_numeric), "{}", got.text()),
            "uptime" => {
                let seconds = got.text().strip_suffix(" seconds").expect("a number of seconds");
                assert!(seconds.parse::<u64>().is_ok(), "{seconds}");
            }
            _ => assert!(got.text().parse::<u64>().is_ok(), "{name}: {}", got.text()),
        }
        client.unsubscribe(&[&topic]);
        while client.stashed().is_some() {}
    }
}

/// And they are kept up to date.
#[test]
fn connected_clients_are_counted() {
    needs_own_broker!();
    let broker = broker();
    let mut watcher = broker.connect(&v5("watcher"));
    watcher.subscribe("$SYS/broker/clients/connected", AtMostOnce);
    let wait_for = |watcher: &mut RawClient, count: &str| {
        while watcher.take().text() != count {}
    };
    wait_for(&mut watcher, "1");
    let second = broker.connect(&v5("second"));
    wait_for(&mut watcher, "2");
    second.disconnect();
    wait_for(&mut watcher, "1");
}

/// `#` and `+/broker/version` do not reach them; other brokers' tools rely on it.
#[test]
fn leading_wildcards_do_not_reach_them() {
    needs_own_broker!();
    let broker = broker();
    let mut client = broker.connect(&v5("c"));
    client.subscribe("#", AtMostOnce);
    client.subscribe("+/broker/version", AtMostOnce);
    client.expect_nothing();
    client.subscribe("$SYS/#", AtMostOnce);
    assert!(client.take().topic.starts_with("$SYS/broker/"));
}

/// Clients cannot forge or delete them.
#[test]
fn clients_cannot_write_them() {
    needs_own_broker!();
    let broker = broker();
    let mut client = broker.connect(&v5("c"));
    for payload in [&b"forged"[..], b""] {
        let topic = "$SYS/broker/version";
        let forged = Message { retain: true, ..message(topic, payload) };
        let refused = Message { qos: AtLeastOnce, packet_id: Some(id(1)), ..forged.clone() };
        client.send(&Packet::Publish(refused));
        assert_eq!(client.expect::<PubAck>().reason, ReasonCode::NotAuthorized);
        client.publish(&forged);
        let mut reader = broker.connect(&v5("reader"));
        reader.subscribe(topic, AtMostOnce);
        let got = reader.take();
        assert!(got.retain && got.text() != "forged" && !got.payload.is_empty(), "{got:?}");
    }
}
