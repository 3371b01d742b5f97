//! CONNECT, CONNACK, keep-alive, time-outs, DISCONNECT.

use std::string::ToString;

use super::super::{ConnectOptions, ConnectionError, Handled, RequestError};
use super::*;
use crate::{Disconnect, Property, QoS, Will, decode};

#[test]
fn connect_says_what_the_options_say() {
    for version in VERSIONS {
        let mut client = client(version);
        let user = Property::UserProperty("k", "v");
        let options = ConnectOptions {
            clean_start: true,
            keep_alive_s: 7,
            session_expiry_interval_s: 9,
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                retain: true,
                properties: Properties::EMPTY,
                topic: "w",
                payload: b"gone",
            }),
            user_name: Some("u"),
            password: Some(b"p"),
            properties: &[user],
            ..ConnectOptions::new("c")
        };
        client.connect(0, &options).unwrap();
        let output = written(&mut client);
        let Ok(Some((Packet::Connect(connect), used))) = decode(&output, version, 1000) else {
            panic!("{output:x?}");
        };
        assert_eq!(used, output.len());
        assert_eq!(connect.version, version);
        assert!(connect.clean_start);
        assert_eq!((connect.client_id, connect.keep_alive_s), ("c", 7));
        assert_eq!(connect.will, options.will);
        assert_eq!((connect.user_name, connect.password), (Some("u"), Some(&b"p"[..])));
        if version.is_v5() {
            let properties = connect.properties;
            assert_eq!(properties.session_expiry_interval_s(), Some(9));
            assert_eq!(properties.receive_maximum(), Some(4));
            assert_eq!(properties.maximum_packet_size(), Some(256));
            assert_eq!(properties.topic_alias_maximum(), None);
            assert_eq!(properties.iter().last(), Some(user));
        }
    }
}

#[test]
fn properties_that_the_client_sets_itself_are_refused() {
    let mut client = client(ProtocolVersion::V5);
    for property in [Property::ReceiveMaximum(5), Property::MaximumPacketSize(1)] {
        let options = ConnectOptions { properties: &[property], ..ConnectOptions::new("c") };
        assert_eq!(client.connect(0, &options), Err(RequestError::Property));
    }
    assert!(client.poll_output().is_empty());
}

#[test]
fn a_lower_receive_maximum_is_announced_instead_of_the_capacity() {
    let mut client = client(ProtocolVersion::V5);
    let properties = &[Property::ReceiveMaximum(2)];
    client.connect(0, &ConnectOptions { properties, ..ConnectOptions::new("c") }).unwrap();
    let (packet, _) =
        crate::decode(client.poll_output(), ProtocolVersion::V5, 1_000).unwrap().unwrap();
    let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
    let announced: Vec<_> =
        connect.properties.iter().filter(|p| matches!(p, Property::ReceiveMaximum(_))).collect();
    assert_eq!(announced, properties);
}

#[test]
fn a_connect_that_does_not_fit_is_refused() {
    let mut client = client_with(ProtocolVersion::V5, 20, 20);
    let options = ConnectOptions::new("a rather long client id");
    assert_eq!(client.connect(0, &options), Err(RequestError::TooLarge));
}

#[test]
fn the_terms_of_the_server_are_kept() {
    let mut client = client(ProtocolVersion::V5);
    assert_eq!(client.terms(), None);
    connect(
        &mut client,
        true,
        &[
            Property::ReceiveMaximum(3),
            Property::MaximumPacketSize(100),
            Property::MaximumQoS(1),
            Property::RetainAvailable(0),
            Property::TopicAliasMaximum(5),
            Property::ServerKeepAlive(33),
            Property::SessionExpiryInterval(44),
            Property::AssignedClientIdentifier("assigned"),
            Property::SharedSubscriptionAvailable(0),
        ],
    );
    let terms = *client.terms().unwrap();
    assert!(terms.session_present);
    assert_eq!((terms.receive_maximum, terms.maximum_packet_size), (3, 100));
    assert_eq!((terms.maximum_qos, terms.retain_available), (QoS::AtLeastOnce, false));
    assert_eq!((terms.topic_alias_maximum, terms.keep_alive_s), (5, 33));
    assert_eq!(terms.session_expiry_interval_s, Some(44));
    assert!(terms.wildcard_subscription_available && !terms.shared_subscription_available);
    assert_eq!(client.assigned_client_id(), Some("assigned"));
    assert_eq!(client.poll_timeout(), Some(33_000));
}

#[test]
fn an_assigned_client_id_is_used_for_the_next_connection() {
    let mut client = client(ProtocolVersion::V5);
    connect(&mut client, false, &[Property::AssignedClientIdentifier("given")]);
    client.handle_closed();
    client.connect(0, &ConnectOptions::new("")).unwrap();
    let output = written(&mut client);
    let Ok(Some((Packet::Connect(connect), _))) = decode(&output, client.version(), 1000) else {
        panic!("{output:x?}");
    };
    assert_eq!(connect.client_id, "given");
}

#[test]
fn an_assigned_client_id_that_is_too_long_is_not_kept_in_part() {
    let mut client = client(ProtocolVersion::V5);
    let long = "i".repeat(65);
    connect(&mut client, false, &[Property::AssignedClientIdentifier(&long)]);
    assert_eq!(client.assigned_client_id(), None);
}

#[test]
fn a_refusal_is_told_and_ends_the_connection() {
    for version in VERSIONS {
        let mut client = client(version);
        client.connect(0, &ConnectOptions::new("c")).unwrap();
        let refusal = ConnAck {
            session_present: false,
            reason: ReasonCode::NotAuthorized,
            properties: Properties::EMPTY,
        };
        written(&mut client);
        let event = hand_in(&mut client, Packet::ConnAck(refusal));
        assert_eq!(event, Some(OwnedEvent::Refused(ReasonCode::NotAuthorized)));
        assert!(!client.is_connected());
        assert!(written(&mut client).is_empty());
    }
}

#[test]
fn session_present_after_a_clean_start_is_a_protocol_error() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut client = client(version);
        let options = ConnectOptions { clean_start: true, ..ConnectOptions::new("c") };
        client.connect(0, &options).unwrap();
        let conn_ack = ConnAck {
            session_present: true,
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        assert_eq!(refuse(&mut client, Packet::ConnAck(conn_ack)), ReasonCode::ProtocolError);
    }
}

#[test]
fn nothing_but_connack_may_come_first_and_none_may_come_twice() {
    let conn_ack = Packet::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    });
    for version in VERSIONS {
        let mut new = client(version);
        new.connect(0, &ConnectOptions::new("c")).unwrap();
        assert_eq!(refuse(&mut new, Packet::PingResp), ReasonCode::ProtocolError);
        let mut client = connected(version);
        assert_eq!(refuse(&mut client, conn_ack.clone()), ReasonCode::ProtocolError);
    }
}

#[test]
fn a_5_0_server_is_told_what_it_did_wrong() {
    for version in VERSIONS {
        let mut client = connected(version);
        assert_eq!(refuse(&mut client, Packet::PingReq), ReasonCode::ProtocolError);
        assert!(!client.is_connected());
        let expected: &[u8] = if version.is_v5() { &[0xE0, 2, 0x82, 0] } else { &[] };
        assert_eq!(written(&mut client), expected);
        // What comes after is thrown away.
        let (used, event) = taken(client.handle_input(&[1, 2, 3]));
        assert_eq!((used, event), (3, None));
        assert_eq!(client.handle_input(&[]), Ok(Handled::Incomplete));
    }
}

#[test]
fn a_packet_beyond_the_input_buffer_is_refused_by_its_header() {
    let mut client = connected(ProtocolVersion::V5);
    // Remaining length 254: 257 bytes, one more than allowed.
    let error = client.handle_input(&[0x30, 0xFE, 0x01]).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(written(&mut client), [0xE0, 2, 0x95, 0]);
}

#[test]
fn malformed_bytes_end_the_connection() {
    let mut client = connected(ProtocolVersion::V5);
    let error = client.handle_input(&[0xF0, 0x80, 0x80, 0x80, 0x80]).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::MalformedPacket);
    assert!(!error.to_string().is_empty());
}

#[test]
fn keep_alive_pings_and_gives_up() {
    for version in VERSIONS {
        let mut client = connected(version);
        assert_eq!(client.poll_timeout(), Some(60_000));
        client.handle_timeout(59_999).unwrap();
        assert!(client.poll_output().is_empty());

        client.handle_timeout(60_000).unwrap();
        assert_eq!(client.poll_output(), [0xC0, 0]);
        client.handle_written(60_000, 2);
        assert_eq!(client.poll_timeout(), Some(70_000));
        assert_eq!(hand_in(&mut client, Packet::PingResp), None);
        assert_eq!(client.poll_timeout(), Some(120_000));

        client.handle_timeout(120_000).unwrap();
        assert_eq!(client.handle_timeout(130_000), Err(ConnectionError::KeepAliveTimeout));
        assert!(!client.is_connected());
        assert_eq!(client.poll_timeout(), None);
    }
}

#[test]
fn what_is_sent_puts_the_ping_off() {
    let mut client = connected(ProtocolVersion::V311);
    client.publish(&message(0, b"x", QoS::AtMostOnce)).unwrap();
    let len = client.poll_output().len();
    client.handle_written(50_000, len);
    assert_eq!(client.poll_timeout(), Some(110_000));
}

#[test]
fn without_keep_alive_there_is_no_ping() {
    let mut client = client(ProtocolVersion::V5);
    connect(&mut client, false, &[Property::ServerKeepAlive(0)]);
    assert_eq!(client.poll_timeout(), None);
    client.handle_timeout(u64::MAX).unwrap();
    assert!(client.poll_output().is_empty());
}

#[test]
fn the_connack_has_its_time() {
    let mut client = client(ProtocolVersion::V5);
    client.connect(5, &ConnectOptions::new("c")).unwrap();
    assert_eq!(client.poll_timeout(), Some(10_005));
    client.handle_timeout(10_004).unwrap();
    assert_eq!(client.handle_timeout(10_005), Err(ConnectionError::ConnAckTimeout));
}

#[test]
fn disconnect_is_the_last_that_is_said() {
    for version in VERSIONS {
        let mut client = connected(version);
        client.publish(&message(0, b"x", QoS::AtLeastOnce)).unwrap();
        client.disconnect(ReasonCode::Success, Properties::EMPTY).unwrap();
        assert_eq!(written(&mut client), [0xE0, 0]);
        assert_eq!(client.in_flight(), 1);
        let again = client.disconnect(ReasonCode::Success, Properties::EMPTY);
        assert_eq!(again, Err(RequestError::NotConnected));
    }
}

#[test]
fn disconnect_waits_for_the_end_of_a_packet() {
    let mut client = connected(ProtocolVersion::V5);
    client.publish(&message(0, b"long payload", QoS::AtLeastOnce)).unwrap();
    let publish = client.poll_output().to_vec();
    client.handle_written(0, 5);
    client.disconnect(ReasonCode::Success, Properties::EMPTY).unwrap();
    assert_eq!(written(&mut client), [&publish[5..], &[0xE0, 0]].concat());
}

#[test]
fn a_disconnect_of_the_server_is_told_in_5_0_and_an_error_before() {
    let disconnect = Packet::Disconnect(Disconnect {
        reason: ReasonCode::ServerShuttingDown,
        properties: Properties::EMPTY,
    });
    let mut new = connected(ProtocolVersion::V5);
    let event = hand_in(&mut new, disconnect.clone());
    assert_eq!(event, Some(OwnedEvent::Disconnected(ReasonCode::ServerShuttingDown)));
    assert!(!new.is_connected());
    let mut old = connected(ProtocolVersion::V311);
    assert_eq!(refuse(&mut old, disconnect), ReasonCode::ProtocolError);
}
