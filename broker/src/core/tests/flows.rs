//! QoS 0, 1 and 2 in both directions, connected all the time [MQTT-4.3.1] to [MQTT-4.3.3].

use outpost_protocol::{DecodeError, ReasonCode};

use super::bed::{Bed, Got, QOS_0, QOS_1, QOS_2};

#[test]
fn a_qos_0_message_goes_to_everyone_at_once_and_is_never_stored() {
    let mut bed = Bed::new();
    let (a, b) = (bed.durable("a"), bed.fleeting("b"));
    bed.subscribe(a, "t/#", QOS_2);
    bed.subscribe(b, "t/+", QOS_0);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t/1", QOS_0, 0, "x");
    assert_eq!(bed.payloads(a), ["x"]);
    assert_eq!(bed.payloads(b), ["x"]);
    assert!(!bed.begin_commit());
}

#[test]
fn puback_waits_for_the_commit_and_the_message_does_not() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 9, "x");
    assert_eq!(bed.payloads(subscriber), ["x"]);
    assert!(bed.got(publisher).is_empty());
    assert!(bed.begin_commit());
    assert!(bed.got(publisher).is_empty());
    bed.end_commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(9, ReasonCode::Success)]);
}

#[test]
fn puback_comes_at_once_where_no_session_outlives_its_connection() {
    let mut bed = Bed::new();
    let subscriber = bed.fleeting("s");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 9, "x");
    assert_eq!(bed.got(publisher), [Got::PubAck(9, ReasonCode::Success)]);
    bed.publish(publisher, "other", QOS_1, 9, "x");
    assert_eq!(bed.got(publisher), [Got::PubAck(9, ReasonCode::NoMatchingSubscribers)]);
}

#[test]
fn a_qos_2_publish_is_taken_once_however_often_it_comes() {
    let mut bed = Bed::new();
    let subscriber = bed.fleeting("s");
    bed.subscribe(subscriber, "t", QOS_0);
    let publisher = bed.durable("p");
    bed.publish(publisher, "t", QOS_2, 5, "x");
    bed.publish(publisher, "t", QOS_2, 5, "x");
    assert!(bed.got(publisher).is_empty(), "PUBREC waits for the commit, the repeated one as well");
    bed.commit();
    let pubrec = Got::PubRec(5, ReasonCode::Success);
    assert_eq!(bed.got(publisher), [pubrec.clone(), pubrec.clone()]);
    assert_eq!(bed.payloads(subscriber), ["x"]);

    bed.publish(publisher, "t", QOS_2, 5, "x");
    assert_eq!(bed.got(publisher), [pubrec], "it is durable already");
    bed.pubrel(publisher, 5);
    assert!(bed.got(publisher).is_empty(), "PUBCOMP waits for the commit");
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubComp(5, ReasonCode::Success)]);
    assert!(bed.messages(subscriber).is_empty());

    bed.publish(publisher, "t", QOS_2, 5, "y");
    assert_eq!(bed.payloads(subscriber), ["y"], "the identifier is free again");
}

#[test]
fn an_outgoing_qos_2_publish_leaves_when_its_identifier_is_durable() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_2);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_2, 1, "x");
    assert!(bed.messages(subscriber).is_empty());
    bed.commit();
    let got = bed.messages(subscriber);
    assert_eq!((got.len(), got[0].qos, got[0].dup), (1, QOS_2, false));
    let id = got[0].packet_id;
    bed.pubrec(subscriber, id, ReasonCode::Success);
    assert!(bed.got(subscriber).is_empty(), "PUBREL waits until the message is forgotten for good");
    bed.commit();
    assert_eq!(bed.got(subscriber), [Got::PubRel(id, ReasonCode::Success)]);
    bed.pubcomp(subscriber, id);
    bed.commit();
    assert!(bed.store.session("s").unwrap().inflight.is_empty());
    assert!(bed.store.messages.is_empty());
}

#[test]
fn an_error_in_pubrec_ends_the_flow() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_2);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_2, 1, "x");
    bed.commit();
    let id = bed.messages(subscriber)[0].packet_id;
    bed.pubrec(subscriber, id, ReasonCode::UnspecifiedError);
    bed.commit();
    assert!(bed.got(subscriber).is_empty(), "no PUBREL [MQTT-4.3.3-4]");
    assert!(bed.store.messages.is_empty());
}

#[test]
fn acknowledgements_of_nothing_are_borne() {
    let mut bed = Bed::new();
    let a = bed.fleeting("a");
    bed.puback(a, 7);
    bed.pubcomp(a, 7);
    assert!(bed.got(a).is_empty());
    bed.pubrec(a, 7, ReasonCode::Success);
    assert_eq!(bed.got(a), [Got::PubRel(7, ReasonCode::Success)]);
    bed.pubrel(a, 7);
    assert_eq!(bed.got(a), [Got::PubComp(7, ReasonCode::PacketIdentifierNotFound)]);
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    let id = bed.messages(subscriber)[0].packet_id;
    bed.pubrec(subscriber, id, ReasonCode::Success);
    let expected = [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed];
    assert_eq!(bed.got(subscriber), expected);
}

#[test]
fn acknowledgements_leave_in_the_order_of_their_publishes() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "stored", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "stored", QOS_1, 1, "x");
    bed.publish(publisher, "nowhere", QOS_1, 2, "x");
    bed.publish(publisher, "stored", QOS_2, 3, "x");
    bed.publish(publisher, "nowhere", QOS_2, 4, "x");
    assert!(bed.got(publisher).is_empty());
    bed.commit();
    let got = bed.got(publisher);
    let ids: Vec<u16> = got
        .iter()
        .map(|got| match got {
            Got::PubAck(id, _) | Got::PubRec(id, _) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4], "[MQTT-4.6.0-2], [MQTT-4.6.0-3]");
}

#[test]
fn the_client_s_receive_maximum_is_never_exceeded() {
    use outpost_protocol::{Connect, Properties, Property};
    let mut bed = Bed::new();
    let list = [Property::ReceiveMaximum(2), Property::SessionExpiryInterval(100)];
    let connect = Connect { properties: Properties::list(&list), ..super::bed::v5("s") };
    let subscriber = bed.accepted(&connect);
    bed.subscribe(subscriber, "t", QOS_2);
    let publisher = bed.fleeting("p");
    for i in 1..=5 {
        bed.publish(publisher, "t", if i % 2 == 0 { QOS_2 } else { QOS_1 }, i, &i.to_string());
    }
    bed.commit();
    let got = bed.messages(subscriber);
    assert_eq!(got.iter().map(|m| &*m.payload).collect::<Vec<_>>(), ["1", "2"]);
    bed.puback(subscriber, got[0].packet_id);
    let third = bed.messages(subscriber);
    assert_eq!(third[0].payload, "3");
    bed.pubrec(subscriber, got[1].packet_id, ReasonCode::Success);
    bed.commit();
    assert!(bed.messages(subscriber).is_empty(), "PUBREC leaves the quota as it is [MQTT-4.9.0-1]");
    bed.pubcomp(subscriber, got[1].packet_id);
    bed.commit();
    assert_eq!(bed.payloads(subscriber), ["4"]);
}

#[test]
fn a_ping_is_answered() {
    let mut bed = Bed::new();
    let a = bed.fleeting("a");
    bed.send(a, &outpost_protocol::Packet::PingReq);
    assert_eq!(bed.got(a), [Got::PingResp]);
}

/// Found by fuzzing: a CONNECT of an unknown version in the midst of a connection is refused with
/// 0x84, which no DISCONNECT can carry.
#[test]
fn a_reason_that_disconnect_cannot_carry_is_told_as_protocol_error() {
    let mut bed = Bed::new();
    let id = bed.fleeting("a");
    let reason = ReasonCode::UnsupportedProtocolVersion;
    bed.broker.handle_malformed(bed.now, id, DecodeError { reason, what: "CONNECT: version 6" });
    assert_eq!(bed.got(id), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
}

#[test]
fn a_shutdown_is_told_to_5_0_clients_and_ends_all_connections() {
    let mut bed = Bed::new();
    let (new, old) = (bed.durable("new"), bed.accepted(&super::bed::v311("old")));
    bed.commit();
    bed.broker.handle_shutdown(bed.now);
    assert_eq!(bed.got(new), [Got::Disconnect(ReasonCode::ServerShuttingDown), Got::Closed]);
    assert_eq!(bed.got(old), [Got::Closed]);
    bed.crash();
    assert_eq!(bed.broker.sessions.len(), 2, "their sessions stay");
}
