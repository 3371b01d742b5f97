//! What is promised of the messages of a topic, and what a power cut may take of them.

use outpost_bridge::peering::Features;
use outpost_protocol::{Packet, Publish, QoS, ReasonCode};

use super::bed::{Bed, Got, QOS_1, QOS_2, publish, v5};
use crate::core::limits::Limits;
use crate::core::{CommitPolicy, ConnId, Durability, Settings, TopicClass};

const WINDOW_MS: u32 = 5_000;

/// `v/…` is volatile, `i/…` is stored within five seconds, all else is durable.
fn settings(flash_budget_per_day: u64) -> Settings {
    let class = |filter: &str, durability| TopicClass { filter: filter.into(), durability };
    Settings {
        limits: Limits::default(),
        commit: CommitPolicy { flash_budget_per_day, ..CommitPolicy::default() },
        topic_classes: vec![
            class("v/#", Durability::Volatile),
            class("i/#", Durability::Interval { window_ms: WINDOW_MS }),
        ],
        queues: Vec::new(),
        sys_interval_s: 0,
        features: Features::default(),
        version: "test",
        seed: 7,
    }
}

/// A durable subscriber to all topics, and a publisher.
fn bed(qos: QoS) -> (Bed, ConnId, ConnId) {
    let mut bed = Bed::with_settings(settings(0));
    let subscriber = bed.durable("subscriber");
    bed.subscribe(subscriber, "#", qos);
    let publisher = bed.fleeting("publisher");
    bed.commit();
    bed.pass_ms(60_000);
    (bed, subscriber, publisher)
}

fn due_in_ms(bed: &Bed) -> Option<u64> {
    bed.broker.batch_due().map(|due| due.since_ms(bed.now))
}

fn retain(bed: &mut Bed, id: ConnId, topic: &str, payload: &str) {
    let packet = Publish { retain: true, ..publish(topic, QOS_1, 1, payload) };
    bed.send(id, &Packet::Publish(packet));
}

const ACKNOWLEDGED: Got = Got::PubAck(1, ReasonCode::Success);

#[test]
fn a_volatile_message_waits_in_memory_and_is_lost_by_a_restart() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    bed.lose(subscriber);
    bed.commit();
    bed.publish(publisher, "v/a", QOS_1, 1, "kept");
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    assert_eq!(due_in_ms(&bed), None);
    let subscriber = bed.durable_with_messages("subscriber", &["kept"]);
    bed.publish(publisher, "v/a", QOS_1, 1, "lost");
    bed.lose(subscriber);
    bed.commit();
    assert!(bed.store.messages.is_empty());
    bed.crash();
    bed.durable_with_messages("subscriber", &[]);
}

#[test]
fn a_volatile_message_for_many_is_never_written() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    let other = bed.durable("other");
    bed.subscribe(other, "v/#", QOS_1);
    bed.commit();
    bed.publish(publisher, "v/a", QOS_1, 1, "x");
    for id in [subscriber, other] {
        let message = bed.messages(id).remove(0);
        bed.puback(id, message.packet_id);
        assert_eq!(due_in_ms(&bed), None);
    }
    assert_eq!(bed.broker.ledger.len(), 0);
    bed.commit();
}

#[test]
fn order_holds_between_classes() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    bed.lose(subscriber);
    for (value, topic) in [(1, "v/a"), (2, "d"), (3, "v/a"), (4, "i/a"), (5, "d")] {
        bed.publish(publisher, topic, QOS_1, value, &value.to_string());
    }
    bed.commit();
    let id = bed.back("subscriber");
    assert_eq!(bed.payloads(id), ["1", "2", "3", "4", "5"]);
    bed.crash();
    let id = bed.back("subscriber");
    assert_eq!(bed.payloads(id), ["2", "4", "5"]);
}

#[test]
fn a_message_with_a_window_is_acknowledged_at_once_and_stored_within_it() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    bed.lose(subscriber);
    bed.commit();
    bed.publish(publisher, "i/a", QOS_1, 1, "x");
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    assert_eq!(due_in_ms(&bed), Some(5_000));
    bed.pass_ms(1_000);
    bed.publish(publisher, "i/a", QOS_1, 1, "y");
    assert_eq!(due_in_ms(&bed), Some(4_000), "the first one decides");
    bed.crash();
    bed.durable_with_messages("subscriber", &[]);

    let publisher = bed.fleeting("publisher");
    bed.publish(publisher, "i/a", QOS_1, 1, "z");
    bed.pass_ms(5_000);
    assert!(due_in_ms(&bed) == Some(0) && bed.begin_commit());
    bed.end_commit();
    bed.crash();
    bed.durable_with_messages("subscriber", &["z"]);
}

#[test]
fn a_message_with_a_window_that_is_acknowledged_within_it_is_never_written() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    bed.publish(publisher, "i/a", QOS_1, 1, "x");
    bed.publish(publisher, "i/a", QOS_1, 2, "y");
    let messages = bed.messages(subscriber);
    bed.puback(subscriber, messages[0].packet_id);
    assert_eq!(due_in_ms(&bed), Some(5_000));
    bed.puback(subscriber, messages[1].packet_id);
    assert_eq!(due_in_ms(&bed), None);
}

#[test]
fn no_budget_widens_the_window() {
    let mut bed = Bed::with_settings(settings(1 << 20));
    let subscriber = bed.durable("subscriber");
    bed.subscribe(subscriber, "#", QOS_1);
    let publisher = bed.fleeting("publisher");
    bed.lose(subscriber);
    let batch = bed.broker.poll_batch(bed.now).unwrap();
    bed.broker.handle_committed(bed.now, batch.number, 1 << 20);
    bed.publish(publisher, "d", QOS_1, 1, "x");
    assert_eq!(due_in_ms(&bed), Some(10_000), "the budget is spent");
    bed.publish(publisher, "i/a", QOS_1, 2, "x");
    assert_eq!(due_in_ms(&bed), Some(5_000));
}

#[test]
fn the_window_of_a_message_goes_with_it_to_another_member() {
    let mut bed = Bed::with_settings(settings(1 << 20));
    let [leaves, stays] = ["leaves", "stays"].map(|client_id| {
        let id = bed.durable(client_id);
        bed.subscribe(id, "$share/g/i/#", QOS_1);
        id
    });
    let publisher = bed.fleeting("publisher");
    bed.broker.commit_what_rides(bed.now);
    bed.retain(publisher, "other", "x");
    let batch = bed.broker.poll_batch(bed.now).unwrap();
    bed.broker.handle_committed(bed.now, batch.number, 1 << 20);
    bed.publish(publisher, "i/a", QOS_1, 1, "x");
    bed.pass_ms(1_000);
    let has_it = if bed.broker.has_output(leaves) { leaves } else { stays };
    bed.lose(has_it);
    assert_eq!(due_in_ms(&bed), Some(4_000));
}

#[test]
fn a_flow_of_qos_2_is_durable_whatever_its_message_is() {
    let (mut bed, _, _) = bed(QOS_1);
    let publisher = bed.durable("lasting");
    bed.publish(publisher, "v/a", QOS_2, 1, "x");
    assert!(bed.got(publisher).is_empty());
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubRec(1, ReasonCode::Success)]);
}

/// Its receiver takes whatever comes with the same identifier for the same message.
#[test]
fn the_identifier_of_a_volatile_message_of_qos_2_is_not_used_again_before_its_flow_is_over() {
    for is_away in [false, true] {
        let (mut bed, subscriber, publisher) = bed(QOS_2);
        bed.publish(publisher, "v/a", QOS_2, 1, "x");
        bed.commit();
        let lost = bed.messages(subscriber).remove(0);
        if is_away {
            bed.lose(subscriber);
            bed.commit();
        }
        bed.crash();
        let subscriber = bed.back("subscriber");
        let got = bed.got(subscriber);
        assert_eq!(got[1..], [Got::PubRel(lost.packet_id, ReasonCode::Success)], "{got:?}");
        let publisher = bed.fleeting("publisher");
        bed.publish(publisher, "d", QOS_2, 1, "y");
        bed.commit();
        assert_ne!(bed.messages(subscriber).remove(0).packet_id, lost.packet_id);
    }
}

#[test]
fn a_volatile_retained_message_is_in_memory_only() {
    let (mut bed, _, publisher) = bed(QOS_1);
    retain(&mut bed, publisher, "v/a", "x");
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    assert_eq!(due_in_ms(&bed), None);
    let reader = bed.fleeting("reader");
    bed.subscribe_with(
        reader,
        "v/a",
        outpost_protocol::SubscriptionOptions::new(QOS_1),
        Default::default(),
    );
    assert_eq!(bed.payloads(reader), ["x"]);
    retain(&mut bed, publisher, "v/a", "");
    assert_eq!(due_in_ms(&bed), None);
    bed.commit();
    assert!(bed.store.retained.is_empty());
}

#[test]
fn retained_messages_of_a_topic_within_its_window_are_one_row() {
    let (mut bed, subscriber, publisher) = bed(QOS_1);
    bed.lose(subscriber);
    bed.connect(&outpost_protocol::Connect { clean_start: true, ..v5("subscriber") });
    bed.commit();
    for value in 0..100 {
        retain(&mut bed, publisher, "i/a", &value.to_string());
        bed.pass_ms(10);
    }
    assert_eq!(bed.got(publisher).len(), 100);
    assert_eq!(due_in_ms(&bed), Some(4_000), "the first one decides");
    let batch = bed.broker.poll_batch(bed.now).unwrap();
    assert_eq!(batch.retained.len(), 1);
}

#[test]
fn what_was_retained_before_its_topic_became_volatile_leaves_the_store() {
    let mut before = Bed::new();
    let publisher = before.fleeting("publisher");
    retain(&mut before, publisher, "v/a", "x");
    before.commit();
    let mut bed = Bed::with_settings(settings(0));
    bed.store = before.store.clone();
    bed.crash();
    bed.commit();
    assert!(bed.store.retained.is_empty());
    assert_eq!(bed.broker.retained.len(), 1);
}

#[test]
fn an_identifier_of_a_volatile_qos_2_message_is_not_given_again_after_its_client_left() {
    let mut bed = Bed::with_settings(settings(0));
    let s = bed.durable("s");
    bed.subscribe(s, "v/#", QOS_2);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "v/1", QOS_2, 1, "lost by the restart");
    bed.commit();
    let got = bed.messages(s);
    assert_eq!(got.len(), 1, "its client holds the identifier now");
    bed.lose(s);
    bed.commit();
    bed.crash();
    let s = bed.back("s");
    let got = bed.got(s);
    assert!(
        got.contains(&super::bed::Got::PubRel(1, outpost_protocol::ReasonCode::Success)),
        "{got:?}"
    );
}
