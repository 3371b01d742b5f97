//! Bridges are told what there are subscribers for.

use outpost_bridge::interest::{Interest, TOPIC};
use outpost_bridge::peering::{self, Features};
use outpost_protocol::{Connect, Properties, Property};

use super::bed::{Bed, EXPIRY_S, Got, QOS_1, settings, v5};
use crate::core::limits::Limits;
use crate::core::{ConnId, Settings};

fn bed() -> Bed {
    let features = Features { interest: true, ..Features::default() };
    Bed::with_settings(Settings { features, ..settings(Limits::default()) })
}

fn bridge(bed: &mut Bed, client_id: &str, words: &str) -> ConnId {
    let list =
        [Property::SessionExpiryInterval(EXPIRY_S), Property::UserProperty(peering::KEY, words)];
    let id = bed.connect(&Connect { properties: Properties::list(&list), ..v5(client_id) });
    bed.commit();
    id
}

/// What a bridge was told since it was last asked.
fn told(bed: &mut Bed, id: ConnId) -> Vec<Interest> {
    let interest = |got| match got {
        Got::Publish(publish) if publish.topic == TOPIC => {
            Some(Interest::parse(publish.payload.as_bytes()).expect("it is one"))
        }
        _ => None,
    };
    bed.got(id).into_iter().filter_map(interest).collect()
}

#[test]
fn a_bridge_is_told_at_once_and_after_changes() {
    let mut bed = bed();
    let client = bed.durable("c");
    bed.subscribe(client, "a/+", QOS_1);
    let id = bridge(&mut bed, "b", "1 interest");
    let [interest] = &told(&mut bed, id)[..] else { panic!("told once") };
    assert!(interest.wants("a/x") && !interest.wants("b"));
    bed.subscribe(id, "own/#", QOS_1);
    bed.pass_ms(1_000);
    assert_eq!(told(&mut bed, id), [], "its own subscriptions are none");

    bed.subscribe(client, "b", QOS_1);
    bed.unsubscribe(client, "a/+");
    bed.commit();
    bed.got(client);
    bed.subscribe(client, "$share/g/s/#", QOS_1);
    assert_eq!(told(&mut bed, id), [], "changes come several at a time");
    bed.pass_ms(250);
    let [interest] = &told(&mut bed, id)[..] else { panic!("told once") };
    assert!(!interest.wants("a/x") && interest.wants("b") && interest.wants("s/x"));

    // Nothing new is not told; and a session whose client is away has its subscriptions.
    bed.subscribe(client, "b", QOS_1);
    bed.lose(client);
    bed.pass_ms(1_000);
    assert_eq!(told(&mut bed, id), []);
}

#[test]
fn who_does_not_ask_is_not_told() {
    let mut bed = bed();
    let id = bridge(&mut bed, "b", "1 zstd");
    assert_eq!(told(&mut bed, id), []);
    let client = bed.fleeting("c");
    bed.subscribe(client, "a", QOS_1);
    bed.pass_ms(1_000);
    assert_eq!(told(&mut bed, id), []);
}

#[test]
fn a_broker_with_very_many_filters_wants_everything() {
    let mut bed = bed();
    bed.is_unchecked = true;
    for number in 0..11 {
        let client = bed.durable(&number.to_string());
        for filter in 0..95 {
            bed.subscribe(client, &format!("t/{number}/{filter}"), QOS_1);
        }
    }
    let id = bridge(&mut bed, "b", "1 interest");
    assert_eq!(told(&mut bed, id), [Interest::Everything]);
}
