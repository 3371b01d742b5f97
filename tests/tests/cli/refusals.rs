//! Servers that say no, and servers that are not there: one clear line, and the exit code.

use std::net::TcpListener;

use outpost_protocol::{
    Disconnect, Packet, Properties, Property, ProtocolVersion, ReasonCodes, SubAck,
};

use crate::prelude::*;
use crate::server::Server;

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (command, line) in [("pub", "-t a -m x"), ("pub", "-t a -l"), ("sub", "-t a")] {
        let ended = start(command, address, line, &[]).end();
        let expected =
            format!("outpost {command}: cannot connect to {address}: connection refused\n");
        assert_eq!((ended.code, ended.errors), (Some(1), expected), "{command} {line}");
        let ended = start(command, address, &format!("{line} --quiet"), &[]).end();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(1), ""), "{command} {line}");
    }
}

#[test]
fn refused_connections() {
    let reason_string = [Property::ReasonString("not today")];
    for (version, reason, properties, code, line) in [
        (
            "31",
            ReasonCode::ClientIdentifierNotValid,
            Properties::EMPTY,
            2,
            "Client Identifier not valid",
        ),
        ("311", ReasonCode::ServerUnavailable, Properties::EMPTY, 3, "Server unavailable"),
        ("311", ReasonCode::NotAuthorized, Properties::EMPTY, 5, "Not authorized"),
        ("5", ReasonCode::NotAuthorized, Properties::EMPTY, 0x87, "Not authorized"),
        ("5", ReasonCode::Banned, Properties::list(&reason_string), 0x8A, "Banned (not today)"),
    ] {
        let wire = match version {
            "31" => ProtocolVersion::V31,
            "311" => ProtocolVersion::V311,
            _ => ProtocolVersion::V5,
        };
        for (command, rest) in [("pub", "-t a -m x"), ("pub", "-t a -l"), ("sub", "-t a")] {
            let server = Server::start();
            let client = start(command, server.address(), &format!("-V {version} {rest}"), &[]);
            let mut connection = server.accept(wire);
            connection.expect(|packet| assert!(matches!(packet, Packet::Connect(_))));
            connection.send_conn_ack(reason, properties);
            let ended = client.end();
            let expected = format!("outpost {command}: connection refused: {line}\n");
            assert_eq!((ended.code, ended.errors), (Some(code), expected), "{version} {rest}");
        }
    }
}

/// A server of 3.1.1 cannot say so in 5.0.
#[test]
fn an_old_server() {
    let server = Server::start();
    let client = start("pub", server.address(), "-V 5 -t a -m x", &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.expect(|packet| assert!(matches!(packet, Packet::Connect(_))));
    connection.send_bytes(&[0x20, 2, 0, 1]);
    let ended = client.end();
    let expected = "outpost pub: connection refused: Unsupported Protocol Version (try -V 311)\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(1), expected));
}

#[test]
fn a_server_that_speaks_no_mqtt() {
    let server = Server::start();
    let client = start("sub", server.address(), "-t a", &[]);
    let mut connection = server.accept(ProtocolVersion::V311);
    connection.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let ended = client.end();
    assert!(ended.errors.starts_with("outpost sub: connection given up: "), "{ended:?}");
    assert_eq!((ended.errors.lines().count(), ended.code), (1, Some(7)));
}

/// What breaks the protocol is answered with the reason in 5.0.
#[test]
fn a_server_that_breaks_the_protocol_is_told() {
    for (command, line) in [("sub", "-V 5 -t a"), ("pub", "-V 5 -t a -q 1 -m x")] {
        let server = Server::start();
        let client = start(command, server.address(), line, &[]);
        let mut connection = server.accept(ProtocolVersion::V5);
        connection.accept_client();
        connection.next().expect("SUBSCRIBE or PUBLISH");
        connection.send_conn_ack(ReasonCode::Success, Properties::EMPTY);
        connection.expect(|packet| {
            let Packet::Disconnect(packet) = packet else { panic!("{packet:?}") };
            assert_eq!(packet.reason, ReasonCode::ProtocolError);
        });
        assert_eq!(connection.next(), None);
        let ended = client.end();
        let expected = format!("outpost {command}: connection given up: ");
        assert!(ended.errors.starts_with(&expected), "{ended:?}");
        assert_eq!((ended.errors.lines().count(), ended.code), (1, Some(7)));
    }
}

/// Who is told that another client took over does not take over in turn.
#[test]
fn a_session_taken_over_is_the_end() {
    let server = Server::start();
    let sub = start("sub", server.address(), "-V 5 -t a", &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.accept_client();
    let reason = ReasonCode::SessionTakenOver;
    connection.send(&Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY }));
    let ended = sub.end();
    let expected = "outpost sub: the server ended the connection: Session taken over\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0x8E), expected));
}

#[test]
fn refused_subscriptions() {
    let server = Server::start();
    for (reasons, code, expected) in [
        (
            [ReasonCode::NotAuthorized, ReasonCode::TopicFilterInvalid],
            0x87,
            "outpost sub: not subscribed to a: Not authorized\n\
             outpost sub: not subscribed to b: Topic Filter invalid\n\
             outpost sub: all subscriptions were refused\n",
        ),
        (
            [ReasonCode::Success, ReasonCode::NotAuthorized],
            0,
            "outpost sub: not subscribed to b: Not authorized\n",
        ),
    ] {
        let sub = start("sub", server.address(), "-V 5 -t a -t b -E", &[]);
        let mut connection = server.accept(ProtocolVersion::V5);
        connection.accept_client();
        let packet_id = connection.expect(|packet| match packet {
            Packet::Subscribe(packet) => packet.packet_id,
            other => panic!("{other:?}"),
        });
        connection.send(&Packet::SubAck(SubAck {
            packet_id,
            properties: Properties::EMPTY,
            reasons: ReasonCodes::List(&reasons),
        }));
        connection.expect(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
        drop(connection);
        let ended = sub.end();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(code), expected));
    }
}

#[test]
fn a_refused_message_of_many() {
    let server = Server::start();
    let mut lines = start("pub", server.address(), "-V 5 -t a -q 1 -l", &[]);
    lines.write(b"one\ntwo\nthree\n");
    lines.close_input();
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.accept_client();
    for reason in
        [ReasonCode::Success, ReasonCode::QuotaExceeded, ReasonCode::NoMatchingSubscribers]
    {
        let packet_id = connection.expect(|packet| match packet {
            Packet::Publish(packet) => packet.packet_id.unwrap(),
            other => panic!("{other:?}"),
        });
        let properties = Properties::EMPTY;
        connection.send(&Packet::PubAck(outpost_protocol::PubAck {
            packet_id,
            reason,
            properties,
        }));
    }
    connection.expect(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    drop(connection);
    let ended = lines.end();
    let expected = "outpost pub: message 2 was refused: Quota exceeded\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0x97), expected));
}

#[test]
fn a_message_that_the_server_is_too_small_for() {
    let server = Server::start();
    let line = format!("-V 5 -t a -q 1 -m {}", "x".repeat(100));
    let client = start("pub", server.address(), &line, &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.expect(|packet| assert!(matches!(packet, Packet::Connect(_))));
    let properties = [Property::MaximumPacketSize(100)];
    connection.send_conn_ack(ReasonCode::Success, Properties::list(&properties));
    let ended = client.end();
    let expected = "outpost pub: the message is larger than the server takes\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(9), expected));
}
