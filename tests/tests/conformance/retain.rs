//! Retained messages (5.0 sections 3.3.1.3 and 3.8.3.1).

use std::thread;
use std::time::Duration;

use crate::prelude::*;

fn retained<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { retain: true, ..message(topic, payload) }
}

fn with_handling(name: &str, retain_handling: RetainHandling) -> SubscribeFilter<'_> {
    let base = filter(name, AtLeastOnce);
    let options = SubscriptionOptions { retain_handling, ..base.options };
    SubscribeFilter { options, ..base }
}

fn as_published(name: &str) -> SubscribeFilter<'_> {
    let base = filter(name, AtLeastOnce);
    let options = SubscriptionOptions { retain_as_published: true, ..base.options };
    SubscribeFilter { options, ..base }
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-9]: the last one is kept, for QoS 0 too, and sent to each new
/// subscription with RETAIN set.
#[test]
fn last_retained_message_reaches_new_subscribers() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    for (qos, payload) in [(ExactlyOnce, "1"), (AtMostOnce, "2"), (AtLeastOnce, "3")] {
        sender.publish(&Message { qos, ..retained(&topic, payload.as_bytes()) });
        for _ in 0..2 {
            let mut receiver = subscriber(&broker, &topic);
            let got = receiver.take();
            assert_eq!((got.text(), got.retain, got.qos, got.dup), (payload, true, qos, false));
            receiver.expect_nothing();
        }
    }
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.8.4-8]: the QoS of a retained message is bounded by the subscription.
#[test]
fn retained_qos_is_the_minimum() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&Message { qos: ExactlyOnce, ..retained(&topic, b"x") });
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let mut receiver = broker.connect(&v5(&unique("sub")));
        receiver.subscribe(&topic, qos);
        assert_eq!(receiver.take().qos, qos);
    }
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7]: an empty one deletes, is forwarded like any other, and is not
/// stored itself.
#[test]
fn empty_retained_message_deletes() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&retained(&topic, b"there"));
        let mut watcher = subscriber(&broker, &topic);
        assert_eq!(watcher.take().text(), "there");
        sender.publish(&Message { qos, ..retained(&topic, b"") });
        let forwarded = watcher.take();
        assert_eq!((forwarded.payload.len(), forwarded.retain), (0, false));
        subscriber(&broker, &topic).expect_nothing();
    }
}

/// [MQTT-3.3.1-8]: without RETAIN nothing is stored, replaced or removed.
#[test]
fn message_without_retain_leaves_the_retained_one() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&message(&topic, b"not kept"));
    subscriber(&broker, &topic).expect_nothing();
    sender.publish(&retained(&topic, b"kept"));
    sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"passing") });
    sender.publish(&message(&topic, b""));
    let mut receiver = subscriber(&broker, &topic);
    assert_eq!(receiver.take().text(), "kept");
    receiver.expect_nothing();
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
#[test]
fn retain_handling() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&retained(&topic, b"kept"));
    let always = [with_handling(&topic, RetainHandling::SendAtSubscribe)];
    let if_new = [with_handling(&topic, RetainHandling::SendAtSubscribeIfNew)];
    let never = [with_handling(&topic, RetainHandling::DoNotSend)];

    let mut client = broker.connect(&v5(&unique("sub")));
    for _ in 0..2 {
        client.subscribe_to(&always, Properties::EMPTY);
        assert_eq!(client.take().text(), "kept");
    }
    client.subscribe_to(&if_new, Properties::EMPTY);
    client.expect_nothing();
    client.unsubscribe(&[&topic]);
    client.subscribe_to(&if_new, Properties::EMPTY);
    assert_eq!(client.take().text(), "kept");
    client.unsubscribe(&[&topic]);
    client.subscribe_to(&never, Properties::EMPTY);
    client.expect_nothing();
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.3.1-10] in a resumed session: the subscription is not new.
#[test]
fn retain_handling_in_a_resumed_session() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut sender = publisher(&broker);
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, AtMostOnce);
    client.disconnect();
    sender.publish(&retained(&topic, b"kept"));
    let mut client = broker.connect(&resume(&name));
    let if_new = [with_handling(&topic, RetainHandling::SendAtSubscribeIfNew)];
    client.subscribe_to(&if_new, Properties::EMPTY);
    client.expect_nothing();
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13]
#[test]
fn retain_as_published() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut plain = subscriber(&broker, &topic);
    let mut kept = broker.connect(&v5(&unique("sub")));
    kept.subscribe_to(&[as_published(&topic)], Properties::EMPTY);
    let mut sender = publisher(&broker);
    for retain in [true, false] {
        sender.publish(&Message { retain, ..message(&topic, b"x") });
        assert!(!plain.take().retain);
        assert_eq!(kept.take().retain, retain);
    }
    sender.publish(&retained(&topic, b""));
}

/// [MQTT-3.3.1-13] with one copy for two subscriptions: RETAIN is kept if one of them asks for it.
#[test]
fn retain_as_published_with_overlapping_subscriptions() {
    let broker = Broker::shared();
    let root = unique("t");
    let topic = format!("{root}/a");
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe(&format!("{root}/+"), AtMostOnce);
    client.subscribe_to(&[as_published(&topic)], Properties::EMPTY);
    let mut sender = publisher(&broker);
    sender.publish(&retained(&topic, b"x"));
    assert!(client.take().retain);
    client.expect_nothing();
    sender.publish(&retained(&topic, b""));
}

/// RETAIN of a message that waited in the queue of an absent session is that of its subscription.
#[test]
fn retain_as_published_while_away() {
    let broker = Broker::shared();
    let root = unique("t");
    let (plain, kept) = (format!("{root}/plain"), format!("{root}/kept"));
    let name = unique("sub");
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&plain, AtLeastOnce);
    client.subscribe_to(&[as_published(&kept)], Properties::EMPTY);
    client.disconnect();
    let mut sender = publisher(&broker);
    for topic in [&plain, &kept] {
        sender.publish(&Message { qos: AtLeastOnce, ..retained(topic, b"x") });
    }
    let mut client = broker.connect(&resume(&name));
    assert_eq!([client.take().retain, client.take().retain], [false, true]);
    client.expect_nothing();
    for topic in [&plain, &kept] {
        sender.publish(&retained(topic, b""));
    }
}

/// A wildcard gets all that match, each once, with the subscription identifier.
#[test]
fn wildcard_gets_all_retained_messages() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut sender = publisher(&broker);
    let topics: Vec<String> = (0..30).map(|n| format!("{root}/{}/{n}", n % 3)).collect();
    for topic in &topics {
        sender.publish(&Message { qos: AtLeastOnce, ..retained(topic, topic.as_bytes()) });
    }
    let mut client = broker.connect(&v5(&unique("sub")));
    let wild = format!("{root}/1/#");
    let number = list(&[Property::SubscriptionIdentifier(4)]);
    client.subscribe_to(&[filter(&wild, AtMostOnce)], number);
    let mut got: Vec<String> = (0..10)
        .map(|_| {
            let publish = client.take();
            assert_eq!(subscription_ids(&publish), [4]);
            assert_eq!(publish.topic, publish.text());
            publish.topic
        })
        .collect();
    client.expect_nothing();
    got.sort_unstable();
    let mut expected: Vec<String> = topics.iter().skip(1).step_by(3).cloned().collect();
    expected.sort_unstable();
    assert_eq!(got, expected);
    for topic in &topics {
        sender.publish(&retained(topic, b""));
    }
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6] for retained messages: the interval is counted down, and after
/// it the message is gone.
#[test]
fn retained_message_expires() {
    let broker = Broker::shared();
    let root = unique("t");
    let (short, long) = (format!("{root}/short"), format!("{root}/long"));
    let mut sender = publisher(&broker);
    for (topic, seconds) in [(&short, 2), (&long, 100)] {
        let expiry = [Property::MessageExpiryInterval(seconds)];
        sender.publish(&Message { properties: list(&expiry), ..retained(topic, b"x") });
    }
    let wild = format!("{root}/#");
    let mut client = subscriber(&broker, &wild);
    assert_eq!([client.take().retain, client.take().retain], [true, true]);
    thread::sleep(OVER_A_SECOND + Duration::from_secs(1));
    let mut client = subscriber(&broker, &wild);
    let got = client.take();
    assert_eq!(got.topic, long);
    let left = got.props().message_expiry_interval_s().expect("it was published with one");
    assert!((90..=97).contains(&left), "{left} s left of 100 after three");
    client.expect_nothing();
    sender.publish(&retained(&long, b""));
}

/// Properties of a retained message are kept with it.
#[test]
fn retained_message_keeps_its_properties() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    let properties = list(&[
        Property::ContentType("application/json"),
        Property::UserProperty("z", "1"),
        Property::UserProperty("a", "2"),
    ]);
    sender.publish(&Message { properties, ..retained(&topic, b"{}") });
    let got = subscriber(&broker, &topic).take();
    assert_eq!(got.props().content_type(), Some("application/json"));
    assert_eq!(user_properties(&got.props()), [("z", "1"), ("a", "2")]);
    sender.publish(&retained(&topic, b""));
}

/// Retained messages are not part of any session: they stay when their publisher's ends.
#[test]
fn retained_message_outlives_its_publisher() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sender = publisher(&broker);
    sender.publish(&retained(&topic, b"kept"));
    sender.disconnect();
    assert_eq!(subscriber(&broker, &topic).take().text(), "kept");
    publisher(&broker).publish(&retained(&topic, b""));
}

/// And they outlive the broker: what was acknowledged is there after kill -9, what was deleted is
/// not.
#[test]
fn retained_messages_outlive_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut sender = publisher(&broker);
    for topic in ["r/kept", "r/replaced", "r/deleted"] {
        sender.publish(&Message { qos: AtLeastOnce, ..retained(topic, b"old") });
    }
    sender.publish(&Message { qos: ExactlyOnce, ..retained("r/replaced", b"new") });
    sender.publish(&Message { qos: AtLeastOnce, ..retained("r/deleted", b"") });
    broker.kill();
    broker.restart();
    let mut client = subscriber(&broker, "r/#");
    let mut got = [client.take(), client.take()].map(|p| (p.topic.clone(), p.text().to_owned()));
    got.sort_unstable();
    let expected = [("r/kept", "old"), ("r/replaced", "new")];
    assert_eq!(got, expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())));
    client.expect_nothing();
}

/// More retained messages than the client's window and the broker's buffer for it hold at once: all
/// come, none twice, and what is published meanwhile comes, too.
#[test]
fn many_retained_messages_pass_a_narrow_window() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\noutput_bytes_max = 65536\n");
    let mut sender = publisher(&broker);
    let payload = [b'x'; 2000];
    let topics: Vec<String> = (0..200).map(|number| format!("r/{number:03}")).collect();
    for (number, topic) in topics.iter().enumerate() {
        let qos = if number % 2 == 0 { AtMostOnce } else { AtLeastOnce };
        sender.publish(&Message { qos, ..retained(topic, &payload) });
    }
    let properties = list(&[Property::ReceiveMaximum(3)]);
    let mut client = broker.connect(&Connect { properties, ..v5("c") });
    client.subscribe("r/#", ExactlyOnce);
    sender.publish(&Message { qos: AtLeastOnce, ..message("r/live", b"") });
    let mut got: Vec<String> = (0..201).map(|_| client.take().topic).collect();
    client.expect_nothing();
    got.sort_unstable();
    let mut expected = topics;
    expected.push("r/live".to_owned());
    expected.sort_unstable();
    assert_eq!(got, expected);
}
