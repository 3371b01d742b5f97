//! The QoS 1 and QoS 2 flows in both directions, resending and order (5.0 sections 4.3, 4.4, 4.6).

use std::thread;

use crate::prelude::*;

fn qos1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: AtLeastOnce, ..message(topic, payload) }
}

fn qos2<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: ExactlyOnce, ..message(topic, payload) }
}

/// A session with a subscription to `topic`, kept for an hour.
fn kept_subscriber(broker: &Broker, name: &str, topic: &str, qos: QoS) -> RawClient {
    let mut client = broker.connect(&keep(name));
    client.subscribe(topic, qos);
    client
}

// ---- the broker receives

/// [MQTT-2.2.1-5], [MQTT-4.3.2-4]: the PUBACK has the packet identifier of its PUBLISH, any from 1
/// to 65535.
#[test]
fn puback_has_the_packet_id() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = publisher(&broker);
    for number in [1, 2, 255, 256, 32_768, 65_535] {
        client.publish(&Message { packet_id: Some(id(number)), ..qos1(&topic, b"") });
    }
}

/// [MQTT-4.3.2-5]: after PUBACK the packet identifier is free: the same one, DUP or not, is a new
/// message.
#[test]
fn packet_id_is_free_after_puback() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for (payload, dup) in [("one", false), ("two", true), ("three", false)] {
        let publish = qos1(&topic, payload.as_bytes());
        sender.publish(&Message { packet_id: Some(id(5)), dup, ..publish });
        assert_eq!(receiver.take().text(), payload);
    }
    receiver.expect_nothing();
}

/// [MQTT-4.3.3-8], [MQTT-4.3.3-10]: until PUBREL a PUBLISH with the same packet identifier is the
/// same message: acknowledged again, delivered once.
#[test]
fn qos2_is_delivered_once() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for dup in [false, true, true] {
        let publish = Message { packet_id: Some(id(8)), dup, ..qos2(&topic, b"once") };
        sender.send(&Packet::Publish(publish));
        let ack = sender.expect::<PubRec>();
        assert_eq!(ack.packet_id, id(8));
        assert!(!ack.reason.is_error());
    }
    sender.release(id(8));
    assert_eq!(receiver.take().text(), "once");
    receiver.expect_nothing();
}

/// [MQTT-4.3.3-11], [MQTT-4.3.3-12]: PUBCOMP ends it; then the packet identifier is free.
#[test]
fn packet_id_is_free_after_pubcomp() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for payload in ["one", "two"] {
        let publish = qos2(&topic, payload.as_bytes());
        sender.publish(&Message { packet_id: Some(id(6)), ..publish });
        assert_eq!(receiver.take().text(), payload);
    }
    receiver.expect_nothing();
}

/// PUBREL for a packet identifier that is not in use: 5.0 answers PUBCOMP with 0x92 (3.7.2.1).
#[test]
fn pubrel_of_an_unknown_packet_id() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.pubrel(id(99));
    let ack = client.expect::<PubComp>();
    assert_eq!((ack.packet_id, ack.reason), (id(99), ReasonCode::PacketIdentifierNotFound));
    client.expect_nothing();
}

/// [MQTT-4.3.3-10] across connections: the state of the receiving half is part of the session.
#[test]
fn qos2_is_delivered_once_across_connections() {
    let broker = Broker::shared();
    let (name, topic) = (unique("pub"), unique("t"));
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = broker.connect(&keep(&name));
    let publish = Message { packet_id: Some(id(8)), ..qos2(&topic, b"once") };
    sender.send(&Packet::Publish(publish.clone()));
    sender.expect::<PubRec>();
    sender.cut();
    let mut sender = broker.connect(&resume(&name));
    sender.send(&Packet::Publish(Message { dup: true, ..publish }));
    assert_eq!(sender.expect::<PubRec>().packet_id, id(8));
    sender.release(id(8));
    assert_eq!(receiver.take().text(), "once");
    receiver.expect_nothing();
}

/// [MQTT-4.3.3-13]: the message is expired before PUBREL comes; the flow goes on all the same.
#[test]
fn expired_qos2_flow_is_completed() {
    let broker = Broker::shared();
    let mut sender = publisher(&broker);
    let properties = list(&[Property::MessageExpiryInterval(1)]);
    let publish = Message { properties, packet_id: Some(id(4)), ..qos2("expires", b"") };
    sender.send(&Packet::Publish(publish));
    assert!(!sender.expect::<PubRec>().reason.is_error());
    thread::sleep(OVER_A_SECOND);
    sender.release(id(4));
}

/// [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4] for the broker as a receiver: acknowledgements in
/// the order of what they acknowledge.
#[test]
fn acknowledgements_come_in_order() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    let numbers = [7, 3, 65_535, 1, 2, 900];
    for qos in [AtLeastOnce, ExactlyOnce] {
        let publishes: Vec<_> = numbers
            .iter()
            .map(|&n| Message { qos, packet_id: Some(id(n)), ..message(&topic, b"") })
            .map(Packet::Publish)
            .collect();
        sender.send_all(&publishes);
        for number in numbers {
            let packet_id = match qos {
                AtLeastOnce => sender.expect::<PubAck>().packet_id,
                _ => sender.expect::<PubRec>().packet_id,
            };
            assert_eq!(packet_id, id(number));
        }
    }
    for number in numbers {
        sender.pubrel(id(number));
    }
    for number in numbers {
        assert_eq!(sender.expect::<PubComp>().packet_id, id(number));
    }
}

// ---- the broker sends

/// [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: packet identifiers in flight differ.
#[test]
fn packet_ids_in_flight_differ() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for number in 0..20 {
        let qos = if number % 2 == 0 { AtLeastOnce } else { ExactlyOnce };
        sender.publish(&Message { qos, ..message(&topic, b"") });
    }
    let mut ids: Vec<_> = (0..20).map(|_| receiver.expect::<Publish>().id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

/// [MQTT-4.3.3-4], [MQTT-4.3.3-5], [MQTT-2.2.1-5]: PUBREC is answered with PUBREL, a second PUBREC
/// as well.
#[test]
fn pubrec_is_answered_with_pubrel() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    publisher(&broker).publish(&qos2(&topic, b""));
    let packet_id = receiver.expect::<Publish>().id();
    for _ in 0..2 {
        receiver.pubrec(packet_id);
        let release = receiver.expect::<PubRel>();
        assert_eq!((release.packet_id, release.reason), (packet_id, ReasonCode::Success));
    }
    receiver.pubcomp(packet_id);
    receiver.expect_nothing();
}

/// PUBREC for a packet identifier that is not in use, perhaps of a session that was lost: the client
/// is helped to the end of its flow. 3.6.2.1 has 0x92 to tell it so; Success is no lie either.
#[test]
fn pubrec_of_an_unknown_packet_id() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.pubrec(id(99));
    let release = client.expect::<PubRel>();
    assert_eq!(release.packet_id, id(99));
    let allowed = [ReasonCode::Success, ReasonCode::PacketIdentifierNotFound];
    assert!(allowed.contains(&release.reason), "{release:?}");
    client.expect_nothing();
}

/// A PUBACK or PUBCOMP that nothing waits for is passed over: the flow it belonged to may have
/// ended with an earlier connection.
#[test]
fn stray_acknowledgements_are_passed_over() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.puback(id(99));
    client.pubcomp(id(98));
    client.expect_nothing();
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.6.0-1] for the broker as
/// a sender: what is unacknowledged comes again in the first order, with its packet identifier
/// and DUP.
#[test]
fn unacknowledged_messages_are_resent_in_order() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = kept_subscriber(&broker, &name, &topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    for (number, qos) in [AtLeastOnce, ExactlyOnce, AtLeastOnce, ExactlyOnce].iter().enumerate() {
        sender.publish(&Message { qos: *qos, ..message(&topic, number.to_string().as_bytes()) });
    }
    let first: Vec<Publish> = (0..4).map(|_| receiver.expect::<Publish>()).collect();
    assert!(first.iter().all(|publish| !publish.dup));
    receiver.expect_nothing(); // No resending while the connection lasts.
    receiver.cut();

    let mut receiver = broker.connect(&resume(&name));
    for publish in first {
        let again = receiver.take();
        assert!(again.dup);
        assert_eq!(again, Publish { dup: true, ..publish });
    }
    receiver.expect_nothing();
}

/// [MQTT-4.3.3-6], [MQTT-4.4.0-1]: after PUBREL the PUBLISH never comes again; the PUBREL does.
#[test]
fn pubrel_is_resent_instead_of_publish() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = kept_subscriber(&broker, &name, &topic, ExactlyOnce);
    publisher(&broker).publish(&qos2(&topic, b""));
    let packet_id = receiver.expect::<Publish>().id();
    receiver.pubrec(packet_id);
    receiver.expect::<PubRel>();
    receiver.cut();
    for _ in 0..2 {
        let mut receiver = broker.connect(&resume(&name));
        assert_eq!(receiver.expect::<PubRel>().packet_id, packet_id);
        receiver.expect_nothing();
        receiver.cut();
    }
    let mut receiver = broker.connect(&resume(&name));
    receiver.expect::<PubRel>();
    receiver.pubcomp(packet_id);
    receiver.expect_nothing();
    receiver.cut();
    broker.connect(&resume(&name)).expect_nothing();
}

/// [MQTT-4.4.0-2]: an error in PUBACK or PUBREC ends the flow as well.
#[test]
fn refused_messages_are_not_resent() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = kept_subscriber(&broker, &name, &topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    sender.publish(&qos1(&topic, b"one"));
    sender.publish(&qos2(&topic, b"two"));
    let (one, two) = (receiver.expect::<Publish>(), receiver.expect::<Publish>());
    receiver.puback_with(one.id(), ReasonCode::UnspecifiedError);
    receiver.pubrec_with(two.id(), ReasonCode::QuotaExceeded);
    receiver.expect_nothing();
    receiver.cut();
    broker.connect(&resume(&name)).expect_nothing();
}

/// [MQTT-4.3.3-7]: once sent, a QoS 2 message does not expire.
#[test]
fn qos2_in_flight_does_not_expire() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = kept_subscriber(&broker, &name, &topic, ExactlyOnce);
    let properties = list(&[Property::MessageExpiryInterval(1)]);
    publisher(&broker).publish(&Message { properties, ..qos2(&topic, b"sent") });
    let packet_id = receiver.expect::<Publish>().id();
    receiver.cut();
    thread::sleep(OVER_A_SECOND);
    let mut receiver = broker.connect(&resume(&name));
    let again = receiver.take();
    assert_eq!((again.id(), again.dup, again.text()), (packet_id, true, "sent"));
    receiver.expect_nothing();
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6]: one publisher, one topic, one QoS: one order, for subscribers
/// that are there and for those that come back.
#[test]
fn order_of_a_publisher_is_kept() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    kept_subscriber(&broker, &name, &topic, ExactlyOnce).disconnect();
    let mut online = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for qos in [AtLeastOnce, ExactlyOnce] {
        for number in 0..40 {
            sender.publish(&Message { qos, ..message(&topic, &[number]) });
        }
    }
    let expected: Vec<u8> = (0..40).chain(0..40).collect();
    let mut returned = broker.connect(&resume(&name));
    for receiver in [&mut online, &mut returned] {
        let got: Vec<u8> = (0..80).map(|_| receiver.take().payload[0]).collect();
        assert_eq!(got, expected);
        receiver.expect_nothing();
    }
}

/// Acknowledgements out of order free what they name, nothing else.
#[test]
fn acknowledgements_may_come_in_any_order() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = kept_subscriber(&broker, &name, &topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    for number in 0..5 {
        sender.publish(&qos1(&topic, &[number]));
    }
    let got: Vec<Publish> = (0..5).map(|_| receiver.expect::<Publish>()).collect();
    for index in [3, 0, 4] {
        receiver.puback(got[index].id());
    }
    receiver.expect_nothing();
    receiver.cut();
    let mut receiver = broker.connect(&resume(&name));
    let again: Vec<u8> = (0..2).map(|_| receiver.take().payload[0]).collect();
    assert_eq!(again, [1, 2]);
    receiver.expect_nothing();
}
