//! Messages that go out, byte by byte.

use super::super::{Outcome, RequestError};
use super::*;
use crate::{
    OutgoingAlias, OutgoingTopicAliases, PacketId, Property, PubAck, PubComp, PubRec, TopicError,
    decode,
};

fn pub_ack(id: u16) -> Packet<'static> {
    Packet::PubAck(PubAck::success(PacketId::new(id).unwrap()))
}

fn pub_rec(id: u16) -> Packet<'static> {
    Packet::PubRec(PubRec::success(PacketId::new(id).unwrap()))
}

fn pub_comp(id: u16) -> Packet<'static> {
    Packet::PubComp(PubComp::success(PacketId::new(id).unwrap()))
}

fn published(id: u16, token: u32, outcome: Outcome) -> Option<OwnedEvent> {
    let packet_id = PacketId::new(id).unwrap();
    Some(OwnedEvent::Published(Published { packet_id, token, outcome }))
}

const SUCCESS: Outcome = Outcome::Acknowledged(ReasonCode::Success);

/// The PUBLISH of `message(_, payload, qos)`.
fn publish(
    version: ProtocolVersion,
    payload: &[u8],
    qos: QoS,
    id: Option<u16>,
    dup: bool,
) -> Vec<u8> {
    encoded(
        version,
        &[Packet::Publish(crate::Publish {
            dup,
            qos,
            retain: false,
            topic: "t",
            packet_id: id.and_then(PacketId::new),
            properties: Properties::EMPTY,
            payload,
        })],
    )
}

#[test]
fn qos_0_is_written_and_forgotten() {
    for version in VERSIONS {
        let mut client = connected(version);
        assert_eq!(client.publish(&message(1, b"x", QoS::AtMostOnce)), Ok(None));
        let expected = publish(version, b"x", QoS::AtMostOnce, None, false);
        assert_eq!(written(&mut client), expected);
        assert!(client.is_idle());
    }
}

#[test]
fn qos_0_needs_a_connection() {
    let mut client = client(ProtocolVersion::V5);
    let refused = client.publish(&message(1, b"x", QoS::AtMostOnce));
    assert_eq!(refused, Err(RequestError::NotConnected));
}

#[test]
fn qos_1_is_kept_until_puback() {
    for version in VERSIONS {
        let mut client = connected(version);
        let id = client.publish(&message(5, b"x", QoS::AtLeastOnce)).unwrap().unwrap();
        let expected = publish(version, b"x", QoS::AtLeastOnce, Some(id.value()), false);
        assert_eq!(written(&mut client), expected);
        assert_eq!(client.in_flight(), 1);
        assert_eq!(hand_in(&mut client, pub_ack(id.value())), published(id.value(), 5, SUCCESS));
        assert!(client.is_idle());
    }
}

#[test]
fn qos_2_goes_through_its_four_packets() {
    for version in VERSIONS {
        let mut client = connected(version);
        client.publish(&message(5, b"x", QoS::ExactlyOnce)).unwrap();
        let expected = publish(version, b"x", QoS::ExactlyOnce, Some(1), false);
        assert_eq!(written(&mut client), expected);
        assert_eq!(hand_in(&mut client, pub_rec(1)), None);
        assert_eq!(written(&mut client), [0x62, 2, 0, 1]);
        // A repeated PUBREC is answered again [MQTT-4.3.3-4].
        assert_eq!(hand_in(&mut client, pub_rec(1)), None);
        assert_eq!(written(&mut client), [0x62, 2, 0, 1]);
        assert_eq!(hand_in(&mut client, pub_comp(1)), published(1, 5, SUCCESS));
        assert!(client.is_idle());
    }
}

#[test]
fn an_error_in_pubrec_ends_the_message() {
    let mut client = connected(ProtocolVersion::V5);
    client.publish(&message(5, b"x", QoS::ExactlyOnce)).unwrap();
    written(&mut client);
    let refusal = PubRec {
        packet_id: PacketId::MIN,
        reason: ReasonCode::QuotaExceeded,
        properties: Properties::EMPTY,
    };
    let outcome = Outcome::Acknowledged(ReasonCode::QuotaExceeded);
    assert!(!outcome.is_success());
    assert_eq!(hand_in(&mut client, Packet::PubRec(refusal)), published(1, 5, outcome));
    assert!(client.is_idle());
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    for (qos, ack) in [
        (QoS::AtLeastOnce, pub_rec(1)),
        (QoS::AtLeastOnce, pub_comp(1)),
        (QoS::ExactlyOnce, pub_ack(1)),
        (QoS::ExactlyOnce, pub_comp(1)),
    ] {
        let mut client = connected(ProtocolVersion::V311);
        client.publish(&message(5, b"x", qos)).unwrap();
        written(&mut client);
        assert_eq!(refuse(&mut client, ack), ReasonCode::ProtocolError);
        assert_eq!(client.in_flight(), 1);
    }
}

#[test]
fn a_message_that_was_not_sent_cannot_be_acknowledged() {
    let mut client = connected(ProtocolVersion::V5);
    client.publish(&message(5, b"xyz", QoS::AtLeastOnce)).unwrap();
    let packet = client.poll_output().to_vec();
    client.handle_written(0, 3);
    assert_eq!(hand_in(&mut client, pub_ack(1)), None);
    // The packet goes on as it began.
    assert_eq!(written(&mut client), packet[3..]);
    assert_eq!(hand_in(&mut client, pub_ack(1)), published(1, 5, SUCCESS));
}

#[test]
fn a_resumed_session_sends_again_in_order_with_dup() {
    for version in VERSIONS {
        let mut client = connected(version);
        for (token, qos) in [(0, QoS::ExactlyOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
            client.publish(&message(token, &[token as u8], qos)).unwrap();
        }
        written(&mut client);
        hand_in(&mut client, pub_rec(1));
        client.handle_closed();
        // One more, taken while there is no connection.
        client.publish(&message(3, &[3], QoS::AtLeastOnce)).unwrap();
        connect(&mut client, true, &[]);
        let expected = [
            std::vec![0x62, 2, 0, 1],
            publish(version, &[1], QoS::AtLeastOnce, Some(2), true),
            publish(version, &[2], QoS::ExactlyOnce, Some(3), true),
            publish(version, &[3], QoS::AtLeastOnce, Some(4), false),
        ];
        assert_eq!(written(&mut client), expected.concat());
        assert_eq!(hand_in(&mut client, pub_comp(1)), published(1, 0, SUCCESS));
    }
}

#[test]
fn a_lost_session_starts_over_as_new() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut client = connected(version);
        for token in 0..3 {
            client.publish(&message(token, &[token as u8], QoS::ExactlyOnce)).unwrap();
        }
        written(&mut client);
        hand_in(&mut client, pub_rec(2));
        client.handle_closed();
        connect(&mut client, false, &[]);
        let expected = [
            publish(version, &[0], QoS::ExactlyOnce, Some(1), false),
            publish(version, &[2], QoS::ExactlyOnce, Some(3), false),
        ];
        assert_eq!(written(&mut client), expected.concat());
        // The one that the server had taken over is told of, before any input.
        let (used, event) = taken(client.handle_input(&[]));
        assert_eq!(used, 0);
        assert_eq!(event.map(OwnedEvent::from), published(2, 1, Outcome::SessionLost));
        assert_eq!(client.handle_input(&[]), Ok(Handled::Incomplete));
        assert_eq!(client.in_flight(), 2);
    }
}

#[test]
fn an_acknowledgement_before_the_message_was_sent_again_is_let_pass() {
    let mut client = connected(ProtocolVersion::V311);
    client.publish(&message(5, b"x", QoS::ExactlyOnce)).unwrap();
    written(&mut client);
    client.handle_closed();
    connect(&mut client, true, &[]);
    // Mosquitto repeats its PUBRECs on a new connection.
    assert_eq!(hand_in(&mut client, pub_rec(1)), None);
    let again = publish(ProtocolVersion::V311, b"x", QoS::ExactlyOnce, Some(1), true);
    assert_eq!(written(&mut client), again);
    assert_eq!(hand_in(&mut client, pub_rec(1)), None);
    assert_eq!(written(&mut client), [0x62, 2, 0, 1]);
}

#[test]
fn the_receive_maximum_of_the_server_is_kept() {
    let mut client = client(ProtocolVersion::V5);
    connect(&mut client, false, &[Property::ReceiveMaximum(2)]);
    for token in 0..4 {
        client.publish(&message(token, &[token as u8], QoS::ExactlyOnce)).unwrap();
    }
    assert_eq!(packets(&written(&mut client)), 2);
    hand_in(&mut client, pub_rec(1));
    assert_eq!(written(&mut client), [0x62, 2, 0, 1]);
    hand_in(&mut client, pub_comp(1));
    assert_eq!(packets(&written(&mut client)), 1);
    hand_in(&mut client, pub_rec(2));
    hand_in(&mut client, pub_comp(2));
    assert_eq!(packets(&written(&mut client)), 2, "PUBREL and the last PUBLISH");
}

#[test]
fn before_5_0_the_client_keeps_a_limit_of_its_own() {
    let config = Config { version: ProtocolVersion::V311, send_quota_3x: 2, ..Config::new(256) };
    let buffers = Buffers { output: std::vec![0; 64], retained: std::vec![0; 256] };
    let mut client = TestClient::new(config, buffers);
    connect(&mut client, false, &[]);
    for token in 0..4 {
        client.publish(&message(token, &[token as u8], QoS::AtLeastOnce)).unwrap();
    }
    assert_eq!(packets_v311(&written(&mut client)), 2);
    hand_in(&mut client, pub_ack(1));
    assert_eq!(packets_v311(&written(&mut client)), 1);
}

#[test]
fn the_end_of_an_older_exchange_does_not_widen_the_window() {
    let mut client = connected(ProtocolVersion::V5);
    client.publish(&message(0, b"0", QoS::ExactlyOnce)).unwrap();
    written(&mut client);
    hand_in(&mut client, pub_rec(1));
    client.handle_closed();
    connect(&mut client, true, &[Property::ReceiveMaximum(1)]);
    for token in 1..3 {
        client.publish(&message(token, &[token as u8], QoS::AtLeastOnce)).unwrap();
    }
    assert_eq!(packets(&written(&mut client)), 2, "PUBREL and one PUBLISH");
    hand_in(&mut client, pub_comp(1));
    assert!(client.poll_output().is_empty());
}

fn packets(mut bytes: &[u8]) -> usize {
    let mut packets = 0;
    while let Some((_, used)) = decode(bytes, ProtocolVersion::V5, 1000).unwrap() {
        bytes = &bytes[used..];
        packets += 1;
    }
    packets
}

#[test]
fn a_full_table_or_buffer_refuses_and_takes_again_later() {
    let mut client = connected(ProtocolVersion::V5);
    for token in 0..8 {
        client.publish(&message(token, b"x", QoS::AtLeastOnce)).unwrap();
    }
    let ninth = message(8, b"x", QoS::AtLeastOnce);
    assert_eq!(client.publish(&ninth), Err(RequestError::Full));
    written(&mut client);
    hand_in(&mut client, pub_ack(4));
    assert_eq!(client.publish(&ninth).unwrap().unwrap().value(), 9);

    let mut client = client_with(ProtocolVersion::V311, 64, 40);
    let long = [b'x'; 20];
    client.publish(&message(0, &long, QoS::AtLeastOnce)).unwrap();
    let second = message(1, &long, QoS::AtLeastOnce);
    assert_eq!(client.publish(&second), Err(RequestError::Full));
    let too_long = [b'x'; 50];
    let never = message(1, &too_long, QoS::AtLeastOnce);
    assert_eq!(client.publish(&never), Err(RequestError::TooLarge));
}

#[test]
fn the_ring_is_used_round_and_round() {
    let mut client = client_with(ProtocolVersion::V311, 64, 64);
    connect(&mut client, false, &[]);
    for token in 0..500 {
        let payload: Vec<u8> = (0..token % 23).map(|byte| byte as u8).collect();
        let id = client.publish(&message(token, &payload, QoS::AtLeastOnce)).unwrap().unwrap();
        let id = Some(id.value());
        let expected = publish(client.version(), &payload, QoS::AtLeastOnce, id, false);
        assert_eq!(written(&mut client), expected);
        // Always one behind, so that the ring is never empty.
        if let Some(before) = id.filter(|id| *id > 1) {
            assert!(hand_in(&mut client, pub_ack(before - 1)).is_some());
        }
    }
}

#[test]
fn packet_ids_in_use_are_passed_over() {
    let mut client = connected(ProtocolVersion::V5);
    client.publish(&message(0, b"x", QoS::AtLeastOnce)).unwrap();
    written(&mut client);
    for _ in 0..65_535 {
        let id = client.publish(&message(1, b"y", QoS::AtLeastOnce)).unwrap().unwrap();
        assert_ne!(id.value(), 1);
        written(&mut client);
        hand_in(&mut client, pub_ack(id.value())).unwrap();
    }
}

#[test]
fn what_the_server_does_not_take_is_refused_at_once() {
    let mut client = client(ProtocolVersion::V5);
    connect(
        &mut client,
        false,
        &[Property::MaximumQoS(1), Property::RetainAvailable(0), Property::MaximumPacketSize(30)],
    );
    let exactly_once = message(0, b"x", QoS::ExactlyOnce);
    assert_eq!(client.publish(&exactly_once), Err(RequestError::QoSNotSupported));
    let retained = Message { retain: true, ..message(0, b"x", QoS::AtMostOnce) };
    assert_eq!(client.publish(&retained), Err(RequestError::RetainNotSupported));
    let long = message(0, &[0; 40], QoS::AtLeastOnce);
    assert_eq!(client.publish(&long), Err(RequestError::TooLarge));
    assert_eq!(client.in_flight(), 0);
}

#[test]
fn what_the_next_server_does_not_take_is_given_up() {
    let mut client = client(ProtocolVersion::V5);
    let kept = [
        (message(0, b"fine", QoS::AtLeastOnce), None),
        (message(1, &[0; 40], QoS::AtLeastOnce), Some(ReasonCode::PacketTooLarge)),
        (message(2, b"x", QoS::ExactlyOnce), Some(ReasonCode::QoSNotSupported)),
        (
            Message { retain: true, ..message(3, b"x", QoS::AtLeastOnce) },
            Some(ReasonCode::RetainNotSupported),
        ),
    ];
    for (message, _) in &kept {
        client.publish(message).unwrap();
    }
    connect(
        &mut client,
        true,
        &[Property::MaximumQoS(1), Property::RetainAvailable(0), Property::MaximumPacketSize(30)],
    );
    assert_eq!(packets(&written(&mut client)), 1);
    for (id, (message, reason)) in (1..).zip(kept) {
        if let Some(reason) = reason {
            let (used, event) = taken(client.handle_input(&[]));
            let outcome = Outcome::NotSupported(reason);
            assert_eq!(used, 0);
            assert_eq!(event.map(OwnedEvent::from), published(id, message.token, outcome));
        }
    }
    assert_eq!(hand_in(&mut client, pub_ack(1)), published(1, 0, SUCCESS));
    assert!(client.is_idle());
}

#[test]
fn topics_and_aliases_are_checked() {
    let mut client = client(ProtocolVersion::V5);
    connect(&mut client, false, &[Property::TopicAliasMaximum(2)]);
    let wildcard = Message::new("a/#", b"", QoS::AtMostOnce);
    let error = RequestError::Topic(TopicError::WildcardInName);
    assert_eq!(client.publish(&wildcard), Err(error));
    let aliased = |alias: &'static [Property<'static>], qos| Message {
        properties: Properties::list(alias),
        ..Message::new("", b"", qos)
    };
    assert_eq!(client.publish(&aliased(&[Property::TopicAlias(2)], QoS::AtMostOnce)), Ok(None));
    let too_high = aliased(&[Property::TopicAlias(3)], QoS::AtMostOnce);
    assert_eq!(client.publish(&too_high), Err(RequestError::TopicAlias));
    let kept = aliased(&[Property::TopicAlias(2)], QoS::AtLeastOnce);
    assert_eq!(client.publish(&kept), Err(RequestError::TopicAlias));
}

/// [MQTT-3.3.2-9]: the table chooses what the server takes.
#[test]
fn topics_are_published_by_the_aliases_of_the_table() {
    let mut client = client(ProtocolVersion::V5);
    connect(&mut client, false, &[Property::TopicAliasMaximum(1)]);
    let mut aliases = OutgoingTopicAliases::<8, 16>::new();
    aliases.start(client.terms().map(|terms| terms.topic_alias_maximum));
    for expected in [OutgoingAlias::New(1), OutgoingAlias::Known(1)] {
        let chosen = aliases.alias("plant/boiler");
        assert_eq!(chosen, expected);
        let (topic, alias) = match chosen {
            OutgoingAlias::New(alias) => ("plant/boiler", alias),
            OutgoingAlias::Known(alias) => ("", alias),
            OutgoingAlias::None => panic!("the server takes one"),
        };
        let properties = [Property::TopicAlias(alias)];
        let message = Message {
            properties: Properties::list(&properties),
            ..Message::new(topic, b"1", QoS::AtMostOnce)
        };
        assert_eq!(client.publish(&message), Ok(None));
    }
    let output = written(&mut client);
    let len = |topic: &str| 2 + 2 + topic.len() + 1 + 3 + 1;
    assert_eq!(output.len(), len("plant/boiler") + len(""));
}

#[test]
fn acknowledgements_go_between_the_packets_of_a_batch() {
    let mut client = connected(ProtocolVersion::V311);
    client.publish(&message(0, b"first", QoS::AtLeastOnce)).unwrap();
    client.publish(&message(1, b"second", QoS::AtLeastOnce)).unwrap();
    let batch = client.poll_output().to_vec();
    assert_eq!(packets_v311(&batch), 2);
    client.handle_written(0, 4);
    client.publish(&message(2, b"third", QoS::AtMostOnce)).unwrap();
    let first = publish(ProtocolVersion::V311, b"first", QoS::AtLeastOnce, Some(1), false);
    let rest = first.len() - 4;
    client.poll_output();
    client.handle_written(0, rest);
    let third = publish(ProtocolVersion::V311, b"third", QoS::AtMostOnce, None, false);
    assert_eq!(client.poll_output(), third);
    assert_eq!(written(&mut client), [&third, &batch[first.len()..]].concat());
}

fn packets_v311(mut bytes: &[u8]) -> usize {
    let mut packets = 0;
    while let Some((_, used)) = decode(bytes, ProtocolVersion::V311, 1000).unwrap() {
        bytes = &bytes[used..];
        packets += 1;
    }
    packets
}

#[test]
fn buffers_are_replaced_between_messages() {
    let mut client = connected(ProtocolVersion::V311);
    let payload = [7; 1_000];
    let message = Message::new("a", &payload, QoS::AtLeastOnce);
    assert_eq!(client.publish(&message), Err(RequestError::TooLarge));
    let larger = || Buffers { output: std::vec![0; 2_000], retained: std::vec![0; 2_000] };
    client.publish(&Message { payload: b"small", ..message }).unwrap();
    assert!(client.replace_buffers(larger()).is_err(), "a message is in flight");
    written(&mut client);
    let packet_id = PacketId::MIN;
    hand_in(&mut client, Packet::PubAck(PubAck::success(packet_id)));
    let old = client.replace_buffers(larger()).expect("nothing is in flight");
    assert_eq!((old.output.len(), old.retained.len()), (128, 512));
    assert!(client.publish(&message).is_ok());
    assert!(written(&mut client).ends_with(&payload));
    assert!(client.publish(&Message { qos: QoS::AtMostOnce, ..message }).is_ok());
    assert!(client.replace_buffers(larger()).is_err(), "a message waits to be written");
}

#[test]
fn packet_ids_start_where_they_are_told_to() {
    let mut client = connected(ProtocolVersion::V311);
    client.set_next_packet_id(PacketId::new(65_535).unwrap());
    let message = Message::new("a", b"", QoS::ExactlyOnce);
    assert_eq!(client.publish(&message), Ok(PacketId::new(65_535)));
    assert_eq!(client.publish(&message), Ok(PacketId::new(1)));
}
