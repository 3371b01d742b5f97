//! A connected client: bursts in, bursts out.
//!
//! The future of a connection is written by hand, so that it holds nothing while it waits: bytes are
//! read into and written from buffers of the thread, and only what is left of a packet, or what the
//! socket did not take, is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outpost_protocol::{DecodeError, Packet, ProtocolVersion, decode, packet_len};

use super::shared::{Entered, Shared};
use super::stream::Stream;
use crate::core::output::{ByteBuffer, Encoder, Output};
use crate::core::time::Instant;
use crate::core::{ConnId, Handled};

/// What is read at once, and what a packet may be long without being gathered elsewhere.
const READ_BYTES: usize = 64 * 1024;

/// What is written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// How long a client may take to close after it was told to.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    static WRITE: RefCell<ByteBuffer> = RefCell::new(ByteBuffer(Vec::with_capacity(WRITE_BYTES)));
}

/// A connection after its CONNECT.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    attached: Attached,
    version: ProtocolVersion,
    packet_bytes_max: u32,
    encoder: Encoder,
    /// Bytes read that are not handled yet: part of a packet, or all that waits for room.
    unread: Vec<u8>,
    /// `unread` is to be handed in before anything is read: it came with CONNECT, or the core had no
    /// room for it and will wake the task.
    is_retry: bool,
    /// What the core gave out and is not encoded yet, and when it did. Bytes are made of it as the
    /// socket takes them: the messages are shared with other connections, their bytes would not be.
    outputs: std::vec::IntoIter<Output>,
    outputs_at: Instant,
    /// Bytes that the socket did not take yet.
    unwritten: Vec<u8>,
    unwritten_from: usize,
    /// Not yet counted by the core.
    bytes_read: u64,
    bytes_written: u64,
    /// What is to be written is the last.
    is_last: bool,
    /// Too many answers wait, for a client that does not read them or for the store: nothing is read
    /// from it either.
    is_flooded: bool,
}

/// The core's connection. However its task ends, the core hears of it.
#[derive(Debug)]
struct Attached {
    shared: Arc<Shared>,
    id: ConnId,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shared.enter(Some(self.id), |core| {
            core.forget(self.id);
            core.broker.handle_closed(core.now, self.id);
        });
    }
}

/// What a burst of bytes led to.
#[derive(Default)]
struct Burst {
    consumed: usize,
    waits: bool,
    has_more: bool,
    is_flooded: bool,
    is_closed: bool,
}

impl Connection {
    /// `unread`: what came behind CONNECT.
    pub(crate) fn new(
        stream: Stream,
        shared: Arc<Shared>,
        id: ConnId,
        encoder: Encoder,
        version: ProtocolVersion,
        packet_bytes_max: u32,
        unread: Vec<u8>,
    ) -> Self {
        let is_retry = !unread.is_empty();
        Self {
            stream,
            attached: Attached { shared, id },
            version,
            packet_bytes_max,
            encoder,
            unread,
            is_retry,
            outputs: Vec::new().into_iter(),
            outputs_at: Instant::default(),
            unwritten: Vec::new(),
            unwritten_from: 0,
            bytes_read: 0,
            bytes_written: 0,
            is_last: false,
            is_flooded: false,
        }
    }

    /// Serves the client to its end.
    pub(crate) async fn run(mut self) {
        if poll_fn(|cx| self.poll(cx)).await.is_ok() {
            // Boxed: what is needed once, at the end, shall not make every idle connection larger.
            Box::pin(self.close()).await;
        }
    }

    /// Ready: `Ok` when the core has closed the connection, else what went wrong.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut has_entered = false;
        let mut has_more = false;
        let mut has_waited = false;
        loop {
            let can_send = self.poll_send(cx)?;
            if self.is_last {
                // The encoder's word: the client takes no packet as large as its CONNACK.
                return Poll::Ready(Ok(()));
            }
            let burst = if self.is_flooded {
                Poll::Pending
            } else {
                self.poll_burst(cx, has_waited, can_send)?
            };
            let burst = match burst {
                Poll::Ready(burst) => burst,
                // The core has the waker: what came since wakes the task again.
                Poll::Pending if has_entered && !(has_more && can_send) => return Poll::Pending,
                Poll::Pending => self.enter(cx, &[], None, 0, can_send),
            };
            if burst.is_closed {
                return Poll::Ready(Ok(()));
            }
            has_entered = true;
            has_more = burst.has_more;
            self.is_flooded = burst.is_flooded;
            self.is_retry |= burst.waits;
            has_waited |= burst.waits;
        }
    }

    /// Says what is left to be said, and closes in order. Who does not take it in time is gone: a
    /// client that reads nothing must not keep a connection that is closed.
    async fn close(mut self) {
        let said = tokio::time::timeout(LINGER, poll_fn(|cx| self.poll_last(cx))).await;
        drop(self.attached);
        if matches!(said, Ok(Ok(()))) {
            linger(self.stream).await;
        }
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.poll_send(cx)? {
            if self.is_last {
                return Poll::Ready(Ok(()));
            }
            self.enter(cx, &[], None, 0, true);
            assert!(!self.outputs.as_slice().is_empty(), "the core's last word is Output::Close");
        }
        Poll::Pending
    }

    /// Reads what there is and hands it in. A packet that had to wait is tried once for each time
    /// that the task is woken, and nothing is read until it is taken.
    fn poll_burst(
        &mut self,
        cx: &mut Context<'_>,
        has_waited: bool,
        can_send: bool,
    ) -> Poll<io::Result<Burst>> {
        if self.is_retry {
            if has_waited {
                return Poll::Pending;
            }
            self.is_retry = false;
            return Poll::Ready(Ok(self.handle_unread(cx, can_send)));
        }
        READ.with_borrow_mut(|scratch| {
            let kept = self.unread.len();
            if kept > READ_BYTES / 2 {
                return self.poll_large(cx, scratch, can_send);
            }
            scratch[..kept].copy_from_slice(&self.unread);
            let read = ready!(self.poll_read(cx, &mut scratch[kept..]))?;
            let bytes = &scratch[..kept + read];
            let burst = self.handle(cx, bytes, can_send);
            if burst.consumed < bytes.len() {
                self.unread.clear();
                self.unread.extend_from_slice(&bytes[burst.consumed..]);
            } else {
                self.unread = Vec::new();
            }
            Poll::Ready(Ok(burst))
        })
    }

    /// A packet that is larger than what is read at once gathers in `unread`, which grows with what
    /// has really come, not with what was announced.
    fn poll_large(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        can_send: bool,
    ) -> Poll<io::Result<Burst>> {
        loop {
            let read = ready!(self.poll_read(cx, scratch))?;
            self.unread.extend_from_slice(&scratch[..read]);
            let is_whole = match packet_len(&self.unread) {
                Ok(Some(len)) => len <= self.unread.len(),
                Ok(None) => false,
                Err(_) => true,
            };
            if is_whole {
                return Poll::Ready(Ok(self.handle_unread(cx, can_send)));
            }
        }
    }

    fn handle_unread(&mut self, cx: &mut Context<'_>, can_send: bool) -> Burst {
        let mut bytes = std::mem::take(&mut self.unread);
        let burst = self.handle(cx, &bytes, can_send);
        if burst.consumed < bytes.len() {
            bytes.drain(..burst.consumed);
            bytes.shrink_to(READ_BYTES);
            self.unread = bytes;
        }
        burst
    }

    /// Decodes all whole packets, then hands them in under one lock.
    fn handle(&mut self, cx: &mut Context<'_>, bytes: &[u8], can_send: bool) -> Burst {
        let mut packets: Vec<(Packet<'_>, usize)> = Vec::new();
        let mut at = 0;
        let error = loop {
            match decode(&bytes[at..], self.version, self.packet_bytes_max) {
                Ok(Some((packet, len))) => {
                    at += len;
                    packets.push((packet, at));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        self.enter(cx, &packets, error, bytes.len(), can_send)
    }

    fn enter(
        &mut self,
        cx: &mut Context<'_>,
        packets: &[(Packet<'_>, usize)],
        error: Option<DecodeError>,
        len: usize,
        can_send: bool,
    ) -> Burst {
        let Attached { shared, id } = &self.attached;
        let id = *id;
        let bytes_read = std::mem::take(&mut self.bytes_read);
        let bytes_written = std::mem::take(&mut self.bytes_written);
        shared.enter(Some(id), |core| {
            core.register(id, cx.waker());
            core.broker.count_bytes(bytes_read, bytes_written);
            let mut burst = hand_in(core, id, packets, error, len);
            if can_send {
                self.outputs = core.broker.poll_output(core.now, id).into_iter();
                self.outputs_at = core.now;
            }
            // Asked also where nothing was taken: the socket may have room a moment later, and
            // what the core told this connection of while it was awake wakes nobody.
            burst.has_more = core.broker.has_output(id);
            burst.is_flooded = core.broker.is_flooded(id);
            burst.is_closed = core.broker.is_closed(id);
            burst
        })
    }

    /// Writes what the core gave out. True: all of it has been taken by the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        while self.poll_unwritten(cx)? {
            if self.outputs.as_slice().is_empty() {
                return Ok(true);
            }
            self.write_outputs(cx)?;
        }
        Ok(false)
    }

    /// Encodes and writes, until all is done or the socket takes no more.
    fn write_outputs(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        WRITE.with_borrow_mut(|buffer| {
            // A connection of this thread that broke while it was written to has left its bytes.
            buffer.0.clear();
            while self.unwritten.is_empty()
                && !self.is_last
                && let Some(output) = self.outputs.next()
            {
                self.is_last = !self.encoder.encode(&output, self.outputs_at, buffer);
                if buffer.0.len() >= WRITE_BYTES {
                    self.write(cx, buffer)?;
                }
            }
            self.write(cx, buffer)?;
            buffer.0.shrink_to(WRITE_BYTES * 4);
            if self.is_last || self.outputs.as_slice().is_empty() {
                self.outputs = Vec::new().into_iter();
            }
            Ok(())
        })
    }

    /// Writes. What the socket does not take is kept.
    fn write(&mut self, cx: &mut Context<'_>, buffer: &mut ByteBuffer) -> io::Result<()> {
        let mut written = 0;
        while self.unwritten.is_empty() && written < buffer.0.len() {
            match self.stream.poll_write(cx, &buffer.0[written..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => written += n,
                Poll::Pending => break,
            }
        }
        self.bytes_written += written as u64;
        self.unwritten.extend_from_slice(&buffer.0[written..]);
        buffer.0.clear();
        Ok(())
    }

    /// True: all bytes that were made so far have been taken by the socket.
    fn poll_unwritten(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        while self.unwritten_from < self.unwritten.len() {
            match self.stream.poll_write(cx, &self.unwritten[self.unwritten_from..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    self.unwritten_from += n;
                    self.bytes_written += n as u64;
                }
                Poll::Pending => return Ok(false),
            }
        }
        self.unwritten = Vec::new();
        self.unwritten_from = 0;
        match self.stream.poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_read(cx, buffer))?;
        self.bytes_read += read as u64;
        Poll::Ready(if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) })
    }
}

fn hand_in(
    core: &mut Entered<'_>,
    id: ConnId,
    packets: &[(Packet<'_>, usize)],
    error: Option<DecodeError>,
    len: usize,
) -> Burst {
    let mut burst = Burst::default();
    for (packet, end) in packets {
        match core.broker.handle_packet(core.now, id, packet) {
            Handled::Done => burst.consumed = *end,
            Handled::Wait => {
                burst.waits = true;
                return burst;
            }
            Handled::Closed => {
                burst.consumed = len;
                return burst;
            }
        }
    }
    if let Some(error) = error {
        core.broker.handle_malformed(core.now, id, error);
        burst.consumed = len;
    }
    burst
}

/// Closes in order: the client gets to read what was said last, and a client that goes on sending
/// does not lose it to a reset.
pub(crate) async fn linger(mut stream: Stream) {
    let closed = poll_fn(|cx| {
        ready!(stream.poll_shutdown(cx))?;
        READ.with_borrow_mut(|scratch| {
            while ready!(stream.poll_read(cx, scratch))? > 0 {}
            Poll::Ready(io::Result::Ok(()))
        })
    });
    // Its end is an end either way.
    let _ = tokio::time::timeout(LINGER, closed).await;
}

#[cfg(test)]
mod tests;
