//! Shared subscriptions (MQTT 5.0, 4.8.2).

use outpost_protocol::{Connect, Properties, Property};

use super::bed::{Bed, EXPIRY_S, QOS_0, QOS_1, QOS_2, v5};
use crate::core::ConnId;
use crate::core::limits::Limits;

const SHARE: &str = "$share/g/t";

/// A durable member with a window of its own.
fn member(bed: &mut Bed, client_id: &str, window: u16) -> ConnId {
    let list = [Property::ReceiveMaximum(window), Property::SessionExpiryInterval(EXPIRY_S)];
    bed.accepted(&Connect { properties: Properties::list(&list), ..v5(client_id) })
}

#[test]
fn members_take_turns() {
    let mut bed = Bed::new();
    let members = ["a", "b", "c"].map(|name| bed.durable(name));
    for id in members {
        bed.subscribe(id, SHARE, QOS_1);
    }
    let publisher = bed.fleeting("p");
    for i in 0..9 {
        bed.publish(publisher, "t", if i % 2 == 0 { QOS_0 } else { QOS_1 }, i + 1, &i.to_string());
    }
    for id in members {
        assert_eq!(bed.messages(id).len(), 3);
    }
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_the_others() {
    let mut bed = Bed::new();
    let (a, b) = (bed.durable("a"), bed.durable("b"));
    bed.subscribe(a, SHARE, QOS_1);
    bed.subscribe(b, SHARE, QOS_1);
    let publisher = bed.fleeting("p");
    for i in 0..6 {
        bed.publish(publisher, "t", QOS_1, i + 1, &i.to_string());
    }
    assert_eq!(bed.drain(b), ["1", "3", "5"]);
    assert_eq!(bed.payloads(a), ["0", "2", "4"]);
    bed.lose(a);
    assert_eq!(bed.drain(b), ["0", "2", "4"]);
    bed.commit();
    assert!(bed.store.messages.is_empty());
    let a = bed.durable("a");
    assert!(bed.messages(a).is_empty());
}

#[test]
fn a_qos_2_flow_that_began_is_completed_with_its_member() {
    let mut bed = Bed::new();
    let (a, b) = (member(&mut bed, "a", 1), bed.durable("b"));
    bed.subscribe(a, SHARE, QOS_2);
    bed.subscribe(b, SHARE, QOS_2);
    bed.lose(b);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_2, 1, "begun");
    bed.publish(publisher, "t", QOS_2, 2, "queued");
    bed.commit();
    let begun = bed.messages(a);
    assert_eq!(begun[0].payload, "begun");
    let b = bed.durable("b");
    bed.lose(a);
    bed.commit();
    assert_eq!(bed.payloads(b), ["queued"]);
    let a = bed.back("a");
    let again = bed.messages(a);
    assert_eq!((&*again[0].payload, again[0].packet_id), ("begun", begun[0].packet_id));
}

/// What a member gives away stands between messages that stay with it: a restart must still know
/// which of them are done.
#[test]
fn giving_away_forgets_nothing_that_stays() {
    let mut bed = Bed::new();
    let (a, b) = (member(&mut bed, "a", 1), bed.durable("b"));
    bed.subscribe(a, "own", QOS_1);
    bed.subscribe(a, SHARE, QOS_1);
    bed.subscribe(b, SHARE, QOS_1);
    bed.lose(b);
    let publisher = bed.fleeting("p");
    for (i, topic) in ["own", "t", "own", "t", "own", "t", "own"].into_iter().enumerate() {
        bed.publish(publisher, topic, QOS_1, i as u16 + 1, &i.to_string());
    }
    let b = bed.durable("b");
    bed.lose(a);
    assert_eq!(bed.drain(b), ["1", "3", "5"]);
    bed.commit();
    bed.crash();
    let a = bed.back("a");
    assert_eq!(bed.drain(a), ["0", "2", "4", "6"]);
}

#[test]
fn a_member_that_subscribed_without_sharing_too_gets_two_copies() {
    let mut bed = Bed::new();
    let a = bed.durable("a");
    bed.subscribe(a, "t", QOS_1);
    bed.subscribe(a, SHARE, QOS_1);
    bed.subscribe(a, "$share/h/t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    let got = bed.messages(a);
    assert_eq!(got.len(), 3);
    bed.puback(a, got[0].packet_id);
    bed.commit();
    bed.crash();
    let a = bed.back("a");
    assert_eq!(bed.messages(a).len(), 2, "one was acknowledged, and the others were not");
}

#[test]
fn an_offline_member_that_keeps_nothing_is_passed_over() {
    let mut bed = Bed::new();
    let (a, b) = (bed.durable("a"), bed.durable("b"));
    bed.subscribe(a, SHARE, QOS_0);
    bed.subscribe(b, SHARE, QOS_1);
    bed.lose(a);
    bed.lose(b);
    let publisher = bed.fleeting("p");
    for i in 0..4 {
        bed.publish(publisher, "t", QOS_1, i + 1, &i.to_string());
    }
    let b = bed.back("b");
    assert_eq!(bed.drain(b), ["0", "1", "2", "3"]);
}

#[test]
fn a_full_member_is_passed_over_while_another_has_room() {
    let mut bed = Bed::with_limits(Limits { queue_messages_max: 2, ..Limits::default() });
    let (a, b) = (bed.durable("a"), bed.durable("b"));
    bed.subscribe(a, SHARE, QOS_1);
    bed.subscribe(b, SHARE, QOS_1);
    bed.lose(b);
    let publisher = bed.fleeting("p");
    for i in 0..4 {
        bed.publish(publisher, "t", QOS_1, i + 1, &i.to_string());
    }
    assert_eq!(bed.payloads(a).len(), 2);
    let b = bed.back("b");
    assert_eq!(bed.payloads(b).len(), 2);
}

#[test]
fn the_end_of_a_member_s_session_loses_none_of_its_messages() {
    let mut bed = Bed::new();
    let list = [Property::SessionExpiryInterval(10)];
    let a = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("a") });
    bed.subscribe(a, SHARE, QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "sent");
    assert_eq!(bed.payloads(a), ["sent"]);
    bed.lose(a);
    bed.publish(publisher, "t", QOS_1, 2, "queued");
    let b = bed.durable("b");
    bed.subscribe(b, SHARE, QOS_1);
    bed.lose(b);
    bed.pass_s(10);
    bed.commit();
    assert!(bed.store.session("a").is_none());
    let b = bed.back("b");
    assert_eq!(bed.drain(b), ["sent", "queued"]);
}

#[test]
fn a_clean_start_of_a_member_loses_none_of_its_messages() {
    let mut bed = Bed::new();
    let a = bed.durable("a");
    bed.subscribe(a, SHARE, QOS_1);
    bed.lose(a);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "to a");
    let b = bed.durable("b");
    bed.subscribe(b, SHARE, QOS_1);
    bed.connect(&Connect { clean_start: true, ..v5("a") });
    assert_eq!(bed.drain(b), ["to a"]);
}
