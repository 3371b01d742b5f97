//! One connection: its socket, what waits to be written, and the incomplete end of what was read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use outpost_protocol::{Buffer, BufferFull, PacketId};

use crate::flights::Flights;
use crate::receipts::Receiver;

/// Encoded packets that are not yet written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Buffer for Outbox {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Result<(), BufferFull> {
        self.bytes.reserve(len);
        Ok(())
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CONNECT is on its way.
    Connecting,
    /// CONNACK has come.
    Ready,
    /// DISCONNECT is on its way: an end of the stream is what should follow.
    Leaving,
}

/// What one read gave.
pub(crate) struct Burst {
    /// Bytes in the buffer, the incomplete packet of before included.
    pub(crate) len: usize,
    /// The buffer was filled: there may be more.
    pub(crate) more: bool,
}

/// A client's connection to the broker.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) phase: Phase,
    pub(crate) out: Outbox,
    /// The start of a packet whose rest has not come.
    partial: Vec<u8>,
    /// The packet identifier of the last SUBSCRIBE.
    subscribe_id: PacketId,
    /// What it takes account of as a subscriber.
    pub(crate) receiver: Option<Receiver>,
    /// What it has in flight as a publisher.
    pub(crate) flights: Option<Flights>,
    /// QoS 2 messages received whose PUBREL has not come.
    pub(crate) unreleased: u64,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            phase: Phase::Connecting,
            out: Outbox::default(),
            partial: Vec::new(),
            subscribe_id: PacketId::MIN,
            receiver: None,
            flights: None,
            unreleased: 0,
        })
    }

    pub(crate) fn next_subscribe_id(&mut self) -> PacketId {
        self.subscribe_id = self.subscribe_id.next();
        self.subscribe_id
    }

    /// Reads once, behind the incomplete packet of before; none if nothing was there.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` at the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<Burst>> {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        loop {
            match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.partial.clear();
                    let len = kept + read;
                    return Ok(Some(Burst { len, more: len == buffer.len() }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps the incomplete packet at the end of a burst.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.partial.extend_from_slice(rest);
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.out.written < self.out.bytes.len() {
            match self.stream.write(&self.out.bytes[self.out.written..]) {
                Ok(written) => self.out.written += written,
                // NotConnected: the handshake of TCP is not over; the poll tells when it is.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.bytes.clear();
        self.out.written = 0;
        Ok(())
    }
}
