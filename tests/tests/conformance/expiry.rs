//! Session Expiry Interval and Message Expiry Interval (5.0 sections 3.1.2.11.2, 3.3.2.3.3).

use std::thread;

use crate::prelude::*;

fn expiring<'a>(name: &'a str, interval: &'a [Property<'a>]) -> Connect<'a> {
    Connect { clean_start: false, properties: list(interval), ..v5(name) }
}

/// [MQTT-4.1.0-2], [MQTT-3.1.2-23]
#[test]
fn session_ends_after_its_interval() {
    let broker = Broker::shared();
    let (short, long) = (unique("short"), unique("long"));
    broker.connect(&expiring(&short, &[Property::SessionExpiryInterval(1)])).cut();
    broker.connect(&expiring(&long, &[Property::SessionExpiryInterval(60)])).cut();
    thread::sleep(OVER_A_SECOND);
    assert!(!broker.connect(&expiring(&short, &[])).connack().session_present);
    assert!(broker.connect(&expiring(&long, &[])).connack().session_present);
}

/// [MQTT-4.1.0-1]: the interval runs only while the client is away.
#[test]
fn session_does_not_expire_while_connected() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let short = [Property::SessionExpiryInterval(1)];
    let mut client = broker.connect(&expiring(&name, &short));
    client.subscribe(&topic, AtMostOnce);
    thread::sleep(OVER_A_SECOND);
    publisher(&broker).publish(&message(&topic, b"here"));
    assert_eq!(client.take().text(), "here");
    // Nor does an interval of the past hit the connection that resumed in time.
    client.cut();
    let mut client = broker.connect(&expiring(&name, &short));
    assert!(client.connack().session_present);
    thread::sleep(OVER_A_SECOND);
    publisher(&broker).publish(&message(&topic, b"here"));
    assert_eq!(client.take().text(), "here");
}

/// 0xFFFFFFFF: the session does not expire (or when the server's cap says so, see
/// `limits::session_expiry_is_capped`).
#[test]
fn session_without_end() {
    let broker = Broker::shared();
    let name = unique("s");
    let client = broker.connect(&expiring(&name, &[Property::SessionExpiryInterval(u32::MAX)]));
    client.cut();
    assert!(broker.connect(&expiring(&name, &[])).connack().session_present);
}

/// DISCONNECT may name another interval (3.14.2.2.2).
#[test]
fn disconnect_changes_the_interval() {
    let broker = Broker::shared();
    let name = unique("s");
    let client = broker.connect(&keep(&name));
    client.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(0)]));
    assert!(!broker.connect(&resume(&name)).connack().session_present);

    let client = broker.connect(&resume(&name));
    client.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(1)]));
    thread::sleep(OVER_A_SECOND);
    let client = broker.connect(&resume(&name));
    assert!(!client.connack().session_present);
    client.disconnect_with(ReasonCode::Success, list(&[Property::SessionExpiryInterval(60)]));
    assert!(broker.connect(&resume(&name)).connack().session_present);
}

/// But not where CONNECT said 0: a protocol error (3.14.2.2.2).
#[test]
fn disconnect_cannot_start_an_interval() {
    let broker = Broker::shared();
    let name = unique("s");
    let mut client = broker.connect(&v5(&name));
    client.send(&Packet::Disconnect(outpost_protocol::Disconnect {
        reason: ReasonCode::Success,
        properties: list(&[Property::SessionExpiryInterval(60)]),
    }));
    client.expect_disconnect(ReasonCode::ProtocolError);
    assert!(!broker.connect(&resume(&name)).connack().session_present);
}

/// The interval of the last CONNECT counts.
#[test]
fn connect_changes_the_interval() {
    let broker = Broker::shared();
    let name = unique("s");
    broker.connect(&keep(&name)).cut();
    broker.connect(&expiring(&name, &[])).cut();
    assert!(!broker.connect(&resume(&name)).connack().session_present);
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: counted down while it waits, gone when it has passed.
#[test]
fn queued_message_expires() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.subscribe(&topic, ExactlyOnce);
    client.disconnect();
    let mut sender = publisher(&broker);
    // The last two have the same QoS, so that they come in their order.
    let messages = [
        (AtLeastOnce, Some(1), "a"),
        (ExactlyOnce, Some(1), "b"),
        (ExactlyOnce, Some(100), "c"),
        (ExactlyOnce, None, "d"),
    ];
    for (qos, interval, payload) in messages {
        let interval = interval.map(Property::MessageExpiryInterval);
        let properties = list(interval.as_slice());
        sender.publish(&Message { qos, properties, ..message(&topic, payload.as_bytes()) });
    }
    thread::sleep(OVER_A_SECOND);
    let mut client = broker.connect(&resume(&name));
    let got = client.take();
    assert_eq!(got.text(), "c");
    let left = got.props().message_expiry_interval_s().expect("it was published with one");
    assert!((90..=98).contains(&left), "{left} s left of 100 after two");
    let got = client.take();
    assert_eq!((got.text(), got.props().message_expiry_interval_s()), ("d", None));
    client.expect_nothing();
}

/// [MQTT-3.3.2-6]: without waiting, the whole interval is left.
#[test]
fn forwarded_message_keeps_its_interval() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let properties = list(&[Property::MessageExpiryInterval(u32::MAX)]);
    publisher(&broker).publish(&Message { properties, ..message(&topic, b"") });
    let left = receiver.take().props().message_expiry_interval_s().expect("an interval");
    assert!(left >= u32::MAX - 10, "{left}");
}

/// [MQTT-3.3.2-5] with a client that is there but does not take more: what waits behind its window
/// expires, what has been sent does not.
#[test]
fn message_behind_the_window_expires() {
    let broker = Broker::shared();
    let (name, topic) = (unique("s"), unique("t"));
    let properties = list(&[Property::ReceiveMaximum(1)]);
    let mut client = broker.connect(&Connect { properties, ..v5(&name) });
    client.subscribe(&topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    let short = list(&[Property::MessageExpiryInterval(1)]);
    for (properties, payload) in [(short, "sent"), (short, "late"), (Properties::EMPTY, "last")] {
        let publish = message(&topic, payload.as_bytes());
        sender.publish(&Message { qos: AtLeastOnce, properties, ..publish });
    }
    let sent = client.expect::<Publish>();
    assert_eq!(sent.text(), "sent");
    thread::sleep(OVER_A_SECOND);
    client.puback(sent.id());
    assert_eq!(client.take().text(), "last");
    client.expect_nothing();
}

/// Expiry runs on while the broker is down.
#[test]
fn expiry_goes_on_while_the_broker_is_down() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let short = [Property::SessionExpiryInterval(1)];
    broker.connect(&expiring("short", &short)).cut();
    let mut client = broker.connect(&keep("long"));
    client.subscribe("t", AtLeastOnce);
    client.disconnect();
    let mut sender = publisher(&broker);
    for (seconds, payload) in [(1, "gone"), (100, "left")] {
        let interval = [Property::MessageExpiryInterval(seconds)];
        let properties = list(&interval);
        let publish = message("t", payload.as_bytes());
        sender.publish(&Message { qos: AtLeastOnce, properties, ..publish });
    }
    broker.kill();
    thread::sleep(OVER_A_SECOND);
    broker.restart();
    assert!(!broker.connect(&resume("short")).connack().session_present);
    let mut client = broker.connect(&resume("long"));
    let got = client.take();
    assert_eq!(got.text(), "left");
    let left = got.props().message_expiry_interval_s().expect("it was published with one");
    assert!((80..=98).contains(&left), "{left} s left of 100 after two");
    client.expect_nothing();
}
