//! Retained messages [MQTT-3.3.1-5] to [MQTT-3.3.1-13].

use outpost_protocol::{
    Connect, Packet, Properties, Property, Publish, ReasonCode, RetainHandling, SubscriptionOptions,
};

use super::bed::{Bed, Got, QOS_0, QOS_1, QOS_2, publish, v5};
use crate::core::limits::Limits;

fn options(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..SubscriptionOptions::new(QOS_1) }
}

#[test]
fn a_new_subscription_gets_the_last_message_of_each_topic() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    for (topic, payload) in [("a/1", "old"), ("a/1", "new"), ("a/2", "2"), ("b", "b")] {
        bed.retain(publisher, topic, payload);
    }
    bed.retain(publisher, "a/2", "");
    let id = bed.durable("s");
    bed.subscribe_with(id, "a/#", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
    assert!(bed.got(id).is_empty(), "SUBACK waits for the commit, and goes first");
    bed.commit();
    let got = bed.got(id);
    assert!(matches!(got[0], Got::SubAck(..)));
    let Got::Publish(message) = &got[1] else { panic!("{got:?}") };
    assert_eq!((&*message.payload, message.retain, got.len()), ("new", true, 2));
}

#[test]
fn retain_handling_decides_when() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    bed.retain(publisher, "t", "x");
    let id = bed.fleeting("s");
    let mut count = |handling| {
        bed.subscribe_with(id, "t", options(handling), Properties::EMPTY);
        bed.messages(id).len()
    };
    assert_eq!(count(RetainHandling::DoNotSend), 0);
    assert_eq!(count(RetainHandling::SendAtSubscribeIfNew), 0, "it is not new");
    assert_eq!(count(RetainHandling::SendAtSubscribe), 1);
    assert_eq!(count(RetainHandling::SendAtSubscribe), 1);
    bed.unsubscribe(id, "t");
    bed.subscribe_with(id, "t", options(RetainHandling::SendAtSubscribeIfNew), Properties::EMPTY);
    assert_eq!(bed.messages(id).len(), 1);
}

#[test]
fn shared_subscriptions_get_none() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    bed.retain(publisher, "t", "x");
    let id = bed.fleeting("s");
    bed.subscribe(id, "$share/g/t", QOS_1);
    assert!(bed.messages(id).is_empty());
}

#[test]
fn retain_as_published_keeps_the_flag() {
    let mut bed = Bed::new();
    let (plain, kept) = (bed.fleeting("plain"), bed.fleeting("kept"));
    bed.subscribe(plain, "t", QOS_0);
    let as_published =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::new(QOS_0) };
    bed.subscribe_with(kept, "t", as_published, Properties::EMPTY);
    bed.got(kept);
    let publisher = bed.fleeting("p");
    bed.retain(publisher, "t", "x");
    assert!(!bed.messages(plain)[0].retain, "[MQTT-3.3.1-12]");
    assert!(bed.messages(kept)[0].retain, "[MQTT-3.3.1-13]");
}

#[test]
fn puback_of_a_retained_message_waits_for_the_commit() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    let one = Publish { retain: true, ..publish("t", QOS_1, 1, "x") };
    bed.send(publisher, &Packet::Publish(one));
    assert!(bed.got(publisher).is_empty());
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubAck(1, ReasonCode::NoMatchingSubscribers)]);
    bed.crash();
    let id = bed.fleeting("s");
    bed.subscribe_with(id, "+", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
    assert_eq!(bed.payloads(id), ["x"]);
    let publisher = bed.fleeting("p");
    let gone = Publish { retain: true, ..publish("t", QOS_2, 1, "") };
    bed.send(publisher, &Packet::Publish(gone));
    bed.commit();
    assert!(bed.store.retained.is_empty());
}

/// The first one is in memory what it will be in the store, but not before the commit.
#[test]
fn puback_of_an_erased_message_waits_for_the_commit_also_when_it_is_sent_again() {
    let mut bed = Bed::new();
    let id = bed.durable("publisher");
    bed.retain(id, "t", "1");
    bed.commit();
    let erase = Publish { retain: true, ..publish("t", QOS_1, 1, "") };
    bed.send(id, &Packet::Publish(erase.clone()));
    bed.lose(id);
    let id = bed.back("publisher");
    bed.got(id);
    bed.send(id, &Packet::Publish(Publish { dup: true, ..erase }));
    assert_eq!(bed.got(id), []);
    bed.begin_commit();
    assert_eq!(bed.got(id), []);
    bed.end_commit();
    assert_eq!(bed.got(id), [Got::PubAck(1, ReasonCode::NoMatchingSubscribers)]);
    assert!(bed.store.retained.is_empty());
}

#[test]
fn many_retained_messages_come_as_fast_as_the_client_takes_them() {
    let limits = Limits { output_bytes_max: 4_000, inflight_max: 5, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    let publisher = bed.fleeting("p");
    for i in 0..200 {
        let qos = if i % 3 == 0 { QOS_1 } else { QOS_0 };
        let topic = format!("t/{i:03}");
        let one = Publish { retain: true, ..publish(&topic, qos, i + 1, "x") };
        bed.send(publisher, &Packet::Publish(one));
    }
    bed.commit();
    let id = bed.durable("s");
    bed.subscribe_with(id, "t/#", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
    bed.commit();
    let mut topics = Vec::new();
    loop {
        let got = bed.messages(id);
        if got.is_empty() {
            break;
        }
        assert!(got.iter().filter(|m| m.qos == QOS_1).count() <= 5);
        for message in got {
            if message.qos == QOS_1 {
                bed.puback(id, message.packet_id);
            }
            topics.push(message.topic);
        }
    }
    let expected: Vec<String> = (0..200).map(|i| format!("t/{i:03}")).collect();
    assert_eq!(topics, expected);
    assert_eq!(bed.broker.counters().dropped_slow, 0);
}

#[test]
fn a_retained_message_expires() {
    let mut bed = Bed::new();
    let publisher = bed.fleeting("p");
    let retain = |bed: &mut Bed, expiry_s: u32, payload: &str| {
        let list = [Property::MessageExpiryInterval(expiry_s)];
        let properties = Properties::list(&list);
        let one = Publish { retain: true, properties, ..publish("t", QOS_0, 0, payload) };
        bed.send(publisher, &Packet::Publish(one));
    };
    retain(&mut bed, 10, "short");
    bed.pass_s(5);
    retain(&mut bed, 20, "long");
    bed.pass_s(15);
    let id = bed.fleeting("s");
    bed.subscribe_with(id, "t", SubscriptionOptions::new(QOS_0), Properties::EMPTY);
    let got = bed.messages(id);
    assert_eq!(got[0].payload, "long", "the time of the first is not the time of the second");
    assert_eq!(got[0].properties().message_expiry_interval_s(), Some(5));
    bed.commit();
    bed.crash();
    bed.pass_s(5);
    bed.commit();
    assert!(bed.store.retained.is_empty(), "and it goes after a restart as well");
}

#[test]
fn a_full_table_refuses_new_topics_and_takes_new_values() {
    let limits = Limits { retained_messages_max: 1, retained_bytes_max: 10, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    let publisher = bed.fleeting("p");
    for (i, (topic, payload, expected)) in [
        ("a", "1", ReasonCode::NoMatchingSubscribers),
        ("b", "1", ReasonCode::QuotaExceeded),
        ("a", "123456789", ReasonCode::NoMatchingSubscribers),
        ("a", "1234567890", ReasonCode::QuotaExceeded),
        ("a", "", ReasonCode::NoMatchingSubscribers),
        ("b", "1", ReasonCode::NoMatchingSubscribers),
    ]
    .into_iter()
    .enumerate()
    {
        let id = i as u16 + 1;
        let one = Publish { retain: true, ..publish(topic, QOS_1, id, payload) };
        bed.send(publisher, &Packet::Publish(one));
        bed.commit();
        assert_eq!(bed.got(publisher), [Got::PubAck(id, expected)], "{topic} {payload}");
    }
}

/// A client that took some of what is retained, and a power cut: the rest comes, and what was taken comes
/// perhaps again, whether the client subscribes anew or not.
#[test]
fn a_crash_in_the_middle_of_them_forgets_none() {
    for subscribes in [false, true] {
        let mut bed = Bed::new();
        let publisher = bed.fleeting("p");
        let topics: Vec<String> = (0..300).map(|number| format!("t/{number:03}")).collect();
        for topic in &topics {
            let publish = Publish { retain: true, ..publish(topic, QOS_1, 7, topic) };
            bed.send(publisher, &Packet::Publish(publish));
            bed.commit();
        }
        let list = [Property::SessionExpiryInterval(1000), Property::ReceiveMaximum(20)];
        let id = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("s") });
        let if_new = options(RetainHandling::SendAtSubscribeIfNew);
        bed.subscribe_with(id, "t/#", if_new, Properties::EMPTY);
        bed.commit();
        let first = bed.messages(id);
        assert!((1..300).contains(&first.len()), "{}", first.len());
        for message in &first {
            bed.puback(id, message.packet_id);
        }
        bed.pass_ms(2_000);
        bed.commit();
        bed.crash();
        let id = bed.back("s");
        if subscribes {
            bed.subscribe_with(id, "t/#", if_new, Properties::EMPTY);
            bed.commit();
        }
        let mut got: Vec<String> = first.into_iter().map(|message| message.payload).collect();
        got.extend(bed.drain(id));
        got.sort();
        got.dedup();
        assert_eq!(got, topics);
        bed.commit();
        // All have been sent: it is not begun once more.
        bed.crash();
        let id = bed.back("s");
        assert!(bed.messages(id).is_empty());
    }
}
