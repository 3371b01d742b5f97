//! Order [MQTT-4.6.0-5], [MQTT-4.6.0-6], and packet identifiers in use.

use outpost_protocol::{Connect, Properties, Property, ReasonCode};

use super::bed::{Bed, EXPIRY_S, Got, QOS_1, QOS_2, v5};

#[test]
fn a_queue_keeps_the_order_through_window_loss_and_crash() {
    let mut bed = Bed::new();
    let list = [Property::ReceiveMaximum(3), Property::SessionExpiryInterval(EXPIRY_S)];
    let connect = Connect { properties: Properties::list(&list), ..v5("s") };
    let subscriber = bed.accepted(&connect);
    bed.subscribe(subscriber, "t", QOS_2);
    bed.lose(subscriber);
    let publisher = bed.fleeting("p");
    for i in 1..=20 {
        bed.publish(publisher, "t", QOS_2, i, &i.to_string());
    }
    bed.commit();
    let mut delivered: Vec<String> = Vec::new();
    let mut received = std::collections::BTreeSet::new();
    for round in 0.. {
        let id = bed.connect(&connect);
        bed.commit();
        for got in bed.got(id) {
            match got {
                Got::Publish(message) => {
                    if received.insert(message.packet_id) {
                        delivered.push(message.payload);
                    }
                    bed.pubrec(id, message.packet_id, ReasonCode::Success);
                }
                Got::PubRel(packet_id, _) => {
                    received.remove(&packet_id);
                    bed.pubcomp(id, packet_id);
                }
                Got::ConnAck { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        match round % 3 {
            0 => bed.commit(),
            1 => {}
            _ => bed.crash(),
        }
        if bed.store.messages.is_empty() && received.is_empty() {
            break;
        }
        bed.lose(id);
        assert!(round < 100, "no progress");
    }
    assert_eq!(delivered, (1..=20).map(|i| i.to_string()).collect::<Vec<_>>());
}

/// What is sent again is sent in the order of first sending, whatever its QoS, also where the packet
/// identifiers of QoS 2 have to wait for the store; what is new comes behind it.
#[test]
fn what_is_sent_again_is_not_overtaken() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    bed.subscribe(id, "t", QOS_2);
    let publisher = bed.fleeting("p");
    for (i, qos) in [(1, QOS_2), (2, QOS_1), (3, QOS_2), (4, QOS_1)] {
        bed.publish(publisher, "t", qos, i, &i.to_string());
        bed.commit();
    }
    assert_eq!(bed.payloads(id).len(), 4);
    bed.lose(id);
    // Somebody's message is on its way to the store.
    let other = bed.durable("other");
    bed.subscribe(other, "u", QOS_1);
    bed.publish(publisher, "u", QOS_1, 5, "5");
    let list = [Property::SessionExpiryInterval(EXPIRY_S)];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5("s") });
    bed.publish(publisher, "t", QOS_1, 6, "6");
    let mut got = bed.payloads(id);
    bed.commit();
    got.extend(bed.payloads(id));
    assert_eq!(got, ["1", "2", "3", "4", "6"]);
}

/// One that waits for the batch under commit does not wait for the next one, whoever does.
#[test]
fn a_commit_releases_all_that_waits_for_it() {
    let mut bed = Bed::new();
    let (a, b) = (bed.durable("a"), bed.durable("b"));
    bed.commit();
    bed.lose(b);
    bed.pass_s(EXPIRY_S);
    assert!(bed.begin_commit(), "it ends the session of b");
    bed.publish(a, "t", QOS_2, 1, "x");
    let b = bed.back("b");
    assert!(bed.got(b).is_empty());
    bed.end_commit();
    assert!(matches!(bed.got(b)[..], [Got::ConnAck { session_present: false, .. }]));
    assert!(bed.got(a).is_empty());
    bed.commit();
    assert_eq!(bed.got(a), [Got::PubRec(1, ReasonCode::NoMatchingSubscribers)]);
}

#[test]
fn an_identifier_that_stays_long_is_not_given_twice() {
    let mut bed = Bed::new();
    let id = bed.fleeting("s");
    bed.subscribe(id, "t", QOS_1);
    let publisher = bed.fleeting("p");
    let mut kept = std::collections::BTreeSet::new();
    for i in 0..140_000u32 {
        // The checks of the bed would take minutes over so many packets.
        let publish = super::bed::publish("t", QOS_1, 1, "x");
        let packet = outpost_protocol::Packet::Publish(publish);
        bed.broker.handle_packet(bed.now, publisher, &packet);
        for output in bed.broker.poll_output(bed.now, id) {
            let crate::core::output::Output::Publish(delivery) = output else {
                panic!("{output:?}")
            };
            let packet_id = delivery.packet_id.unwrap();
            assert!(!kept.contains(&packet_id), "{packet_id:?} is in use");
            if i % 10_000 == 0 {
                kept.insert(packet_id);
                continue;
            }
            let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
            let ack = outpost_protocol::PubAck { packet_id, reason, properties };
            bed.broker.handle_packet(bed.now, id, &outpost_protocol::Packet::PubAck(ack));
        }
        bed.broker.poll_output(bed.now, publisher);
    }
    assert_eq!(kept.len(), 14);
}
