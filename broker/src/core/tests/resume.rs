//! Sessions that outlive their connection, and the broker [MQTT-4.4.0-1], [MQTT-3.1.2-5].

use outpost_protocol::{
    Connect, Disconnect, Packet, Properties, Property, ReasonCode, SubscribeFilter,
    SubscriptionOptions,
};

use super::bed::{Bed, EXPIRY_S, Got, GotPublish, QOS_0, QOS_1, QOS_2, publish, v5, v311};
use crate::core::limits::Limits;
use crate::core::{ConnId, Peer};

fn session_present(bed: &mut Bed, id: ConnId) -> bool {
    match bed.got(id).first() {
        Some(Got::ConnAck { session_present, reason: ReasonCode::Success, .. }) => *session_present,
        other => panic!("{other:?}"),
    }
}

fn durable_connect() -> Connect<'static> {
    const LIST: [Property<'_>; 1] = [Property::SessionExpiryInterval(EXPIRY_S)];
    Connect { properties: Properties::list(&LIST), ..v5("s") }
}

fn seen(messages: &[GotPublish]) -> Vec<(&str, u16, bool)> {
    messages.iter().map(|m| (&*m.payload, m.packet_id, m.dup)).collect()
}

#[test]
fn session_present_is_true_to_the_facts() {
    let mut bed = Bed::new();
    let first = bed.connect(&durable_connect());
    assert!(!session_present(&mut bed, first));
    bed.lose(first);
    let again = bed.connect(&durable_connect());
    assert!(session_present(&mut bed, again));
    bed.commit();
    bed.crash();
    let after_crash = bed.connect(&durable_connect());
    assert!(session_present(&mut bed, after_crash));
    bed.lose(after_crash);
    let clean = bed.connect(&Connect { clean_start: true, ..durable_connect() });
    bed.commit();
    assert!(!session_present(&mut bed, clean));
    // A session that ends with its connection is not there the next time.
    bed.lose(clean);
    let fleeting = bed.connect(&v5("s"));
    bed.commit();
    assert!(session_present(&mut bed, fleeting));
    bed.lose(fleeting);
    let last = bed.connect(&v5("s"));
    assert!(!session_present(&mut bed, last));
}

#[test]
fn a_clean_3_1_1_session_is_gone_with_its_connection() {
    let mut bed = Bed::new();
    let kept = bed.connect(&v311("a"));
    bed.lose(kept);
    let again = bed.connect(&v311("a"));
    assert!(session_present(&mut bed, again));
    bed.lose(again);
    let clean = bed.connect(&Connect { clean_start: true, ..v311("a") });
    bed.commit();
    assert!(!session_present(&mut bed, clean));
    bed.lose(clean);
    bed.commit();
    assert!(bed.store.sessions.is_empty());
    let last = bed.connect(&v311("a"));
    assert!(!session_present(&mut bed, last));
}

#[test]
fn a_clean_start_is_confirmed_when_the_old_session_is_gone_for_good() {
    let mut bed = Bed::new();
    let old = bed.durable("s");
    bed.subscribe(old, "t", QOS_1);
    bed.lose(old);
    bed.commit();
    let clean = bed.connect(&Connect { clean_start: true, ..durable_connect() });
    assert!(bed.got(clean).is_empty(), "a crash now would bring the old session back");
    bed.send(clean, &Packet::PingReq);
    assert!(bed.got(clean).is_empty(), "CONNACK is the first packet [MQTT-3.2.0-1]");
    bed.commit();
    let got = bed.got(clean);
    assert!(matches!(got[0], Got::ConnAck { session_present: false, .. }));
    assert_eq!(got[1..], [Got::PingResp]);
    bed.crash();
    let again = bed.connect(&durable_connect());
    assert!(session_present(&mut bed, again));
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_0, 0, "x");
    assert!(bed.payloads(again).is_empty(), "the new session never subscribed");
}

/// It would take the session of the next connection for the one that is gone.
#[test]
fn a_session_that_its_client_was_never_told_of_does_not_stay() {
    let mut bed = Bed::new();
    let old = bed.durable("s");
    bed.subscribe(old, "t", QOS_1);
    bed.lose(old);
    bed.pass_s(EXPIRY_S);
    let untold = bed.back("s");
    assert!(bed.got(untold).is_empty(), "the end of the old session is not committed");
    bed.lose(untold);
    let told = bed.back("s");
    bed.commit();
    assert!(!session_present(&mut bed, told));
}

#[test]
fn messages_wait_for_the_client() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    bed.disconnect(subscriber, ReasonCode::Success);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_0, 0, "not kept");
    bed.publish(publisher, "t", QOS_1, 1, "1");
    bed.publish(publisher, "t", QOS_2, 2, "2");
    let subscriber = bed.connect(&durable_connect());
    assert_eq!(bed.payloads(subscriber), ["1", "2"]);
}

#[test]
fn what_was_in_flight_is_sent_again_in_order_with_its_identifier() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_2);
    let publisher = bed.fleeting("p");
    for (i, qos) in [QOS_1, QOS_2, QOS_1, QOS_2, QOS_2].into_iter().enumerate() {
        bed.publish(publisher, "t", qos, i as u16 + 1, &i.to_string());
    }
    bed.commit();
    let mut first = bed.messages(subscriber);
    first.sort_by_key(|m| m.packet_id);
    assert_eq!(first.len(), 5);
    bed.pubrec(subscriber, first[1].packet_id, ReasonCode::Success);
    bed.puback(subscriber, first[2].packet_id);
    bed.commit();
    for crash in [false, true] {
        if crash {
            bed.crash();
        } else {
            bed.lose(subscriber);
        }
        let id = bed.connect(&durable_connect());
        let got = bed.got(id);
        assert_eq!(got.len(), 5, "{got:?}");
        assert_eq!(got[2], Got::PubRel(first[1].packet_id, ReasonCode::Success));
        let again: Vec<GotPublish> = got
            .into_iter()
            .filter_map(|g| if let Got::Publish(p) = g { Some(p) } else { None })
            .collect();
        let expected: Vec<_> =
            [0, 3, 4].map(|i: usize| (&*first[i].payload, first[i].packet_id, true)).into();
        assert_eq!(seen(&again), expected);
        bed.lose(id);
    }
}

#[test]
fn a_smaller_window_holds_back_what_was_in_flight() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("p");
    for i in 1..=4 {
        bed.publish(publisher, "t", QOS_1, i, &i.to_string());
    }
    assert_eq!(bed.payloads(subscriber).len(), 4);
    bed.lose(subscriber);
    let list = [Property::ReceiveMaximum(1), Property::SessionExpiryInterval(EXPIRY_S)];
    let narrow = bed.connect(&Connect { properties: Properties::list(&list), ..v5("s") });
    for expected in ["1", "2", "3", "4"] {
        let got = bed.messages(narrow);
        assert_eq!(seen(&got).iter().map(|m| (m.0, m.2)).collect::<Vec<_>>(), [(expected, true)]);
        if expected == "1" {
            // One that has not been sent again yet: the client cannot mean it.
            bed.pubrec(narrow, got[0].packet_id + 1, ReasonCode::Success);
            assert!(bed.got(narrow).is_empty());
        }
        bed.puback(narrow, got[0].packet_id);
    }
}

#[test]
fn a_received_qos_2_identifier_survives_a_crash() {
    let mut bed = Bed::new();
    let subscriber = bed.fleeting("w");
    bed.subscribe(subscriber, "t", QOS_0);
    let publisher = bed.durable("s");
    bed.publish(publisher, "t", QOS_2, 5, "x");
    bed.commit();
    bed.crash();
    let subscriber = bed.fleeting("w");
    bed.subscribe(subscriber, "t", QOS_0);
    let publisher = bed.connect(&durable_connect());
    assert!(session_present(&mut bed, publisher));
    bed.publish(publisher, "t", QOS_2, 5, "x");
    assert_eq!(bed.got(publisher), [Got::PubRec(5, ReasonCode::Success)]);
    assert!(bed.messages(subscriber).is_empty());
}

#[test]
fn a_session_that_its_client_ends_leaves_no_rows() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    // Neither the session nor its subscription is committed when it ends.
    bed.subscribe_with(id, "t", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
    let list = [Property::SessionExpiryInterval(0)];
    let disconnect =
        Disconnect { reason: ReasonCode::Success, properties: Properties::list(&list) };
    bed.send(id, &Packet::Disconnect(disconnect));
    bed.commit();
    assert!(bed.store.sessions.is_empty() && bed.store.subscriptions.is_empty());
}

#[test]
fn a_client_that_has_none_cannot_get_an_expiry_with_disconnect() {
    let mut bed = Bed::new();
    let id = bed.fleeting("s");
    let list = [Property::SessionExpiryInterval(10)];
    let disconnect =
        Disconnect { reason: ReasonCode::Success, properties: Properties::list(&list) };
    bed.send(id, &Packet::Disconnect(disconnect));
    assert_eq!(bed.got(id), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
}

#[test]
fn a_window_as_wide_as_can_be_leaves_a_packet_identifier_to_find() {
    let limits = Limits { inflight_max: u16::MAX, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    let id = bed.fleeting("s");
    bed.subscribe(id, "t", QOS_1);
    let publisher = bed.fleeting("p");
    let packet = Packet::Publish(publish("t", QOS_1, 1, "x"));
    for _ in 0..70_000 {
        // The checks of the bed would take minutes over so many packets.
        bed.broker.handle_packet(bed.now, publisher, &packet);
        bed.broker.poll_output(bed.now, publisher);
    }
    assert_eq!(bed.messages(id).len(), 65_534);
}

/// Found with MQTT.js, which takes 0x92 for a failed publication: a PUBREL whose PUBCOMP was lost
/// with the connection is answered as the first one was.
#[test]
fn a_pubrel_that_is_repeated_in_a_resumed_session_is_a_success() {
    let mut bed = Bed::new();
    let id = bed.durable("a");
    bed.publish(id, "t", QOS_2, 7, "x");
    bed.commit();
    bed.pubrel(id, 7);
    bed.commit();
    bed.lose(id);
    let id = bed.back("a");
    bed.got(id);
    bed.pubrel(id, 7);
    bed.commit();
    assert_eq!(bed.got(id), [Got::PubComp(7, ReasonCode::Success)]);
}

/// A gateway that has never reached its centre: its bridge's session is there all the same.
#[test]
fn what_is_acknowledged_before_a_bridge_first_connects_waits_for_it() {
    let mut bed = Bed::new();
    let options = SubscriptionOptions::new(QOS_1);
    let wanted = [SubscribeFilter { filter: "telemetry/#", options }];
    bed.broker.prepare_internal_session(bed.now, "outpost-central", &wanted);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "telemetry/x", QOS_1, 1, "first");
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(1, ReasonCode::Success)]);
    bed.crash();
    bed.broker.prepare_internal_session(bed.now, "outpost-central", &wanted);
    let internal = Peer { address: "bridge".into(), user_name: None, is_internal: true };
    let keep = Connect { client_id: "outpost-central", ..durable_connect() };
    let id = bed.connect_as(internal, &keep);
    let got = bed.got(id);
    assert!(matches!(got[0], Got::ConnAck { session_present: true, .. }));
    assert!(matches!(&got[1], Got::Publish(publish) if publish.payload == "first"));
}

/// It would take that session for the one it had before, and miss its subscriptions.
#[test]
fn a_new_session_is_not_stored_before_its_client_is_told() {
    let mut bed = Bed::new();
    let id = bed.durable("s");
    bed.lose(id);
    bed.commit();
    bed.connect(&Connect { clean_start: true, ..durable_connect() });
    assert!(bed.begin_commit(), "CONNACK waits for the end of the old session");
    bed.end_commit();
    bed.crash();
    let id = bed.connect(&durable_connect());
    assert!(!session_present(&mut bed, id));
}
