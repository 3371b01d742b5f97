//! Will messages (5.0 sections 3.1.2.5 and 3.1.3.2).

use std::thread;
use std::time::{Duration, Instant};

use crate::prelude::*;

/// A connection with a will to `topic`.
fn with_will<'a>(name: &'a str, will: Will<'a>) -> Connect<'a> {
    Connect { will: Some(will), ..v5(name) }
}

/// A will that is delayed, with the properties given.
fn delayed<'a>(topic: &'a str, properties: &'a [Property<'a>]) -> Will<'a> {
    Will { properties: list(properties), ..will(topic, b"last") }
}

/// [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.2-14]
#[test]
fn will_is_published_when_the_connection_breaks() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let mut client = broker.connect(&with_will(&unique("dying"), will(&topic, b"last")));
    client.expect_nothing();
    watcher.expect_nothing();
    client.cut();
    let got = watcher.take();
    assert_eq!((got.text(), got.retain, got.qos), ("last", false, AtMostOnce));
    watcher.expect_nothing();
    subscriber(&broker, &topic).expect_nothing();
}

/// [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
#[test]
fn normal_disconnection_discards_the_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    broker.connect(&with_will(&unique("polite"), will(&topic, b"last"))).disconnect();
    watcher.expect_nothing();
}

/// DISCONNECT with 0x04 or an error keeps the will (3.14.2.1).
#[test]
fn other_disconnections_publish_the_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    for reason in [ReasonCode::DisconnectWithWillMessage, ReasonCode::UnspecifiedError] {
        let client = broker.connect(&with_will(&unique("will"), will(&topic, b"last")));
        client.disconnect_with(reason, Properties::EMPTY);
        assert_eq!(watcher.take().text(), "last");
    }
}

/// [MQTT-3.1.2-8]: closed by the server because of an error of the client.
#[test]
fn protocol_error_publishes_the_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let mut client = broker.connect(&with_will(&unique("rude"), will(&topic, b"last")));
    client.send_bytes(&[0x36, 0x05, 0x00, 0x01, b'a', 0x00, 0x01]); // QoS 3
    client.expect_disconnect(ReasonCode::MalformedPacket);
    assert_eq!(watcher.take().text(), "last");
}

/// [MQTT-3.1.2-12], [MQTT-3.1.2-9]: every QoS is delivered with that QoS.
#[test]
fn will_has_its_qos() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let last = Will { qos, ..will(&topic, b"last") };
        broker.connect(&with_will(&unique("dying"), last)).cut();
        assert_eq!(watcher.take().qos, qos);
    }
}

/// [MQTT-3.1.2-15], and an empty retained will that deletes.
#[test]
fn retained_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let last = Will { retain: true, ..will(&topic, b"last") };
    broker.connect(&with_will(&unique("dying"), last)).cut();
    assert!(!watcher.take().retain);
    assert_eq!(subscriber(&broker, &topic).take().text(), "last");
    let nothing = Will { retain: true, ..will(&topic, b"") };
    broker.connect(&with_will(&unique("dying"), nothing)).cut();
    watcher.take();
    subscriber(&broker, &topic).expect_nothing();
}

/// [MQTT-3.1.3-10] and section 3.1.3.2: the properties of a will are those of its message, the
/// delay excepted.
#[test]
fn will_properties_are_forwarded() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let properties = [
        Property::WillDelayInterval(0),
        Property::PayloadFormatIndicator(1),
        Property::MessageExpiryInterval(100),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("who/asks"),
        Property::CorrelationData(b"42"),
        Property::UserProperty("z", "1"),
        Property::UserProperty("a", "2"),
    ];
    broker.connect(&with_will(&unique("dying"), delayed(&topic, &properties))).cut();
    let got = watcher.take();
    let got = got.props();
    assert_eq!(got.payload_format_indicator(), Some(1));
    assert!((99..=100).contains(&got.message_expiry_interval_s().expect("an interval")));
    assert_eq!(got.content_type(), Some("text/plain"));
    assert_eq!(got.response_topic(), Some("who/asks"));
    assert_eq!(got.correlation_data(), Some(&b"42"[..]));
    assert_eq!(user_properties(&got), [("z", "1"), ("a", "2")]);
    assert_eq!(got.will_delay_interval_s(), None);
}

/// [MQTT-3.1.2-8]: not before the delay has passed.
#[test]
fn delayed_will_waits() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let delay = [Property::WillDelayInterval(1)];
    let name = unique("dying");
    let client = broker.connect(&Connect { will: Some(delayed(&topic, &delay)), ..keep(&name) });
    let begin = Instant::now();
    client.cut();
    assert_eq!(watcher.take().text(), "last");
    assert!(begin.elapsed() >= Duration::from_secs(1), "published after {:?}", begin.elapsed());
    watcher.expect_nothing();
}

/// [MQTT-3.1.2-8]: the end of the session comes before the delay.
#[test]
fn delayed_will_comes_with_the_end_of_the_session() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let delay = [Property::WillDelayInterval(3600)];
    // The session ends with the connection.
    broker.connect(&with_will(&unique("dying"), delayed(&topic, &delay))).cut();
    assert_eq!(watcher.take().text(), "last");
    // The session ends a second later.
    let properties = list(&[Property::SessionExpiryInterval(1)]);
    let name = unique("dying");
    let last = Some(delayed(&topic, &delay));
    let client = broker.connect(&Connect { will: last, properties, ..v5(&name) });
    let begin = Instant::now();
    client.cut();
    assert_eq!(watcher.take().text(), "last");
    assert!(begin.elapsed() >= Duration::from_secs(1), "published after {:?}", begin.elapsed());
}

/// [MQTT-3.1.2-8], [MQTT-3.1.3-9]: who returns in time is not dead.
#[test]
fn return_within_the_delay_cancels_the_will() {
    let broker = Broker::shared();
    let (name, topic) = (unique("back"), unique("will"));
    let mut watcher = subscriber(&broker, &topic);
    let delay = [Property::WillDelayInterval(1)];
    broker.connect(&Connect { will: Some(delayed(&topic, &delay)), ..keep(&name) }).cut();
    let mut client = broker.connect(&resume(&name));
    assert!(client.connack().session_present);
    thread::sleep(OVER_A_SECOND);
    client.expect_nothing();
    watcher.expect_nothing();
    // The new connection brought no will.
    client.cut();
    watcher.expect_nothing();
}

/// [MQTT-3.1.3-9] for a take-over: with a delay and the session resumed nothing is published,
/// without a delay the will of the closed connection is.
#[test]
fn take_over_publishes_a_will_without_delay() {
    let broker = Broker::shared();
    let (name, topic) = (unique("again"), unique("will"));
    let mut watcher = subscriber(&broker, &topic);
    let delay = [Property::WillDelayInterval(3600)];
    let mut first = broker.connect(&Connect { will: Some(delayed(&topic, &delay)), ..keep(&name) });
    let last = Some(will(&topic, b"second"));
    let mut second = broker.connect(&Connect { will: last, ..resume(&name) });
    first.expect_disconnect(ReasonCode::SessionTakenOver);
    watcher.expect_nothing();
    let mut third = broker.connect(&resume(&name));
    second.expect_disconnect(ReasonCode::SessionTakenOver);
    assert_eq!(watcher.take().text(), "second");
    third.expect_nothing();
}

/// [MQTT-3.1.2-8]: a clean start ends the old session, and with it the delay (section 3.1.4).
#[test]
fn clean_start_ends_the_delay() {
    let broker = Broker::shared();
    let (name, topic) = (unique("clean"), unique("will"));
    let mut watcher = subscriber(&broker, &topic);
    let delay = [Property::WillDelayInterval(3600)];
    let mut first = broker.connect(&Connect { will: Some(delayed(&topic, &delay)), ..keep(&name) });
    broker.connect(&v5(&name)).expect_nothing();
    first.expect_disconnect(ReasonCode::SessionTakenOver);
    assert_eq!(watcher.take().text(), "last");
}

/// [MQTT-3.1.2-10]: published once, not again when the session returns and leaves.
#[test]
fn will_is_published_once() {
    let broker = Broker::shared();
    let (name, topic) = (unique("once"), unique("will"));
    let mut watcher = subscriber(&broker, &topic);
    broker.connect(&Connect { will: Some(will(&topic, b"last")), ..keep(&name) }).cut();
    assert_eq!(watcher.take().text(), "last");
    broker.connect(&resume(&name)).cut();
    watcher.expect_nothing();
}

/// A will waits in the queue of an absent subscriber like any message.
#[test]
fn will_reaches_absent_sessions() {
    let broker = Broker::shared();
    let (name, topic) = (unique("away"), unique("will"));
    let mut watcher = broker.connect(&keep(&name));
    watcher.subscribe(&topic, AtLeastOnce);
    watcher.disconnect();
    let last = Will { qos: AtLeastOnce, ..will(&topic, b"last") };
    broker.connect(&with_will(&unique("dying"), last)).cut();
    assert_eq!(broker.connect(&resume(&name)).take().text(), "last");
}

/// [MQTT-3.1.2-7]: the will is stored: the broker is killed, and all its connections with it; the
/// next one publishes it.
#[test]
fn will_survives_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut watcher = broker.connect(&keep("watcher"));
    watcher.subscribe("will/#", AtLeastOnce);
    let last = |topic| Some(Will { qos: AtLeastOnce, ..will(topic, b"last") });
    let mut dying = broker.connect(&Connect { will: last("will/kept"), ..keep("dying") });
    let mut short = broker.connect(&with_will("short", last("will/short").expect("a will")));
    let delay = [Property::WillDelayInterval(1)];
    let delay = Will { qos: AtLeastOnce, ..delayed("will/delayed", &delay) };
    let mut late = broker.connect(&Connect { will: Some(delay), ..keep("late") });
    let polite = broker.connect(&Connect { will: last("will/polite"), ..keep("polite") });
    polite.disconnect();
    // A retained message of each that is acknowledged, so that what came before is in the store.
    for client in [&mut watcher, &mut dying, &mut short, &mut late] {
        client.publish(&Message { qos: AtLeastOnce, retain: true, ..message("other", b"x") });
    }
    broker.kill();
    broker.restart();
    let mut watcher = broker.connect(&resume("watcher"));
    let mut topics: Vec<String> = (0..3).map(|_| watcher.take().topic).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["will/delayed", "will/kept", "will/short"]);
    watcher.expect_nothing();
}
