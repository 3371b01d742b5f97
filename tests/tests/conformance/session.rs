//! Session state: clean start, resumption, what is kept while a client is away (5.0 sections
//! 3.1.2.4, 3.1.2.11.2 and 4.1), and what is kept when the broker dies.

use crate::prelude::*;

fn qos1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: AtLeastOnce, ..message(topic, payload) }
}

/// [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.2-23], [MQTT-3.2.2-3]
#[test]
fn session_is_resumed() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&resume(&name));
    assert!(!client.connack().session_present);
    client.subscribe(&topic, AtLeastOnce);
    client.disconnect();
    let mut client = broker.connect(&resume(&name));
    assert!(client.connack().session_present);
    publisher(&broker).publish(&message(&topic, b"still subscribed"));
    assert_eq!(client.take().text(), "still subscribed");
}

/// [MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2]: clean start forgets subscriptions, messages in
/// flight, messages in the queue and QoS 2 states.
#[test]
fn clean_start_forgets_all() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"in flight") });
    client.expect::<Publish>();
    let publish = Message { qos: ExactlyOnce, packet_id: Some(id(9)), ..message("other", b"") };
    client.send(&Packet::Publish(publish));
    client.expect::<PubRec>();
    client.cut();
    sender.publish(&qos1(&topic, b"queued"));

    let mut client = broker.connect(&keep(&name));
    assert!(!client.connack().session_present);
    sender.publish(&qos1(&topic, b"no subscription"));
    client.pubrel(id(9));
    assert_eq!(client.expect::<PubComp>().reason, ReasonCode::PacketIdentifierNotFound);
    client.expect_nothing();
}

/// [MQTT-4.5.0-1]: QoS 1 and 2 wait for an absent client; QoS 0 need not.
#[test]
fn messages_wait_for_an_absent_client() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, ExactlyOnce);
    client.disconnect();
    let mut sender = publisher(&broker);
    for (qos, payload) in [(AtLeastOnce, "one"), (ExactlyOnce, "two")] {
        sender.publish(&Message { qos, ..message(&topic, payload.as_bytes()) });
    }
    let mut client = broker.connect(&resume(&name));
    for (qos, payload) in [(AtLeastOnce, "one"), (ExactlyOnce, "two")] {
        let got = client.take();
        assert_eq!((got.qos, got.text(), got.dup), (qos, payload, false));
    }
    client.expect_nothing();
}

/// What was delivered before is not delivered again.
#[test]
fn acknowledged_messages_do_not_come_again() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, ..message(&topic, b"") });
        client.take();
    }
    client.expect_nothing();
    client.cut();
    broker.connect(&resume(&name)).expect_nothing();
}

/// [MQTT-4.1.0-1]: also a session with expiry 0 lasts as long as its connection; then it is gone.
#[test]
fn session_without_expiry_ends_with_its_connection() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&v5(&name));
    client.subscribe(&topic, AtLeastOnce);
    publisher(&broker).publish(&qos1(&topic, b"here"));
    assert_eq!(client.take().text(), "here");
    client.cut();
    assert!(!broker.connect(&resume(&name)).connack().session_present);
}

/// A take-over that resumes gets what the old connection had not acknowledged.
#[test]
fn take_over_resumes_the_session() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut old = broker.connect(&keep(&name));
    old.subscribe(&topic, AtLeastOnce);
    publisher(&broker).publish(&qos1(&topic, b"x"));
    let first = old.expect::<Publish>();
    let mut new = broker.connect(&resume(&name));
    assert!(new.connack().session_present);
    let again = new.take();
    assert_eq!((again.id(), again.dup), (first.id(), true));
    old.expect_disconnect(ReasonCode::SessionTakenOver);
    new.expect_nothing();
}

/// Unsubscribing holds in a resumed session, too.
#[test]
fn unsubscribed_filters_stay_unsubscribed() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, AtLeastOnce);
    client.unsubscribe(&[&topic]);
    client.disconnect();
    publisher(&broker).publish(&qos1(&topic, b""));
    broker.connect(&resume(&name)).expect_nothing();
}

/// Contract 1 of the design: what was acknowledged survives kill -9 at any moment: messages,
/// subscriptions, packet identifiers in flight and the QoS 2 states of both halves.
#[test]
fn session_survives_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut away = broker.connect(&keep("away"));
    away.subscribe("kept/#", ExactlyOnce);
    let mut sender = broker.connect(&keep("sender"));
    sender.publish(&Message { qos: ExactlyOnce, ..message("kept/released", b"") });
    let publish = Message { qos: ExactlyOnce, packet_id: Some(id(77)), ..message("kept/a", b"a") };
    sender.send(&Packet::Publish(publish.clone()));
    sender.expect::<PubRec>();

    let released = away.expect::<Publish>();
    away.pubrec(released.id());
    let waiting = away.expect::<Publish>();
    assert_eq!(away.expect::<PubRel>().packet_id, released.id());
    broker.kill();
    broker.restart();

    let mut sender = broker.connect(&resume("sender"));
    assert!(sender.connack().session_present);
    sender.send(&Packet::Publish(Message { dup: true, ..publish }));
    assert!(!sender.expect::<PubRec>().reason.is_error());
    sender.release(id(77));
    sender.publish(&qos1("kept/b", b"b"));

    let mut away = broker.connect(&resume("away"));
    assert!(away.connack().session_present);
    let mut got = Vec::new();
    // The PUBREL of what had come to PUBREC, then what is in flight, then the rest; the order of
    // the first two is that of their PUBLISH packets.
    assert_eq!(away.expect::<PubRel>().packet_id, released.id());
    away.pubcomp(released.id());
    for _ in 0..2 {
        got.push(away.take());
    }
    assert_eq!((got[0].id(), got[0].text(), got[0].dup), (waiting.id(), "a", true));
    assert_eq!((got[1].text(), got[1].dup), ("b", false));
    away.expect_nothing();
}

/// The same for many messages at QoS 1 from a window of publishes: none that was acknowledged is
/// missing, and their order is that of the publisher.
#[test]
fn acknowledged_messages_survive_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut away = broker.connect(&keep("away"));
    away.subscribe("t", AtLeastOnce);
    away.disconnect();
    let mut sender = broker.connect(&v5("sender"));
    let payloads: Vec<[u8; 2]> = (1..=300_u16).map(u16::to_be_bytes).collect();
    let publishes: Vec<_> = payloads
        .iter()
        .map(|n| Message { packet_id: Some(id(u16::from_be_bytes(*n))), ..qos1("t", n) })
        .map(Packet::Publish)
        .collect();
    sender.send_all(&publishes);
    let acknowledged: Vec<u16> =
        (0..150).map(|_| sender.expect::<PubAck>().packet_id.value()).collect();
    broker.kill();
    broker.restart();
    let mut away = broker.connect(&resume("away"));
    let mut got = Vec::new();
    while got.last() != Some(&150) {
        let payload = away.take().payload;
        got.push(u16::from_be_bytes([payload[0], payload[1]]));
    }
    assert_eq!(acknowledged, (1..=150).collect::<Vec<u16>>());
    assert_eq!(got, acknowledged);
}

/// A session that was ended is not back after a restart.
#[test]
fn ended_sessions_stay_ended() {
    needs_own_broker!();
    let mut broker = Broker::start();
    for name in ["clean", "expired"] {
        let mut client = broker.connect(&keep(name));
        client.subscribe("t", AtLeastOnce);
        client.disconnect();
    }
    broker.connect(&v5("clean")).disconnect();
    let client = broker.connect(&resume("expired"));
    client.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(0)]));
    // An acknowledged message after them: what came before it is in the store.
    let mut keeper = broker.connect(&keep("keeper"));
    keeper.subscribe("t", AtLeastOnce);
    keeper.publish(&qos1("t", b""));
    broker.kill();
    broker.restart();
    for (name, present) in [("clean", false), ("expired", false), ("keeper", true)] {
        assert_eq!(broker.connect(&resume(name)).connack().session_present, present, "{name}");
    }
}

/// SUBACK and UNSUBACK promise the same.
#[test]
fn subscriptions_survive_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut client = broker.connect(&keep("client"));
    client.subscribe("one", AtLeastOnce);
    client.subscribe("gone", AtLeastOnce);
    let numbered = list(&[Property::SubscriptionIdentifier(6)]);
    client.subscribe_to(&[filter("two", ExactlyOnce)], numbered);
    client.unsubscribe(&["gone"]);
    broker.kill();
    broker.restart();
    let mut sender = publisher(&broker);
    for topic in ["one", "gone", "two"] {
        sender.publish(&Message { qos: ExactlyOnce, ..message(topic, b"") });
    }
    let mut client = broker.connect(&resume("client"));
    let (one, two) = (client.take(), client.take());
    assert_eq!((one.topic.as_str(), one.qos), ("one", AtLeastOnce));
    assert_eq!((two.topic.as_str(), two.qos), ("two", ExactlyOnce));
    assert_eq!(subscription_ids(&two), [6]);
    client.expect_nothing();
}

/// SIGTERM loses nothing either.
#[test]
fn session_survives_an_orderly_end() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut client = broker.connect(&keep("client"));
    client.subscribe("t", AtLeastOnce);
    client.disconnect();
    publisher(&broker).publish(&qos1("t", b"kept"));
    broker.terminate();
    assert!(broker.wait().success());
    broker.restart();
    let mut client = broker.connect(&resume("client"));
    assert!(client.connack().session_present);
    assert_eq!(client.take().text(), "kept");
}
