//! Tests of the client against servers that are scripted or modelled.

mod connection;
mod cuts;
mod inbound;
mod outbound;
mod random;
mod requests;
mod server;

use std::vec::Vec;

use super::{
    Buffers, Client, Config, ConnectOptions, ConnectionError, Event, Handled, Message, Published,
};
use crate::{Buffer, BufferFull, ConnAck, Packet, Properties, ProtocolVersion, QoS, ReasonCode};

const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

/// With room for 8 messages in flight and 4 on their way in.
type TestClient = Client<Vec<u8>, Vec<u8>, 8, 4>;

fn client(version: ProtocolVersion) -> TestClient {
    client_with(version, 128, 512)
}

fn client_with(version: ProtocolVersion, output: usize, retained: usize) -> TestClient {
    let config = Config { version, ..Config::new(256) };
    let buffers = Buffers { output: std::vec![0xEE; output], retained: std::vec![0xEE; retained] };
    Client::new(config, buffers)
}

/// A client whose CONNECT has been answered.
fn connected(version: ProtocolVersion) -> TestClient {
    let mut client = client(version);
    connect(&mut client, false, &[]);
    client
}

/// Opens a connection that asks for the old session, and says so or not.
fn connect(client: &mut TestClient, session_present: bool, properties: &[crate::Property<'_>]) {
    client.connect(0, &ConnectOptions::new("c")).unwrap();
    let connect = written(client);
    assert_eq!(connect[0], 0x10, "{connect:x?}");
    let conn_ack = ConnAck {
        session_present,
        reason: ReasonCode::Success,
        properties: Properties::list(properties),
    };
    let input = encoded(client.version(), &[Packet::ConnAck(conn_ack)]);
    let (used, event) = taken(client.handle_input(&input));
    assert_eq!(used, input.len());
    assert!(matches!(event, Some(Event::Connected(_))), "{event:?}");
}

/// All that the client has to write.
fn written(client: &mut TestClient) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let output = client.poll_output();
        let len = output.len();
        if len == 0 {
            return all;
        }
        all.extend_from_slice(output);
        client.handle_written(0, len);
    }
}

/// Hands in one packet that is taken without an error.
fn hand_in(client: &mut TestClient, packet: Packet<'_>) -> Option<OwnedEvent> {
    let input = encoded(client.version(), &[packet]);
    let (used, event) = taken(client.handle_input(&input));
    assert_eq!(used, input.len());
    event.map(OwnedEvent::from)
}

/// Hands in one packet that the client refuses.
fn refuse(client: &mut TestClient, packet: Packet<'_>) -> ReasonCode {
    let input = encoded(client.version(), &[packet]);
    match client.handle_input(&input) {
        Err(ConnectionError::Protocol(error)) => error.reason,
        other => panic!("{other:?}"),
    }
}

fn taken<'i>(handled: Result<Handled<'i>, ConnectionError>) -> (usize, Option<Event<'i>>) {
    match handled {
        Ok(Handled::Taken { used, event }) => (used, event),
        other => panic!("{other:?}"),
    }
}

fn encoded(version: ProtocolVersion, packets: &[Packet<'_>]) -> Vec<u8> {
    let mut out = Bytes(Vec::new());
    for packet in packets {
        packet.encode(version, &mut out).unwrap();
    }
    out.0
}

struct Bytes(Vec<u8>);

impl Buffer for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn message(token: u32, payload: &[u8], qos: QoS) -> Message<'_> {
    Message { token, ..Message::new("t", payload, qos) }
}

/// What the tests look at of an event.
#[derive(Clone, Debug, PartialEq)]
enum OwnedEvent {
    Connected,
    Refused(ReasonCode),
    Message(QoS, Vec<u8>),
    Published(Published),
    Subscribed(Vec<ReasonCode>),
    Unsubscribed,
    Disconnected(ReasonCode),
    Auth,
}

impl From<Event<'_>> for OwnedEvent {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Connected(_) => Self::Connected,
            Event::Refused(packet) => Self::Refused(packet.reason),
            Event::Message(packet) => Self::Message(packet.qos, packet.payload.to_vec()),
            Event::Published(published) => Self::Published(published),
            Event::Subscribed(packet) => Self::Subscribed(packet.reasons.iter().collect()),
            Event::Unsubscribed(_) => Self::Unsubscribed,
            Event::Disconnected(packet) => Self::Disconnected(packet.reason),
            Event::Auth(_) => Self::Auth,
        }
    }
}
