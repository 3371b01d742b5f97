//! Sessions that have new messages overtake a backlog, and tell when messages came.

use std::collections::BTreeSet;

use outpost_bridge::peering;
use outpost_protocol::{Connect, Properties, Property, SubscribeFilter, SubscriptionOptions};

use super::bed::{Bed, GotPublish, QOS_1, v5};
use crate::core::limits::Limits;
use crate::core::{ConnId, Peer};

/// More than the head of a queue.
const OLD: usize = 700;

const NEW: usize = 300;

fn prepare(bed: &mut Bed, live_percent: u8, stamps: bool) {
    let options =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::new(QOS_1) };
    let filters = [SubscribeFilter { filter: "#", options }];
    bed.broker.prepare_internal_session(bed.now, "b", &filters);
    bed.broker.set_internal_delivery(bed.now, "b", live_percent, stamps);
}

fn link(bed: &mut Bed) -> ConnId {
    let peer = Peer { address: "bridge".into(), user_name: None, is_internal: true };
    let list = [
        Property::SessionExpiryInterval(u32::MAX),
        Property::ReceiveMaximum(10),
        Property::UserProperty(peering::KEY, "1"),
    ];
    bed.connect_as(peer, &Connect { properties: Properties::list(&list), ..v5("b") })
}

fn publish_all(bed: &mut Bed, publisher: ConnId, name: &str, count: usize) {
    for number in 0..count {
        let payload = format!("{name}{number}");
        bed.publish(publisher, "t", QOS_1, 1 + (number % 60_000) as u16, &payload);
    }
    bed.commit();
}

/// Takes and acknowledges all there is; the first CONNACK to a bridge waits for a commit.
fn drain(bed: &mut Bed, id: ConnId) -> Vec<String> {
    bed.commit();
    bed.drain(id)
}

fn roomy() -> Bed {
    Bed::with_limits(Limits { receive_maximum: u16::MAX, ..Limits::default() })
}

#[test]
fn new_messages_have_their_share_while_old_ones_wait() {
    for (percent, expected) in [(0, 0), (50, 100), (90, 180)] {
        let mut bed = roomy();
        prepare(&mut bed, percent, false);
        let publisher = bed.fleeting("p");
        publish_all(&mut bed, publisher, "old", OLD);
        let id = link(&mut bed);
        publish_all(&mut bed, publisher, "new", NEW);
        let got = drain(&mut bed, id);
        let news = got.iter().take(200).filter(|payload| payload.starts_with("new")).count();
        assert!(news.abs_diff(expected) <= 10, "{percent} %: {news}");
        for name in ["old", "new"] {
            let of: Vec<&String> = got.iter().filter(|payload| payload.starts_with(name)).collect();
            let count = if name == "old" { OLD } else { NEW };
            let numbers: Vec<String> = (0..count).map(|number| format!("{name}{number}")).collect();
            assert!(of.iter().copied().eq(&numbers), "{percent} %: {name} in order, each once");
        }
        bed.commit();
        assert!(bed.store.messages.is_empty());
    }
}

/// Another session keeps the rows in the store, so that what was done out of order has to be known by
/// the row of the session.
#[test]
fn a_crash_in_the_middle_loses_nothing_and_repeats_little() {
    for acknowledged in [0, 1, 7, 60, 150] {
        let mut bed = roomy();
        prepare(&mut bed, 50, false);
        let other = bed.durable("o");
        bed.subscribe(other, "#", QOS_1);
        bed.lose(other);
        let publisher = bed.fleeting("p");
        publish_all(&mut bed, publisher, "old", OLD);
        let id = link(&mut bed);
        publish_all(&mut bed, publisher, "new", 100);
        let mut done = BTreeSet::new();
        'all: loop {
            let messages = bed.messages(id);
            assert!(!messages.is_empty());
            for message in messages.into_iter().rev() {
                if done.len() == acknowledged {
                    break 'all;
                }
                bed.puback(id, message.packet_id);
                assert!(done.insert(message.payload), "twice");
            }
        }
        bed.pass_ms(5_000);
        bed.commit();
        bed.crash();
        prepare(&mut bed, 50, false);
        let id = link(&mut bed);
        let got = drain(&mut bed, id);
        let rest: BTreeSet<String> = got.iter().cloned().collect();
        assert_eq!(rest.len(), got.len(), "twice after {acknowledged}");
        assert_eq!(rest.len() + done.len(), OLD + 100, "after {acknowledged}");
        assert!(rest.is_disjoint(&done), "after {acknowledged}");
    }
}

/// New messages for which there is no room beside the backlog go behind it, and outlast it.
#[test]
fn what_waits_longest_goes_first_when_it_is_too_old() {
    let limits = Limits { receive_maximum: u16::MAX, queue_age_max_s: 15, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    prepare(&mut bed, 50, false);
    let publisher = bed.fleeting("p");
    publish_all(&mut bed, publisher, "old", 11);
    let id = link(&mut bed);
    publish_all(&mut bed, publisher, "new", 520);
    bed.pass_ms(10_000);
    publish_all(&mut bed, publisher, "newest", 50);
    // So many that the old ones are over, and more wait that came early.
    let mut got = Vec::new();
    while got.len() < 200 {
        for message in bed.messages(id) {
            bed.puback(id, message.packet_id);
            got.push(message.payload);
        }
    }
    assert!(got.contains(&"old10".to_owned()), "{got:?}");
    bed.pass_ms(7_000);
    let rest = drain(&mut bed, id);
    let newest = rest.iter().filter(|payload| payload.starts_with("newest")).count();
    assert_eq!(newest, 50, "{rest:?}");
    assert!(bed.broker.counters().dropped_aged > 300);
}

/// What is in flight is in no order of numbers, whatever the session is told now.
#[test]
fn a_session_that_loses_its_share_knows_what_is_done() {
    for (left_out, is_backwards) in (0..10).flat_map(|at| [(at, false), (at, true)]) {
        let mut bed = roomy();
        prepare(&mut bed, 50, false);
        let other = bed.durable("o");
        bed.subscribe(other, "#", QOS_1);
        bed.lose(other);
        let publisher = bed.fleeting("p");
        publish_all(&mut bed, publisher, "old", 14);
        let id = link(&mut bed);
        publish_all(&mut bed, publisher, "new", 10);
        let mut waiting: BTreeSet<String> = (0..14).map(|number| format!("old{number}")).collect();
        waiting.extend((0..10).map(|number| format!("new{number}")));
        for message in bed.messages(id).into_iter().take(8) {
            bed.puback(id, message.packet_id);
            waiting.remove(&message.payload);
        }
        bed.pass_ms(5_000);
        bed.commit();
        bed.crash();

        prepare(&mut bed, 0, false);
        let id = link(&mut bed);
        bed.commit();
        let mut flying = bed.messages(id);
        assert_eq!(flying.len(), 10, "as many as there may be");
        flying.remove(left_out);
        if is_backwards {
            flying.reverse();
        }
        for message in flying {
            bed.puback(id, message.packet_id);
            waiting.remove(&message.payload);
        }
        bed.pass_ms(5_000);
        bed.commit();
        bed.crash();
        prepare(&mut bed, 0, false);
        let id = link(&mut bed);
        let got: BTreeSet<String> = drain(&mut bed, id).into_iter().collect();
        assert_eq!(got, waiting, "{left_out}, {is_backwards}");
    }
}

/// The other broker would retain an old value for good.
#[test]
fn what_is_retained_overtakes_nothing() {
    let mut bed = roomy();
    prepare(&mut bed, 50, false);
    let publisher = bed.fleeting("p");
    publish_all(&mut bed, publisher, "old", 20);
    bed.retain(publisher, "t", "first");
    bed.commit();
    let id = link(&mut bed);
    bed.retain(publisher, "t", "second");
    publish_all(&mut bed, publisher, "new", 20);
    bed.retain(publisher, "t", "third");
    let got = drain(&mut bed, id);
    let place = |payload: &str| got.iter().position(|got| got == payload).expect("it came");
    assert!(place("new0") < place("old19"));
    assert!(place("old19") < place("first"));
    assert!(place("first") < place("second") && place("second") < place("third"), "{got:?}");
}

#[test]
fn messages_tell_when_they_came() {
    let mut bed = roomy();
    prepare(&mut bed, 0, true);
    let publisher = bed.fleeting("p");
    publish_all(&mut bed, publisher, "old", 1);
    bed.pass_ms(3_000);
    let id = link(&mut bed);
    publish_all(&mut bed, publisher, "new", 1);
    let said = |message: &GotPublish| -> Vec<String> {
        let properties = message.properties();
        let keys = properties.iter().filter_map(|property| match property {
            Property::UserProperty(key, _) if key != outpost_bridge::origin::KEY => {
                Some(key.to_owned())
            }
            _ => None,
        });
        keys.collect()
    };
    let got = bed.messages(id);
    let said: Vec<Vec<String>> = got.iter().map(said).collect();
    assert_eq!(said, [vec!["outpost-time", "outpost-backlog"], vec!["outpost-time"]]);
}
