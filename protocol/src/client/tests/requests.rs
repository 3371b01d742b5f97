//! SUBSCRIBE, UNSUBSCRIBE and AUTH with their answers.

use super::super::{REQUESTS_MAX, RequestError};
use super::*;
use crate::{
    Auth, PacketId, Property, ReasonCodes, RetainHandling, SubAck, SubscribeFilter,
    SubscriptionOptions, TopicError, UnsubAck, decode,
};

fn filter(filter: &str) -> SubscribeFilter<'_> {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    SubscribeFilter { filter, options }
}

fn sub_ack(packet_id: PacketId, reasons: &[ReasonCode]) -> Packet<'_> {
    Packet::SubAck(SubAck {
        packet_id,
        properties: Properties::EMPTY,
        reasons: ReasonCodes::List(reasons),
    })
}

#[test]
fn subscribe_and_its_answer() {
    for version in VERSIONS {
        let mut client = connected(version);
        let filters = [filter("a/+"), filter("b/#")];
        let id = client.subscribe(&filters, Properties::EMPTY).unwrap();
        let output = written(&mut client);
        let Ok(Some((Packet::Subscribe(subscribe), _))) = decode(&output, version, 1000) else {
            panic!("{output:x?}");
        };
        assert_eq!(subscribe.packet_id, id);
        assert!(subscribe.filters.iter().eq(filters));
        let reasons = [ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
        let event = hand_in(&mut client, sub_ack(id, &reasons));
        assert_eq!(event, Some(OwnedEvent::Subscribed(reasons.to_vec())));
        // A second answer is to nothing.
        assert_eq!(refuse(&mut client, sub_ack(id, &reasons)), ReasonCode::ProtocolError);
    }
}

#[test]
fn an_answer_must_fit_its_request() {
    let mut client = connected(ProtocolVersion::V5);
    let id = client.subscribe(&[filter("a")], Properties::EMPTY).unwrap();
    let too_many = [ReasonCode::Success, ReasonCode::Success];
    assert_eq!(refuse(&mut client, sub_ack(id, &too_many)), ReasonCode::ProtocolError);

    let mut client = connected(ProtocolVersion::V5);
    let id = client.unsubscribe(&["a"], Properties::EMPTY).unwrap();
    let wrong_kind = [ReasonCode::Success];
    assert_eq!(refuse(&mut client, sub_ack(id, &wrong_kind)), ReasonCode::ProtocolError);
}

#[test]
fn unsubscribe_and_its_answer() {
    for version in VERSIONS {
        let mut client = connected(version);
        let id = client.unsubscribe(&["a/+"], Properties::EMPTY).unwrap();
        let output = written(&mut client);
        let Ok(Some((Packet::Unsubscribe(unsubscribe), _))) = decode(&output, version, 1000) else {
            panic!("{output:x?}");
        };
        assert!(unsubscribe.filters.iter().eq(["a/+"]));
        let reasons = [ReasonCode::Success];
        let reasons = ReasonCodes::List(if version.is_v5() { &reasons } else { &[] });
        let answer = UnsubAck { packet_id: id, properties: Properties::EMPTY, reasons };
        let event = hand_in(&mut client, Packet::UnsubAck(answer));
        assert_eq!(event, Some(OwnedEvent::Unsubscribed));
    }
}

#[test]
fn requests_are_checked_and_bounded() {
    let mut client = client(ProtocolVersion::V5);
    let none = client.subscribe(&[filter("a")], Properties::EMPTY);
    assert_eq!(none, Err(RequestError::NotConnected));
    connect(&mut client, false, &[Property::MaximumPacketSize(30)]);
    assert_eq!(client.subscribe(&[], Properties::EMPTY), Err(RequestError::NoFilter));
    assert_eq!(client.unsubscribe(&[], Properties::EMPTY), Err(RequestError::NoFilter));
    let bad = client.subscribe(&[filter("a/#/b")], Properties::EMPTY);
    assert_eq!(bad, Err(RequestError::Topic(TopicError::MisplacedWildcard)));
    let long = "l".repeat(40);
    let too_large = client.subscribe(&[filter(&long)], Properties::EMPTY);
    assert_eq!(too_large, Err(RequestError::TooLarge));
    for _ in 0..REQUESTS_MAX {
        client.subscribe(&[filter("a")], Properties::EMPTY).unwrap();
        written(&mut client);
    }
    let one_more = client.subscribe(&[filter("a")], Properties::EMPTY);
    assert_eq!(one_more, Err(RequestError::Full));
    // A new connection knows nothing of them.
    connect(&mut client, true, &[]);
    client.subscribe(&[filter("a")], Properties::EMPTY).unwrap();
}

#[test]
fn a_request_and_a_message_never_share_a_packet_id() {
    let mut client = connected(ProtocolVersion::V5);
    let first = client.publish(&message(0, b"x", QoS::AtLeastOnce)).unwrap().unwrap();
    let second = client.subscribe(&[filter("a")], Properties::EMPTY).unwrap();
    let third = client.publish(&message(0, b"x", QoS::AtLeastOnce)).unwrap().unwrap();
    assert!(first != second && second != third && first != third);
}

#[test]
fn authentication_goes_back_and_forth_in_5_0() {
    let properties = [Property::AuthenticationMethod("m"), Property::AuthenticationData(b"1")];
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: Properties::list(&properties),
    };
    let mut client = client(ProtocolVersion::V5);
    client.connect(0, &ConnectOptions::new("c")).unwrap();
    written(&mut client);
    assert_eq!(hand_in(&mut client, Packet::Auth(auth.clone())), Some(OwnedEvent::Auth));
    client.authenticate(auth.clone()).unwrap();
    let expected = encoded(ProtocolVersion::V5, &[Packet::Auth(auth.clone())]);
    assert_eq!(written(&mut client), expected);

    let mut old = connected(ProtocolVersion::V311);
    assert_eq!(old.authenticate(auth), Err(RequestError::NotConnected));
}
