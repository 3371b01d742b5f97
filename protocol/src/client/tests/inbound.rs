//! Messages that come in, byte by byte as they must be answered.

use super::*;
use crate::{IncomingTopicAliases, PacketId, Property, PubComp, PubRec, PubRel, Publish};

fn incoming(qos: QoS, id: u16, dup: bool) -> Packet<'static> {
    Packet::Publish(Publish {
        dup,
        qos,
        retain: false,
        topic: "in",
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload: b"p",
    })
}

fn release(id: u16) -> Packet<'static> {
    Packet::PubRel(PubRel::success(PacketId::new(id).unwrap()))
}

fn a_message(qos: QoS) -> Option<OwnedEvent> {
    Some(OwnedEvent::Message(qos, b"p".to_vec()))
}

#[test]
fn qos_0_is_not_answered() {
    for version in VERSIONS {
        let mut client = connected(version);
        let publish = incoming(QoS::AtMostOnce, 0, false);
        assert_eq!(hand_in(&mut client, publish), a_message(QoS::AtMostOnce));
        assert_eq!(client.handle_input(&[]), Ok(Handled::Incomplete));
        assert!(client.poll_output().is_empty());
    }
}

#[test]
fn qos_1_is_acknowledged_when_the_caller_comes_back() {
    for version in VERSIONS {
        let mut client = connected(version);
        let publish = incoming(QoS::AtLeastOnce, 7, false);
        assert_eq!(hand_in(&mut client, publish), a_message(QoS::AtLeastOnce));
        assert!(client.poll_output().is_empty(), "acknowledged before the caller was done with it");
        assert_eq!(client.handle_input(&[]), Ok(Handled::Incomplete));
        assert_eq!(written(&mut client), [0x40, 2, 0, 7]);
    }
}

#[test]
fn qos_2_is_handed_out_once() {
    for version in VERSIONS {
        let mut client = connected(version);
        let publish = incoming(QoS::ExactlyOnce, 7, false);
        assert_eq!(hand_in(&mut client, publish), a_message(QoS::ExactlyOnce));
        assert_eq!(hand_in(&mut client, incoming(QoS::ExactlyOnce, 7, true)), None);
        // One PUBREC for each PUBLISH [MQTT-4.3.3-10].
        assert_eq!(written(&mut client), [0x50, 2, 0, 7, 0x50, 2, 0, 7]);
        assert_eq!(hand_in(&mut client, release(7)), None);
        assert_eq!(written(&mut client), [0x70, 2, 0, 7]);
        // Now the id may stand for a new message [MQTT-4.3.3-12].
        let publish = incoming(QoS::ExactlyOnce, 7, false);
        assert_eq!(hand_in(&mut client, publish), a_message(QoS::ExactlyOnce));
    }
}

#[test]
fn a_pubrel_for_nothing_is_answered() {
    for version in VERSIONS {
        let mut client = connected(version);
        assert_eq!(hand_in(&mut client, release(9)), None);
        let expected: &[u8] =
            if version.is_v5() { &[0x70, 4, 0, 9, 0x92, 0] } else { &[0x70, 2, 0, 9] };
        assert_eq!(written(&mut client), expected);
    }
}

#[test]
fn a_message_in_the_callers_hands_at_the_cut_is_not_handed_out_again() {
    let mut client = connected(ProtocolVersion::V5);
    hand_in(&mut client, incoming(QoS::ExactlyOnce, 7, false));
    client.handle_closed();
    connect(&mut client, true, &[]);
    assert_eq!(hand_in(&mut client, incoming(QoS::ExactlyOnce, 7, true)), None);
    assert_eq!(written(&mut client), [0x50, 2, 0, 7]);
}

#[test]
fn a_lost_session_forgets_the_packet_ids_that_came() {
    let mut client = connected(ProtocolVersion::V5);
    hand_in(&mut client, incoming(QoS::ExactlyOnce, 7, false));
    client.handle_closed();
    connect(&mut client, false, &[]);
    let publish = incoming(QoS::ExactlyOnce, 7, false);
    assert_eq!(hand_in(&mut client, publish), a_message(QoS::ExactlyOnce));
}

#[test]
fn more_qos_2_messages_than_announced_are_refused() {
    let mut client = connected(ProtocolVersion::V5);
    for id in 1..=4 {
        hand_in(&mut client, incoming(QoS::ExactlyOnce, id, false));
    }
    let fifth = incoming(QoS::ExactlyOnce, 5, false);
    assert_eq!(refuse(&mut client, fifth), ReasonCode::ReceiveMaximumExceeded);
}

fn with_alias<'a>(topic: &'a str, alias: &'a [Property<'a>]) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::list(alias),
        payload: b"",
    })
}

#[test]
fn topic_aliases_are_taken_as_far_as_they_are_allowed() {
    let mut client = client(ProtocolVersion::V5);
    let mut aliases = IncomingTopicAliases::<2, 16>::new();
    let properties = &[Property::TopicAliasMaximum(aliases.maximum())];
    client.connect(0, &ConnectOptions { properties, ..ConnectOptions::new("c") }).unwrap();
    written(&mut client);
    let conn_ack = ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    hand_in(&mut client, Packet::ConnAck(conn_ack));
    for (topic, alias) in [("in", 2), ("", 2)] {
        let properties = [Property::TopicAlias(alias)];
        let input = encoded(ProtocolVersion::V5, &[with_alias(topic, &properties)]);
        let (_, event) = taken(client.handle_input(&input));
        let Some(Event::Message(publish)) = event else { panic!("{event:?}") };
        assert_eq!((publish.topic, publish.properties.topic_alias()), (topic, Some(alias)));
        assert_eq!(aliases.resolve(publish.topic, Some(alias)), Ok("in"));
    }
    let properties = [Property::TopicAlias(3)];
    let reason = refuse(&mut client, with_alias("in", &properties));
    assert_eq!(reason, ReasonCode::TopicAliasInvalid);
}

#[test]
fn a_topic_alias_is_refused_as_none_was_allowed() {
    let mut client = connected(ProtocolVersion::V5);
    let properties = [Property::TopicAlias(1)];
    let publish = with_alias("in", &properties);
    assert_eq!(refuse(&mut client, publish), ReasonCode::TopicAliasInvalid);
}

#[test]
fn without_room_for_the_answer_the_input_waits() {
    let mut client = client_with(ProtocolVersion::V311, 24, 64);
    connect(&mut client, false, &[]);
    // 24 bytes: five acknowledgements, and no room that is sure to hold one more.
    for id in 1..=5 {
        let publish = incoming(QoS::AtLeastOnce, id, false);
        assert_eq!(hand_in(&mut client, publish), a_message(QoS::AtLeastOnce));
    }
    let sixth = encoded(ProtocolVersion::V311, &[incoming(QoS::AtLeastOnce, 6, false)]);
    assert_eq!(client.handle_input(&sixth), Ok(Handled::OutputFull));
    assert_eq!(written(&mut client).len(), 20);
    assert_eq!(taken(client.handle_input(&sixth)).0, sixth.len());
    client.handle_input(&[]).unwrap();
    assert_eq!(written(&mut client), [0x40, 2, 0, 6]);
}

#[test]
fn input_may_come_in_any_pieces() {
    for version in VERSIONS {
        let mut client = connected(version);
        let input = encoded(
            version,
            &[
                incoming(QoS::AtLeastOnce, 1, false),
                Packet::PingResp,
                incoming(QoS::AtMostOnce, 0, false),
            ],
        );
        let (mut start, mut messages) = (0, 0);
        for end in 0..=input.len() {
            while let Ok(Handled::Taken { used, event }) = client.handle_input(&input[start..end]) {
                start += used;
                messages += usize::from(event.is_some());
            }
        }
        assert_eq!((start, messages), (input.len(), 2));
    }
}

#[test]
fn an_acknowledgement_for_nothing_is_let_pass() {
    for version in VERSIONS {
        let mut client = connected(version);
        let id = PacketId::new(3).unwrap();
        assert_eq!(hand_in(&mut client, Packet::PubComp(PubComp::success(id))), None);
        assert!(client.poll_output().is_empty());
        assert_eq!(hand_in(&mut client, Packet::PubRec(PubRec::success(id))), None);
        let expected: &[u8] =
            if version.is_v5() { &[0x62, 4, 0, 3, 0x92, 0] } else { &[0x62, 2, 0, 3] };
        assert_eq!(written(&mut client), expected);
    }
}
