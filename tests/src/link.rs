//! A client for brokers that may be killed at any moment: a lost connection is an answer like any
//! other, where [`RawClient`](crate::RawClient) takes it for a failure.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use outpost_protocol::{Connect, Packet, ProtocolVersion, decode};

use crate::broker::DEADLINE;
use crate::client::{ANY_SIZE, Bytes};
use crate::received::{ConnAck, Received};

/// What one read takes at the most.
const READ_BYTES: usize = 64 * 1024;

/// A connection that gathers what it sends until it has to wait for an answer. Dropped, it is cut
/// without DISCONNECT.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    version: ProtocolVersion,
    input: Vec<u8>,
    /// Bytes of `input` that have been taken.
    taken: usize,
    output: Bytes,
}

impl Link {
    /// Opens a network connection and sends CONNECT. Nothing where nobody listens, or where the
    /// connection is lost before CONNACK comes.
    ///
    /// # Panics
    /// When the broker refuses, or something else than CONNACK comes.
    pub fn connect(address: SocketAddr, connect: &Connect<'_>) -> Option<(Self, ConnAck)> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
        stream.set_nodelay(true).ok()?;
        let (input, output) = (Vec::new(), Bytes(Vec::new()));
        let mut link = Self { stream, version: connect.version, input, taken: 0, output };
        link.put(&Packet::Connect(connect.clone()));
        match link.next_packet()? {
            Received::ConnAck(connack) if !connack.reason.is_error() => Some((link, connack)),
            other => panic!("{other:?} came instead of a CONNACK with Success"),
        }
    }

    /// Adds a packet to what is sent at the next [`Link::flush`] or [`Link::next_packet`].
    pub fn put(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.output).expect("a packet that can be encoded");
    }

    /// Sends what was put; nothing if the connection is lost.
    pub fn flush(&mut self) -> Option<()> {
        let bytes = std::mem::take(&mut self.output.0);
        self.stream.write_all(&bytes).ok()
    }

    /// The next packet; nothing if the connection is lost, with whatever half packet came last.
    /// What was put is sent before it waits.
    ///
    /// # Panics
    /// When what comes is no packet, or nothing comes in time.
    pub fn next_packet(&mut self) -> Option<Received> {
        self.next_packet_within(DEADLINE)
    }

    /// The same for a packet that may take longer than others.
    pub fn next_packet_within(&mut self, within: Duration) -> Option<Received> {
        loop {
            if let Some(received) = self.buffered() {
                return Some(received);
            }
            self.flush()?;
            self.stream.set_read_timeout(Some(within)).ok()?;
            self.fill()?;
        }
    }

    /// A packet that has come already. It does not wait.
    pub fn buffered(&mut self) -> Option<Received> {
        let input = &self.input[self.taken..];
        let decoded = decode(input, self.version, ANY_SIZE);
        let (packet, len) = decoded.unwrap_or_else(|error| panic!("{error}: {input:02x?}"))?;
        let received = Received::new(&packet);
        self.taken += len;
        Some(received)
    }

    /// Reads once.
    fn fill(&mut self) -> Option<()> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let begun = self.input.len();
        self.input.resize(begun + READ_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.input[begun..]) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing came in time")
                }
                // A killed broker's connections are reset.
                Err(_) => break 0,
            }
        };
        self.input.truncate(begun + read);
        (read > 0).then_some(())
    }
}
