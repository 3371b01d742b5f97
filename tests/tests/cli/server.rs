//! A server that says what the test says, and shows what a client sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use outpost_protocol::{
    ConnAck, Packet, Properties, ProtocolVersion, ReasonCode, SliceBuffer, decode, packet_len,
};
use outpost_tests::DEADLINE;

/// The largest packet that a test sends.
const PACKET_BYTES_MAX: usize = 64 * 1024;

pub struct Server(TcpListener);

impl Server {
    pub fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("listen"))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// The next connection.
    pub fn accept(&self, version: ProtocolVersion) -> Connection {
        let (stream, _) = self.0.accept().expect("accept");
        stream.set_read_timeout(Some(DEADLINE)).expect("set the timeout");
        Connection { stream, version, input: Vec::new() }
    }
}

pub struct Connection {
    stream: TcpStream,
    version: ProtocolVersion,
    input: Vec<u8>,
}

impl Connection {
    /// The bytes of the next packet; None: the client has closed.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let len = packet_len(&self.input).expect("a valid fixed header");
            if let Some(len) = len.filter(|len| *len <= self.input.len()) {
                return Some(self.input.drain(..len).collect());
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block).expect("a packet in time") {
                0 => return None,
                read => self.input.extend_from_slice(&block[..read]),
            }
        }
    }

    /// The next packet, which is looked at by `look`.
    #[track_caller]
    pub fn expect<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        let bytes = self.next().expect("a packet");
        let (packet, _) = decode(&bytes, self.version, u32::MAX)
            .expect("a well-formed packet")
            .expect("a whole packet");
        look(packet)
    }

    pub fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = [0; PACKET_BYTES_MAX];
        let mut out = SliceBuffer::new(&mut bytes);
        packet.encode(self.version, &mut out).expect("a packet that can be encoded");
        self.send_bytes(out.written());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    pub fn send_conn_ack(&mut self, reason: ReasonCode, properties: Properties<'_>) {
        self.send(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }));
    }

    /// Takes CONNECT and accepts the client.
    #[track_caller]
    pub fn accept_client(&mut self) {
        self.expect(|packet| assert!(matches!(packet, Packet::Connect(_)), "{packet:?}"));
        self.send_conn_ack(ReasonCode::Success, Properties::EMPTY);
    }
}
