//! Topic aliases in both directions (5.0 section 3.3.2.3.4).

use crate::prelude::*;

fn aliased<'a>(topic: &'a str, alias: &'a [Property<'a>]) -> Message<'a> {
    Message { properties: list(alias), ..message(topic, b"") }
}

static ONE: [Property<'static>; 1] = [Property::TopicAlias(1)];

/// The alias maximum that the broker announces.
fn maximum(client: &RawClient) -> u16 {
    client.connack().props().topic_alias_maximum().expect("aliases are allowed")
}

/// [MQTT-3.3.2-12]: every alias from 1 to the maximum, set, used and set anew.
#[test]
fn all_announced_aliases_are_taken() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = subscriber(&broker, &format!("{root}/#"));
    let mut sender = publisher(&broker);
    for round in 0..2 {
        for alias in 1..=maximum(&sender) {
            let topic = format!("{root}/{round}/{alias}");
            let alias = [Property::TopicAlias(alias)];
            sender.publish(&aliased(&topic, &alias));
            sender.publish(&aliased("", &alias));
            for _ in 0..2 {
                let got = receiver.take();
                assert_eq!(got.topic, topic);
                assert_eq!(got.props().topic_alias(), None);
            }
        }
    }
    receiver.expect_nothing();
}

/// An alias works at every QoS, for retained messages too.
#[test]
fn alias_works_with_every_qos() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    sender.publish(&Message { retain: true, ..aliased(&topic, &ONE) });
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        sender.publish(&Message { qos, retain: true, payload: b"x", ..aliased("", &ONE) });
    }
    for qos in [AtMostOnce, AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let got = receiver.take();
        assert_eq!((got.topic.as_str(), got.qos), (topic.as_str(), qos));
    }
    assert_eq!(subscriber(&broker, &topic).take().topic, topic);
    sender.publish(&Message { retain: true, ..aliased("", &ONE) });
    subscriber(&broker, &topic).expect_nothing();
}

/// [MQTT-3.2.2-17], [MQTT-3.3.2-9]: above the maximum: 0x94.
#[test]
fn aliases_out_of_range_are_refused() {
    let broker = Broker::shared();
    let maximum = maximum(&publisher(&broker));
    for alias in [maximum + 1, u16::MAX] {
        let mut client = publisher(&broker);
        let [high, low] = alias.to_be_bytes();
        client.send_bytes(&[0x30, 7, 0, 1, b'a', 3, 0x23, high, low]);
        client.expect_disconnect(ReasonCode::TopicAliasInvalid);
    }
}

/// [MQTT-3.3.2-8]: 0 is no alias; the specification names no reason code of its own for it.
#[test]
fn alias_zero_is_refused() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.send_bytes(&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0]);
    let reason = client.expect::<Disconnect>().reason;
    let allowed =
        [ReasonCode::TopicAliasInvalid, ReasonCode::ProtocolError, ReasonCode::MalformedPacket];
    assert!(allowed.contains(&reason), "{reason:?}");
    client.expect_closed();
}

/// An alias that was never set stands for nothing (4.13: a protocol error).
#[test]
fn unknown_alias_is_refused() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.send(&Packet::Publish(aliased("", &ONE)));
    let reason = client.expect::<Disconnect>().reason;
    let allowed = [ReasonCode::ProtocolError, ReasonCode::TopicAliasInvalid];
    assert!(allowed.contains(&reason), "{reason:?}");
    client.expect_closed();
}

/// [MQTT-3.3.2-7]: aliases end with the network connection, in a resumed session too.
#[test]
fn aliases_end_with_the_connection() {
    let broker = Broker::shared();
    let (name, topic) = (unique("pub"), unique("t"));
    let mut client = broker.connect(&keep(&name));
    client.publish(&aliased(&topic, &ONE));
    client.disconnect();
    let mut client = broker.connect(&resume(&name));
    client.send(&Packet::Publish(aliased("", &ONE)));
    assert!(client.expect::<Disconnect>().reason.is_error());
    client.expect_closed();
}

/// Each client has its own aliases.
#[test]
fn aliases_belong_to_one_client() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = subscriber(&broker, &format!("{root}/#"));
    let (mut a, mut b) = (publisher(&broker), publisher(&broker));
    a.publish(&aliased(&format!("{root}/a"), &ONE));
    b.publish(&aliased(&format!("{root}/b"), &ONE));
    a.publish(&aliased("", &ONE));
    b.publish(&aliased("", &ONE));
    let got: Vec<String> = (0..4).map(|_| receiver.take().topic).collect();
    assert_eq!(got, ["a", "b", "a", "b"].map(|end| format!("{root}/{end}")));
}

/// [MQTT-3.1.2-27]: a client that says nothing, or 0, gets no aliases.
#[test]
fn no_alias_for_clients_that_take_none() {
    let broker = Broker::shared();
    let topic = unique("t");
    for maximum in [None, Some(Property::TopicAliasMaximum(0))] {
        let name = unique("sub");
        let properties = list(maximum.as_slice());
        let mut receiver = broker.connect(&Connect { properties, ..v5(&name) });
        receiver.subscribe(&topic, AtMostOnce);
        let mut sender = publisher(&broker);
        for _ in 0..3 {
            sender.publish(&message(&topic, b""));
            let got = receiver.take();
            assert_eq!((&got.topic, got.props().topic_alias()), (&topic, None));
        }
    }
}

/// [MQTT-3.1.2-26], [MQTT-3.3.2-11]: aliases up to the client's maximum, each told with its topic
/// before it stands alone; more topics than aliases are no trouble. That the broker uses them at
/// all is our own promise.
#[test]
fn aliases_towards_a_client_stay_below_its_maximum() {
    let broker = Broker::shared();
    let root = unique("t");
    let name = unique("sub");
    let properties = list(&[Property::TopicAliasMaximum(3)]);
    let mut receiver = broker.connect(&Connect { properties, ..v5(&name) });
    receiver.subscribe(&format!("{root}/#"), AtLeastOnce);
    let mut sender = publisher(&broker);
    let mut known: [Option<String>; 4] = Default::default();
    let mut shortened = 0;
    for number in 0..40 {
        let topic = format!("{root}/{}", number % 5);
        let qos = if number % 2 == 0 { AtMostOnce } else { AtLeastOnce };
        sender.publish(&Message { qos, ..message(&topic, b"") });
        let got = receiver.take();
        let alias = usize::from(got.props().topic_alias().unwrap_or(0));
        assert!(alias <= 3, "{got:?}");
        if got.topic.is_empty() {
            assert_eq!(known[alias].as_ref(), Some(&topic), "{got:?}");
            shortened += 1;
        } else {
            assert_eq!(got.topic, topic);
            if alias > 0 {
                known[alias] = Some(topic);
            }
        }
    }
    assert!(shortened > 0, "no topic was replaced by its alias");
}

/// [MQTT-3.3.2-7] for the broker: after a reconnection it tells each alias again.
#[test]
fn aliases_towards_a_client_end_with_the_connection() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let properties = list(&[Property::TopicAliasMaximum(10), Property::SessionExpiryInterval(60)]);
    let connect = Connect { clean_start: false, properties, ..v5(&name) };
    let mut receiver = broker.connect(&connect);
    receiver.subscribe(&topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    for _ in 0..2 {
        sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"") });
        receiver.take();
    }
    sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"") });
    receiver.expect::<Publish>();
    receiver.cut();
    // The one that is resent as well must be told by its name.
    let mut receiver = broker.connect(&connect);
    assert_eq!(receiver.take().topic, topic);
}
