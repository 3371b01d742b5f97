//! One connection: bytes to packets, and packets' bytes out. No decisions.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use outpost_protocol::{Packet, ProtocolVersion, decode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::compression::Compressed;
use crate::connect::{BoxedStream, tls};
use crate::link_error::LinkError;
use crate::output::Output;
use crate::side::Side;

/// One `read` takes about this much.
const READ_BYTES: usize = 16 * 1024;

/// An input with nothing in it keeps no more memory than this.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The bridge's connection to one broker.
#[derive(Debug)]
pub(crate) struct MqttEnd<S> {
    side: Side,
    version: ProtocolVersion,
    packet_bytes_max: u32,
    stream: S,
    input: Vec<u8>,
    consumed: usize,
    unflushed: bool,
}

impl MqttEnd<BoxedStream> {
    /// From here on both directions are compressed. What was read behind the last packet is already.
    pub(crate) fn compress(self, level: i32) -> Self {
        let unread = self.input[self.consumed..].to_vec();
        let stream: BoxedStream = Box::new(Compressed::new(self.stream, unread, level));
        Self::new(self.side, self.version, self.packet_bytes_max, stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MqttEnd<S> {
    /// `packet_bytes_max`: a larger packet breaks the protocol.
    pub(crate) fn new(
        side: Side,
        version: ProtocolVersion,
        packet_bytes_max: u32,
        stream: S,
    ) -> Self {
        Self {
            side,
            version,
            packet_bytes_max,
            stream,
            input: Vec::new(),
            consumed: 0,
            unflushed: false,
        }
    }

    /// The next packet of what has been read, and its length; `None`: more has to come first.
    pub(crate) fn next_packet(&self) -> Result<Option<(Packet<'_>, usize)>, LinkError> {
        let input = &self.input[self.consumed..];
        if input.is_empty() {
            return Ok(None);
        }
        decode(input, self.version, self.packet_bytes_max)
            .map_err(|error| LinkError::Protocol { side: self.side, what: error.to_string() })
    }

    /// The packet of this length is done with.
    pub(crate) fn consume(&mut self, len: usize) {
        self.consumed += len;
        if self.consumed == self.input.len() {
            self.input.clear();
            self.input.shrink_to(KEPT_BYTES_MAX);
            self.consumed = 0;
        }
    }

    /// Reads once. No more than one packet that is not complete, or one burst that may not be taken
    /// yet, is in the input before it.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.consumed > 0 {
            self.input.drain(..self.consumed);
            self.consumed = 0;
        }
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx));
        Poll::Ready(match read {
            Ok(0) => Err(LinkError::Closed { side: self.side, connecting: false }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        })
    }

    /// Writes and flushes as much as the stream takes; true where it took any.
    pub(crate) fn poll_write(
        &mut self,
        out: &mut Output,
        cx: &mut Context<'_>,
    ) -> Result<bool, LinkError> {
        let mut wrote = false;
        while !out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, out.pending()) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(self.failed(&io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    out.advance(count);
                    self.unflushed = true;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Err(self.failed(&error)),
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed.map_err(|error| self.failed(&error))?;
            self.unflushed = false;
        }
        Ok(wrote)
    }

    /// Whether the stream still holds bytes back.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Ends the stream in order, for TLS with its own goodbye.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn failed(&self, error: &io::Error) -> LinkError {
        // TLS without a goodbye: the far end died, or does not say one. rustls explains that to
        // programmers.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return LinkError::Closed { side: self.side, connecting: false };
        }
        LinkError::Io { side: self.side, what: tls::words(error) }
    }
}
