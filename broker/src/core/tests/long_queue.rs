//! Queues that are longer than what memory holds of them: their messages come back from the store in
//! order, whatever happens meanwhile; and what is dropped of them, by count, age and topic.

use outpost_bridge::peering::Features;
use outpost_protocol::{
    Connect, Disconnect, Packet, Properties, Property, Publish, ReasonCode, SubscribeFilter,
    SubscriptionOptions,
};

use super::bed::{Bed, QOS_1, publish, v5};
use crate::core::change::Seq;
use crate::core::limits::{Limits, QueueClass, QueueFull, QueuePolicy};
use crate::core::queue::HeadSize;
use crate::core::{CommitPolicy, Handled, Peer, Settings};

/// More than the head of a queue, and more than two loads.
const MANY: usize = 3 * HEAD_MESSAGES;

const HEAD_MESSAGES: usize = 512;

fn roomy() -> Bed {
    let limits = Limits { receive_maximum: u16::MAX, ..Limits::default() };
    Bed::with_limits(limits)
}

/// Leaves so many messages to a durable session on `t` whose client is away.
fn leave(bed: &mut Bed, client_id: &str, messages: usize) {
    let id = bed.durable(client_id);
    bed.subscribe(id, "t", QOS_1);
    bed.lose(id);
    publish_numbers(bed, messages);
}

/// Publishes as many messages to `t`, numbered.
fn publish_numbers(bed: &mut Bed, messages: usize) {
    let publisher = bed.fleeting("p");
    bed.is_unchecked = true;
    for i in 0..messages {
        bed.publish(publisher, "t", QOS_1, 1 + (i % 60_000) as u16, &i.to_string());
    }
    bed.is_unchecked = false;
    bed.commit();
    bed.lose(publisher);
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

fn in_memory(bed: &Bed) -> usize {
    bed.broker.sessions.iter().map(|(_, session)| session.queue.head().count()).sum()
}

#[test]
fn a_long_queue_leaves_memory_and_comes_back_in_order() {
    let mut bed = roomy();
    leave(&mut bed, "s", MANY);
    assert_eq!(in_memory(&bed), 0);
    let id = bed.back("s");
    assert!(in_memory(&bed) <= 2 * HEAD_MESSAGES);
    assert_eq!(bed.drain(id), numbers(0..MANY));
    bed.commit();
    assert!(bed.store.messages.is_empty());
}

#[test]
fn it_comes_back_in_order_after_a_crash_in_the_middle() {
    let mut bed = roomy();
    leave(&mut bed, "s", MANY);
    let id = bed.back("s");
    let mut got = Vec::new();
    for _ in 0..7 {
        for message in bed.messages(id) {
            bed.puback(id, message.packet_id);
            got.push(message.payload);
        }
    }
    let in_flight = bed.payloads(id);
    bed.commit();
    bed.crash();
    assert_eq!(in_memory(&bed), 0, "a start reads no messages");
    let id = bed.back("s");
    assert_eq!(got, numbers(0..got.len()));
    let first = bed.messages(id);
    assert!(first.iter().all(|message| message.dup), "they were in flight");
    assert_eq!(first.iter().map(|m| m.payload.clone()).collect::<Vec<_>>(), in_flight);
    first.iter().for_each(|message| bed.puback(id, message.packet_id));
    let rest = bed.drain(id);
    assert_eq!(rest, numbers(got.len() + in_flight.len()..MANY));
}

#[test]
fn what_comes_while_a_queue_is_read_stands_behind_it() {
    let mut bed = roomy();
    leave(&mut bed, "s", MANY);
    bed.holds_loads = true;
    let id = bed.back("s");
    assert_eq!(bed.payloads(id), [""; 0], "it is being read");
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, &MANY.to_string());
    bed.holds_loads = false;
    assert_eq!(bed.drain(id), numbers(0..MANY + 1));
}

#[test]
fn what_was_read_for_a_client_that_left_is_read_again() {
    let mut bed = roomy();
    leave(&mut bed, "s", 10);
    bed.holds_loads = true;
    let id = bed.back("s");
    bed.lose(id);
    let id = bed.back("s");
    bed.holds_loads = false;
    assert_eq!(bed.drain(id), numbers(0..10));
}

/// What is to be sent again takes two loads, and the head is full of newer messages by the second.
#[test]
fn what_comes_meanwhile_does_not_hold_up_what_is_sent_again() {
    let mut bed = roomy();
    bed.broker.head_size = HeadSize { messages: 4, bytes: 1_000 };
    leave(&mut bed, "s", 10);
    let id = bed.back("s");
    assert_eq!(bed.payloads(id), numbers(0..10), "all is in flight");
    bed.lose(id);
    bed.holds_loads = true;
    let id = bed.back("s");
    let publisher = bed.fleeting("p");
    for i in 10..14 {
        bed.publish(publisher, "t", QOS_1, i, &i.to_string());
    }
    bed.holds_loads = false;
    assert_eq!(bed.drain(id), numbers(0..14));
}

#[test]
fn a_message_missing_in_the_store_is_told_and_passed_over() {
    let mut bed = roomy();
    leave(&mut bed, "s", 5);
    let third: Seq = *bed.store.messages.keys().nth(2).unwrap();
    bed.store.messages.remove(&third);
    let id = bed.back("s");
    assert_eq!(bed.drain(id), ["0", "1", "3", "4"]);
    assert_eq!(bed.broker.counters().dropped_damaged, 1);
}

#[test]
fn what_a_start_was_told_of_and_is_gone_was_done_before() {
    let mut bed = roomy();
    leave(&mut bed, "s", 5);
    bed.crash();
    let third: Seq = *bed.store.messages.keys().nth(2).unwrap();
    bed.store.messages.remove(&third);
    let id = bed.back("s");
    assert_eq!(bed.drain(id), ["0", "1", "3", "4"]);
    assert_eq!(bed.broker.counters().dropped_damaged, 0);
}

#[test]
fn the_rows_of_an_ended_session_go_little_by_little() {
    let mut bed = roomy();
    leave(&mut bed, "s", 10_000);
    let id = bed.connect(&Connect { clean_start: true, ..v5("s") });
    bed.lose(id);
    assert!(bed.begin_commit());
    bed.end_commit();
    assert!((1..10_000).contains(&bed.store.messages.len()), "{}", bed.store.messages.len());
    bed.commit();
    assert!(bed.store.messages.is_empty());
}

#[test]
fn shared_messages_in_the_store_go_to_the_other_member() {
    for has_crash in [false, true] {
        let mut bed = roomy();
        let id = bed.durable("a");
        bed.subscribe(id, "$share/g/t", QOS_1);
        bed.lose(id);
        publish_numbers(&mut bed, MANY);
        let other = bed.durable("b");
        bed.subscribe_with(other, "$share/g/t", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
        bed.commit();
        bed.got(other);
        bed.holds_loads = true;
        let list = [Property::SessionExpiryInterval(0)];
        let id = bed.connect(&Connect {
            clean_start: true,
            properties: Properties::list(&list),
            ..v5("a")
        });
        bed.commit();
        bed.lose(id);
        let mut other = other;
        if has_crash {
            // The session is over and its messages are not given away yet.
            bed.crash();
            other = bed.back("b");
        }
        bed.holds_loads = false;
        assert_eq!(bed.drain(other), numbers(0..MANY), "crash: {has_crash}");
        bed.commit();
        assert!(bed.store.messages.is_empty());
        assert_eq!(bed.store.sessions.len(), 1);
    }
}

/// The session ends by its client's DISCONNECT and has no expiry any more; what others are to get is
/// still being read when the power goes.
#[test]
fn shared_messages_of_a_session_that_its_client_ended_survive() {
    let mut bed = roomy();
    let id = bed.durable("a");
    bed.subscribe(id, "$share/g/t", QOS_1);
    bed.lose(id);
    publish_numbers(&mut bed, 10);
    let other = bed.durable("b");
    bed.subscribe(other, "$share/g/t", QOS_1);
    bed.holds_loads = true;
    let id = bed.durable("a");
    let list = [Property::SessionExpiryInterval(0)];
    let properties = Properties::list(&list);
    let disconnect = Disconnect { properties, ..Disconnect::new(ReasonCode::Success) };
    bed.send(id, &Packet::Disconnect(disconnect));
    bed.lose(id);
    bed.commit();
    bed.crash();
    bed.holds_loads = false;
    let other = bed.back("b");
    assert_eq!(bed.drain(other), numbers(0..10));
    bed.commit();
    assert!(bed.store.messages.is_empty());
    assert_eq!(bed.store.sessions.len(), 1);
}

fn with_class(full: QueueFull, messages_max: u32, age_max_s: u32) -> Bed {
    let limits = Limits { receive_maximum: u16::MAX, ..Limits::default() };
    let policy = QueuePolicy { messages_max, age_max_s, full, ..limits.queue_policy() };
    Bed::with_settings(Settings {
        limits,
        topic_classes: Vec::new(),
        queues: vec![QueueClass { client_id: "s*".into(), policy }],
        commit: CommitPolicy::default(),
        sys_interval_s: 0,
        features: Features::default(),
        version: "test",
        seed: 7,
    })
}

#[test]
fn a_full_queue_keeps_the_last_of_each_topic() {
    for has_crash in [false, true] {
        let mut bed = with_class(QueueFull::KeepLastPerTopic, 6, 0);
        let id = bed.durable("s1");
        bed.subscribe(id, "t/#", QOS_1);
        bed.lose(id);
        let publisher = bed.fleeting("p");
        let topics = ["t/a", "t/b", "t/a", "t/c", "t/a", "t/b"];
        for (i, topic) in topics.into_iter().enumerate() {
            bed.publish(publisher, topic, QOS_1, i as u16 + 1, &format!("{topic}{i}"));
        }
        bed.commit();
        if has_crash {
            bed.crash();
        }
        let publisher = bed.fleeting("p");
        for (i, topic) in ["t/d", "t/e", "t/f"].into_iter().enumerate() {
            bed.publish(publisher, topic, QOS_1, i as u16 + 1, topic);
        }
        bed.commit();
        let id = bed.back("s1");
        assert_eq!(bed.drain(id), ["t/c3", "t/a4", "t/b5", "t/d", "t/e", "t/f"]);
        assert_eq!(bed.broker.counters().dropped_replaced, 3);
    }
}

#[test]
fn a_full_queue_of_last_messages_drops_the_oldest() {
    let mut bed = with_class(QueueFull::KeepLastPerTopic, 2, 0);
    let id = bed.durable("s1");
    bed.subscribe(id, "t/#", QOS_1);
    bed.lose(id);
    let publisher = bed.fleeting("p");
    for (i, topic) in ["t/a", "t/b", "t/c"].into_iter().enumerate() {
        bed.publish(publisher, topic, QOS_1, i as u16 + 1, topic);
    }
    bed.commit();
    let id = bed.back("s1");
    assert_eq!(bed.drain(id), ["t/b", "t/c"]);
    let counters = bed.broker.counters();
    assert_eq!((counters.dropped_replaced, counters.dropped_full), (0, 1));
}

#[test]
fn the_oldest_of_a_queue_on_disk_makes_room() {
    let mut bed = with_class(QueueFull::DropOldest, 700, 0);
    leave(&mut bed, "s1", 1_000);
    assert_eq!(bed.store.messages.len(), 700);
    let id = bed.back("s1");
    assert_eq!(bed.drain(id), numbers(300..1_000));
    assert_eq!(bed.broker.counters().dropped_full, 300);
}

#[test]
fn classes_are_for_the_clients_they_name() {
    let mut bed = with_class(QueueFull::DropNewest, 1, 0);
    for client_id in ["s1", "other"] {
        let id = bed.durable(client_id);
        bed.subscribe(id, "t", QOS_1);
        bed.lose(id);
    }
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "1");
    bed.publish(publisher, "t", QOS_1, 2, "2");
    bed.commit();
    let [s, other] = ["s1", "other"].map(|client_id| bed.back(client_id));
    assert_eq!(bed.payloads(s), ["1"]);
    assert_eq!(bed.payloads(other), ["1", "2"]);
}

#[test]
fn what_waits_for_too_long_is_dropped() {
    for has_crash in [false, true] {
        let mut bed = with_class(QueueFull::Reject, 1_000, 60);
        leave(&mut bed, "s1", 3);
        bed.pass_s(30);
        let publisher = bed.fleeting("p");
        bed.publish(publisher, "t", QOS_1, 1, "later");
        bed.commit();
        if has_crash {
            bed.crash();
        }
        bed.pass_s(32);
        assert_eq!(bed.broker.counters().dropped_aged, 3);
        assert_eq!(bed.broker.ledger.len(), 1);
        bed.commit();
        bed.crash();
        let id = bed.back("s1");
        assert_eq!(bed.payloads(id), ["later"]);
        bed.lose(id);
        bed.pass_s(40);
        assert_eq!(bed.broker.ledger.len(), 1, "it is in flight");
    }
}

#[test]
fn what_has_expired_in_the_store_makes_room_first() {
    let mut bed = with_class(QueueFull::Reject, 2, 0);
    let id = bed.durable("s1");
    bed.subscribe(id, "t", QOS_1);
    bed.lose(id);
    let publisher = bed.fleeting("p");
    let list = [Property::MessageExpiryInterval(5)];
    let short = Publish { properties: Properties::list(&list), ..publish("t", QOS_1, 1, "short") };
    bed.send(publisher, &Packet::Publish(short));
    bed.publish(publisher, "t", QOS_1, 2, "a");
    bed.commit();
    bed.crash();
    bed.pass_s(7);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 3, "b");
    bed.commit();
    let id = bed.back("s1");
    assert_eq!(bed.drain(id), ["a", "b"]);
}

/// As when the program starts again before they have been given away, without the bridge.
#[test]
fn an_internal_session_that_has_ended_goes_on_giving_away_its_shared_messages() {
    let mut bed = roomy();
    let options = SubscriptionOptions::new(QOS_1);
    let filter = SubscribeFilter { filter: "$share/g/t", options };
    bed.broker.prepare_internal_session(bed.now, "bridge", &[filter]);
    publish_numbers(&mut bed, 10);
    let other = bed.durable("b");
    bed.subscribe(other, "$share/g/t", QOS_1);
    bed.holds_loads = true;
    bed.broker.end_internal_sessions_except(bed.now, &[]);
    bed.broker.end_internal_sessions_except(bed.now, &[]);
    bed.holds_loads = false;
    assert_eq!(bed.drain(other), numbers(0..10));
}

/// A bridge that is taken out while the broker runs: its link has ended, and its connection has not
/// said so yet.
#[test]
fn an_internal_session_ends_under_its_connection() {
    let mut bed = roomy();
    let peer = Peer { address: "bridge".into(), user_name: None, is_internal: true };
    bed.broker.prepare_internal_session(bed.now, "bridge", &[]);
    let id = bed.broker.handle_connect(bed.now, peer, &v5("bridge"), &[]);
    bed.commit();
    bed.broker.end_internal_sessions_except(bed.now, &[]);
    assert!(bed.broker.is_closed(id));
    assert_eq!(bed.broker.handle_packet(bed.now, id, &Packet::PingReq), Handled::Closed);
    bed.broker.handle_closed(bed.now, id);
}
