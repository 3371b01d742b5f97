//! What happens at each configured limit: the one who went over it is told, nobody else notices.

use std::thread;
use std::time::{Duration, Instant};

use crate::prelude::*;

fn qos1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: AtLeastOnce, ..message(topic, payload) }
}

/// Sends a QoS 1 or 2 PUBLISH with packet identifier `number` and returns the reason code of its
/// first acknowledgement.
fn publish_reason(client: &mut RawClient, number: u16, publish: &Message<'_>) -> ReasonCode {
    client.send(&Packet::Publish(Message { packet_id: Some(id(number)), ..publish.clone() }));
    match publish.qos {
        ExactlyOnce => client.wait_for::<PubRec>().reason,
        _ => client.wait_for::<PubAck>().reason,
    }
}

/// CONNECT until it is let in: a connection that has been closed counts until the broker has seen
/// that, and so does the one with which the harness found the broker listening.
fn connect_soon(broker: &Broker, connect: &Connect<'_>) -> RawClient {
    let begin = Instant::now();
    loop {
        let mut client = broker.open(connect.version);
        let packet = client.encode(&Packet::Connect(connect.clone()));
        client.send_if_open(&packet);
        if let Some(Received::ConnAck(ack)) = client.next_packet()
            && ack.reason == ReasonCode::Success
        {
            return client;
        }
        assert!(begin.elapsed() < outpost_tests::DEADLINE, "never let in");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn connections() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nconnections_max = 2\n");
    let mut one = connect_soon(&broker, &v5("one"));
    let two = connect_soon(&broker, &v5("two"));
    let mut three = broker.open(V5);
    let packet = three.encode(&Packet::Connect(v5("three")));
    three.send_if_open(&packet);
    match three.next_packet() {
        None => {}
        Some(Received::ConnAck(ack)) => assert!(ack.reason.is_error(), "{ack:?}"),
        other => panic!("{other:?}"),
    }
    one.expect_nothing();
    two.disconnect();
    connect_soon(&broker, &v5("three")).expect_nothing();
}

/// Silence before CONNECT, and half a CONNECT.
#[test]
fn time_until_connect() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nconnect_timeout_ms = 300\n");
    let mut silent = broker.open(V5);
    let mut half = broker.open(V5);
    half.send_bytes(&[0x10, 14, 0, 4, b'M']);
    let mut good = broker.connect(&v5("good"));
    assert_eq!(silent.rest(), b"");
    assert_eq!(half.rest(), b"");
    good.expect_nothing();
}

/// Who has not said who he is gets no memory to speak of: a CONNECT that is too large is refused by
/// its length, and of another packet not even the length is waited for.
#[test]
fn bytes_before_connect() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nconnect_bytes_max = 1000\n");
    let mut large = broker.open(V5);
    // A CONNECT of 2,000 bytes begins.
    large.send_bytes(&[0x10, 0xD0, 0x0F, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0]);
    assert_eq!(large.expect::<ConnAck>().reason, ReasonCode::PacketTooLarge);
    let mut other = broker.open(V5);
    other.send_bytes(&[0x30]);
    assert_eq!(other.rest(), b"");
    broker.connect(&v5("good")).expect_nothing();
}

/// Connections without CONNECT are limited by themselves; those that are through do not count.
#[test]
fn connecting() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nconnecting_max = 1\n");
    let mut through = connect_soon(&broker, &v5("through"));
    let mut waiting = broker.open(V5);
    // Which of the two that come at once is refused is a matter of who is accepted first; a byte
    // that closes the connection shows that this one was.
    waiting.send_bytes(&[0x10]);
    let begin = Instant::now();
    loop {
        let mut other = broker.open(V5);
        let packet = other.encode(&Packet::Connect(v5("other")));
        other.send_if_open(&packet);
        if other.next_packet().is_none() {
            break;
        }
        assert!(begin.elapsed() < outpost_tests::DEADLINE, "never refused");
    }
    through.expect_nothing();
    waiting.send_bytes(&[0x0E]);
    waiting.send_bytes(&[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'w']);
    assert_eq!(waiting.expect::<ConnAck>().reason, ReasonCode::Success);
    connect_soon(&broker, &v5("other")).expect_nothing();
}

/// The cap of the session expiry interval: told to 5.0 clients, kept for all.
#[test]
fn session_expiry_is_capped() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nsession_expiry_max_s = 1\n");
    for asked in [3600, u32::MAX] {
        let interval = [Property::SessionExpiryInterval(asked)];
        let client = broker.connect(&Connect { properties: list(&interval), ..v5("five") });
        assert_eq!(client.connack().props().session_expiry_interval_s(), Some(1));
        client.cut();
    }
    broker.connect(&Connect { clean_start: false, ..v311("three") }).disconnect();
    thread::sleep(OVER_A_SECOND);
    assert!(!broker.connect(&resume("five")).connack().session_present);
    let three = broker.connect(&Connect { clean_start: false, ..v311("three") });
    assert!(!three.connack().session_present);
}

/// The cap holds for DISCONNECT as well.
#[test]
fn session_expiry_of_disconnect_is_capped() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nsession_expiry_max_s = 1\n");
    let client = broker.connect(&keep("c"));
    client.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(3600)]));
    thread::sleep(OVER_A_SECOND);
    assert!(!broker.connect(&resume("c")).connack().session_present);
}

#[test]
fn retained_messages() {
    needs_own_broker!();
    let broker =
        Broker::with_config("[limits]\nretained_messages_max = 2\n[sys]\ninterval_s = 0\n");
    let mut client = broker.connect(&v5("c"));
    let mut retain = |topic, payload| {
        let publish = Message { retain: true, ..qos1(topic, payload) };
        publish_reason(&mut client, 1, &publish)
    };
    assert!(!retain("a", b"1").is_error());
    assert!(!retain("b", b"1").is_error());
    assert_eq!(retain("c", b"1"), ReasonCode::QuotaExceeded);
    assert!(!retain("a", b"2").is_error(), "another for the same topic needs no room");
    assert!(!retain("b", b"").is_error());
    assert!(!retain("c", b"2").is_error(), "a deleted one made room");
    let mut reader = subscriber(&broker, "#");
    let mut got = [reader.take(), reader.take()].map(|p| (p.topic.clone(), p.text().to_owned()));
    got.sort_unstable();
    assert_eq!(got, [("a", "2"), ("c", "2")].map(|(t, p)| (t.to_owned(), p.to_owned())));
    reader.expect_nothing();
}

#[test]
fn retained_bytes() {
    needs_own_broker!();
    let broker =
        Broker::with_config("[limits]\nretained_bytes_max = 1000\n[sys]\ninterval_s = 0\n");
    let mut client = broker.connect(&v5("c"));
    let mut retain = |topic, size: usize| {
        let payload = vec![b'x'; size];
        let publish = Message { retain: true, ..qos1(topic, &payload) };
        publish_reason(&mut client, 1, &publish)
    };
    assert!(!retain("a", 600).is_error());
    assert_eq!(retain("b", 600), ReasonCode::QuotaExceeded);
    assert!(!retain("a", 100).is_error());
    assert!(!retain("b", 600).is_error());
}

/// 0x97 in SUBACK for 5.0, 0x80 for 3.1.1; another SUBSCRIBE for the same filter needs no room.
#[test]
fn subscriptions() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nsubscriptions_per_session_max = 2\n");
    let filters = ["a", "b", "c", "a"].map(|name| filter(name, AtMostOnce));
    let mut five = broker.connect(&v5("five"));
    let granted = five.subscribe_to(&filters, Properties::EMPTY).reasons;
    let (yes, no) = (ReasonCode::Success, ReasonCode::QuotaExceeded);
    assert_eq!(granted, [yes, yes, no, yes]);
    five.unsubscribe(&["b"]);
    five.subscribe("c", AtMostOnce);
    let mut three = broker.connect(&v311("three"));
    let granted = three.subscribe_to(&filters, Properties::EMPTY).reasons;
    assert_eq!(granted.iter().map(|&r| r as u8).collect::<Vec<_>>(), [0, 0, 0x80, 0]);
}

/// Levels of names and filters.
#[test]
fn topic_levels() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\ntopic_levels_max = 3\n");
    let mut client = broker.connect(&v5("c"));
    let filters = ["a/b/c", "a/b/c/d", "a/+/+/#", "$share/g/a/b/c", "$share/g/a/b/c/d"];
    let filters = filters.map(|name| filter(name, AtMostOnce));
    let granted = client.subscribe_to(&filters, Properties::EMPTY).reasons;
    let (yes, no) = (ReasonCode::Success, ReasonCode::TopicFilterInvalid);
    assert_eq!(granted, [yes, no, no, yes, no]);
    let reason = publish_reason(&mut client, 1, &qos1("a/b/c/d", b""));
    assert_eq!(reason, ReasonCode::TopicNameInvalid);
    let deep = Message { qos: ExactlyOnce, ..message("///", b"") };
    assert_eq!(publish_reason(&mut client, 1, &deep), ReasonCode::TopicNameInvalid);
    client.publish(&qos1("a/b/c", b""));
    // By the ordinary and by the shared subscription.
    client.take();
    client.take();
    send_qos0(&mut client, "a/b/c/d", b"");
    client.expect_disconnect(ReasonCode::TopicNameInvalid);

    let mut client = broker.open(V5);
    client.send(&Packet::Connect(Connect { will: Some(will("a/b/c/d", b"")), ..v5("w") }));
    assert_eq!(client.expect::<ConnAck>().reason, ReasonCode::TopicNameInvalid);
    client.expect_closed();
}

/// [MQTT-3.1.3-8], 3.1.1: [MQTT-3.1.3-9]
#[test]
fn client_id_length() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nclient_id_bytes_max = 24\n");
    let (longest, longer) = ("x".repeat(24), "x".repeat(25));
    broker.connect(&v5(&longest)).expect_nothing();
    let mut five = broker.open(V5);
    five.send(&Packet::Connect(v5(&longer)));
    assert_eq!(five.expect::<ConnAck>().reason, ReasonCode::ClientIdentifierNotValid);
    five.expect_closed();
    let mut three = broker.open(V311);
    three.send(&Packet::Connect(v311(&longer)));
    assert_eq!(three.rest(), [0x20, 2, 0, 2]);
}

#[test]
fn sessions() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nsessions_max = 1\n");
    let one = broker.connect(&keep("one"));
    let mut two = broker.open(V5);
    two.send(&Packet::Connect(v5("two")));
    assert_eq!(two.expect::<ConnAck>().reason, ReasonCode::QuotaExceeded);
    two.expect_closed();
    one.disconnect();
    let one = broker.connect(&resume("one"));
    one.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(0)]));
    broker.connect(&v5("two")).expect_nothing();
}

/// What the broker tells of itself is what it was told.
#[test]
fn announced_limits() {
    needs_own_broker!();
    let broker = Broker::with_config(
        "[limits]\nreceive_maximum = 7\npacket_bytes_max = 1000\ntopic_alias_maximum = 0\n",
    );
    let mut client = broker.connect(&v5("c"));
    let told = client.connack().props();
    assert_eq!(told.receive_maximum(), Some(7));
    assert_eq!(told.maximum_packet_size(), Some(1000));
    assert_eq!(told.topic_alias_maximum().unwrap_or(0), 0);
    client.publish(&qos1("a", &[b'x'; 900]));
    let alias = list(&[Property::TopicAlias(1)]);
    client.send(&Packet::Publish(Message { properties: alias, ..message("a", b"") }));
    client.expect_disconnect(ReasonCode::TopicAliasInvalid);

    let mut client = broker.connect(&v5("c"));
    send_qos0(&mut client, "a", &[b'x'; 1000]);
    client.expect_disconnect(ReasonCode::PacketTooLarge);
    let mut client = broker.connect(&v311("c"));
    send_qos0(&mut client, "a", &[b'x'; 1000]);
    client.expect_closed();
}

/// Messages in flight towards a client that sets no Receive Maximum.
#[test]
fn messages_in_flight() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\ninflight_max = 2\n");
    for connect in [v5("five"), v311("three")] {
        let mut client = broker.connect(&connect);
        client.subscribe("t", AtLeastOnce);
        let mut sender = publisher(&broker);
        for number in 0..4 {
            sender.publish(&qos1("t", &[number]));
        }
        let first = client.expect::<Publish>();
        client.expect::<Publish>();
        client.expect_nothing();
        client.puback(first.id());
        assert_eq!(client.expect::<Publish>().payload, [2]);
        client.expect_nothing();
    }
}

/// A broker whose sessions hold two messages, with a session `away` subscribed to `t`.
fn broker_with_small_queue(policy: &str) -> Broker {
    let broker = Broker::with_config(&format!(
        "[limits]\nqueue_messages_max = 2\nqueue_full = \"{policy}\"\n"
    ));
    let mut away = broker.connect(&keep("away"));
    away.subscribe("t", ExactlyOnce);
    away.disconnect();
    broker
}

fn payloads(client: &mut RawClient, count: usize) -> Vec<String> {
    let got = (0..count).map(|_| client.take().text().to_owned()).collect();
    client.expect_nothing();
    got
}

/// A full queue refuses: 0x97 for QoS 1 and 2; [MQTT-4.3.3-9]: after a refusing PUBREC the packet
/// identifier is free and stands for a new message. Nothing that was acknowledged is lost.
#[test]
fn full_queue_is_told_to_5_0_publishers() {
    needs_own_broker!();
    let broker = broker_with_small_queue("reject");
    let mut sender = publisher(&broker);
    let full = ReasonCode::QuotaExceeded;
    sender.publish(&qos1("t", b"one"));
    sender.publish(&Message { qos: ExactlyOnce, ..message("t", b"two") });
    assert_eq!(publish_reason(&mut sender, 9, &qos1("t", b"refused")), full);
    let refused = Message { qos: ExactlyOnce, ..message("t", b"refused") };
    assert_eq!(publish_reason(&mut sender, 9, &refused), full);
    assert_eq!(publish_reason(&mut sender, 9, &refused), full);
    // QoS 0 and other topics have nothing to do with it.
    sender.publish(&message("t", b"qos 0"));
    sender.publish(&qos1("other", b""));
    let mut away = broker.connect(&resume("away"));
    assert_eq!(payloads(&mut away, 2), ["one", "two"]);
    let again = Message { qos: ExactlyOnce, ..message("t", b"three") };
    assert!(!publish_reason(&mut sender, 9, &again).is_error());
    sender.release(id(9));
    assert_eq!(payloads(&mut away, 1), ["three"]);
}

/// 3.1.1 has no reason codes: the PUBACK waits until there is room.
#[test]
fn full_queue_holds_back_the_acknowledgement_of_3_1_1() {
    needs_own_broker!();
    let broker = broker_with_small_queue("reject");
    let mut sender = broker.connect(&v311("sender"));
    sender.publish(&qos1("t", b"one"));
    sender.publish(&qos1("t", b"two"));
    let third = Message { packet_id: Some(id(3)), ..qos1("t", b"three") };
    sender.send(&Packet::Publish(third));
    // A 5.0 publisher that comes later is refused: the queue is full, and the third has been seen.
    let mut other = publisher(&broker);
    let reason = publish_reason(&mut other, 1, &qos1("t", b"refused"));
    assert_eq!(reason, ReasonCode::QuotaExceeded);
    assert!(!sender.has_input(), "acknowledged although there was no room");
    let mut away = broker.connect(&resume("away"));
    assert_eq!(away.take().text(), "one");
    assert_eq!(sender.expect::<PubAck>().packet_id, id(3));
    assert_eq!(payloads(&mut away, 2), ["two", "three"]);
}

/// But not for ever.
#[test]
fn waiting_3_1_1_publisher_is_closed_in_the_end() {
    needs_own_broker!();
    let broker = Broker::with_config(
        "[limits]\nqueue_messages_max = 1\nqueue_full_wait_ms = 200\nqueue_full = \"reject\"\n",
    );
    let mut away = broker.connect(&keep("away"));
    away.subscribe("t", AtLeastOnce);
    away.disconnect();
    let mut sender = broker.connect(&v311("sender"));
    sender.publish(&qos1("t", b"one"));
    let second = Message { packet_id: Some(id(2)), ..qos1("t", b"two") };
    sender.send(&Packet::Publish(second));
    sender.expect_closed();
    let mut away = broker.connect(&resume("away"));
    assert_eq!(payloads(&mut away, 1), ["one"]);
}

#[test]
fn full_queue_drops_the_oldest_if_told_to() {
    needs_own_broker!();
    let broker = broker_with_small_queue("drop_oldest");
    let mut sender = publisher(&broker);
    for text in ["one", "two", "three", "four"] {
        sender.publish(&qos1("t", text.as_bytes()));
    }
    assert_eq!(payloads(&mut broker.connect(&resume("away")), 2), ["three", "four"]);
}

#[test]
fn full_queue_drops_the_newest_if_told_to() {
    needs_own_broker!();
    let broker = broker_with_small_queue("drop_newest");
    let mut sender = publisher(&broker);
    for text in ["one", "two", "three", "four"] {
        sender.publish(&qos1("t", text.as_bytes()));
    }
    assert_eq!(payloads(&mut broker.connect(&resume("away")), 2), ["one", "two"]);
}

/// The queue in bytes, of one session and of all.
#[test]
fn queue_bytes() {
    needs_own_broker!();
    for key in ["queue_bytes_max", "queue_total_bytes_max"] {
        let broker = Broker::with_config(&format!("[limits]\n{key} = 1024\n"));
        let mut away = broker.connect(&keep("away"));
        away.subscribe("t", AtLeastOnce);
        away.disconnect();
        let mut sender = publisher(&broker);
        let payload = [b'x'; 600];
        assert!(!publish_reason(&mut sender, 1, &qos1("t", &payload)).is_error(), "{key}");
        let reason = publish_reason(&mut sender, 1, &qos1("t", &payload));
        assert_eq!(reason, ReasonCode::QuotaExceeded, "{key}");
        let mut away = broker.connect(&resume("away"));
        away.take();
        away.expect_nothing();
        assert!(!publish_reason(&mut sender, 1, &qos1("t", &payload)).is_error(), "{key}");
    }
}
