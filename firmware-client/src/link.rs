//! One connection: moves bytes between a transport and the session.

use core::future::pending;

use embedded_io_async::{Read, Write};
use outpost_protocol::client::{Message, Terms};
use outpost_protocol::{Packet, PacketId, Properties, QoS, ReasonCode, SubscribeFilter};
use serde::Serialize;

use crate::client::{Client, Ready, Step};
use crate::select::{Either, select};
use crate::{Clock, Error, Event};

/// A connection that the server has accepted. Dropping it ends the connection without a DISCONNECT:
/// the server publishes the will, and the session goes on with the next one.
#[derive(Debug)]
pub struct Link<
    'c,
    T,
    K: Clock,
    const INPUT: usize,
    const OUTPUT: usize,
    const RETAINED: usize,
    const IN_FLIGHT: usize,
    const RECEIVE: usize,
    const QUEUED: usize,
    const READING: usize,
> {
    client: &'c mut Client<K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>,
    transport: T,
    /// Whether something was written and not flushed since.
    is_unflushed: bool,
    /// When a write or flush that does not come to its end is put off for reading.
    stall_ms: Option<u64>,
}

/// How long a write may keep the client from reading, in milliseconds. A server that waits for its
/// client to read before it reads itself would otherwise wait for ever.
const STALL_MS: u64 = 100;

/// How far the output came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Written,
    Stalled,
}

impl<
    'c,
    T: Read + Write,
    K: Clock,
    const INPUT: usize,
    const OUTPUT: usize,
    const RETAINED: usize,
    const IN_FLIGHT: usize,
    const RECEIVE: usize,
    const QUEUED: usize,
    const READING: usize,
> Link<'c, T, K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>
{
    pub(crate) fn new(
        client: &'c mut Client<K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>,
        transport: T,
    ) -> Self {
        Self { client, transport, is_unflushed: false, stall_ms: None }
    }

    pub(crate) async fn await_conn_ack(&mut self) -> Result<(), Error<T::Error>> {
        self.next_ready().await?;
        match self.client.given_packet() {
            Packet::ConnAck(packet) if !packet.reason.is_error() => Ok(()),
            Packet::ConnAck(packet) => Err(Error::Refused(packet.reason)),
            _ => Err(Error::AuthenticationNotSupported),
        }
    }

    /// Waits for the next event; meanwhile sends what there is to be sent, and keeps the connection
    /// alive. To be called all the time. Its future may be dropped at any time.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn receive(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let ready = self.next_ready().await?;
        self.client.event(ready)
    }

    /// Publishes a message, see [`Client::publish`], and writes what there is to be written, as far
    /// as the transport takes it now; [`Self::receive`] writes the rest.
    ///
    /// # Errors
    /// [`Error::Publish`]: the message was not taken. Any other: the connection has ended; the message
    /// was taken all the same, so one of QoS 1 or 2 goes out on the next connection.
    pub async fn publish(&mut self, message: &Message<'_>) -> Result<(), Error<T::Error>> {
        self.client.publish(message).map_err(Error::Publish)?;
        self.write_output().await.map(|_| ())
    }

    /// Publishes a value in postcard's format, see [`Client::publish_postcard`].
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_postcard<V: Serialize + ?Sized>(
        &mut self,
        topic: &str,
        value: &V,
        qos: QoS,
        token: u32,
    ) -> Result<(), Error<T::Error>> {
        self.client.publish_postcard(topic, value, qos, token).map_err(Error::Publish)?;
        self.write_output().await.map(|_| ())
    }

    /// Subscribes. The answer is [`Event::Subscribed`] with the packet id given here. Where
    /// [`Self::terms`] says `session_present`, earlier subscriptions still hold.
    ///
    /// # Errors
    /// [`Error::Request`]: nothing was sent. Else the connection has ended.
    pub async fn subscribe(
        &mut self,
        filters: &[SubscribeFilter<'_>],
    ) -> Result<PacketId, Error<T::Error>> {
        let packet_id =
            self.client.session.subscribe(filters, Properties::EMPTY).map_err(Error::Request)?;
        self.write_output().await?;
        Ok(packet_id)
    }

    /// Unsubscribes. The answer is [`Event::Unsubscribed`].
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error<T::Error>> {
        let packet_id =
            self.client.session.unsubscribe(filters, Properties::EMPTY).map_err(Error::Request)?;
        self.write_output().await?;
        Ok(packet_id)
    }

    /// Says DISCONNECT: the server does not publish the will. What is in flight or queued stays for
    /// the next connection.
    ///
    /// # Errors
    /// The connection had ended before.
    pub async fn disconnect(mut self) -> Result<(), Error<T::Error>> {
        self.write_output().await?;
        self.client
            .session
            .disconnect(ReasonCode::Success, Properties::EMPTY)
            .map_err(Error::Request)?;
        self.write_the_last().await
    }

    /// What the server agreed to. None: the connection has ended.
    pub const fn terms(&self) -> Option<&Terms> {
        self.client.session.terms()
    }

    /// The session behind this connection.
    pub const fn client(
        &self,
    ) -> &Client<K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING> {
        self.client
    }

    async fn next_ready(&mut self) -> Result<Ready, Error<T::Error>> {
        loop {
            let is_full = match self.client.step() {
                Ok(Step::Give(ready)) => return Ok(ready),
                Ok(Step::Write) => true,
                Ok(Step::Read) => false,
                Err(error) => {
                    // Tell a 5.0 server why, if it still listens.
                    let _ = self.write_the_last().await;
                    return Err(error.into());
                }
            };
            match self.write_output().await? {
                Progress::Written if is_full => {}
                Progress::Written => {
                    let deadline_ms = self.client.session.poll_timeout();
                    self.read_input(deadline_ms).await?;
                }
                Progress::Stalled => {
                    let deadline_ms = self.client.clock.now_ms().saturating_add(STALL_MS);
                    self.read_input(Some(deadline_ms)).await?;
                    self.stall_ms = None;
                }
            }
        }
    }

    async fn read_input(&mut self, deadline_ms: Option<u64>) -> Result<(), Error<T::Error>> {
        if !self.client.session.is_open() {
            return Err(Error::Closed);
        }
        let room = self.client.input.room();
        if room.is_empty() {
            return Ok(());
        }
        let alarm = wait_for(&self.client.clock, deadline_ms);
        match select(self.transport.read(room), alarm).await {
            Either::First(Ok(0)) => Err(Error::Closed),
            Either::First(Ok(len)) => {
                self.client.input.filled(len);
                Ok(())
            }
            Either::First(Err(error)) => Err(Error::Transport(error)),
            Either::Second(()) => self.handle_timeout(),
        }
    }

    fn handle_timeout(&mut self) -> Result<(), Error<T::Error>> {
        let now_ms = self.client.clock.now_ms();
        self.client.session.handle_timeout(now_ms).map_err(Error::Connection)
    }

    /// Writes all there is, as long as the transport takes it.
    async fn write_output(&mut self) -> Result<Progress, Error<T::Error>> {
        loop {
            self.client.forward_queue();
            let (stall_ms, deadline_ms) = self.write_deadlines();
            let output = self.client.session.poll_output();
            let alarm = self.client.clock.wait_until(deadline_ms);
            if !output.is_empty() {
                match select(self.transport.write(output), alarm).await {
                    Either::First(written) => self.handle_written(written)?,
                    Either::Second(()) => self.handle_timeout()?,
                }
            } else if self.is_unflushed {
                match select(self.transport.flush(), alarm).await {
                    Either::First(flushed) => self.handle_flushed(flushed)?,
                    Either::Second(()) => self.handle_timeout()?,
                }
            } else {
                self.stall_ms = None;
                return Ok(Progress::Written);
            }
            if self.stall_ms.is_some() && stall_ms <= self.client.clock.now_ms() {
                return Ok(Progress::Stalled);
            }
        }
    }

    /// When the write that begins now, or was put off before, counts as stalled; and when it is to be
    /// interrupted.
    fn write_deadlines(&mut self) -> (u64, u64) {
        let now_ms = self.client.clock.now_ms();
        let stall_ms = *self.stall_ms.get_or_insert(now_ms.saturating_add(STALL_MS));
        let deadline_ms = self.client.session.poll_timeout().unwrap_or(u64::MAX);
        (stall_ms, stall_ms.min(deadline_ms))
    }

    fn handle_written(&mut self, written: Result<usize, T::Error>) -> Result<(), Error<T::Error>> {
        match written {
            Ok(0) => Err(Error::Closed),
            Ok(len) => {
                self.stall_ms = None;
                self.is_unflushed = true;
                self.client.session.handle_written(self.client.clock.now_ms(), len);
                Ok(())
            }
            Err(error) => Err(Error::Transport(error)),
        }
    }

    fn handle_flushed(&mut self, flushed: Result<(), T::Error>) -> Result<(), Error<T::Error>> {
        flushed.map_err(Error::Transport)?;
        self.stall_ms = None;
        self.is_unflushed = false;
        Ok(())
    }

    /// Writes what is left at the end of a connection, for a bounded time.
    async fn write_the_last(&mut self) -> Result<(), Error<T::Error>> {
        let deadline_ms =
            self.client.clock.now_ms().saturating_add(self.client.response_timeout_ms);
        loop {
            let output = self.client.session.poll_output();
            if output.is_empty() && !self.is_unflushed {
                return Ok(());
            }
            let alarm = self.client.clock.wait_until(deadline_ms);
            if output.is_empty() {
                return match select(self.transport.flush(), alarm).await {
                    Either::First(flushed) => self.handle_flushed(flushed),
                    Either::Second(()) => Err(Error::Closed),
                };
            }
            match select(self.transport.write(output), alarm).await {
                Either::First(written) => self.handle_written(written)?,
                Either::Second(()) => return Err(Error::Closed),
            }
        }
    }
}

async fn wait_for<K: Clock>(clock: &K, deadline_ms: Option<u64>) {
    match deadline_ms {
        Some(deadline_ms) => clock.wait_until(deadline_ms).await,
        None => pending().await,
    }
}

impl<
    T,
    K: Clock,
    const INPUT: usize,
    const OUTPUT: usize,
    const RETAINED: usize,
    const IN_FLIGHT: usize,
    const RECEIVE: usize,
    const QUEUED: usize,
    const READING: usize,
> Drop for Link<'_, T, K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>
{
    fn drop(&mut self) {
        self.client.handle_closed();
    }
}
