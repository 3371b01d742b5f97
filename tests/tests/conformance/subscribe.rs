//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (5.0 sections 3.8 to 3.11).

use crate::prelude::*;

fn options(filter: &str, options: SubscriptionOptions) -> SubscribeFilter<'_> {
    SubscribeFilter { filter, options }
}

fn no_local(name: &str) -> SubscribeFilter<'_> {
    let base = filter(name, AtMostOnce);
    options(name, SubscriptionOptions { no_local: true, ..base.options })
}

/// [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5] to [MQTT-3.8.4-7], [MQTT-3.9.3-1],
/// [MQTT-3.9.3-2], [MQTT-2.2.1-6]
#[test]
fn suback_answers_each_filter_in_order() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut client = broker.connect(&v5(&unique("sub")));
    let filters = [
        format!("{root}/two"),
        format!("{root}/zero"),
        format!("{root}/one"),
        format!("{root}/#/bad"),
    ];
    let qos = [ExactlyOnce, AtMostOnce, AtLeastOnce, AtMostOnce];
    let list: Vec<_> = filters.iter().zip(qos).map(|(name, qos)| filter(name, qos)).collect();
    let ack = client.subscribe_to(&list, Properties::EMPTY);
    let expected = [
        ReasonCode::GrantedQoS2,
        ReasonCode::Success,
        ReasonCode::GrantedQoS1,
        ReasonCode::TopicFilterInvalid,
    ];
    assert_eq!(ack.reasons, expected);

    // The good ones hold although one was refused.
    let mut sender = publisher(&broker);
    for end in ["two", "zero", "one"] {
        let topic = format!("{root}/{end}");
        sender.publish(&message(&topic, b""));
        assert_eq!(client.take().topic, topic);
    }
}

/// Filters that break the rules of section 4.7 get 0x8F each.
#[test]
fn invalid_filters_are_refused_one_by_one() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("sub")));
    for name in ["a/#/b", "a#", "#a", "a+", "+a", "a/+b/c", "##", "++", "a//#b"] {
        let ack = client.subscribe_to(&[filter(name, AtMostOnce)], Properties::EMPTY);
        assert_eq!(ack.reasons, [ReasonCode::TopicFilterInvalid], "'{name}'");
    }
    client.expect_nothing();
}

/// [MQTT-4.7.3-1]: a filter without a character: refused with 0x8F, or as malformed.
#[test]
fn empty_filter_is_refused() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("sub")));
    client.send_bytes(&[0x82, 6, 0, 1, 0, 0, 0, 0]);
    let refused =
        [ReasonCode::TopicFilterInvalid, ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
    match client.next_packet() {
        Some(Received::SubAck(ack)) => assert_eq!(ack.reasons, refused[..1]),
        Some(Received::Disconnect(disconnect)) => assert!(refused.contains(&disconnect.reason)),
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.8.4-3], [MQTT-3.8.4-4]: one subscription a filter: the new one takes the place of the
/// old one, retained messages come again, and nothing is lost in between.
#[test]
fn same_filter_replaces_the_subscription() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&Message { retain: true, ..message(&topic, b"retained") });
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe(&topic, AtMostOnce);
    assert_eq!(client.take().text(), "retained");

    client.subscribe(&topic, ExactlyOnce);
    assert_eq!(client.take().text(), "retained");
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"live") });
    let live = client.take();
    assert_eq!((live.text(), live.qos), ("live", ExactlyOnce));
    client.expect_nothing();

    client.subscribe(&topic, AtMostOnce);
    assert_eq!(client.take().text(), "retained");
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"live") });
    assert_eq!(client.take().qos, AtMostOnce);
    client.expect_nothing();
    sender.publish(&Message { retain: true, ..message(&topic, b"") });
}

/// [MQTT-3.8.4-4]: messages that wait in the session stay when its subscription is replaced.
#[test]
fn replacing_a_subscription_loses_nothing() {
    let broker = Broker::shared();
    let topic = unique("t");
    let name = unique("sub");
    let properties = list(&[Property::ReceiveMaximum(1)]);
    let mut client = broker.connect(&Connect { properties, ..v5(&name) });
    client.subscribe(&topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    for number in 0..5 {
        sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, &[number]) });
    }
    client.subscribe(&topic, ExactlyOnce);
    for number in 0..5 {
        assert_eq!(client.take().payload, [number]);
    }
    client.expect_nothing();
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_keeps_own_messages_away() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe_to(&[no_local(&topic)], Properties::EMPTY);
    let mut other = publisher(&broker);
    client.publish(&message(&topic, b"own"));
    client.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"own") });
    other.publish(&message(&topic, b"foreign"));
    assert_eq!(client.take().text(), "foreign");
    client.expect_nothing();
}

/// [MQTT-3.8.3-3] with an overlapping subscription: the other one still delivers.
#[test]
fn no_local_concerns_its_own_subscription() {
    let broker = Broker::shared();
    let root = unique("t");
    let topic = format!("{root}/a");
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe_to(&[no_local(&topic)], Properties::EMPTY);
    client.subscribe(&format!("{root}/+"), AtMostOnce);
    client.publish(&message(&topic, b"own"));
    assert_eq!(client.take().text(), "own");
    client.expect_nothing();
}

/// [MQTT-3.8.3-3]: the client identifier counts, not the connection: a will, or a message of an
/// earlier connection that is still to be delivered, is the client's own too.
#[test]
fn no_local_holds_across_connections() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe_to(&[no_local(&topic)], Properties::EMPTY);
    client.disconnect();
    let mut client = broker.connect(&resume(&name));
    client.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"own") });
    client.expect_nothing();
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_is_refused() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("sub")));
    let shared = [no_local("$share/group/a")];
    let subscribe = outpost_protocol::Subscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: outpost_protocol::SubscribeFilters::List(&shared),
    };
    client.send(&Packet::Subscribe(subscribe));
    client.expect_disconnect(ReasonCode::ProtocolError);
}

/// [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2],
/// [MQTT-2.2.1-6]
#[test]
fn unsuback_answers_each_filter_in_order() {
    let broker = Broker::shared();
    let root = unique("t");
    let (one, two) = (format!("{root}/one"), format!("{root}/two"));
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe(&one, AtMostOnce);
    client.subscribe(&two, AtMostOnce);
    let none = format!("{root}/none");
    let ack = client.unsubscribe(&[&none, &two, &none, &one, &one]);
    let (gone, unknown) = (ReasonCode::Success, ReasonCode::NoSubscriptionExisted);
    assert_eq!(ack.reasons, [unknown, gone, unknown, gone, unknown]);
    let mut sender = publisher(&broker);
    sender.publish(&message(&one, b""));
    sender.publish(&message(&two, b""));
    client.expect_nothing();
}

/// [MQTT-3.10.4-1]: compared character by character, not as a filter.
#[test]
fn unsubscribe_compares_filters_as_text() {
    let broker = Broker::shared();
    let root = unique("t");
    let (plain, wild) = (format!("{root}/a"), format!("{root}/+"));
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe(&plain, AtMostOnce);
    let hash = format!("{root}/#");
    let upper = plain.to_uppercase();
    let ack = client.unsubscribe(&[&wild, &hash, &upper]);
    assert_eq!(ack.reasons, [ReasonCode::NoSubscriptionExisted; 3]);
    let mut sender = publisher(&broker);
    sender.publish(&message(&plain, b"still"));
    assert_eq!(client.take().text(), "still");

    client.subscribe(&wild, AtMostOnce);
    assert_eq!(client.unsubscribe(&[&plain]).reasons, [ReasonCode::Success]);
    sender.publish(&message(&plain, b"by the wildcard"));
    assert_eq!(client.take().text(), "by the wildcard");
    client.expect_nothing();
}

/// [MQTT-3.10.4-2], [MQTT-3.10.4-3]: no new messages, but what is in flight is completed and comes
/// again after a reconnection.
#[test]
fn unsubscribe_completes_what_has_begun() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    for qos in [AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, ..message(&topic, b"begun") });
    }
    let (one, two) = (client.expect::<Publish>(), client.expect::<Publish>());
    client.unsubscribe(&[&topic]);
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"too late") });
    client.pubrec(two.id());
    client.expect::<PubRel>();
    client.pubcomp(two.id());
    client.expect_nothing();
    client.cut();
    let mut client = broker.connect(&resume(&name));
    let again = client.take();
    assert_eq!((again.id(), again.dup), (one.id(), true));
    client.expect_nothing();
}

/// SUBSCRIBE with one subscription identifier for all its filters; two are a protocol error
/// (3.8.2.1.2).
#[test]
fn subscription_id_holds_for_the_whole_packet() {
    let broker = Broker::shared();
    let root = unique("t");
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let mut client = broker.connect(&v5(&unique("sub")));
    let filters = [filter(&a, AtMostOnce), filter(&b, AtMostOnce)];
    client.subscribe_to(&filters, list(&[Property::SubscriptionIdentifier(12)]));
    let mut sender = publisher(&broker);
    for topic in [&a, &b] {
        sender.publish(&message(topic, b""));
        assert_eq!(subscription_ids(&client.take()), [12]);
    }
}

/// The same filter twice in one SUBSCRIBE: as if two packets had come ([MQTT-3.8.4-5]).
#[test]
fn same_filter_twice_in_one_packet() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.connect(&v5(&unique("sub")));
    let twice = [filter(&topic, AtMostOnce), filter(&topic, AtLeastOnce)];
    let ack = client.subscribe_to(&twice, Properties::EMPTY);
    assert_eq!(ack.reasons, [ReasonCode::Success, ReasonCode::GrantedQoS1]);
    publisher(&broker).publish(&Message { qos: ExactlyOnce, ..message(&topic, b"") });
    assert_eq!(client.take().qos, AtLeastOnce);
    client.expect_nothing();
}

/// Many filters in one packet.
#[test]
fn five_hundred_filters_in_one_packet() {
    let broker = Broker::shared();
    let root = unique("t");
    let names: Vec<String> = (0..500).map(|number| format!("{root}/{number}")).collect();
    let filters: Vec<_> = names.iter().map(|name| filter(name, AtLeastOnce)).collect();
    let mut client = broker.connect(&v5(&unique("sub")));
    let ack = client.subscribe_to(&filters, Properties::EMPTY);
    assert_eq!(ack.reasons, vec![ReasonCode::GrantedQoS1; 500]);
    publisher(&broker).publish(&message(&names[417], b""));
    assert_eq!(client.take().topic, names[417]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(client.unsubscribe(&names).reasons, vec![ReasonCode::Success; 500]);
}
