//! When the open batch is due, and what a budget does to it.

use std::collections::BTreeMap;

use super::bed::{Bed, EXPIRY_S, Got, QOS_1, publish, v5};
use crate::core::limits::Limits;
use crate::core::{CommitPolicy, ConnId, Durability, Event, Settings, TopicClass};
use outpost_bridge::peering::Features;
use outpost_protocol::{Connect, Packet, Properties, Property, Publish, QoS, ReasonCode};

/// A subscriber to `t`, a publisher, and nothing to commit for a while.
fn bed(policy: CommitPolicy) -> (Bed, ConnId, ConnId) {
    let mut bed = Bed::with_settings(Settings {
        limits: Limits::default(),
        commit: policy,
        topic_classes: Vec::new(),
        queues: Vec::new(),
        sys_interval_s: 0,
        features: Features::default(),
        version: "test",
        seed: 7,
    });
    let list = [Property::SessionExpiryInterval(100_000)];
    let subscriber =
        bed.accepted(&Connect { properties: Properties::list(&list), ..v5("subscriber") });
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("publisher");
    bed.commit();
    bed.pass_ms(60_000);
    (bed, subscriber, publisher)
}

fn with_budget(flash_budget_per_day: u64) -> CommitPolicy {
    CommitPolicy { flash_budget_per_day, ..CommitPolicy::default() }
}

/// Waits until the batch is due and commits it, which costs so many bytes. How long that took.
fn commit_when_due(bed: &mut Bed, written_bytes: u64) -> u64 {
    let due = bed.broker.batch_due().expect("there is something to commit");
    let waited_ms = due.since_ms(bed.now);
    bed.pass_ms(waited_ms);
    let batch = bed.broker.poll_batch(bed.now).expect("it is due");
    bed.broker.handle_committed(bed.now, batch.number, written_bytes);
    waited_ms
}

fn due_in_ms(bed: &Bed) -> Option<u64> {
    bed.broker.batch_due().map(|due| due.since_ms(bed.now))
}

#[test]
fn receivers_that_are_there_have_the_interval_to_acknowledge() {
    let (mut bed, subscriber, publisher) = bed(CommitPolicy::default());
    bed.publish(publisher, "t", QOS_1, 1, "1");
    bed.pass_ms(15);
    bed.publish(publisher, "t", QOS_1, 2, "2");
    assert_eq!(due_in_ms(&bed), Some(5), "the first one has waited");
    let messages = bed.messages(subscriber);
    bed.puback(subscriber, messages[0].packet_id);
    assert_eq!(due_in_ms(&bed), Some(20), "the second one has its own time");
    bed.puback(subscriber, messages[1].packet_id);
    assert_eq!(due_in_ms(&bed), None);
}

#[test]
fn a_receiver_that_is_away_is_not_waited_for() {
    let (mut bed, subscriber, publisher) = bed(CommitPolicy::default());
    bed.lose(subscriber);
    bed.commit();
    bed.pass_ms(1_000);
    bed.publish(publisher, "t", QOS_1, 1, "1");
    assert_eq!(due_in_ms(&bed), Some(0));
    commit_when_due(&mut bed, 0);
    bed.publish(publisher, "t", QOS_1, 2, "2");
    assert_eq!(due_in_ms(&bed), Some(20), "one commit in an interval");
}

#[test]
fn what_no_receiver_can_spare_is_committed_at_once() {
    let (mut bed, subscriber, publisher) = bed(CommitPolicy::default());
    bed.subscribe_with(
        subscriber,
        "u",
        outpost_protocol::SubscriptionOptions::new(QOS_1),
        Properties::EMPTY,
    );
    assert_eq!(due_in_ms(&bed), Some(0), "a subscription");
    bed.commit();
    bed.pass_ms(1_000);
    let retained = Publish { retain: true, ..publish("r", QoS::AtLeastOnce, 1, "1") };
    bed.send(publisher, &Packet::Publish(retained));
    assert_eq!(due_in_ms(&bed), Some(0), "a retained message");
}

#[test]
fn many_rows_are_handed_over_early() {
    let policy = CommitPolicy { rows_max: 10, ..CommitPolicy::default() };
    let (mut bed, _, publisher) = bed(policy);
    for value in 1..=78 {
        bed.publish(publisher, "t", QOS_1, value, "x");
    }
    assert_eq!(due_in_ms(&bed), Some(20), "eight times as many, as all of them may be spared");
    // With the row of the subscriber's session there are eighty.
    bed.publish(publisher, "t", QOS_1, 79, "x");
    assert_eq!(due_in_ms(&bed), Some(0));
}

#[test]
fn many_rows_for_a_client_that_is_away_are_handed_over_early() {
    let policy = CommitPolicy { rows_max: 10, ..CommitPolicy::default() };
    let (mut bed, subscriber, publisher) = bed(policy);
    bed.lose(subscriber);
    bed.commit();
    for value in 1..=9 {
        bed.publish(publisher, "t", QOS_1, value, "x");
    }
    assert_eq!(due_in_ms(&bed), Some(20));
    bed.publish(publisher, "t", QOS_1, 10, "x");
    assert_eq!(due_in_ms(&bed), Some(0));
}

#[test]
fn a_budget_stretches_the_interval() {
    // 1000 bytes a second: an hour's share is 3.6 million.
    let (mut bed, subscriber, publisher) = bed(with_budget(86_400_000));
    bed.lose(subscriber);
    assert_eq!(commit_when_due(&mut bed, 3_600_000), 1_000, "nobody waits for it");
    for (value, expected_ms) in [(1, 20), (2, 4_980), (3, 5_000), (4, 5_000)] {
        bed.publish(publisher, "t", QOS_1, value, "x");
        assert_eq!(commit_when_due(&mut bed, 5_000), expected_ms, "{value}");
        assert_eq!(bed.got(publisher), [Got::PubAck(value, ReasonCode::Success)]);
    }
    assert!(!std::iter::from_fn(|| bed.broker.poll_event()).any(|event| is_excess(&event)));
    bed.pass_ms(10_000);
    bed.publish(publisher, "t", QOS_1, 4, "x");
    assert_eq!(due_in_ms(&bed), Some(0), "the debt is paid");
}

fn is_excess(event: &Event) -> bool {
    matches!(event, Event::BudgetExceeded { .. })
}

#[test]
fn no_acknowledgement_waits_longer_than_the_stretched_interval() {
    let policy = CommitPolicy { rows_max: 10, interval_max_ms: 200_000, ..with_budget(86_400_000) };
    let (mut bed, subscriber, publisher) = bed(policy);
    bed.lose(subscriber);
    commit_when_due(&mut bed, 100_000_000);
    let mut events = 0;
    for value in 1..=20 {
        for _ in 0..20 {
            bed.publish(publisher, "t", QOS_1, value, "x");
        }
        assert_eq!(commit_when_due(&mut bed, 300_000), 200_000, "however many rows there are");
        assert_eq!(bed.got(publisher).len(), 20);
        events += std::iter::from_fn(|| bed.broker.poll_event()).filter(is_excess).count();
    }
    assert_eq!(events, 2, "in 4000 seconds: once an hour");
}

#[test]
fn receivers_may_spare_the_commit_for_as_long_as_the_budget_stretches_it() {
    let (mut bed, subscriber, publisher) = bed(with_budget(86_400_000));
    bed.publish(publisher, "t", QOS_1, 1, "x");
    commit_when_due(&mut bed, 3_604_000);
    bed.publish(publisher, "t", QOS_1, 2, "x");
    assert_eq!(due_in_ms(&bed), Some(4_000));
    bed.pass_ms(3_000);
    for message in bed.messages(subscriber) {
        bed.puback(subscriber, message.packet_id);
    }
    assert_eq!(bed.got(publisher).len(), 2);
    assert_eq!(bed.broker.counters().elided, 1);
}

#[test]
fn what_rides_along_is_written_at_the_end() {
    let (mut bed, subscriber, publisher) = bed(CommitPolicy::default());
    bed.publish(publisher, "t", QOS_1, 1, "1");
    while bed.begin_commit() {
        bed.end_commit();
    }
    bed.publish(publisher, "t", QOS_1, 2, "2");
    let identifiers: Vec<u16> = bed.messages(subscriber).iter().map(|m| m.packet_id).collect();
    bed.broker.handle_shutdown(bed.now);
    while bed.begin_commit() {
        bed.end_commit();
    }
    assert_eq!(due_in_ms(&bed), None);
    bed.crash();
    let list = [Property::SessionExpiryInterval(EXPIRY_S)];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5("subscriber") });
    let again: Vec<u16> = bed.messages(id).iter().map(|m| m.packet_id).collect();
    assert_eq!(again, identifiers);
}

/// What `$SYS/broker/store/…` holds, by the rest of the topic.
fn store_status(bed: &mut Bed) -> BTreeMap<String, String> {
    bed.pass_ms(1_000);
    let id = bed.accepted(&Connect { clean_start: true, ..v5("operator") });
    let options = outpost_protocol::SubscriptionOptions::new(QoS::AtMostOnce);
    bed.subscribe_with(id, "$SYS/broker/store/#", options, Properties::EMPTY);
    let messages = bed.messages(id);
    let name = |topic: &str| topic["$SYS/broker/store/".len()..].to_owned();
    messages.into_iter().map(|m| (name(&m.topic), m.payload)).collect()
}

#[test]
fn the_status_topics_tell_what_is_written_and_what_is_not() {
    let class = |filter: &str, durability| TopicClass { filter: filter.into(), durability };
    let mut bed = Bed::with_settings(Settings {
        commit: with_budget(86_400_000),
        topic_classes: vec![
            class("i/#", Durability::Interval { window_ms: 5_000 }),
            class("v/#", Durability::Volatile),
        ],
        sys_interval_s: 1,
        ..super::bed::settings(Limits::default())
    });
    bed.broker.count_file(4_096);
    let status = store_status(&mut bed);
    assert_eq!((&*status["budget/state"], &*status["commit/interval_ms"]), ("ok", "20"));
    assert_eq!((&*status["bytes/file"], &*status["commits"]), ("4096", "0"));
    let classes: Vec<&str> =
        status.iter().filter(|(name, _)| name.starts_with("class/")).map(|(_, v)| &**v).collect();
    assert_eq!(classes, ["interval", "i/#", "5000", "volatile", "v/#", "unbounded"]);

    let subscriber = bed.durable("subscriber");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("publisher");
    bed.commit();
    bed.publish(publisher, "t", QOS_1, 1, "x");
    let message = bed.messages(subscriber).remove(0);
    bed.puback(subscriber, message.packet_id);
    bed.lose(subscriber);
    commit_when_due(&mut bed, 3_605_000);
    let status = store_status(&mut bed);
    assert_eq!(status["bytes/written"], "3605000");
    assert_eq!((&*status["messages/elided"], &*status["acknowledgements/early"]), ("1", "1"));
    assert_eq!((&*status["budget/state"], &*status["budget/bytes_left"]), ("stretched", "0"));
    assert_eq!(status["commit/interval_ms"], "5000");
    let rows: u32 = status["rows/written"].parse().unwrap();
    let commits: u32 = status["commits"].parse().unwrap();
    assert!(commits >= 2 && rows >= commits, "{rows} rows in {commits} commits");

    let publisher = bed.fleeting("publisher");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    commit_when_due(&mut bed, 20_000_000);
    assert_eq!(store_status(&mut bed)["budget/state"], "exceeded");
    assert_eq!(store_status(&mut bed)["commit/interval_ms"], "10000");
}
