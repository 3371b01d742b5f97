//! CONNECT and CONNACK (5.0 sections 3.1 and 3.2).

use crate::prelude::*;

/// [MQTT-3.1.0-1], [MQTT-3.14.0-1]: no CONNACK went out, so no DISCONNECT either.
#[test]
fn first_packet_must_be_connect() {
    let broker = Broker::shared();
    let firsts: [&[u8]; 4] = [
        &[0xC0, 0x00],                               // PINGREQ
        &[0x30, 0x04, 0x00, 0x01, b'a', 0x00],       // PUBLISH
        &[0xE0, 0x00],                               // DISCONNECT
        &[0x82, 0x07, 0, 1, 0, 0x00, 0x01, b'a', 0], // SUBSCRIBE
    ];
    for first in firsts {
        let mut client = broker.open(V5);
        client.send_bytes(first);
        assert_eq!(client.rest(), b"", "{first:02x?}");
    }
}

/// [MQTT-3.1.0-2]
#[test]
fn second_connect_is_a_protocol_error() {
    let broker = Broker::shared();
    let name = unique("second");
    let mut client = broker.connect(&v5(&name));
    client.send(&Packet::Connect(v5(&name)));
    client.expect_disconnect(ReasonCode::ProtocolError);
}

/// [MQTT-3.1.2-1]: told by CONNACK or not, the connection is closed.
#[test]
fn wrong_protocol_name_is_closed() {
    let broker = Broker::shared();
    for name in [&b"MQTX"[..], b"mqtt", b"MQIsdp", b"HTTP"] {
        let mut client = broker.open(V5);
        client.send_bytes(&connect_bytes(name, 5, 0x02));
        expect_unsupported_version(&mut client);
    }
}

/// [MQTT-3.1.2-2]
#[test]
fn unsupported_protocol_version_is_closed() {
    let broker = Broker::shared();
    for level in [0, 1, 2, 6, 7, 0x7F, 0xFF] {
        let mut client = broker.open(V5);
        client.send_bytes(&connect_bytes(b"MQTT", level, 0x02));
        expect_unsupported_version(&mut client);
    }
}

fn connect_bytes(name: &[u8], level: u8, flags: u8) -> Vec<u8> {
    let mut body = vec![0, u8::try_from(name.len()).expect("short")];
    body.extend_from_slice(name);
    body.extend_from_slice(&[level, flags, 0, 0]);
    body.extend_from_slice(&[0, 0, 1, b'x']);
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("short")];
    packet.extend_from_slice(&body);
    packet
}

/// A bare close, a CONNACK of 3.1.1 or a CONNACK of 5.0, perhaps with properties.
fn expect_unsupported_version(client: &mut RawClient) {
    let answer = client.rest();
    let is_v5 =
        matches!(answer[..], [0x20, len, 0x00, 0x84, ..] if usize::from(len) + 2 == answer.len());
    let allowed = answer.is_empty() || answer == [0x20, 0x02, 0x00, 0x01] || is_v5;
    assert!(allowed, "{answer:02x?}");
}

/// [MQTT-3.1.3-5], [MQTT-3.1.4-5]
#[test]
fn client_ids_that_every_server_takes() {
    let broker = Broker::shared();
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for name in ["x", &alphabet[..23], &alphabet[23..46], &alphabet[39..62]] {
        let client = broker.connect(&v5(name));
        assert_eq!(client.connack().props().assigned_client_identifier(), None);
    }
}

/// [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]
#[test]
fn empty_client_id_gets_one_of_its_own() {
    let broker = Broker::shared();
    let connect = Connect { properties: list(&[Property::SessionExpiryInterval(60)]), ..v5("") };
    let mut first = broker.connect(&connect);
    let mut second = broker.connect(&v5(""));
    let assigned = |client: &RawClient| {
        let properties = client.connack().props();
        properties.assigned_client_identifier().expect("an assigned identifier").to_owned()
    };
    let (one, other) = (assigned(&first), assigned(&second));
    assert!(!one.is_empty());
    assert_ne!(one, other);
    first.expect_nothing();
    second.expect_nothing();

    // It is the client's identifier as if the client had chosen it.
    let resumed = broker.connect(&resume(&one));
    assert!(resumed.connack().session_present);
    first.expect_disconnect(ReasonCode::SessionTakenOver);
}

/// Clean Start 0 with an empty identifier: 5.0 has no rule against it, a new one is assigned.
#[test]
fn empty_client_id_without_clean_start() {
    let broker = Broker::shared();
    let client = broker.connect(&Connect { clean_start: false, ..v5("") });
    assert!(!client.connack().session_present);
    assert!(client.connack().props().assigned_client_identifier().is_some());
}

/// [MQTT-3.1.4-3]: take-over of a client identifier.
#[test]
fn second_connection_takes_over() {
    let broker = Broker::shared();
    let name = unique("takeover");
    let mut old = broker.connect(&v5(&name));
    let mut new = broker.connect(&v5(&name));
    old.expect_disconnect(ReasonCode::SessionTakenOver);
    new.expect_nothing();
}

/// [MQTT-3.1.4-3] for a 3.1.1 client that is taken over by a 5.0 one, and the other way round: 3.1.1
/// has no DISCONNECT from a server.
#[test]
fn take_over_between_versions() {
    let broker = Broker::shared();
    let name = unique("takeover");
    let mut old = broker.connect(&v311(&name));
    let mut new = broker.connect(&v5(&name));
    old.expect_closed();
    let mut last = broker.connect(&v31(&name));
    new.expect_disconnect(ReasonCode::SessionTakenOver);
    last.expect_nothing();
}

/// [MQTT-3.1.3-2]: what the server knows about a client it knows by its identifier, whatever the
/// network connection is.
#[test]
fn client_id_identifies_the_session() {
    let broker = Broker::shared();
    let (name, topic) = (unique("ident"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, AtLeastOnce);
    client.disconnect();
    // Another identifier, another case: another session.
    let upper = name.to_uppercase();
    for other in [unique("ident"), upper] {
        let stranger = broker.connect(&resume(&other));
        assert!(!stranger.connack().session_present, "{other}");
        stranger.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(0)]));
    }
    assert!(broker.connect(&resume(&name)).connack().session_present);
}

/// [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.2.2-1], [MQTT-3.2.2-8]
#[test]
fn connack_comes_first_and_once() {
    let broker = Broker::shared();
    let (name, topic) = (unique("first"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, AtLeastOnce);
    client.disconnect();
    publisher(&broker).publish(&Message { qos: AtLeastOnce, ..message(&topic, b"waiting") });

    let mut client = broker.open(V5);
    client.send(&Packet::Connect(resume(&name)));
    let connack = client.expect_bytes();
    assert_eq!(connack[0], 0x20);
    assert_eq!(connack[2], 0x01, "the reserved flags are 0, Session Present is 1");
    assert_eq!(connack[3], 0x00);
    assert_eq!(client.take().text(), "waiting");
    client.expect_nothing();
}

/// [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7]: a refused CONNECT says no session, even where
/// there is one, and is closed; the session is untouched.
#[test]
fn refused_connect_is_closed_and_says_no_session() {
    let broker = Broker::shared();
    let name = unique("refused");
    broker.connect(&keep(&name)).disconnect();
    let mut client = broker.open(V5);
    let properties = list(&[Property::AuthenticationMethod("no such method")]);
    client.send(&Packet::Connect(Connect { properties, ..resume(&name) }));
    let connack = client.expect::<ConnAck>();
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    assert!(!connack.session_present);
    client.expect_closed();
    assert!(broker.connect(&resume(&name)).connack().session_present);
}

/// [MQTT-3.1.4-6]
#[test]
fn nothing_after_a_refused_connect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.open(V5);
    let mut watcher = subscriber(&broker, &topic);
    let properties = list(&[Property::AuthenticationMethod("no such method")]);
    let name = unique("refused");
    let connect = Packet::Connect(Connect { properties, ..v5(&name) });
    let publish = Packet::Publish(Message { retain: true, ..message(&topic, b"never") });
    client.send_all(&[connect, publish]);
    assert!(client.expect::<ConnAck>().reason.is_error());
    client.expect_closed();
    watcher.expect_nothing();
    subscriber(&broker, &topic).expect_nothing();
}

/// A client may send on before it has seen CONNACK (5.0 section 3.1.4).
#[test]
fn packets_right_behind_connect_are_processed() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.open(V5);
    let name = unique("eager");
    let filters = [filter(&topic, AtMostOnce)];
    let subscribe = outpost_protocol::Subscribe {
        packet_id: id(7),
        properties: Properties::EMPTY,
        filters: outpost_protocol::SubscribeFilters::List(&filters),
    };
    client.send_all(&[
        Packet::Connect(v5(&name)),
        Packet::Subscribe(subscribe),
        Packet::Publish(message(&topic, b"early")),
    ]);
    assert_eq!(client.expect::<ConnAck>().reason, ReasonCode::Success);
    assert_eq!(client.expect::<SubAck>().packet_id, id(7));
    assert_eq!(client.expect::<Publish>().text(), "early");
}

/// [MQTT-4.2-1]: a stream of bytes has no packet borders.
#[test]
fn connect_may_come_byte_by_byte() {
    let broker = Broker::shared();
    let mut client = broker.open(V5);
    let name = unique("slow");
    for byte in client.encode(&Packet::Connect(v5(&name))) {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.expect::<ConnAck>().reason, ReasonCode::Success);
    client.expect_nothing();
}

/// What was on its way to a connection that broke must never reach another one: a subscriber leaves
/// while the broker writes to it, at a moment that differs from round to round.
#[test]
fn broken_connection_leaves_nothing_to_the_next() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    let payload = [b'x'; 30_000];
    for round in 0..100 {
        let mut leaver = subscriber(&broker, &topic);
        for _ in 0..10 {
            send_qos0(&mut sender, &topic, &payload);
        }
        for _ in 0..round % 10 {
            leaver.take();
        }
        drop(leaver);
        // Their first packet is CONNACK, or this fails.
        publisher(&broker).expect_nothing();
        publisher(&broker).expect_nothing();
    }
}

/// [MQTT-3.1.2-17], [MQTT-3.1.2-19]: user name and password alone or together; 5.0 allows a password
/// without a user name.
#[test]
fn user_name_and_password_are_taken() {
    let broker = Broker::shared();
    for (user_name, password) in [(Some("u"), Some(&b"p"[..])), (Some("u"), None), (Some(""), None)]
    {
        let name = unique("user");
        let mut client = broker.connect(&Connect { user_name, password, ..v5(&name) });
        client.expect_nothing();
    }
}

/// [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-12] and the 0x9B of 3.3.1.2: a broker told to do at
/// most QoS 1.
#[test]
fn maximum_qos_is_announced_and_kept() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nmaximum_qos = 1\n");
    let mut client = broker.connect(&v5("one"));
    assert_eq!(client.connack().props().maximum_qos(), Some(1));
    let granted = client.subscribe_to(&[filter("a", ExactlyOnce)], Properties::EMPTY).reasons;
    assert_eq!(granted, [ReasonCode::GrantedQoS1]);
    let publish = Message { qos: ExactlyOnce, packet_id: Some(id(9)), ..message("a", b"") };
    client.send(&Packet::Publish(publish));
    client.expect_disconnect(ReasonCode::QoSNotSupported);

    let mut client = broker.open(V5);
    let last_will = Will { qos: ExactlyOnce, ..will("w", b"") };
    client.send(&Packet::Connect(Connect { will: Some(last_will), ..v5("two") }));
    assert_eq!(client.expect::<ConnAck>().reason, ReasonCode::QoSNotSupported);
    client.expect_closed();
}

/// [MQTT-3.2.2-9]: nothing is said where all is supported.
#[test]
fn connack_does_not_restrict_what_is_supported() {
    let broker = Broker::shared();
    let client = broker.connect(&v5(&unique("all")));
    let properties = client.connack().props();
    assert_eq!(properties.maximum_qos(), None);
    assert_ne!(properties.retain_available(), Some(0));
    assert_ne!(properties.wildcard_subscription_available(), Some(0));
    assert_ne!(properties.subscription_identifiers_available(), Some(0));
    assert_ne!(properties.shared_subscription_available(), Some(0));
}
