//! Properties of CONNACK and of the acknowledgements: what is told, and to whom (5.0 sections
//! 3.1.2.11, 3.2.2.3, 2.2.2).

use crate::prelude::*;

/// [MQTT-2.2.2-1]: a packet without properties says so with a length of zero (or ends before it,
/// where the packet allows that).
#[test]
fn no_properties_is_a_zero_length() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = broker.connect(&v5(&unique("c")));
    let filters = [filter(&topic, AtMostOnce)];
    client.send(&Packet::Subscribe(outpost_protocol::Subscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: outpost_protocol::SubscribeFilters::List(&filters),
    }));
    assert_eq!(client.expect_bytes(), [0x90, 4, 0, 1, 0, 0]);
    client.send(&Packet::Publish(message(&topic, b"x")));
    let publish = client.expect_bytes();
    assert_eq!(publish[0], 0x30);
    assert_eq!(publish[2 + 2 + topic.len()], 0, "the property length");
    assert_eq!(publish.last(), Some(&b'x'));
}

/// What the broker tells of itself holds together.
#[test]
fn connack_tells_the_limits() {
    let broker = Broker::shared();
    let client = broker.connect(&v5(&unique("c")));
    let told = client.connack().props();
    assert!(told.receive_maximum().unwrap_or(65_535) > 0);
    assert!(told.maximum_packet_size().is_some_and(|size| size > 0));
    assert!(told.topic_alias_maximum().unwrap_or(0) > 0);
    // Absent: as the client asked.
    assert_eq!(told.session_expiry_interval_s().unwrap_or(0), 0);
    assert_eq!(told.server_keep_alive_s(), None);
    assert_eq!(told.authentication_method(), None);
}

/// Each property stands once in CONNACK, and none that CONNACK may not have: the codec refuses
/// such a packet, so that a connection shows it; here for all that a CONNECT can ask for.
#[test]
fn connack_to_a_connect_with_all_properties() {
    let broker = Broker::shared();
    let name = unique("c");
    let properties = list(&[
        Property::SessionExpiryInterval(5),
        Property::ReceiveMaximum(10),
        Property::MaximumPacketSize(100_000),
        Property::TopicAliasMaximum(10),
        Property::RequestResponseInformation(1),
        Property::RequestProblemInformation(1),
        Property::UserProperty("a", "b"),
        Property::UserProperty("a", "b"),
    ]);
    let mut client = broker.connect(&Connect { properties, ..v5(&name) });
    client.expect_nothing();
}

/// [MQTT-3.1.2-28]: only who asks gets Response Information.
#[test]
fn response_information_only_on_request() {
    let broker = Broker::shared();
    for asked in [None, Some(0), Some(1)] {
        let asked_for = asked.map(Property::RequestResponseInformation);
        let name = unique("c");
        let properties = list(asked_for.as_slice());
        let client = broker.connect(&Connect { properties, ..v5(&name) });
        let told = client.connack().props();
        match asked {
            Some(1) => assert!(told.response_information().is_some_and(|text| !text.is_empty())),
            _ => assert_eq!(told.response_information(), None),
        }
    }
}

/// [MQTT-3.1.2-29]: reasons in words on acknowledgements only for who wants them.
#[test]
fn no_reason_strings_for_who_does_not_want_them() {
    let broker = Broker::shared();
    for wanted in [0, 1] {
        let name = unique("c");
        let asked = [Property::RequestProblemInformation(wanted)];
        let mut client = broker.connect(&Connect { properties: list(&asked), ..v5(&name) });
        let ack = client.subscribe_to(&[filter("a/#/b", AtMostOnce)], Properties::EMPTY);
        assert!(ack.reasons[0].is_error());
        let unsubscribed = client.unsubscribe(&["never/subscribed"]);
        client.pubrel(id(1));
        let release = client.expect::<PubComp>();
        for told in [ack.props(), unsubscribed.props(), release.props()] {
            if wanted == 0 {
                assert_eq!(told.reason_string(), None);
                assert_eq!(user_properties(&told), []);
            }
        }
    }
}

/// [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.9.2-1],
/// [MQTT-3.11.2-1], [MQTT-3.14.2-3] and their like: whatever would be told in words is left out
/// where it does not fit the client's Maximum Packet Size. The first of what is sent is the reason
/// code, so that it always arrives.
#[test]
fn small_clients_get_short_answers() {
    let broker = Broker::shared();
    let name = unique("c");
    // CONNACK fits with the properties that are needed.
    let small = [Property::MaximumPacketSize(40), Property::RequestProblemInformation(1)];
    let mut client = broker.open(V5);
    client.send(&Packet::Connect(Connect { properties: list(&small), ..v5(&name) }));
    assert!(client.expect_bytes().len() <= 40);
    let filters: Vec<_> = (0..20).map(|_| filter("a/#/b", AtMostOnce)).collect();
    client.send(&Packet::Subscribe(outpost_protocol::Subscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: outpost_protocol::SubscribeFilters::List(&filters),
    }));
    let ack = client.expect_bytes();
    assert_eq!((ack[0], ack.len() <= 40), (0x90, true), "{ack:02x?}");
    client.pubrel(id(5));
    let ack = client.expect_bytes();
    assert_eq!((ack[0], ack.len() <= 40), (0x70, true), "{ack:02x?}");
    client.send(&Packet::Connect(v5(&name)));
    let ack = client.expect_bytes();
    assert_eq!((ack[0], ack.len() <= 40), (0xE0, true), "{ack:02x?}");
    assert_eq!(ack[2], ReasonCode::ProtocolError as u8);
}

/// [MQTT-3.2.2-19]: a refusing CONNACK as well.
#[test]
fn small_clients_get_a_short_refusal() {
    let broker = Broker::shared();
    let name = unique("c");
    let small = [Property::MaximumPacketSize(8), Property::AuthenticationMethod("unknown")];
    let mut client = broker.open(V5);
    client.send(&Packet::Connect(Connect { properties: list(&small), ..v5(&name) }));
    assert_eq!(client.rest(), [0x20, 3, 0, ReasonCode::BadAuthenticationMethod as u8, 0]);
}

/// A CONNACK that cannot be made small enough is not sent at all (3.1.2.11.4): Maximum Packet Size
/// 1 allows no packet.
#[test]
fn nothing_is_sent_that_is_too_large() {
    let broker = Broker::shared();
    let name = unique("c");
    let mut client = broker.open(V5);
    let small = list(&[Property::MaximumPacketSize(1)]);
    client.send(&Packet::Connect(Connect { properties: small, ..v5(&name) }));
    assert_eq!(client.rest(), b"");
}

/// User properties of SUBSCRIBE, UNSUBSCRIBE, PUBACK and DISCONNECT are taken and mean nothing.
#[test]
fn user_properties_are_taken_everywhere() {
    let broker = Broker::shared();
    let topic = unique("t");
    let pair = list(&[Property::UserProperty("k", "v"), Property::UserProperty("k", "v")]);
    let mut client = broker.connect(&v5(&unique("c")));
    client.subscribe_to(&[filter(&topic, ExactlyOnce)], pair);
    client.publish(&Message { qos: AtLeastOnce, properties: pair, ..message(&topic, b"") });
    let packet_id = client.expect::<Publish>().id();
    client.send(&Packet::PubAck(outpost_protocol::PubAck {
        packet_id,
        reason: ReasonCode::Success,
        properties: pair,
    }));
    client.expect_nothing();
    client.disconnect_with(ReasonCode::Success, pair);
}

/// Request and response as 4.10 has it: the response topic and the correlation data go there and
/// come back.
#[test]
fn request_and_response() {
    let broker = Broker::shared();
    let root = unique("t");
    let (question, answer) = (format!("{root}/question"), format!("{root}/answer"));
    let mut asker = subscriber(&broker, &answer);
    let mut responder = subscriber(&broker, &question);
    let properties = [Property::ResponseTopic(&answer), Property::CorrelationData(b"17")];
    let properties = list(&properties);
    asker.publish(&Message { qos: AtLeastOnce, properties, ..message(&question, b"?") });
    let asked = responder.take();
    let told = asked.props();
    let reply_to = told.response_topic().expect("a response topic");
    let correlation = [Property::CorrelationData(told.correlation_data().expect("some"))];
    responder.publish(&Message { properties: list(&correlation), ..message(reply_to, b"!") });
    let answered = asker.take();
    assert_eq!(answered.props().correlation_data(), Some(&b"17"[..]));
}
