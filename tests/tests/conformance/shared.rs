//! Shared subscriptions (5.0 section 4.8.2).

use std::collections::BTreeSet;

use crate::prelude::*;

fn qos1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: AtLeastOnce, ..message(topic, payload) }
}

/// Each message goes to one member, and each member gets its part.
#[test]
fn members_share_the_messages() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/group/{topic}");
    let mut members: Vec<RawClient> = (0..3).map(|_| subscriber(&broker, &share)).collect();
    let mut sender = publisher(&broker);
    for number in 0..30 {
        sender.publish(&qos1(&topic, &[number]));
    }
    let mut seen = BTreeSet::new();
    for member in &mut members {
        let mut count = 0;
        member.ping();
        while let Some(publish) = next_now(member) {
            assert_eq!(publish.topic, topic);
            assert!(seen.insert(publish.payload[0]), "{publish:?} came twice");
            count += 1;
        }
        assert!((5..=15).contains(&count), "one of three members got {count} of 30");
    }
    assert_eq!(seen.len(), 30);
}

/// The next PUBLISH, acknowledged, unless there is none on the way.
fn next_now(client: &mut RawClient) -> Option<Publish> {
    client.ping();
    match client.stashed()? {
        Received::Publish(publish) => {
            match publish.qos {
                AtMostOnce => {}
                _ => client.puback(publish.id()),
            }
            Some(publish)
        }
        other => panic!("{other:?}"),
    }
}

/// Groups and ordinary subscriptions are independent of each other: one copy for each group, one
/// for each subscriber without a group.
#[test]
fn groups_are_independent() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut one = subscriber(&broker, &format!("$share/one/{topic}"));
    let mut two = subscriber(&broker, &format!("$share/two/{topic}"));
    let mut plain = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    for number in 0..3 {
        sender.publish(&qos1(&topic, &[number]));
        for client in [&mut one, &mut two, &mut plain] {
            assert_eq!(client.take().payload, [number]);
        }
    }
    for client in [&mut one, &mut two, &mut plain] {
        client.expect_nothing();
    }
}

/// The same group name with another filter is another group.
#[test]
fn same_name_with_another_filter_is_another_group() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut exact = subscriber(&broker, &format!("$share/g/{topic}"));
    let mut wild = subscriber(&broker, &format!("$share/g/{topic}/#"));
    publisher(&broker).publish(&qos1(&topic, b""));
    exact.take();
    wild.take();
}

/// [MQTT-4.8.2-3]
#[test]
fn shared_subscription_keeps_the_granted_qos() {
    let broker = Broker::shared();
    for granted in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let topic = unique("t");
        let mut member = broker.connect(&v5(&unique("sub")));
        member.subscribe(&format!("$share/g/{topic}"), granted);
        let mut sender = publisher(&broker);
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            sender.publish(&Message { qos, ..message(&topic, b"") });
            assert_eq!(member.take().qos, qos.min(granted));
        }
    }
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
#[test]
fn malformed_share_filters_are_refused() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("sub")));
    for name in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"] {
        let ack = client.subscribe_to(&[filter(name, AtMostOnce)], Properties::EMPTY);
        assert_eq!(ack.reasons, [ReasonCode::TopicFilterInvalid], "{name}");
    }
    // `$share` is special only as a first level that is followed by more.
    client.subscribe("a/$share/g", AtMostOnce);
    client.expect_nothing();
}

/// Shared subscriptions get no retained messages when they are made (4.8.2).
#[test]
fn shared_subscription_gets_no_retained_messages() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&Message { retain: true, ..message(&topic, b"kept") });
    subscriber(&broker, &format!("$share/g/{topic}")).expect_nothing();
    sender.publish(&Message { retain: true, ..message(&topic, b"") });
}

/// Subscription identifiers of shared subscriptions.
#[test]
fn shared_subscription_has_its_id() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let mut member = broker.connect(&v5(&unique("sub")));
    let number = list(&[Property::SubscriptionIdentifier(31)]);
    member.subscribe_to(&[filter(&share, AtMostOnce)], number);
    publisher(&broker).publish(&message(&topic, b""));
    assert_eq!(subscription_ids(&member.take()), [31]);
}

/// Leaving a group by UNSUBSCRIBE: the exact filter, `$share` and all.
#[test]
fn unsubscribe_leaves_the_group() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let mut leaver = subscriber(&broker, &share);
    let mut stayer = subscriber(&broker, &share);
    assert_eq!(leaver.unsubscribe(&[&topic]).reasons, [ReasonCode::NoSubscriptionExisted]);
    assert_eq!(leaver.unsubscribe(&[&share]).reasons, [ReasonCode::Success]);
    let mut sender = publisher(&broker);
    for number in 0..4 {
        sender.publish(&qos1(&topic, &[number]));
        assert_eq!(stayer.take().payload, [number]);
    }
    leaver.expect_nothing();
}

/// [MQTT-4.8.2-4]: a QoS 2 delivery that has begun is completed with the same client.
#[test]
fn qos2_is_completed_with_the_same_member() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let share = format!("$share/g/{topic}");
    let mut first = broker.connect(&keep(&name));
    first.subscribe(&share, ExactlyOnce);
    publisher(&broker).publish(&Message { qos: ExactlyOnce, ..message(&topic, b"mine") });
    let begun = first.expect::<Publish>();
    let mut other = subscriber(&broker, &share);
    first.cut();
    other.expect_nothing();
    let mut first = broker.connect(&resume(&name));
    let again = first.take();
    assert_eq!((again.id(), again.dup), (begun.id(), true));
    other.expect_nothing();
}

/// [MQTT-4.8.2-5]: nor does another get it when the session ends.
#[test]
fn qos2_in_flight_ends_with_its_session() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let mut first = subscriber(&broker, &share);
    publisher(&broker).publish(&Message { qos: ExactlyOnce, ..message(&topic, b"lost") });
    first.expect::<Publish>();
    let mut other = subscriber(&broker, &share);
    first.cut();
    other.expect_nothing();
}

/// The SHOULD of 4.8.2 for QoS 1, and what was never sent at any QoS: when the member's session
/// ends, another member gets them. None is lost.
#[test]
fn other_members_inherit_what_a_member_left() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let name = unique("sub");
    let properties = list(&[Property::ReceiveMaximum(2)]);
    let mut first = broker.connect(&Connect { properties, ..v5(&name) });
    first.subscribe(&share, ExactlyOnce);
    let mut sender = publisher(&broker);
    for number in 0..4 {
        sender.publish(&qos1(&topic, &[number]));
    }
    for number in 4..6 {
        sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, &[number]) });
    }
    first.expect::<Publish>();
    first.expect::<Publish>();
    let mut heir = subscriber(&broker, &share);
    first.cut();
    let mut got: Vec<u8> = (0..6).map(|_| heir.take().payload[0]).collect();
    heir.expect_nothing();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5]);
}

/// [MQTT-4.8.2-6]: refused by one member is refused for the group.
#[test]
fn refused_message_goes_to_nobody_else() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let mut first = subscriber(&broker, &share);
    let mut sender = publisher(&broker);
    sender.publish(&qos1(&topic, b"one"));
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"two") });
    let (one, two) = (first.expect::<Publish>(), first.expect::<Publish>());
    let mut other = subscriber(&broker, &share);
    first.puback_with(one.id(), ReasonCode::UnspecifiedError);
    first.pubrec_with(two.id(), ReasonCode::NotAuthorized);
    first.expect_nothing();
    other.expect_nothing();
    first.cut();
    other.expect_nothing();
}

/// A member that is away does not get what a member that is there could have.
#[test]
fn members_that_are_there_come_first() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let share = format!("$share/g/{topic}");
    let mut away = broker.connect(&keep(&name));
    away.subscribe(&share, AtLeastOnce);
    away.disconnect();
    let mut here = subscriber(&broker, &share);
    let mut sender = publisher(&broker);
    for number in 0..10 {
        sender.publish(&qos1(&topic, &[number]));
        assert_eq!(here.take().payload, [number]);
    }
    // Nobody is there: it waits for the group.
    here.disconnect();
    sender.publish(&qos1(&topic, b"waits"));
    assert_eq!(broker.connect(&resume(&name)).take().text(), "waits");
}

/// What waits for a member that leaves the group by UNSUBSCRIBE and was never sent to it goes to the
/// others; what is in flight is completed with it [MQTT-3.10.4-3].
#[test]
fn unsubscribe_leaves_what_was_not_sent_to_the_others() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let name = unique("sub");
    let properties = list(&[Property::ReceiveMaximum(1)]);
    let mut leaver = broker.connect(&Connect { properties, ..v5(&name) });
    leaver.subscribe(&share, AtLeastOnce);
    let mut sender = publisher(&broker);
    for number in 0..4 {
        sender.publish(&qos1(&topic, &[number]));
    }
    let begun = leaver.expect::<Publish>();
    let mut heir = subscriber(&broker, &share);
    leaver.unsubscribe(&[&share]);
    leaver.puback(begun.id());
    let mut got = vec![begun.payload[0]];
    for client in [&mut leaver, &mut heir] {
        while let Some(publish) = next_now(client) {
            got.push(publish.payload[0]);
        }
    }
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3], "each came to one of the two");
}
