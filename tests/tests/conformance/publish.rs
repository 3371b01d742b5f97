//! PUBLISH: what is forwarded to whom, and how (5.0 section 3.3).

use crate::prelude::*;

const ALL_QOS: [QoS; 3] = [AtMostOnce, AtLeastOnce, ExactlyOnce];

/// [MQTT-3.3.4-1], [MQTT-2.2.1-2], [MQTT-4.3.1-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2]: every QoS in
/// both directions, with its acknowledgements.
#[test]
fn every_qos_reaches_a_subscriber() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for qos in ALL_QOS {
        sender.publish(&Message { qos, ..message(&topic, b"x") });
        let got = receiver.take();
        assert_eq!((got.qos, got.dup, got.retain), (qos, false, false));
        assert_eq!((got.topic.as_str(), got.text()), (topic.as_str(), "x"));
        assert_eq!(got.packet_id.is_some(), qos != AtMostOnce);
    }
    receiver.expect_nothing();
}

/// [MQTT-3.8.4-8], [MQTT-4.8.2-3]: the lower of the two QoS, for all nine pairs.
#[test]
fn delivered_qos_is_the_minimum() {
    let broker = Broker::shared();
    for granted in ALL_QOS {
        let topic = unique("t");
        let mut receiver = broker.connect(&v5(&unique("sub")));
        receiver.subscribe(&topic, granted);
        let mut sender = publisher(&broker);
        for qos in ALL_QOS {
            sender.publish(&Message { qos, ..message(&topic, b"") });
            assert_eq!(receiver.take().qos, qos.min(granted));
        }
        receiver.expect_nothing();
    }
}

/// [MQTT-3.3.1-3]: DUP on the way in says nothing about the way out.
#[test]
fn dup_is_not_propagated() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for qos in [AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, dup: true, ..message(&topic, b"") });
        assert!(!receiver.take().dup);
    }
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20], [MQTT-3.1.3-10]
#[test]
fn properties_are_forwarded_unaltered() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    let sent = [
        Property::PayloadFormatIndicator(1),
        Property::UserProperty("b", "1"),
        Property::ContentType("text/plain; \u{FEFF}charset=utf-8"),
        Property::ResponseTopic("answers/to/me"),
        Property::UserProperty("a", "2"),
        Property::CorrelationData(&[0, 255, 0, 1]),
        Property::UserProperty("b", "1"),
        Property::UserProperty("", ""),
    ];
    for qos in ALL_QOS {
        sender.publish(&Message { qos, properties: list(&sent), ..message(&topic, b"text") });
        let got = receiver.take();
        let properties = got.props();
        assert_eq!(properties.payload_format_indicator(), Some(1));
        assert_eq!(properties.content_type(), Some("text/plain; \u{FEFF}charset=utf-8"));
        assert_eq!(properties.response_topic(), Some("answers/to/me"));
        assert_eq!(properties.correlation_data(), Some(&[0, 255, 0, 1][..]));
        let in_order = [("b", "1"), ("a", "2"), ("b", "1"), ("", "")];
        assert_eq!(user_properties(&properties), in_order);
        assert_eq!(properties.iter().count(), sent.len(), "{properties:?}");
    }
}

/// [MQTT-3.3.2-4]: an indicator of 0 is the same as none; nothing is made of it.
#[test]
fn unspecified_payload_format_stays_unspecified() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let properties = list(&[Property::PayloadFormatIndicator(0)]);
    publisher(&broker).publish(&Message { properties, ..message(&topic, &[0xFF]) });
    assert!(matches!(receiver.take().props().payload_format_indicator(), None | Some(0)));
}

/// [MQTT-3.3.2-2]
#[test]
fn wildcards_in_a_topic_name_are_refused() {
    let broker = Broker::shared();
    for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
        let mut client = publisher(&broker);
        let mut packet = vec![0x30, u8::try_from(topic.len() + 3).expect("short")];
        packet.extend_from_slice(&[0, u8::try_from(topic.len()).expect("short")]);
        packet.extend_from_slice(topic.as_bytes());
        packet.push(0);
        client.send_bytes(&packet);
        let refused = client.expect::<Disconnect>().reason;
        let allowed =
            [ReasonCode::TopicNameInvalid, ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
        assert!(allowed.contains(&refused), "{topic}: {refused:?}");
        client.expect_closed();
    }
}

/// [MQTT-4.7.3-1]: an empty topic without an alias is a protocol error (3.3.2.1).
#[test]
fn empty_topic_without_alias_is_refused() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.send_bytes(&[0x30, 0x03, 0x00, 0x00, 0x00]);
    let refused = client.expect::<Disconnect>().reason;
    let allowed = [ReasonCode::ProtocolError, ReasonCode::TopicNameInvalid];
    assert!(allowed.contains(&refused), "{refused:?}");
    client.expect_closed();
}

/// [MQTT-3.3.4-6]
#[test]
fn subscription_id_from_a_client_is_refused() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    let properties = list(&[Property::SubscriptionIdentifier(1)]);
    client.send(&Packet::Publish(Message { properties, ..message("a", b"") }));
    let refused = client.expect::<Disconnect>().reason;
    assert!(matches!(refused, ReasonCode::ProtocolError | ReasonCode::MalformedPacket));
    client.expect_closed();
}

/// [MQTT-3.3.4-2]: one copy with the highest QoS of all that match.
#[test]
fn overlapping_subscriptions_deliver_one_copy() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = broker.connect(&v5(&unique("sub")));
    receiver.subscribe(&format!("{root}/#"), AtMostOnce);
    receiver.subscribe(&format!("{root}/+"), ExactlyOnce);
    receiver.subscribe(&format!("{root}/a"), AtLeastOnce);
    let mut sender = publisher(&broker);
    for qos in ALL_QOS {
        sender.publish(&Message { qos, ..message(&format!("{root}/a"), b"") });
        assert_eq!(receiver.take().qos, qos);
        receiver.expect_nothing();
    }
}

/// [MQTT-3.3.4-3], [MQTT-3.3.4-4]
#[test]
fn one_copy_carries_all_subscription_ids() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = broker.connect(&v5(&unique("sub")));
    let subscriptions = [("#", Some(3)), ("+", None), ("a", Some(268_435_455)), ("b", Some(9))];
    for (end, number) in subscriptions {
        let filters = format!("{root}/{end}");
        let number = number.map(Property::SubscriptionIdentifier);
        receiver.subscribe_to(&[filter(&filters, AtLeastOnce)], list(number.as_slice()));
    }
    let mut sender = publisher(&broker);
    sender.publish(&Message { qos: AtLeastOnce, ..message(&format!("{root}/a"), b"") });
    let got = receiver.take();
    assert_eq!(subscription_ids(&got), [3, 268_435_455]);
    sender.publish(&message(&format!("{root}/c"), b""));
    assert_eq!(subscription_ids(&receiver.take()), [3]);
    receiver.expect_nothing();
}

/// [MQTT-3.3.4-3]: the same number on two subscriptions is sent for each or once; a new SUBSCRIBE
/// without a number takes it away.
#[test]
fn subscription_id_is_replaced_with_its_subscription() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = broker.connect(&v5(&unique("sub")));
    let numbered = list(&[Property::SubscriptionIdentifier(5)]);
    receiver.subscribe_to(&[filter(&topic, AtMostOnce)], numbered);
    let mut sender = publisher(&broker);
    sender.publish(&message(&topic, b""));
    assert_eq!(subscription_ids(&receiver.take()), [5]);
    receiver.subscribe(&topic, AtMostOnce);
    sender.publish(&message(&topic, b""));
    assert!(subscription_ids(&receiver.take()).is_empty());
}

/// Subscription identifiers belong to the session: they are there after it is resumed, also on
/// what was queued meanwhile.
#[test]
fn subscription_ids_outlive_the_connection() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = broker.connect(&keep(&name));
    let numbered = list(&[Property::SubscriptionIdentifier(77)]);
    receiver.subscribe_to(&[filter(&topic, AtLeastOnce)], numbered);
    receiver.disconnect();
    let mut sender = publisher(&broker);
    sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"queued") });
    let mut receiver = broker.connect(&resume(&name));
    assert_eq!(subscription_ids(&receiver.take()), [77]);
    sender.publish(&message(&topic, b"live"));
    assert_eq!(subscription_ids(&receiver.take()), [77]);
}

/// [MQTT-3.3.2-3]: only what matches, under the name it was published with.
#[test]
fn only_matching_topics_are_forwarded() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = subscriber(&broker, &format!("{root}/+/x"));
    let mut sender = publisher(&broker);
    for (end, matches) in [("a/x", true), ("a/y", false), ("a/x/b", false), ("/x", true)] {
        let topic = format!("{root}/{end}");
        sender.publish(&message(&topic, b""));
        if matches {
            assert_eq!(receiver.take().topic, topic);
        }
        receiver.expect_nothing();
    }
}

/// A publisher that is subscribed itself gets its own message (No Local off).
#[test]
fn own_messages_come_back() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = subscriber(&broker, &topic);
    client.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"echo") });
    assert_eq!(client.take().text(), "echo");
}

/// An empty payload without RETAIN is an ordinary message (3.3.3), and so is a large one.
#[test]
fn empty_and_large_payloads() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    let sizes = [0, 1, 127, 128, 16_383, 16_384, 65_536, 900_000];
    for size in sizes {
        let payload: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, &payload) });
        assert!(receiver.take().payload == payload, "{size} bytes came back changed");
    }
}

/// 5.0 section 3.4.2.1 and 3.5.2.1: the publisher may be told that nobody was there; never an error.
#[test]
fn no_matching_subscriber_is_no_error() {
    let broker = Broker::shared();
    let topic = unique("nobody");
    let mut sender = publisher(&broker);
    let publish = Message { qos: AtLeastOnce, packet_id: Some(id(3)), ..message(&topic, b"") };
    sender.send(&Packet::Publish(publish));
    let ack = sender.expect::<PubAck>();
    assert!(matches!(ack.reason, ReasonCode::Success | ReasonCode::NoMatchingSubscribers));
    let publish = Message { qos: ExactlyOnce, packet_id: Some(id(3)), ..message(&topic, b"") };
    sender.send(&Packet::Publish(publish));
    let ack = sender.expect::<PubRec>();
    assert!(matches!(ack.reason, ReasonCode::Success | ReasonCode::NoMatchingSubscribers));
    sender.release(id(3));
}
