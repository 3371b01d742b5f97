//! Messages that come over bridges: loops, repetitions, and the numbers that they are known by.

use std::sync::Arc;

use outpost_bridge::origin::{KEY, Origin};
use outpost_bridge::peering::{self, NodeId, Peering};
use outpost_protocol::{
    Connect, Packet, Properties, Property, Publish, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions,
};

use super::bed::{Bed, EXPIRY_S, Got, GotPublish, QOS_0, QOS_1, QOS_2, publish, settings, v5};
use crate::core::change::SEQ_STEP;
use crate::core::limits::{Limits, QueueClass, QueueFull, QueuePolicy};
use crate::core::{ConnId, Settings, Takes};

const OTHER: NodeId = NodeId(0xfeed);

/// The bridge of another Outpost, its CONNACK taken.
fn bridge(bed: &mut Bed, client_id: &str) -> ConnId {
    let list =
        [Property::SessionExpiryInterval(EXPIRY_S), Property::UserProperty(peering::KEY, "1")];
    bed.accepted(&Connect { properties: Properties::list(&list), ..v5(client_id) })
}

/// A bridge whose session waits for all topics.
fn outgoing(bed: &mut Bed, client_id: &str, qos: QoS) -> ConnId {
    let id = bridge(bed, client_id);
    bed.subscribe(id, "#", qos);
    id
}

fn send(bed: &mut Bed, id: ConnId, qos: QoS, packet_id: u16, payload: &str, origin: &str) {
    let list = [Property::UserProperty(KEY, origin)];
    let properties = Properties::list(&list);
    let publish = Publish { properties, ..publish("t", qos, packet_id, payload) };
    bed.send(id, &Packet::Publish(publish));
}

fn from_other(number: u64, hops: u8) -> String {
    Origin { node: OTHER, number: Some(number), hops }.to_string()
}

fn origin(publish: &GotPublish) -> Option<Origin> {
    Origin::of(&publish.properties())
}

#[test]
fn a_bridge_is_told_the_node_and_others_are_not() {
    let mut bed = Bed::new();
    let list = [Property::UserProperty(peering::KEY, "1 zstd")];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5("b") });
    // The name has to be stored first: a restart must not choose another.
    assert_eq!(bed.got(id), []);
    bed.commit();
    let got = bed.got(id);
    let [Got::ConnAck { properties, .. }] = got.as_slice() else { panic!("{got:?}") };
    let peering = Peering::of(&Properties::encoded(properties)).expect("it is an Outpost");
    assert!(!peering.features.zstd, "not granted here");
    let node = peering.node.expect("it has a name");
    let plain = bed.connect(&v5("a"));
    let got = bed.got(plain);
    let [Got::ConnAck { properties, .. }] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!(Peering::of(&Properties::encoded(properties)), None);
    bed.crash();
    assert_eq!(bed.broker.node, node);
}

#[test]
fn messages_to_a_bridge_tell_where_they_come_from() {
    let mut bed = Bed::new();
    let out = outgoing(&mut bed, "b", QOS_1);
    let other = outgoing(&mut bed, "c", QOS_0);
    let sensor = bed.fleeting("s");
    bed.subscribe(sensor, "#", QOS_1);
    for qos in [QOS_0, QOS_1] {
        bed.publish(sensor, "t", qos, 7, "x");
    }
    let mut at_bridge: Vec<Origin> = bed.messages(out).iter().filter_map(origin).collect();
    assert_eq!(at_bridge.len(), 1, "what goes over two bridges is stored first");
    bed.commit();
    at_bridge.extend(bed.messages(out).iter().filter_map(origin));
    let [first, second] = at_bridge.as_slice() else { panic!("{at_bridge:?}") };
    assert_eq!((first.node, first.hops), (bed.broker.node, 1));
    assert!(first.number.is_some() && first.number < second.number);
    // The same message has the same number on every way, at whatever QoS.
    let by_other_way: Vec<Origin> = bed.messages(other).iter().filter_map(origin).collect();
    assert_eq!(by_other_way, at_bridge);
    assert!(bed.messages(sensor).iter().all(|message| message.properties.is_empty()));
}

/// It was sent anew, by a slow way.
#[test]
fn what_a_later_message_has_replaced_is_not_retained_again() {
    let mut bed = Bed::new();
    let watcher = bed.fleeting("w");
    bed.subscribe(watcher, "#", QOS_1);
    let incoming = bridge(&mut bed, "b");
    for (packet_id, origin, payload) in [
        (1, from_other(7, 2), "later"),
        (2, from_other(5, 1), "earlier"),
        (3, from_other(6, 1), ""),
        (4, Origin { node: NodeId(1), number: Some(2), hops: 1 }.to_string(), "of another"),
        (5, from_other(3, 1), "of the first again"),
    ] {
        let list = [Property::UserProperty(KEY, &origin)];
        let properties = Properties::list(&list);
        let publish = publish("t", QOS_1, packet_id, payload);
        bed.send(incoming, &Packet::Publish(Publish { retain: true, properties, ..publish }));
        bed.commit();
        let late = bed.fleeting("late");
        bed.subscribe_with(late, "t", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
        let expected = if packet_id < 4 { "later" } else { payload };
        assert_eq!(bed.payloads(late), [expected]);
        bed.lose(late);
    }
    bed.commit();
    let all = ["later", "earlier", "", "of another", "of the first again"];
    assert_eq!(bed.drain(watcher), all, "who has subscribed gets all of them");
    assert_eq!(bed.got(incoming).len(), 5, "all are acknowledged");
}

#[test]
fn one_more_bridge_is_one_more_hop() {
    let mut bed = Bed::new();
    let out = outgoing(&mut bed, "out", QOS_1);
    let incoming = bridge(&mut bed, "in");
    send(&mut bed, incoming, QOS_1, 1, "x", &from_other(5, 2));
    assert_eq!(bed.got(out), [], "what comes and goes over bridges is stored first");
    bed.commit();
    let got = bed.messages(out);
    assert_eq!(origin(&got[0]), Some(Origin { node: OTHER, number: Some(5), hops: 3 }));
}

#[test]
fn what_comes_back_is_acknowledged_and_dropped() {
    let mut bed = Bed::new();
    let watcher = bed.fleeting("w");
    bed.subscribe(watcher, "#", QOS_1);
    let incoming = bridge(&mut bed, "b");
    let own = Origin { node: bed.broker.node, number: Some(1), hops: 1 }.to_string();
    send(&mut bed, incoming, QOS_1, 1, "mine", &own);
    send(&mut bed, incoming, QOS_1, 2, "too far", &from_other(1, 9));
    let unnumbered = Origin { node: bed.broker.node, number: None, hops: 1 }.to_string();
    send(&mut bed, incoming, QOS_0, 0, "mine by others", &unnumbered);
    send(&mut bed, incoming, QOS_1, 3, "as far as it goes", &from_other(2, 8));
    bed.commit();
    assert_eq!(bed.payloads(watcher), ["as far as it goes"]);
    let codes: Vec<Got> = bed.got(incoming);
    assert_eq!(
        codes,
        [
            Got::PubAck(1, ReasonCode::NoMatchingSubscribers),
            Got::PubAck(2, ReasonCode::NoMatchingSubscribers),
            Got::PubAck(3, ReasonCode::Success),
        ]
    );
    assert_eq!(bed.broker.counters().dropped_loop, 3);
}

/// By whatever way and QoS: what was taken is not taken again, and a crash does not forget that.
#[test]
fn nothing_is_taken_twice_across_a_crash() {
    let mut bed = Bed::new();
    let archive = bed.durable("archive");
    bed.subscribe(archive, "#", QOS_1);
    let one = bridge(&mut bed, "one");
    send(&mut bed, one, QOS_1, 1, "a", &from_other(1, 1));
    assert_eq!(bed.got(one), [], "what was taken is to be stored first");
    // Its receiver is done with it, so that the message itself is never stored.
    let taken = bed.messages(archive);
    bed.puback(archive, taken[0].packet_id);
    assert_eq!(bed.got(one), []);
    bed.commit();
    assert_eq!(bed.got(one), [Got::PubAck(1, ReasonCode::Success)]);
    // By another way, with QoS 2.
    let two = bridge(&mut bed, "two");
    send(&mut bed, two, QOS_2, 9, "a", &from_other(1, 2));
    bed.commit();
    assert_eq!(bed.got(two), [Got::PubRec(9, ReasonCode::NoMatchingSubscribers)]);
    bed.pubrel(two, 9);
    bed.commit();
    assert_eq!(bed.got(two), [Got::PubComp(9, ReasonCode::Success)]);

    bed.crash();
    let archive = bed.durable_with_messages("archive", &[]);
    let one = bridge(&mut bed, "one");
    send(&mut bed, one, QOS_1, 1, "a", &from_other(1, 1));
    send(&mut bed, one, QOS_1, 2, "a", &from_other(2, 1));
    bed.commit();
    assert_eq!(bed.payloads(archive), ["a"], "equal values with another number pass");
    assert_eq!(bed.broker.counters().dropped_repeated, 1);
}

/// The power goes before the commit: the bridge was told nothing and sends it again, and it is new.
#[test]
fn what_was_not_acknowledged_is_taken_again_after_a_crash() {
    let mut bed = Bed::new();
    let archive = bed.durable("archive");
    bed.subscribe(archive, "#", QOS_1);
    let one = bridge(&mut bed, "one");
    send(&mut bed, one, QOS_1, 1, "a", &from_other(1, 1));
    bed.crash();
    let archive = bed.durable_with_messages("archive", &[]);
    let one = bridge(&mut bed, "one");
    send(&mut bed, one, QOS_1, 1, "a", &from_other(1, 1));
    assert_eq!(bed.payloads(archive), ["a"]);
}

/// A repetition says that the first one is safe: it waits for the same commit.
#[test]
fn a_repetition_is_not_acknowledged_before_the_first_one() {
    let mut bed = Bed::new();
    let archive = bed.durable("archive");
    bed.subscribe(archive, "#", QOS_1);
    let (one, two) = (bridge(&mut bed, "one"), bridge(&mut bed, "two"));
    send(&mut bed, one, QOS_1, 1, "a", &from_other(1, 1));
    assert!(bed.begin_commit());
    send(&mut bed, two, QOS_1, 1, "a", &from_other(1, 2));
    assert_eq!(bed.got(two), []);
    bed.end_commit();
    bed.commit();
    assert_eq!(bed.got(two), [Got::PubAck(1, ReasonCode::NoMatchingSubscribers)]);
    assert_eq!(bed.payloads(archive), ["a"]);
}

/// Messages leave over a bridge before they are stored, or without it. A number that a bridge was told
/// is never given to another message, whenever the power goes.
#[test]
fn a_crash_gives_no_number_away_again() {
    let mut bed = Bed::new();
    let mut told = Vec::new();
    for _ in 0..3 {
        let out = outgoing(&mut bed, "b", QOS_1);
        let sensor = bed.fleeting("s");
        for value in 1..20 {
            bed.publish(sensor, "t", QOS_1, value, "x");
        }
        let got = bed.messages(out);
        for message in got.iter().filter(|message| !message.dup) {
            told.push(origin(message).and_then(|origin| origin.number).expect("it has a number"));
            bed.puback(out, message.packet_id);
        }
        bed.crash();
    }
    let count = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!((told.len(), count), (57, 57));
}

/// The batch that reserves the numbers is under commit: whoever comes then waits for it, too.
#[test]
fn no_bridge_is_told_of_messages_before_their_numbers_are_reserved() {
    let mut bed = Bed::new();
    let list = [Property::UserProperty(peering::KEY, "1")];
    let first = bed.connect(&Connect { properties: Properties::list(&list), ..v5("a") });
    assert!(bed.begin_commit());
    let second = bed.connect(&Connect { properties: Properties::list(&list), ..v5("b") });
    assert_eq!((bed.got(first), bed.got(second)), (vec![], vec![]));
    bed.end_commit();
    assert_eq!((bed.got(first).len(), bed.got(second).len()), (1, 1));
}

/// Where numbers run ahead of the mark of the store, it moves, though nothing else is stored.
#[test]
fn numbers_are_reserved_ahead() {
    let mut bed = Bed::new();
    let out = outgoing(&mut bed, "b", QOS_0);
    let sensor = bed.fleeting("s");
    for _ in 0..3 {
        bed.broker.next_seq.0 += 2 * SEQ_STEP;
        bed.publish(sensor, "t", QOS_0, 0, "early");
        let got = bed.messages(out);
        assert_eq!(origin(&got[0]).unwrap().number, None, "its number might come again");
        bed.commit();
        bed.publish(sensor, "t", QOS_0, 0, "x");
        let got = bed.messages(out);
        assert!(origin(&got[0]).unwrap().number.is_some());
    }
}

/// A client that is no bridge could have messages of others taken for repetitions.
#[test]
fn only_bridges_say_where_messages_come_from() {
    let mut bed = Bed::new();
    let out = outgoing(&mut bed, "b", QOS_1);
    let sensor = bed.fleeting("s");
    send(&mut bed, sensor, QOS_1, 1, "x", &from_other(1, 1));
    send(&mut bed, sensor, QOS_1, 2, "y", &from_other(1, 1));
    let got = bed.messages(out);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|message| origin(message).unwrap().node == bed.broker.node));
}

/// What is retained is the state of the other end, too: what was retained and erased while the bridge
/// was away comes to it, at whatever QoS it was published.
#[test]
fn a_bridge_that_was_away_gets_what_was_retained_and_erased() {
    let mut bed = Bed::new();
    let out = bridge(&mut bed, "b");
    let options =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::new(QOS_1) };
    bed.subscribe_with(out, "#", options, Properties::EMPTY);
    bed.commit();
    bed.got(out);
    bed.lose(out);
    let sensor = bed.fleeting("s");
    bed.retain(sensor, "kept", "1");
    bed.retain(sensor, "gone", "1");
    bed.retain(sensor, "gone", "");
    bed.publish(sensor, "plain", QOS_0, 0, "not kept");
    bed.commit();
    bed.crash();
    let list =
        [Property::SessionExpiryInterval(EXPIRY_S), Property::UserProperty(peering::KEY, "1")];
    let out = bed.connect(&Connect { properties: Properties::list(&list), ..v5("b") });
    bed.commit();
    let got = bed.messages(out);
    let got: Vec<_> =
        got.iter().map(|m| (m.topic.as_str(), m.payload.as_str(), m.retain, m.qos)).collect();
    let expected = [("kept", "1"), ("gone", "1"), ("gone", "")];
    assert_eq!(got, expected.map(|(topic, payload)| (topic, payload, true, QOS_1)));
}

/// Parked behind an answer that waits for a later commit, a message is not overtaken by the next one of
/// its topic.
#[test]
fn what_goes_over_several_bridges_keeps_its_order() {
    let mut bed = Bed::new();
    let out = outgoing(&mut bed, "out", QOS_1);
    let incoming = bridge(&mut bed, "in");
    send(&mut bed, incoming, QOS_1, 1, "a", &from_other(1, 1));
    assert!(bed.begin_commit());
    // The acknowledgement of what the bridge itself brings stands before the next message.
    send(&mut bed, out, QOS_1, 9, "z", &from_other(9, 1));
    send(&mut bed, incoming, QOS_1, 2, "b", &from_other(2, 1));
    bed.end_commit();
    send(&mut bed, incoming, QOS_1, 3, "c", &from_other(3, 1));
    bed.commit();
    bed.commit();
    let payloads: Vec<String> =
        bed.payloads(out).into_iter().filter(|payload| payload != "z").collect();
    assert_eq!(payloads, ["a", "b", "c"]);
}

/// What a bridge leaves out does not wait for it.
#[test]
fn what_is_left_out_of_a_bridge_is_not_stored_for_it() {
    let mut bed = Bed::new();
    let options = SubscriptionOptions::new(QOS_1);
    let filters = [SubscribeFilter { filter: "#", options }];
    bed.broker.prepare_internal_session(bed.now, "b", &filters);
    let takes = Takes(Arc::new(|topic: &str| !topic.starts_with("debug/")));
    bed.broker.narrow_internal_session("b", Some(takes));
    let sensor = bed.fleeting("s");
    for topic in ["debug/x", "t", "debug/x"] {
        bed.publish(sensor, topic, QOS_1, 7, "x");
    }
    bed.commit();
    let stored: Vec<&str> = bed.store.messages.values().map(|row| &*row.message.topic).collect();
    assert_eq!(stored, ["t"]);
    bed.broker.end_internal_sessions_except(bed.now, &[]);
    let other = bed.durable("o");
    bed.subscribe(other, "#", QOS_1);
    bed.publish(sensor, "debug/x", QOS_1, 8, "y");
    assert_eq!(bed.payloads(other), ["y"], "whoever has its place in the table takes all");
}

#[test]
fn the_queue_of_a_bridge_has_the_bounds_of_its_class() {
    let policy = QueuePolicy {
        messages_max: 2,
        full: QueueFull::DropOldest,
        ..Limits::default().queue_policy()
    };
    let queues = vec![QueueClass { client_id: "outpost-central".into(), policy }];
    let mut bed = Bed::with_settings(Settings { queues, ..settings(Limits::default()) });
    let options = SubscriptionOptions::new(QOS_1);
    let filters = [SubscribeFilter { filter: "#", options }];
    bed.broker.prepare_internal_session(bed.now, "outpost-central", &filters);
    let sensor = bed.fleeting("s");
    for value in 1..6 {
        bed.publish(sensor, "t", QOS_1, value, "x");
    }
    bed.commit();
    assert_eq!(bed.store.messages.len(), 2);
}

/// A bridge says which broker it stands for: what that one took in does not go back, neither at once nor
/// into its queue, and does not wait for room there.
#[test]
fn what_the_far_broker_took_in_does_not_go_back_to_it() {
    let policy = QueuePolicy { messages_max: 1, ..Limits::default().queue_policy() };
    let queues = vec![QueueClass { client_id: "back".into(), policy }];
    let mut bed = Bed::with_settings(Settings { queues, ..settings(Limits::default()) });
    let words = format!("1 node={OTHER}");
    let list =
        [Property::SessionExpiryInterval(EXPIRY_S), Property::UserProperty(peering::KEY, &words)];
    let back = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("back") });
    bed.subscribe(back, "#", QOS_1);
    let incoming = bridge(&mut bed, "in");
    let third = "000000000000abcd/7/1";
    for (packet_id, origin, expected) in
        [(1, &*from_other(1, 1), &[][..]), (2, third, &["x"]), (3, &from_other(2, 2), &[])]
    {
        send(&mut bed, incoming, QOS_1, packet_id, "x", origin);
        bed.commit();
        assert_eq!(bed.payloads(back), expected, "{origin}");
    }
    // Its queue is full now, and it is away.
    bed.lose(back);
    bed.got(incoming);
    send(&mut bed, incoming, QOS_1, 4, "y", &from_other(3, 1));
    bed.commit();
    let acknowledged = Got::PubAck(4, ReasonCode::NoMatchingSubscribers);
    assert_eq!(bed.got(incoming), [acknowledged]);
}
