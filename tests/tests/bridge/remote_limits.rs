//! What a remote broker says in CONNACK that it takes: the bridge keeps to it, and what is too large is
//! counted and keeps nothing from going.

use std::sync::mpsc::{self, Receiver};

use outpost_protocol::{Packet, Property, Publish, QoS};
use outpost_tests::{Broker, DEADLINE, FakeRemote, message, v5};
use serde_json::Value;

use crate::control::wait_for;

/// What came to the remote broker.
#[derive(Debug, PartialEq)]
struct Came {
    topic: String,
    qos: QoS,
    retain: bool,
    alias: Option<u16>,
    payload: String,
}

impl Came {
    fn of(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.to_owned(),
            qos: publish.qos,
            retain: publish.retain,
            alias: publish.properties.topic_alias(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
        }
    }
}

/// A gateway with a bridge to a remote broker that announces `property`, and what comes there.
fn gateway(property: Property<'static>) -> (Broker, FakeRemote, Receiver<Came>) {
    let (sender, came) = mpsc::channel();
    let remote = FakeRemote::start(move |caller| {
        caller.welcome(&[property])?;
        caller.serve(|packet, answer| {
            if let Packet::Publish(publish) = packet {
                // The test may have seen enough.
                let _ = sender.send(Came::of(publish));
            }
            answer.politely(packet);
        })
    });
    let gateway = bridged(&remote);
    (gateway, remote, came)
}

fn bridged(remote: &FakeRemote) -> Broker {
    Broker::with_config(&format!(
        "[[bridge]]\nname = \"up\"\naddress = \"{}\"\norigin = false\nkeep_alive_s = 1\n\
         [[bridge.topic]]\nfilter = \"up/#\"\ndirection = \"out\"\nqos = 2\n",
        remote.address()
    ))
}

fn publish(gateway: &Broker, messages: &[Publish<'_>]) {
    let mut client = gateway.connect(&v5("publisher"));
    for message in messages {
        client.publish(message);
    }
}

fn next(came: &Receiver<Came>) -> Came {
    came.recv_timeout(DEADLINE).expect("a message comes in time")
}

fn assert_all_is_well(gateway: &Broker) {
    let status = wait_for(gateway, |status| status["backlog"]["messages"] == 0);
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
}

/// The remote broker acknowledges a message when the bridge, for want of anything else to say, sends
/// PINGREQ: none of those behind it came before.
#[test]
fn receive_maximum_1() {
    let (sender, came) = mpsc::channel();
    let remote = FakeRemote::start(move |caller| {
        caller.welcome(&[Property::ReceiveMaximum(1)])?;
        let mut unanswered = None;
        caller.serve(|packet, answer| match packet {
            Packet::Publish(publish) => {
                assert_eq!(unanswered.replace(publish.packet_id), None, "a second one came");
                let _ = sender.send(Came::of(publish));
            }
            Packet::PingReq => {
                answer.politely(packet);
                if let Some(packet_id) = unanswered.take() {
                    let publish = Publish { qos: QoS::AtLeastOnce, packet_id, ..message("x", b"") };
                    answer.politely(&Packet::Publish(publish));
                }
            }
            _ => answer.politely(packet),
        })
    });
    let gateway = bridged(&remote);
    let qos = QoS::AtLeastOnce;
    publish(&gateway, &[b"1", b"2", b"3"].map(|p| Publish { qos, ..message("up/x", p) }));
    for payload in ["1", "2", "3"] {
        assert_eq!(next(&came).payload, payload);
    }
    assert_all_is_well(&gateway);
}

#[test]
fn maximum_packet_size_60() {
    let (gateway, _remote, came) = gateway(Property::MaximumPacketSize(60));
    let qos = QoS::ExactlyOnce;
    let (large, small) = ([b'x'; 60], [b'x'; 40]);
    publish(&gateway, &[&large[..], &small].map(|p| Publish { qos, ..message("up/x", p) }));
    assert_eq!(next(&came).payload.len(), 40);
    assert_all_is_well(&gateway);
    let status = wait_for(&gateway, |status| status["out"]["forwarded"] == 1);
    assert_eq!(status["out"]["dropped"]["queue_too_large"], 1, "{status:#}");
}

#[test]
fn maximum_qos_0() {
    let (gateway, _remote, came) = gateway(Property::MaximumQoS(0));
    // Before the link is up, QoS 0 is for nobody; these wait.
    let each = [QoS::ExactlyOnce, QoS::AtLeastOnce];
    publish(&gateway, &each.map(|qos| Publish { qos, ..message("up/x", b"x") }));
    for _ in each {
        assert_eq!(next(&came).qos, QoS::AtMostOnce);
    }
    assert_all_is_well(&gateway);
}

#[test]
fn retain_available_0() {
    let (gateway, _remote, came) = gateway(Property::RetainAvailable(0));
    let qos = QoS::AtLeastOnce;
    publish(&gateway, &[Publish { qos, retain: true, ..message("up/x", b"x") }]);
    assert!(!next(&came).retain);
    assert_all_is_well(&gateway);
}

#[test]
fn topic_alias_maximum_0_and_1() {
    for (maximum, expected) in [
        (0, [("up/long", None), ("up/long", None), ("up/other", None), ("up/long", None)]),
        (1, [("up/long", Some(1)), ("", Some(1)), ("up/other", Some(1)), ("up/long", Some(1))]),
    ] {
        let (gateway, _remote, came) = gateway(Property::TopicAliasMaximum(maximum));
        let qos = QoS::AtLeastOnce;
        let topics = ["up/long", "up/long", "up/other", "up/long"];
        publish(&gateway, &topics.map(|topic| Publish { qos, ..message(topic, b"x") }));
        for (topic, alias) in expected {
            let came = next(&came);
            assert_eq!((came.topic.as_str(), came.alias), (topic, alias));
        }
        assert_all_is_well(&gateway);
    }
}
