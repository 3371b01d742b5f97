//! What 3.1.1 clients see, in bytes where 3.1.1 fixes them, and how they get on with 5.0 clients.
//! What both versions have in common is shown in the other modules; here are the same flows with
//! 3.1.1 clients, and what only 3.1.1 has.

use crate::prelude::*;

/// A 3.1.1 CONNECT with clean session 0.
fn persistent(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, ..v311(client_id) }
}

fn subscriber311(broker: &Broker, filter: &str) -> RawClient {
    let mut client = broker.connect(&v311(&unique("sub")));
    client.subscribe(filter, ExactlyOnce);
    client
}

/// [MQTT-3.2.0-1], [MQTT-3.1.4-4], [MQTT-3.2.2-1] to [MQTT-3.2.2-3]
#[test]
fn connack_bytes() {
    let broker = Broker::shared();
    let name = unique("c");
    for (clean_start, flag) in [(true, 0), (false, 0), (false, 1), (true, 0), (false, 0)] {
        let mut client = broker.open(V311);
        client.send(&Packet::Connect(Connect { clean_start, ..v311(&name) }));
        assert_eq!(client.expect_bytes(), [0x20, 2, flag, 0]);
        client.disconnect();
    }
}

/// [MQTT-3.1.2-2]
#[test]
fn unsupported_level_gets_return_code_1() {
    let broker = Broker::shared();
    for level in [1, 2, 3] {
        let mut client = broker.open(V311);
        let packet = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 1, b'x'];
        client.send_bytes(&packet);
        assert_eq!(client.rest(), [0x20, 2, 0, 1], "level {level}");
    }
}

/// [MQTT-3.1.3-5] to [MQTT-3.1.3-8], [MQTT-3.2.2-4], [MQTT-3.2.2-5]
#[test]
fn empty_client_id() {
    let broker = Broker::shared();
    let mut one = broker.connect(&v311(""));
    let mut two = broker.connect(&v311(""));
    one.expect_nothing();
    two.expect_nothing();
    let mut client = broker.open(V311);
    client.send(&Packet::Connect(persistent("")));
    assert_eq!(client.rest(), [0x20, 2, 0, 2]);
    for name in ["x", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"] {
        broker.connect(&v311(name)).expect_nothing();
    }
}

/// [MQTT-3.1.0-1], [MQTT-3.1.0-2], [MQTT-3.1.2-1]
#[test]
fn connect_comes_first_and_once() {
    let broker = Broker::shared();
    let mut client = broker.open(V311);
    client.send(&Packet::PingReq);
    assert_eq!(client.rest(), b"");
    let name = unique("c");
    let mut client = broker.connect(&v311(&name));
    client.send(&Packet::Connect(v311(&name)));
    client.expect_closed();
    let mut client = broker.open(V311);
    client.send_bytes(b"\x10\x0D\x00\x04MQTX\x04\x02\x00\x00\x00\x01x");
    let answer = client.rest();
    assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "{answer:02x?}");
}

/// [MQTT-3.1.4-5]
#[test]
fn nothing_after_a_refused_connect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut watcher = subscriber311(&broker, &topic);
    let mut client = broker.open(V311);
    let publish = Packet::Publish(message(&topic, b"never"));
    client.send_all(&[Packet::Connect(persistent("")), publish]);
    assert_eq!(client.rest(), [0x20, 2, 0, 2]);
    watcher.expect_nothing();
}

/// [MQTT-3.1.4-2]
#[test]
fn second_connection_takes_over() {
    let broker = Broker::shared();
    let name = unique("c");
    let mut old = broker.connect(&v311(&name));
    let mut new = broker.connect(&v311(&name));
    old.expect_closed();
    new.expect_nothing();
}

/// [MQTT-3.1.2-4] to [MQTT-3.1.2-6], [MQTT-3.1.4-3], [MQTT-4.1.0-1], [MQTT-4.5.0-1]
#[test]
fn clean_session() {
    let broker = Broker::shared();
    let (name, topic) = (unique("c"), unique("t"));
    let mut client = broker.connect(&persistent(&name));
    assert!(!client.connack().session_present);
    client.subscribe(&topic, ExactlyOnce);
    client.disconnect();
    let mut sender = broker.connect(&v311(&unique("pub")));
    for qos in [AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, ..message(&topic, b"waits") });
    }
    let mut client = broker.connect(&persistent(&name));
    assert!(client.connack().session_present);
    assert_eq!([client.take().qos, client.take().qos], [AtLeastOnce, ExactlyOnce]);
    client.disconnect();

    let mut client = broker.connect(&v311(&name));
    assert!(!client.connack().session_present);
    sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"nobody") });
    client.expect_nothing();
    client.disconnect();
    assert!(!broker.connect(&persistent(&name)).connack().session_present);
}

/// [MQTT-3.1.2.7]: retained messages are not part of the session.
#[test]
fn retained_message_outlives_its_session() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = broker.connect(&v311(&unique("pub")));
    sender.publish(&Message { retain: true, ..message(&topic, b"kept") });
    sender.disconnect();
    assert_eq!(subscriber311(&broker, &topic).take().text(), "kept");
    publisher(&broker).publish(&Message { retain: true, ..message(&topic, b"") });
}

/// [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.2-12], [MQTT-3.1.2-16], [MQTT-3.1.2-17],
/// [MQTT-3.14.4-3]
#[test]
fn will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber311(&broker, &topic);
    for (qos, retain) in [(AtMostOnce, false), (AtLeastOnce, true), (ExactlyOnce, false)] {
        let last = crate::prelude::will(&topic, b"last");
        let last = Will { qos, retain, ..last };
        let names = [unique("c"), unique("c"), unique("c")];
        broker.connect(&Connect { will: Some(last.clone()), ..v311(&names[0]) }).disconnect();
        watcher.expect_nothing();
        broker.connect(&v311(&names[1])).cut();
        watcher.expect_nothing();
        broker.connect(&Connect { will: Some(last), ..v311(&names[2]) }).cut();
        let got = watcher.take();
        assert_eq!((got.text(), got.qos, got.retain), ("last", qos, false));
        let mut late = subscriber311(&broker, &topic);
        if retain {
            assert!(late.take().retain);
            publisher(&broker).publish(&Message { retain: true, ..message(&topic, b"") });
            watcher.take();
        } else {
            late.expect_nothing();
        }
    }
}

/// [MQTT-3.1.2-8]: a malformed packet is no DISCONNECT; nor is a malformed DISCONNECT.
#[test]
fn will_after_a_malformed_packet() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber311(&broker, &topic);
    for packet in [[0xC1, 0], [0xE1, 0]] {
        let name = unique("c");
        let last = crate::prelude::will(&topic, b"last");
        let mut client = broker.connect(&Connect { will: Some(last), ..v311(&name) });
        client.send_bytes(&packet);
        client.expect_closed();
        assert_eq!(watcher.take().text(), "last");
    }
}

/// [MQTT-2.3.1-5] to [MQTT-2.3.1-7], [MQTT-4.3.1-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2],
/// [MQTT-3.3.4-1]: the acknowledgements of 3.1.1 have two bytes and no reason.
#[test]
fn acknowledgement_bytes() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.connect(&v311(&unique("c")));
    client.send_bytes(&[0x82, 6, 0x12, 0x34, 0, 1, b'a', 2]);
    assert_eq!(client.expect_bytes(), [0x90, 3, 0x12, 0x34, 2]);
    client.send_bytes(&[0xA2, 8, 0x12, 0x35, 0, 1, b'a', 0, 1, b'b']);
    assert_eq!(client.expect_bytes(), [0xB0, 2, 0x12, 0x35]);
    let publish = Message { packet_id: Some(id(0x0102)), ..message(&topic, b"x") };
    client.send(&Packet::Publish(Message { qos: AtLeastOnce, ..publish.clone() }));
    assert_eq!(client.expect_bytes(), [0x40, 2, 1, 2]);
    client.send(&Packet::Publish(Message { qos: ExactlyOnce, ..publish }));
    assert_eq!(client.expect_bytes(), [0x50, 2, 1, 2]);
    client.send_bytes(&[0x62, 2, 1, 2]);
    assert_eq!(client.expect_bytes(), [0x70, 2, 1, 2]);
    // One that is not in use: 3.1.1 knows no other answer.
    client.send_bytes(&[0x62, 2, 7, 7]);
    assert_eq!(client.expect_bytes(), [0x70, 2, 7, 7]);
}

/// [MQTT-4.3.2-2], [MQTT-4.3.3-2]: new after PUBACK and PUBCOMP, the same before PUBREL.
#[test]
fn packet_ids_of_a_publisher() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber311(&broker, &topic);
    let mut sender = broker.connect(&v311(&unique("pub")));
    for (qos, dup) in [(AtLeastOnce, false), (AtLeastOnce, true), (ExactlyOnce, false)] {
        sender.publish(&Message { qos, dup, packet_id: Some(id(4)), ..message(&topic, b"") });
        receiver.take();
    }
    let publish = Message { qos: ExactlyOnce, packet_id: Some(id(4)), ..message(&topic, b"") };
    for dup in [false, true] {
        sender.send(&Packet::Publish(Message { dup, ..publish.clone() }));
        assert_eq!(sender.expect::<PubRec>().packet_id, id(4));
    }
    sender.release(id(4));
    assert!(!receiver.take().dup);
    receiver.expect_nothing();
}

/// [MQTT-2.3.1-2], [MQTT-2.3.1-4], [MQTT-3.3.1-1], [MQTT-3.3.1-2], [MQTT-4.3.2-1],
/// [MQTT-4.3.3-1], [MQTT-4.4.0-1], [MQTT-4.6.0-1] for the server as a sender
#[test]
fn unacknowledged_messages_are_resent_in_order() {
    let broker = Broker::shared();
    let (name, topic) = (unique("c"), unique("t"));
    let mut receiver = broker.connect(&persistent(&name));
    receiver.subscribe(&topic, ExactlyOnce);
    let mut sender = broker.connect(&v311(&unique("pub")));
    for (qos, payload) in [(ExactlyOnce, "rel"), (AtLeastOnce, "one"), (ExactlyOnce, "two")] {
        sender.publish(&Message { qos, ..message(&topic, payload.as_bytes()) });
    }
    let first: Vec<Publish> = (0..3).map(|_| receiver.expect::<Publish>()).collect();
    receiver.pubrec(first[0].id());
    receiver.expect::<PubRel>();
    receiver.cut();
    let mut receiver = broker.connect(&persistent(&name));
    // The order of PUBREL among the PUBLISH packets is not given.
    assert_eq!(receiver.wait_for::<PubRel>().packet_id, first[0].id());
    receiver.pubcomp(first[0].id());
    for publish in &first[1..] {
        assert_eq!(receiver.take(), Publish { dup: true, ..publish.clone() });
    }
    receiver.expect_nothing();
}

/// [MQTT-3.3.1-3]
#[test]
fn dup_is_not_propagated() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber311(&broker, &topic);
    let mut sender = broker.connect(&v311(&unique("pub")));
    sender.publish(&Message { qos: AtLeastOnce, dup: true, ..message(&topic, b"") });
    assert!(!receiver.take().dup);
}

/// [MQTT-3.3.1-5] to [MQTT-3.3.1-12]
#[test]
fn retained_messages() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = broker.connect(&v311(&unique("pub")));
    let mut watcher = subscriber311(&broker, &topic);
    for qos in [AtLeastOnce, AtMostOnce, ExactlyOnce] {
        sender.publish(&Message { qos, retain: true, ..message(&topic, b"kept") });
        assert!(!watcher.take().retain, "for an established subscription");
        let got = subscriber311(&broker, &topic).take();
        assert_eq!((got.retain, got.qos, got.text()), (true, qos, "kept"));
    }
    sender.publish(&message(&topic, b"passing"));
    watcher.take();
    assert_eq!(subscriber311(&broker, &topic).take().text(), "kept");
    // A repeated SUBSCRIBE gets it again.
    watcher.subscribe(&topic, AtMostOnce);
    assert!(watcher.take().retain);
    sender.publish(&Message { retain: true, ..message(&topic, b"") });
    let gone = watcher.take();
    assert_eq!((gone.payload.len(), gone.retain), (0, false));
    subscriber311(&broker, &topic).expect_nothing();
}

/// [MQTT-3.8.4-1] to [MQTT-3.8.4-6], [MQTT-3.9.3-1], [MQTT-3.9.3-2], [MQTT-3.3.5-1],
/// [MQTT-3.3.2-3]
#[test]
fn subscriptions() {
    let broker = Broker::shared();
    let root = unique("t");
    let (wild, exact) = (format!("{root}/#"), format!("{root}/a"));
    let mut client = broker.connect(&v311(&unique("sub")));
    let filters =
        [filter(&wild, AtMostOnce), filter(&exact, ExactlyOnce), filter("b", AtLeastOnce)];
    let granted = client.subscribe_to(&filters, Properties::EMPTY).reasons;
    assert_eq!(granted.iter().map(|&r| r as u8).collect::<Vec<_>>(), [0, 2, 1]);
    let mut sender = broker.connect(&v311(&unique("pub")));
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, ..message(&exact, b"") });
        assert_eq!(client.take().qos, qos, "the highest of all that match");
        client.expect_nothing();
    }
    client.subscribe(&exact, AtLeastOnce);
    sender.publish(&Message { qos: ExactlyOnce, ..message(&exact, b"") });
    assert_eq!(client.take().qos, AtLeastOnce, "the subscription was replaced");
    client.expect_nothing();
}

/// [MQTT-3.10.4-1] to [MQTT-3.10.4-6]
#[test]
fn unsubscribing() {
    let broker = Broker::shared();
    let root = unique("t");
    let (wild, exact) = (format!("{root}/+"), format!("{root}/a"));
    let name = unique("sub");
    let mut client = broker.connect(&persistent(&name));
    client.subscribe(&exact, AtLeastOnce);
    let mut sender = broker.connect(&v311(&unique("pub")));
    assert_eq!(client.unsubscribe(&[&wild, "unknown"]).reasons, []);
    sender.publish(&Message { qos: AtLeastOnce, ..message(&exact, b"begun") });
    let begun = client.expect::<Publish>();
    client.unsubscribe(&[&wild, &exact]);
    sender.publish(&Message { qos: AtLeastOnce, ..message(&exact, b"late") });
    client.expect_nothing();
    client.cut();
    let mut client = broker.connect(&persistent(&name));
    assert_eq!(client.take().id(), begun.id());
    client.expect_nothing();
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6]
#[test]
fn order_is_kept() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber311(&broker, &topic);
    let mut sender = broker.connect(&v311(&unique("pub")));
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        for number in 0..20 {
            sender.publish(&Message { qos, ..message(&topic, &[number]) });
        }
        let got: Vec<u8> = (0..20).map(|_| receiver.take().payload[0]).collect();
        assert_eq!(got, (0..20).collect::<Vec<u8>>());
    }
}

/// [MQTT-4.7.2-1], [MQTT-4.7.1-2], [MQTT-4.7.1-3]
#[test]
fn wildcards() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut plus = subscriber311(&broker, &format!("{root}/+/b"));
    let mut hash = subscriber311(&broker, &format!("{root}/#"));
    let mut sender = broker.connect(&v311(&unique("pub")));
    for (end, of_plus) in [("/a/b", true), ("/a", false), ("", false), ("//b", true)] {
        let topic = format!("{root}{end}");
        sender.publish(&message(&topic, b""));
        assert_eq!(hash.take().topic, topic);
        if of_plus {
            assert_eq!(plus.take().topic, topic);
        }
        plus.expect_nothing();
    }
    let dollar = format!("${root}/x/b");
    let mut leading = subscriber311(&broker, "+/x/b");
    sender.publish(&message(&dollar, b""));
    leading.expect_nothing();
}

/// [MQTT-4.7.1-2], [MQTT-4.7.1-3]: 3.1.1 closes, as it has no code for it (SUBACK 0x80 would do as
/// well, but a malformed packet is a protocol violation).
#[test]
fn invalid_filters_close() {
    let broker = Broker::shared();
    for name in ["a/#/b", "a#", "a+", "+a", "a/b+/c", "$share/g", "$share//a"] {
        let mut client = broker.connect(&v311(&unique("sub")));
        let filters = [filter(name, AtMostOnce)];
        client.send(&Packet::Subscribe(outpost_protocol::Subscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: outpost_protocol::SubscribeFilters::List(&filters),
        }));
        client.expect_closed();
    }
}

/// A 5.0 publisher and a 3.1.1 subscriber: the properties stay behind, the message arrives; the
/// other way round there are none. Expiry holds for both.
#[test]
fn with_5_0_clients() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut old = subscriber311(&broker, &topic);
    let mut new = subscriber(&broker, &topic);
    let properties = list(&[
        Property::TopicAlias(1),
        Property::ContentType("text"),
        Property::UserProperty("a", "b"),
        Property::MessageExpiryInterval(1000),
    ]);
    let mut sender = publisher(&broker);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, properties, ..message(&topic, b"x") });
        let (at_old, at_new) = (old.take(), new.take());
        assert_eq!((&at_old.topic, at_old.text(), at_old.qos), (&topic, "x", qos));
        assert_eq!((&at_new.topic, at_new.text(), at_new.qos), (&topic, "x", qos));
        assert_eq!(at_new.props().content_type(), Some("text"));
    }
    let mut sender = broker.connect(&v311(&unique("pub")));
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, ..message(&topic, b"y") });
        let (at_old, at_new) = (old.take(), new.take());
        assert_eq!((at_old.text(), at_old.qos), ("y", qos));
        assert_eq!((at_new.text(), at_new.qos), ("y", qos));
        assert_eq!(at_new.props().iter().count(), 0);
    }
}

/// One session, first used with 3.1.1, then with 5.0, then with 3.1.1 again.
#[test]
fn session_changes_its_version() {
    let broker = Broker::shared();
    let (name, topic) = (unique("c"), unique("t"));
    let mut client = broker.connect(&persistent(&name));
    client.subscribe(&topic, AtLeastOnce);
    client.disconnect();
    let mut sender = publisher(&broker);
    let properties = list(&[Property::ContentType("text")]);
    let publish = Message { qos: AtLeastOnce, properties, ..message(&topic, b"x") };
    sender.publish(&publish);
    let mut client = broker.connect(&resume(&name));
    assert!(client.connack().session_present);
    let got = client.expect::<Publish>();
    assert_eq!(got.props().content_type(), Some("text"));
    client.disconnect();
    let mut client = broker.connect(&persistent(&name));
    assert!(client.connack().session_present);
    let again = client.take();
    assert_eq!((again.id(), again.text(), again.dup), (got.id(), "x", true));
}

/// `$share` works for 3.1.1 clients as well, beside 5.0 members.
#[test]
fn shared_subscriptions() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let mut old = subscriber311(&broker, &share);
    let mut new = subscriber(&broker, &share);
    let mut sender = publisher(&broker);
    for number in 0..10 {
        sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, &[number]) });
    }
    let mut counts = [0, 0];
    for (client, count) in [&mut old, &mut new].into_iter().zip(&mut counts) {
        client.ping();
        while let Some(Received::Publish(publish)) = client.stashed() {
            client.puback(publish.id());
            *count += 1;
        }
    }
    assert_eq!(counts, [5, 5]);
}

/// [MQTT-3.3.5-2]: a publish that is not allowed is acknowledged or the connection closed: the
/// broker's own `$SYS` topics are not for clients.
#[test]
fn forbidden_publish_is_acknowledged_or_closed() {
    let broker = Broker::shared();
    let topic = format!("$SYS/{}", unique("t"));
    let mut watcher = broker.connect(&v311(&unique("sub")));
    watcher.subscribe(&topic, AtMostOnce);
    for qos in [AtLeastOnce, ExactlyOnce] {
        let mut client = broker.connect(&v311(&unique("pub")));
        let publish = Message { qos, packet_id: Some(id(3)), ..message(&topic, b"forged") };
        client.send(&Packet::Publish(publish));
        match client.next_packet() {
            None => {}
            Some(Received::PubAck(ack)) => assert_eq!((ack.packet_id, qos), (id(3), AtLeastOnce)),
            Some(Received::PubRec(ack)) => {
                assert_eq!((ack.packet_id, qos), (id(3), ExactlyOnce));
                client.release(id(3));
            }
            other => panic!("{other:?}"),
        }
    }
    watcher.expect_nothing();
}

/// User name and password, and the bridge bit that other brokers set in the level.
#[test]
fn connect_variants() {
    let broker = Broker::shared();
    let name = unique("c");
    let with_password = Connect { user_name: Some("u"), password: Some(b"p"), ..v311(&name) };
    broker.connect(&with_password).expect_nothing();
    broker.connect(&Connect { bridge: true, ..v311(&name) }).expect_nothing();
}

/// The bridge bit stands for two options of 5.0: No Local and Retain As Published.
#[test]
fn a_bridge_gets_retain_as_it_is_and_not_its_own_messages() {
    let broker = Broker::shared();
    let topic = unique("bridged");
    let mut bridge = broker.connect(&Connect { bridge: true, ..v311(&unique("bridge")) });
    bridge.subscribe(&topic, AtLeastOnce);
    bridge.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"own") });
    let mut other = broker.connect(&v311(&unique("other")));
    for retain in [true, false] {
        other.publish(&Message { qos: AtLeastOnce, retain, ..message(&topic, b"of another") });
        let came = bridge.take();
        assert_eq!((came.text(), came.retain), ("of another", retain));
    }
    let shared = format!("$share/group/{topic}");
    bridge.subscribe(&shared, AtLeastOnce);
}
