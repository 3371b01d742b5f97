//! What a full queue does, by policy; back-pressure, and its end.

use outpost_protocol::{Connect, Packet, Properties, Property, Publish, ReasonCode, Will};

use super::bed::{Bed, EXPIRY_S, Got, QOS_0, QOS_1, QOS_2, publish, v5, v311};
use crate::core::limits::{Limits, QueueFull};
use crate::core::{ConnId, Handled};

fn limited(queue_messages_max: u32, queue_full: QueueFull) -> Bed {
    Bed::with_limits(Limits { queue_messages_max, queue_full, ..Limits::default() })
}

/// A durable session on `t` whose client is away.
fn away(bed: &mut Bed, client_id: &str) {
    let id = bed.durable(client_id);
    bed.subscribe(id, "t", QOS_1);
    bed.lose(id);
}

fn come_back(bed: &mut Bed, client_id: &str) -> ConnId {
    let list = [Property::SessionExpiryInterval(EXPIRY_S)];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5(client_id) });
    bed.settle();
    id
}

#[test]
fn reject_tells_a_5_0_publisher() {
    let mut bed = limited(2, QueueFull::Reject);
    away(&mut bed, "s");
    let publisher = bed.fleeting("p");
    for i in 1..=3 {
        bed.publish(publisher, "t", QOS_1, i, &i.to_string());
    }
    bed.publish(publisher, "t", QOS_2, 4, "4");
    bed.commit();
    let quota = ReasonCode::QuotaExceeded;
    let (a, b) = (Got::PubAck(1, ReasonCode::Success), Got::PubAck(2, ReasonCode::Success));
    assert_eq!(bed.got(publisher), [a, b, Got::PubAck(3, quota), Got::PubRec(4, quota)]);
    let s = come_back(&mut bed, "s");
    assert_eq!(bed.payloads(s), ["1", "2"]);
    assert_eq!(bed.broker.counters().refused, 2);
}

#[test]
fn reject_lets_a_3_1_1_publisher_wait_for_its_puback() {
    let mut bed = limited(2, QueueFull::Reject);
    away(&mut bed, "s");
    let publisher = bed.accepted(&v311("p"));
    for i in 1..=4 {
        let handled = bed.publish(publisher, "t", QOS_1, i, &i.to_string());
        assert_eq!(handled, Handled::Done);
    }
    bed.publish(publisher, "elsewhere", QOS_1, 5, "behind those before it");
    bed.commit();
    assert_eq!(bed.got(publisher).len(), 2);
    bed.send(publisher, &Packet::PingReq);
    assert_eq!(bed.got(publisher), [Got::PingResp], "it is read from all the time");
    let s = come_back(&mut bed, "s");
    let got = bed.messages(s);
    bed.puback(s, got[0].packet_id);
    bed.puback(s, got[1].packet_id);
    assert_eq!(bed.payloads(s), ["3", "4"]);
    bed.commit();
    let pubacks = [3, 4, 5].map(|i| Got::PubAck(i, ReasonCode::Success));
    assert_eq!(bed.got(publisher), pubacks);
}

#[test]
fn as_much_is_held_as_the_limits_allow() {
    let limits = Limits {
        queue_messages_max: 1,
        receive_maximum: 3,
        output_bytes_max: 1_000,
        ..Limits::default()
    };
    for (payload, held) in [("small", 3), (&*"x".repeat(700), 2)] {
        let mut bed = Bed::with_limits(limits.clone());
        away(&mut bed, "s");
        let publisher = bed.accepted(&v311("p"));
        bed.publish(publisher, "t", QOS_1, 1, payload);
        bed.commit();
        for i in 2..10 {
            let handled = bed.publish(publisher, "t", QOS_1, i, payload);
            assert_eq!(handled == Handled::Done, i < 2 + held, "{i}");
        }
        let s = come_back(&mut bed, "s");
        for i in 1..10 {
            let got = bed.messages(s);
            assert_eq!(got.len(), 1, "{i} of {} bytes", payload.len());
            bed.puback(s, got[0].packet_id);
            bed.commit();
        }
        bed.commit();
        assert_eq!(bed.got(publisher).len(), 9);
    }
}

/// The acknowledgements that make room come behind the messages that wait for it.
#[test]
fn two_3_1_1_clients_that_wait_for_each_other_come_free() {
    let mut bed = limited(1, QueueFull::Reject);
    let (a, b) = (bed.accepted(&v311("a")), bed.accepted(&v311("b")));
    bed.subscribe(a, "to a", QOS_1);
    bed.subscribe(b, "to b", QOS_2);
    for i in 1..=3 {
        bed.publish(a, "to b", QOS_1, i, "x");
        bed.publish(b, "to a", QOS_2, i, "x");
    }
    for _ in 0..3 {
        for id in [a, b] {
            for message in bed.messages(id) {
                bed.puback(id, message.packet_id);
            }
        }
        bed.commit();
    }
    assert!(bed.broker.ledger.len() == 0);
    assert_eq!(bed.broker.counters().messages_received, 6);
}

#[test]
fn who_waits_too_long_is_closed_and_who_went_on_is_not() {
    let mut bed = limited(1, QueueFull::Reject);
    away(&mut bed, "s");
    let (stuck, freed) = (bed.accepted(&v311("p")), bed.accepted(&v311("q")));
    bed.publish(stuck, "t", QOS_1, 1, "1");
    bed.publish(freed, "t", QOS_1, 1, "2");
    bed.publish(stuck, "t", QOS_1, 2, "3");
    let wait_ms = bed.broker.limits().queue_full_wait_ms;
    bed.pass_ms(wait_ms / 2);
    let s = come_back(&mut bed, "s");
    let first = bed.messages(s);
    bed.lose(s);
    let s = come_back(&mut bed, "s");
    bed.puback(s, first[0].packet_id);
    bed.lose(s);
    bed.pass_ms(wait_ms);
    bed.commit();
    let closed: Vec<bool> =
        [stuck, freed].map(|id| bed.got(id).last() == Some(&Got::Closed)).into();
    assert_eq!(closed.iter().filter(|c| **c).count(), 1, "one of the two found room: {closed:?}");
}

/// A packet that had to wait and is then refused ends the wait as well.
#[test]
fn a_refusal_ends_the_wait() {
    let limits =
        Limits { store_backlog_bytes_max: 10, retained_messages_max: 1, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    let (a, b) = (bed.fleeting("a"), bed.fleeting("b"));
    bed.retain(a, "x", "more than ten bytes");
    let second = Publish { retain: true, ..publish("y", QOS_1, 1, "y") };
    assert_eq!(bed.send(b, &Packet::Publish(second)), Handled::Wait, "the store is behind");
    bed.commit();
    assert_eq!(bed.got(b), [Got::PubAck(1, ReasonCode::QuotaExceeded)]);
    bed.pass_ms(bed.broker.limits().queue_full_wait_ms);
    assert!(bed.got(b).is_empty(), "it does not wait any more, and is not closed");
}

/// Room in all queues together is made by any session.
#[test]
fn room_in_another_session_wakes_who_waits_for_room_in_all() {
    let mut bed = Bed::with_limits(Limits { queue_total_bytes_max: 20, ..Limits::default() });
    away(&mut bed, "s");
    let slow = bed.fleeting("slow");
    bed.subscribe(slow, "u", QOS_1);
    let p = bed.fleeting("p");
    bed.publish(p, "u", QOS_1, 1, "almost twenty bytes");
    let waits = bed.accepted(&v311("q"));
    bed.commit();
    bed.publish(waits, "t", QOS_1, 1, "x");
    bed.commit();
    assert!(bed.got(waits).is_empty());
    let got = bed.messages(slow);
    bed.puback(slow, got[0].packet_id);
    bed.commit();
    assert_eq!(bed.got(waits), [Got::PubAck(1, ReasonCode::Success)]);
}

#[test]
fn drop_newest_keeps_what_waits() {
    let mut bed = limited(2, QueueFull::DropNewest);
    away(&mut bed, "s");
    let publisher = bed.fleeting("p");
    for i in 1..=4 {
        bed.publish(publisher, "t", QOS_1, i, &i.to_string());
    }
    bed.commit();
    assert!(
        bed.got(publisher).iter().all(|g| matches!(g, Got::PubAck(_, ReasonCode::Success))),
        "the publisher is not told"
    );
    let s = come_back(&mut bed, "s");
    assert_eq!(bed.payloads(s), ["1", "2"]);
    assert_eq!(bed.broker.counters().dropped_full, 2);
}

#[test]
fn drop_oldest_makes_room_and_survives_a_crash() {
    let mut bed = limited(2, QueueFull::DropOldest);
    away(&mut bed, "s");
    let publisher = bed.fleeting("p");
    for i in 1..=4 {
        bed.publish(publisher, "t", QOS_1, i, &i.to_string());
    }
    bed.commit();
    bed.crash();
    let s = come_back(&mut bed, "s");
    assert_eq!(bed.payloads(s), ["3", "4"]);
}

#[test]
fn drop_oldest_frees_as_many_bytes_as_it_needs() {
    let limits =
        Limits { queue_bytes_max: 100, queue_full: QueueFull::DropOldest, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    away(&mut bed, "s");
    let publisher = bed.fleeting("p");
    for i in 1..=50 {
        bed.publish(publisher, "t", QOS_1, i, "1");
    }
    let large = "x".repeat(80);
    for i in 51..=60 {
        bed.publish(publisher, "t", QOS_1, i, &large);
    }
    let key = *bed.broker.clients.get("s").unwrap();
    let bytes = bed.broker.sessions[key as usize].queue.bytes();
    assert!(bytes <= 100 + 81, "the limit, and the message that reaches over it: {bytes}");
}

#[test]
fn drop_oldest_counts_what_it_cannot_queue() {
    let mut bed = limited(1, QueueFull::DropOldest);
    let s = bed.durable("s");
    bed.subscribe(s, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "in flight");
    bed.publish(publisher, "t", QOS_1, 2, "no room");
    assert_eq!(bed.payloads(s), ["in flight"]);
    assert_eq!(bed.broker.counters().dropped_full, 1);
}

/// A will has no publisher that could be told: it must not go around the limits.
#[test]
fn wills_do_not_grow_a_full_queue() {
    let mut bed = limited(2, QueueFull::Reject);
    away(&mut bed, "s");
    for _ in 0..5 {
        let will = Will {
            qos: QOS_1,
            retain: false,
            properties: Properties::EMPTY,
            topic: "t",
            payload: b"gone",
        };
        let id = bed.accepted(&Connect { will: Some(will), ..v5("w") });
        bed.lose(id);
    }
    let key = *bed.broker.clients.get("s").unwrap();
    assert_eq!(bed.broker.sessions[key as usize].messages(), 2);
    assert_eq!(bed.broker.counters().dropped_full, 3);
}

#[test]
fn wills_do_not_grow_a_full_table_of_retained_messages() {
    let mut bed = Bed::with_limits(Limits { retained_messages_max: 1, ..Limits::default() });
    for topic in ["a", "b", "c"] {
        let will = Will {
            qos: QOS_0,
            retain: true,
            properties: Properties::EMPTY,
            topic,
            payload: b"gone",
        };
        let id = bed.accepted(&Connect { will: Some(will), ..v5("w") });
        bed.lose(id);
    }
    assert_eq!(bed.broker.retained.len(), 1);
    assert_eq!(bed.broker.counters().dropped_retained_full, 2);
}

#[test]
fn messages_that_expired_make_room() {
    let mut bed = limited(2, QueueFull::Reject);
    away(&mut bed, "s");
    let publisher = bed.fleeting("p");
    let list = [Property::MessageExpiryInterval(5)];
    for i in 1..=2 {
        let short = Publish { properties: Properties::list(&list), ..publish("t", QOS_1, i, "x") };
        bed.send(publisher, &Packet::Publish(short));
    }
    bed.pass_s(5);
    bed.publish(publisher, "t", QOS_1, 3, "fresh");
    bed.commit();
    assert_eq!(bed.got(publisher).last(), Some(&Got::PubAck(3, ReasonCode::Success)));
    let s = come_back(&mut bed, "s");
    assert_eq!(bed.payloads(s), ["fresh"]);
}

#[test]
fn a_slow_connection_loses_qos_0_only_and_delays_nobody() {
    let mut bed = Bed::with_limits(Limits { output_bytes_max: 1_000, ..Limits::default() });
    let (slow, quick) = (bed.fleeting("slow"), bed.fleeting("quick"));
    bed.subscribe(slow, "t", QOS_1);
    bed.subscribe(quick, "t", QOS_1);
    let publisher = bed.fleeting("p");
    let payload = "x".repeat(100);
    for i in 1..=50 {
        bed.publish(publisher, "t", if i == 50 { QOS_1 } else { QOS_0 }, i, &payload);
        assert_eq!(bed.messages(quick).len(), 1);
    }
    let got = bed.messages(slow);
    assert!((8..=12).contains(&got.len()), "{}", got.len());
    assert_eq!(got.last().unwrap().qos, QOS_1);
    assert_eq!(bed.broker.counters().dropped_slow as usize, 50 - got.len());
}

/// Who sends and never reads must not fill the memory with answers.
#[test]
fn a_client_that_does_not_read_its_answers_is_told_of() {
    let mut bed = Bed::with_limits(Limits { output_bytes_max: 1_000, ..Limits::default() });
    let id = bed.fleeting("a");
    bed.subscribe(id, "t", QOS_1);
    let publisher = bed.fleeting("p");
    for i in 1..=20 {
        bed.publish(publisher, "t", QOS_1, i, &"x".repeat(100));
    }
    assert!(!bed.broker.is_flooded(id), "messages are no answers");
    for _ in 0..32 {
        bed.send(id, &Packet::PingReq);
    }
    assert!(bed.broker.is_flooded(id));
    bed.got(id);
    assert!(!bed.broker.is_flooded(id));
}
