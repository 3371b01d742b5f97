//! Message expiry and session expiry.

use outpost_protocol::{Connect, Disconnect, Packet, Properties, Property, Publish, ReasonCode};

use super::bed::{Bed, EXPIRY_S, Got, QOS_1, QOS_2, publish, v5, v311};
use crate::core::limits::Limits;

fn publish_for(bed: &mut Bed, id: crate::core::ConnId, value: u16, expiry_s: u32, payload: &str) {
    let list = [Property::MessageExpiryInterval(expiry_s)];
    let one =
        Publish { properties: Properties::list(&list), ..publish("t", QOS_1, value, payload) };
    bed.send(id, &Packet::Publish(one));
}

#[test]
fn messages_expire_in_the_queue_and_are_counted_down() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    bed.lose(subscriber);
    let publisher = bed.fleeting("p");
    publish_for(&mut bed, publisher, 1, 10, "short");
    publish_for(&mut bed, publisher, 2, 100, "long");
    bed.commit();
    bed.pass_s(10);
    for crash in [false, true] {
        if crash {
            bed.crash();
        }
        let list = [Property::SessionExpiryInterval(EXPIRY_S)];
        let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5("s") });
        let got = bed.messages(id);
        assert_eq!((got.len(), &*got[0].payload), (1, "long"), "[MQTT-3.3.2-5]");
        assert_eq!(got[0].properties().message_expiry_interval_s(), Some(90), "[MQTT-3.3.2-6]");
        bed.lose(id);
        bed.commit();
    }
    assert_eq!(bed.store.messages.len(), 1);
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    bed.subscribe(id, "t", QOS_2);
    bed.pass_s(2 * EXPIRY_S);
    assert_eq!(bed.broker.sessions.len(), 1, "not while its client is connected");
    bed.lose(id);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.pass_s(EXPIRY_S - 1);
    let id = bed.connect(&v5("s"));
    bed.commit();
    assert!(matches!(bed.got(id)[0], Got::ConnAck { session_present: true, .. }));
    bed.lose(id);
    bed.commit();
    assert!(bed.store.sessions.is_empty() && bed.store.messages.is_empty());
    assert!(bed.store.subscriptions.is_empty());
}

#[test]
fn a_session_ends_while_the_broker_is_down() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    bed.subscribe(id, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.lose(id);
    bed.commit();
    bed.now = bed.now.plus_s(EXPIRY_S);
    bed.crash();
    // Before the timer has had its turn.
    let id = bed.connect(&v5("s"));
    bed.commit();
    assert!(matches!(bed.got(id)[0], Got::ConnAck { session_present: false, .. }));
    assert!(bed.store.messages.is_empty() && bed.store.subscriptions.is_empty());
}

#[test]
fn the_expiry_of_a_connected_session_counts_from_the_crash() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    bed.subscribe(id, "t", QOS_1);
    bed.pass_s(10 * EXPIRY_S);
    bed.crash();
    bed.pass_s(EXPIRY_S - 1);
    assert_eq!(bed.broker.sessions.len(), 1);
    bed.pass_s(1);
    assert!(bed.broker.sessions.is_empty());
    bed.commit();
    assert!(bed.store.sessions.is_empty());
}

#[test]
fn the_longest_expiry_is_limited_for_all_versions() {
    let mut bed = Bed::with_limits(Limits { session_expiry_max_s: 100, ..Limits::default() });
    let list = [Property::SessionExpiryInterval(u32::MAX)];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5("a") });
    let Got::ConnAck { properties, .. } = &bed.got(id)[0] else { panic!("no CONNACK") };
    let granted = Properties::encoded(properties).session_expiry_interval_s();
    assert_eq!(granted, Some(100), "[MQTT-3.2.2-21]");
    let old = bed.accepted(&v311("b"));
    bed.lose(id);
    bed.lose(old);
    bed.pass_s(100);
    assert!(bed.broker.sessions.is_empty());
}

#[test]
fn an_interval_of_all_ones_never_ends() {
    let mut bed = Bed::with_limits(Limits { session_expiry_max_s: u32::MAX, ..Limits::default() });
    let list = [Property::SessionExpiryInterval(u32::MAX)];
    let id = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("a") });
    bed.lose(id);
    bed.commit();
    bed.pass_s(u32::MAX);
    bed.crash();
    bed.pass_s(u32::MAX);
    assert_eq!(bed.broker.sessions.len(), 1);
}

#[test]
fn disconnect_may_change_the_expiry() {
    let mut bed = Bed::new();
    let id = bed.durable("a");
    let list = [Property::SessionExpiryInterval(5)];
    let properties = Properties::list(&list);
    bed.send(id, &Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties }));
    bed.lose(id);
    bed.pass_s(4);
    assert_eq!(bed.broker.sessions.len(), 1);
    bed.pass_s(1);
    assert!(bed.broker.sessions.is_empty());
}

#[test]
fn a_client_s_keep_alive_is_watched_one_and_a_half_times() {
    let mut bed = Bed::with_limits(Limits { keep_alive_max_s: 100, ..Limits::default() });
    let id = bed.connect(&Connect { keep_alive_s: 200, ..v5("a") });
    let Got::ConnAck { properties, .. } = &bed.got(id)[0] else { panic!("no CONNACK") };
    assert_eq!(Properties::encoded(properties).server_keep_alive_s(), Some(100));
    // 3.1.1 cannot be told of another: its own counts.
    let old = bed.accepted(&Connect { keep_alive_s: 200, ..v311("b") });
    bed.pass_ms(149_999);
    assert!(bed.got(id).is_empty());
    bed.pass_ms(1);
    assert_eq!(bed.got(id), [Got::Disconnect(ReasonCode::KeepAliveTimeout), Got::Closed]);
    bed.pass_ms(149_999);
    assert!(bed.got(old).is_empty());
    bed.pass_ms(1);
    assert_eq!(bed.got(old), [Got::Closed]);
}
