//! What a message keeps on its way, and what each receiver gets added.

use outpost_bridge::peering::Features;
use outpost_protocol::{Packet, Properties, Property, Publish, SubscriptionOptions};

use super::bed::{Bed, Got, QOS_0, QOS_1, QOS_2, publish, v311};

#[test]
fn properties_are_passed_on_unaltered_and_in_order() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    bed.lose(subscriber);
    let publisher = bed.fleeting("p");
    let list = [
        Property::UserProperty("b", "1"),
        Property::MessageExpiryInterval(100),
        Property::UserProperty("a", "2"),
        Property::PayloadFormatIndicator(1),
        Property::UserProperty("b", "1"),
        Property::ResponseTopic("answer"),
        Property::TopicAlias(3),
        Property::CorrelationData(b"7"),
        Property::ContentType("text/plain"),
    ];
    let one = Publish { properties: Properties::list(&list), ..publish("t", QOS_1, 1, "x") };
    bed.send(publisher, &Packet::Publish(one));
    bed.commit();
    bed.crash();
    let subscriber = bed.back("s");
    let got = bed.messages(subscriber);
    let mut expected = list.to_vec();
    expected.retain(|p| !matches!(p, Property::TopicAlias(_)));
    let (mut passed, mut sent): (Vec<Property<'_>>, _) =
        (got[0].properties().iter().collect(), expected);
    let expiry = |p: &Property<'_>| matches!(p, Property::MessageExpiryInterval(100));
    assert!(passed.iter().any(expiry));
    passed.retain(|p| !expiry(p));
    sent.retain(|p| !expiry(p));
    assert_eq!(passed, sent, "[MQTT-3.3.2-17], [MQTT-3.3.2-18]");
}

#[test]
fn every_matching_subscription_identifier_is_sent_once_with_the_highest_qos() {
    let mut bed = Bed::new();
    let id = bed.fleeting("s");
    for (filter, qos, number) in [("a/+", QOS_0, 300), ("a/#", QOS_2, 1), ("b", QOS_1, 9)] {
        let list = [Property::SubscriptionIdentifier(number)];
        bed.subscribe_with(id, filter, SubscriptionOptions::new(qos), Properties::list(&list));
    }
    bed.got(id);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "a/x", QOS_1, 1, "x");
    let got = bed.messages(id);
    assert_eq!((got.len(), got[0].qos), (1, QOS_1), "[MQTT-3.3.4-2]");
    let ids: Vec<Property<'_>> = got[0].properties().iter().collect();
    let expected = [1, 300].map(Property::SubscriptionIdentifier);
    assert_eq!(ids, expected, "[MQTT-3.3.4-3], [MQTT-3.3.4-4]");
}

#[test]
fn no_local_keeps_a_client_s_own_messages_from_it() {
    let mut bed = Bed::new();
    let id = bed.fleeting("a");
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QOS_1) };
    let list = [Property::SubscriptionIdentifier(1)];
    bed.subscribe_with(id, "t/#", no_local, Properties::list(&list));
    bed.got(id);
    bed.publish(id, "t/1", QOS_1, 1, "own");
    assert!(bed.messages(id).is_empty(), "[MQTT-3.8.3-3]");
    let other = bed.fleeting("b");
    bed.publish(other, "t/1", QOS_1, 1, "other");
    assert_eq!(bed.payloads(id), ["other"]);

    // A second subscription takes them, with its own QoS and identifier.
    let list = [Property::SubscriptionIdentifier(2)];
    bed.subscribe_with(id, "t/1", SubscriptionOptions::new(QOS_0), Properties::list(&list));
    bed.got(id);
    bed.publish(id, "t/1", QOS_1, 1, "own");
    let got = bed.messages(id);
    assert_eq!((got.len(), got[0].qos), (1, QOS_0));
    let ids: Vec<Property<'_>> = got[0].properties().iter().collect();
    assert_eq!(ids, [Property::SubscriptionIdentifier(2)]);
}

#[test]
fn older_clients_get_no_properties() {
    let mut bed = Bed::new();
    let id = bed.accepted(&v311("s"));
    bed.subscribe(id, "t", QOS_1);
    let publisher = bed.fleeting("p");
    let list = [Property::UserProperty("a", "b"), Property::MessageExpiryInterval(9)];
    let one = Publish { properties: Properties::list(&list), ..publish("t", QOS_0, 0, "x") };
    bed.send(publisher, &Packet::Publish(one));
    let got = bed.messages(id);
    assert!(got[0].properties.is_empty());
}

#[test]
fn leading_wildcards_do_not_see_dollar_topics_and_clients_cannot_write_sys() {
    let mut bed = Bed::new();
    let id = bed.fleeting("s");
    bed.subscribe(id, "#", QOS_0);
    bed.subscribe(id, "+/x", QOS_0);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "$own/x", QOS_0, 0, "hidden");
    assert!(bed.messages(id).is_empty(), "[MQTT-4.7.2-1]");
    bed.subscribe(id, "$own/#", QOS_0);
    bed.publish(publisher, "$own/x", QOS_0, 0, "seen");
    assert_eq!(bed.payloads(id), ["seen"]);
    bed.subscribe(id, "$SYS/#", QOS_0);
    bed.publish(publisher, "$SYS/broker/x", QOS_1, 1, "forged");
    assert!(bed.messages(id).is_empty());
    let refused = outpost_protocol::ReasonCode::NotAuthorized;
    assert_eq!(bed.got(publisher), [Got::PubAck(1, refused)]);
}

#[test]
fn sys_topics_are_retained_and_never_stored() {
    use crate::core::{CommitPolicy, Settings, limits::Limits};
    let settings = Settings {
        limits: Limits::default(),
        commit: CommitPolicy::default(),
        topic_classes: Vec::new(),
        queues: Vec::new(),
        sys_interval_s: 10,
        features: Features::default(),
        version: "outpost 1",
        seed: 1,
    };
    let mut bed = Bed::with_settings(settings);
    bed.pass_ms(0);
    let id = bed.fleeting("s");
    bed.subscribe_with(id, "$SYS/#", SubscriptionOptions::new(QOS_1), Properties::EMPTY);
    let find = |bed: &mut Bed, name: &str| {
        let all = bed.messages(id);
        all.into_iter().find(|m| m.topic == name).map(|m| m.payload)
    };
    assert_eq!(find(&mut bed, "$SYS/broker/version").as_deref(), Some("outpost 1"));
    bed.pass_s(10);
    assert_eq!(find(&mut bed, "$SYS/broker/uptime").as_deref(), Some("10 seconds"));
    bed.pass_s(10);
    assert_eq!(find(&mut bed, "$SYS/broker/clients/connected").as_deref(), Some("1"));
    assert!(!bed.begin_commit());
}
