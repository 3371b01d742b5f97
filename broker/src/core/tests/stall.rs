//! A store without space: what goes on, what waits, what is refused, and that nothing is lost.

use outpost_protocol::{Packet, Publish, ReasonCode};

use super::bed::{Bed, Got, QOS_0, QOS_1, QOS_2, publish, v311};
use crate::core::limits::Limits;
use crate::core::{Event, Handled};

const WHY: &str = "No space left on device";

/// A durable session on `t` whose client is away, and a store that is stuck with a batch.
fn stalled(limits: Limits) -> Bed {
    let mut bed = Bed::with_limits(limits);
    let away = bed.durable("away");
    bed.subscribe(away, "t", QOS_2);
    bed.lose(away);
    let publisher = bed.fleeting("before");
    bed.publish(publisher, "t", QOS_1, 1, "first");
    assert!(bed.begin_commit());
    assert_eq!(bed.got(publisher), [], "its PUBACK waits for the store");
    stall(&mut bed);
    bed
}

fn stall(bed: &mut Bed) {
    bed.broker.handle_store_stalled(bed.now, WHY);
    bed.settle();
}

/// The stall lasts, and the store tries again in vain.
fn stall_for_s(bed: &mut Bed, s: u32) {
    bed.pass_s(s);
    stall(bed);
}

fn back_after(bed: &mut Bed, payloads: &[&str]) {
    bed.end_commit();
    bed.commit();
    bed.durable_with_messages("away", payloads);
}

#[test]
fn qos_0_goes_on() {
    let mut bed = stalled(Limits::default());
    let subscriber = bed.fleeting("s");
    bed.subscribe_with(
        subscriber,
        "#",
        outpost_protocol::SubscriptionOptions::new(QOS_0),
        outpost_protocol::Properties::EMPTY,
    );
    assert_eq!(bed.got(subscriber).len(), 1, "a session that is not stored gets its SUBACK");
    let publisher = bed.fleeting("p");
    for _ in 0..3 {
        stall_for_s(&mut bed, 1);
        bed.publish(publisher, "t", QOS_0, 0, "on");
        assert_eq!(bed.payloads(subscriber), ["on"]);
    }
}

#[test]
fn a_short_stall_refuses_nobody() {
    let mut bed = stalled(Limits::default());
    let publisher = bed.fleeting("p");
    bed.pass_ms(999);
    bed.publish(publisher, "t", QOS_1, 1, "second");
    assert_eq!(bed.got(publisher), []);
    bed.end_commit();
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(1, ReasonCode::Success)]);
    bed.durable_with_messages("away", &["first", "second"]);
}

#[test]
fn a_long_stall_refuses_5_0_publishers_what_only_the_store_can_keep() {
    let mut bed = stalled(Limits::default());
    let publisher = bed.fleeting("p");
    stall_for_s(&mut bed, 1);
    let quota = ReasonCode::QuotaExceeded;
    bed.publish(publisher, "t", QOS_1, 1, "1");
    bed.publish(publisher, "t", QOS_2, 2, "2");
    let retained = Publish { retain: true, ..publish("r", QOS_1, 3, "3") };
    bed.send(publisher, &Packet::Publish(retained));
    let expected = [Got::PubAck(1, quota), Got::PubRec(2, quota), Got::PubAck(3, quota)];
    assert_eq!(bed.got(publisher), expected);
    bed.publish(publisher, "nobody", QOS_1, 4, "4");
    assert_eq!(bed.got(publisher), [Got::PubAck(4, ReasonCode::NoMatchingSubscribers)]);
    bed.end_commit();
    bed.publish(publisher, "t", QOS_1, 5, "5");
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(5, ReasonCode::Success)], "it is over");
    bed.durable_with_messages("away", &["first", "5"]);
}

#[test]
fn a_shared_subscription_needs_the_store_when_all_of_its_members_are_away() {
    let mut bed = Bed::new();
    let [one, two] = ["one", "two"].map(|name| {
        let id = bed.durable(name);
        bed.subscribe(id, "$share/g/t", QOS_1);
        id
    });
    bed.lose(one);
    let publisher = bed.fleeting("p");
    bed.retain(publisher, "r", "something to commit");
    assert!(bed.begin_commit());
    stall(&mut bed);
    stall_for_s(&mut bed, 1);
    bed.publish(publisher, "t", QOS_1, 1, "for two");
    assert_eq!(bed.payloads(two), ["for two"]);
    bed.lose(two);
    let other = bed.fleeting("other");
    bed.publish(other, "t", QOS_1, 1, "for nobody");
    assert_eq!(bed.got(other), [Got::PubAck(1, ReasonCode::QuotaExceeded)]);
}

#[test]
fn receivers_that_are_there_are_served_until_the_backlog_is_full() {
    let mut bed = stalled(Limits { store_backlog_bytes_max: 2_000, ..Limits::default() });
    let present = bed.durable("present");
    bed.end_commit();
    bed.subscribe(present, "p", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "second");
    assert!(bed.begin_commit());
    stall(&mut bed);
    stall_for_s(&mut bed, 1);
    let payload = "x".repeat(1_500);
    bed.publish(publisher, "p", QOS_1, 2, &payload);
    assert_eq!(bed.payloads(present), [payload.as_str()]);
    bed.publish(publisher, "p", QOS_1, 3, &payload);
    assert_eq!(bed.got(publisher), [], "behind the one that waits for the store");
    let other = bed.fleeting("other");
    bed.publish(other, "p", QOS_1, 1, &payload);
    assert_eq!(bed.got(other), [Got::PubAck(1, ReasonCode::QuotaExceeded)]);
}

#[test]
fn a_retained_qos_0_message_never_blocks_its_publisher() {
    let mut bed = stalled(Limits { store_backlog_bytes_max: 100, ..Limits::default() });
    let publisher = bed.fleeting("p");
    stall_for_s(&mut bed, 1);
    for i in 0..5 {
        let payload = "x".repeat(60);
        let retained = Publish { retain: true, ..publish("r", QOS_0, 0, &payload) };
        let retained = Publish { topic: ["r0", "r1", "r2", "r3", "r4"][i], ..retained };
        assert_eq!(bed.send(publisher, &Packet::Publish(retained)), Handled::Done);
    }
    assert!(bed.broker.counters().refused > 0);
}

#[test]
fn a_3_1_1_publisher_waits_as_long_as_it_lasts() {
    let mut bed = stalled(Limits { store_backlog_bytes_max: 4, ..Limits::default() });
    let publisher = bed.accepted(&v311("p"));
    stall_for_s(&mut bed, 1);
    let handled = bed.publish(publisher, "t", QOS_1, 1, "second");
    assert_eq!(handled, Handled::Wait);
    stall_for_s(&mut bed, 600);
    assert_eq!(bed.got(publisher), [], "no PUBACK, and not closed either");
    bed.end_commit();
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(1, ReasonCode::Success)]);
    back_after(&mut bed, &["first", "second"]);
}

#[test]
fn it_is_told_once_then_every_ten_minutes_and_at_its_end() {
    let mut bed = stalled(Limits::default());
    for _ in 0..120 {
        stall_for_s(&mut bed, 10);
    }
    bed.end_commit();
    bed.commit();
    let mut told = Vec::new();
    while let Some(event) = bed.broker.poll_event() {
        if matches!(event, Event::StoreStalled { .. } | Event::StoreRecovered { .. }) {
            told.push(event);
        }
    }
    let stalled = |lasts_ms| Event::StoreStalled { why: WHY.into(), lasts_ms };
    let recovered = Event::StoreRecovered { lasted_ms: 1_200_000 };
    assert_eq!(told, [stalled(0), stalled(600_000), stalled(1_200_000), recovered]);
}
