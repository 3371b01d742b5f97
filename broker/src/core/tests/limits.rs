//! Nothing grows with the number of things that happened; limits of CONNECT, SUBSCRIBE and PUBLISH.

use outpost_protocol::{
    Connect, Packet, Properties, Property, Publish, ReasonCode, SubscriptionOptions,
};

use super::bed::{Bed, EXPIRY_S, Got, QOS_0, QOS_1, QOS_2, publish, v5, v311};
use crate::core::Handled;
use crate::core::limits::Limits;

#[test]
fn timers_do_not_pile_up() {
    let mut bed = Bed::new();
    let list = [Property::SessionExpiryInterval(EXPIRY_S)];
    let connect = Connect { keep_alive_s: 60, properties: Properties::list(&list), ..v5("a") };
    let publisher = bed.fleeting("p");
    let expiry = [Property::MessageExpiryInterval(1_000)];
    for i in 0..100 {
        let id = bed.accepted(&connect);
        bed.lose(id);
        let properties = Properties::list(&expiry);
        let one = Publish { retain: true, properties, ..publish("one", QOS_0, 0, "x") };
        bed.send(publisher, &Packet::Publish(one));
        let topic = format!("many/{i}");
        let many = Publish { retain: true, properties, ..publish(&topic, QOS_0, 0, "x") };
        bed.send(publisher, &Packet::Publish(many));
        bed.retain(publisher, &topic, "");
    }
    assert!(bed.broker.timers.len() <= 4, "{}", bed.broker.timers.len());
}

#[test]
fn long_topics_do_not_fill_the_cache_of_matches() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    for i in 0..2_000 {
        let topic = format!("{}{i}", "x".repeat(60_000));
        bed.publish(publisher, &topic, QOS_0, 0, "");
    }
    assert!(bed.broker.topics.cache_bytes() <= 8 << 20);
}

#[test]
fn a_session_has_a_limit_of_subscriptions() {
    let limits = Limits { subscriptions_per_session_max: 2, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    let id = bed.fleeting("a");
    bed.subscribe(id, "a", QOS_0);
    bed.subscribe(id, "b", QOS_0);
    bed.subscribe(id, "b", QOS_1);
    bed.subscribe_with(id, "c", SubscriptionOptions::new(QOS_0), Properties::EMPTY);
    assert_eq!(bed.got(id), [Got::SubAck(60_000, vec![ReasonCode::QuotaExceeded])]);
}

#[test]
fn deep_topics_are_refused() {
    let mut bed = Bed::with_limits(Limits { topic_levels_max: 3, ..Limits::default() });
    let id = bed.fleeting("a");
    bed.subscribe(id, "a/b/c", QOS_1);
    bed.subscribe_with(id, "a/b/c/d", SubscriptionOptions::new(QOS_0), Properties::EMPTY);
    assert_eq!(bed.got(id), [Got::SubAck(60_000, vec![ReasonCode::TopicFilterInvalid])]);
    bed.publish(id, "a/b/c/d", QOS_1, 1, "");
    assert_eq!(bed.got(id), [Got::PubAck(1, ReasonCode::TopicNameInvalid)]);
    let old = bed.accepted(&v311("b"));
    bed.publish(old, "a/b/c/d", QOS_1, 1, "");
    assert_eq!(bed.got(old), [Got::Closed]);
}

#[test]
fn sessions_have_a_limit() {
    let mut bed = Bed::with_limits(Limits { sessions_max: 1, ..Limits::default() });
    let first = bed.durable("a");
    let second = bed.connect(&v5("b"));
    let got = bed.got(second);
    assert!(matches!(&got[0], Got::ConnAck { reason: ReasonCode::QuotaExceeded, .. }), "{got:?}");
    assert_eq!(got[1..], [Got::Closed]);
    bed.lose(first);
    bed.durable("a");
}

#[test]
fn client_identifiers_are_checked() {
    let mut bed = Bed::with_limits(Limits { client_id_bytes_max: 5, ..Limits::default() });
    for (connect, expected) in [
        (v5("123456"), ReasonCode::ClientIdentifierNotValid),
        (v5("$outpost/x"), ReasonCode::ClientIdentifierNotValid),
        (v311(""), ReasonCode::ClientIdentifierNotValid),
        (v5(""), ReasonCode::Success),
        (Connect { clean_start: true, ..v311("") }, ReasonCode::Success),
        (v311("12345"), ReasonCode::Success),
    ] {
        let id = bed.connect(&connect);
        let got = bed.got(id);
        assert!(
            matches!(&got[0], Got::ConnAck { reason, .. } if *reason == expected),
            "{connect:?}: {got:?}"
        );
        assert_eq!(got.last() == Some(&Got::Closed), expected != ReasonCode::Success);
    }
}

#[test]
fn a_long_client_identifier_and_response_information_do_not_clash() {
    let mut bed = Bed::with_limits(Limits { client_id_bytes_max: u16::MAX, ..Limits::default() });
    let name = "x".repeat(65_535);
    let list = [Property::RequestResponseInformation(1)];
    bed.accepted(&Connect { properties: Properties::list(&list), ..v5(&name) });
    let short = bed.connect(&Connect { properties: Properties::list(&list), ..v5("s") });
    let Got::ConnAck { properties, .. } = &bed.got(short)[0] else { panic!("no CONNACK") };
    assert_eq!(Properties::encoded(properties).response_information(), Some("response/s"));
}

#[test]
fn the_receive_maximum_binds_5_0_clients() {
    let mut bed = Bed::with_limits(Limits { receive_maximum: 2, ..Limits::default() });
    let id = bed.fleeting("a");
    for i in 1..=3 {
        bed.publish(id, "t", QOS_2, i, "");
    }
    let got = bed.got(id);
    let end = [Got::Disconnect(ReasonCode::ReceiveMaximumExceeded), Got::Closed];
    assert_eq!(got[2..], end, "{got:?}");
}

/// The quota begins anew with each connection (MQTT 5.0, 4.9): flows of a former one that still
/// wait for PUBREL do not count.
#[test]
fn the_receive_maximum_begins_anew_with_a_connection() {
    let mut bed = Bed::with_limits(Limits { receive_maximum: 2, ..Limits::default() });
    let id = bed.durable("a");
    bed.publish(id, "t", QOS_2, 1, "");
    bed.publish(id, "t", QOS_2, 2, "");
    bed.commit();
    bed.lose(id);
    let id = bed.durable("a");
    bed.publish(id, "t", QOS_2, 3, "");
    bed.publish(id, "t", QOS_2, 4, "");
    bed.commit();
    let received = |i| Got::PubRec(i, ReasonCode::NoMatchingSubscribers);
    assert_eq!(bed.got(id), [received(3), received(4)]);
    bed.publish(id, "t", QOS_2, 5, "");
    let end = [Got::Disconnect(ReasonCode::ReceiveMaximumExceeded), Got::Closed];
    assert_eq!(bed.got(id), end);
}

/// 3.1.1 knows no Receive Maximum: a client may send as many as it has identifiers.
#[test]
fn a_3_1_1_client_may_have_more_in_flight_than_the_receive_maximum() {
    let mut bed = Bed::with_limits(Limits { receive_maximum: 2, ..Limits::default() });
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "#", QOS_0);
    let id = bed.accepted(&v311("a"));
    for i in 1..=10 {
        bed.publish(id, "t", if i % 2 == 0 { QOS_1 } else { QOS_2 }, i, "");
    }
    bed.commit();
    let mut acknowledged = bed.got(id).len();
    while acknowledged < 10 && bed.begin_commit() {
        bed.end_commit();
        acknowledged += bed.got(id).len();
    }
    assert_eq!(acknowledged, 10);
    assert_eq!(bed.messages(subscriber).len(), 10);
}

/// PUBACKs that wait for the store are no fault of the client's: it has to wait, not to go.
/// paho-mqtt sends all that it has after a reconnection, and came back again and again.
#[test]
fn a_5_0_client_waits_while_the_store_holds_its_pubacks() {
    let mut bed = Bed::with_limits(Limits { receive_maximum: 2, ..Limits::default() });
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "#", QOS_0);
    let away = bed.durable("away");
    bed.subscribe(away, "#", QOS_1);
    bed.lose(away);
    let id = bed.fleeting("a");
    let handled: Vec<Handled> = (1..=10).map(|i| bed.publish(id, "t", QOS_1, i, "")).collect();
    assert_eq!(handled[..3], [Handled::Done, Handled::Done, Handled::Wait]);
    assert_eq!(bed.got(id), [], "nothing is committed");
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 10 && bed.begin_commit() {
        bed.end_commit();
        acknowledged.extend(bed.got(id));
    }
    let expected: Vec<Got> = (1..=10).map(|i| Got::PubAck(i, ReasonCode::Success)).collect();
    assert_eq!(acknowledged, expected);
    assert_eq!(bed.messages(subscriber).len(), 10);
}

#[test]
fn the_maximum_qos_is_announced_and_kept() {
    let mut bed = Bed::with_limits(Limits { maximum_qos: QOS_1, ..Limits::default() });
    let id = bed.connect(&v5("a"));
    let Got::ConnAck { properties, .. } = &bed.got(id)[0] else { panic!("no CONNACK") };
    assert_eq!(Properties::encoded(properties).maximum_qos(), Some(1));
    bed.subscribe_with(id, "t", SubscriptionOptions::new(QOS_2), Properties::EMPTY);
    assert_eq!(bed.got(id), [Got::SubAck(60_000, vec![ReasonCode::GrantedQoS1])]);
    assert_eq!(bed.publish(id, "t", QOS_2, 1, ""), Handled::Closed);
    let end = [Got::Disconnect(ReasonCode::QoSNotSupported), Got::Closed];
    assert_eq!(bed.got(id), end);
}

#[test]
fn messages_larger_than_the_client_takes_count_as_delivered() {
    let mut bed = Bed::new();
    let list = [Property::MaximumPacketSize(50), Property::SessionExpiryInterval(EXPIRY_S)];
    let id = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("a") });
    bed.subscribe(id, "t", QOS_2);
    let publisher = bed.fleeting("p");
    for (i, qos) in [QOS_0, QOS_1, QOS_2].into_iter().enumerate() {
        bed.publish(publisher, "t", qos, i as u16 + 1, &"x".repeat(60));
        bed.publish(publisher, "t", qos, i as u16 + 11, "small");
    }
    bed.commit();
    assert_eq!(bed.payloads(id), ["small"; 3], "[MQTT-3.1.2-24], [MQTT-3.1.2-25]");
    assert_eq!(bed.broker.counters().dropped_too_large, 3);
}
