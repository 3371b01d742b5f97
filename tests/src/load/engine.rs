//! The clients of a run: their sockets in one `epoll`, and the client's side of the protocol.
//!
//! It answers what must be answered (PUBACK, PUBREC, PUBREL, PUBCOMP), counts what happens, and
//! leaves to the scenarios what is sent and when. Each turn waits once and reads each connection
//! that is ready a bounded number of times; answers of a burst are written together.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use outpost_protocol::{
    Ack, Connect, Disconnect, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck,
    PubComp, PubRec, PubRel, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions, decode,
};

use crate::connection::{Connection, Phase};
use crate::flights::{Acked, Flights};
use crate::histogram::Histogram;
use crate::receipts::{Receipts, Receiver};

/// What one read takes at the most; also the largest packet, less one byte.
const READ_BYTES: usize = 512 * 1024;
/// Reads of one connection in one turn.
const READS_MAX: u32 = 8;
/// Connections that one wait reports.
const EVENTS_MAX: usize = 1_024;
/// 5.0: how long a session that shall outlive its connection is kept. Longer than any run.
const SESSION_EXPIRY_S: u32 = 3_600;
/// Topic filters of one SUBSCRIBE.
const FILTERS_PER_SUBSCRIBE: usize = 50;
/// Longer than any run, so that no PINGREQ is needed, and still a timer for the broker to keep.
const KEEP_ALIVE_S: u16 = 3_600;

/// A connection of the engine. Valid until it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIndex(usize);

/// Who connects.
#[derive(Default)]
pub(crate) struct Client<'a> {
    pub(crate) client_id: &'a str,
    /// The session goes on where it was left, and outlives the connection.
    pub(crate) durable: bool,
    /// Of a subscriber.
    pub(crate) receiver: Option<Receiver>,
    /// Of a publisher of QoS 1 or 2.
    pub(crate) window: Option<u16>,
}

/// What has happened so far.
pub(crate) struct Tally {
    pub(crate) ready: u64,
    pub(crate) left: u64,
    pub(crate) subscribed: u64,
    /// Exchanges of QoS 1 and 2 that are over, the refused ones included.
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    /// Messages in flight of all publishers.
    pub(crate) in_flight: u64,
    /// QoS 2 messages received and not released, of all subscribers.
    pub(crate) unreleased: u64,
    pub(crate) ack_latency: Histogram,
    pub(crate) receipts: Receipts,
    /// When the last message or acknowledgement came.
    pub(crate) last_progress_ns: u64,
}

/// All connections of a run.
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    version: ProtocolVersion,
    start: Instant,
    connections: Vec<Option<Connection>>,
    /// Places of `connections` that are free.
    free: Vec<usize>,
    /// Connections that had more to read than one turn takes.
    unread: Vec<usize>,
    buffer: Vec<u8>,
    pub(crate) tally: Tally,
}

impl Engine {
    pub(crate) fn new(
        address: SocketAddr,
        version: ProtocolVersion,
        receipts: Receipts,
    ) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            address,
            version,
            start: Instant::now(),
            connections: Vec::new(),
            free: Vec::new(),
            unread: Vec::new(),
            buffer: vec![0; READ_BYTES],
            tally: Tally {
                ready: 0,
                left: 0,
                subscribed: 0,
                acked: 0,
                refused: 0,
                in_flight: 0,
                unreleased: 0,
                ack_latency: Histogram::new(),
                receipts,
                last_progress_ns: 0,
            },
        })
    }

    /// The clock of the run.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        nanoseconds(self.start)
    }

    /// Starts a connection and sends its CONNECT.
    pub(crate) fn open(&mut self, client: Client<'_>) -> Result<ClientIndex> {
        let mut connection = Connection::open(self.address).context("no connection")?;
        connection.receiver = client.receiver;
        connection.flights = client.window.map(Flights::new);
        let expiry = [Property::SessionExpiryInterval(SESSION_EXPIRY_S)];
        let connect = Connect {
            version: self.version,
            bridge: false,
            clean_start: !client.durable,
            keep_alive_s: KEEP_ALIVE_S,
            properties: if client.durable { Properties::list(&expiry) } else { Properties::EMPTY },
            client_id: client.client_id,
            will: None,
            user_name: None,
            password: None,
        };
        connect.encode(self.version, &mut connection.out)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.stream, Token(index), interest)?;
        self.connections[index] = Some(connection);
        Ok(ClientIndex(index))
    }

    /// Opens connections one after the other until all are ready.
    pub(crate) fn open_all<'a>(
        &mut self,
        clients: impl IntoIterator<Item = Client<'a>>,
        timeout: Duration,
    ) -> Result<Vec<ClientIndex>> {
        let mut opened = Vec::new();
        for client in clients {
            let ready = self.tally.ready + 1;
            opened.push(self.open(client)?);
            self.until(timeout, "CONNACK", |tally| tally.ready >= ready)?;
        }
        Ok(opened)
    }

    /// Sends SUBSCRIBE for all filters, in several packets if need be.
    pub(crate) fn subscribe(
        &mut self,
        client: ClientIndex,
        filters: &[String],
        qos: QoS,
    ) -> Result<()> {
        let version = self.version;
        let connection = self.connection(client)?;
        for some in filters.chunks(FILTERS_PER_SUBSCRIBE) {
            let list: Vec<_> = some
                .iter()
                .map(|filter| SubscribeFilter { filter, options: SubscriptionOptions::new(qos) })
                .collect();
            let subscribe = Subscribe {
                packet_id: connection.next_subscribe_id(),
                properties: Properties::EMPTY,
                filters: SubscribeFilters::List(&list),
            };
            subscribe.encode(version, &mut connection.out)?;
        }
        self.flush(client)
    }

    /// Whether the publisher can take another message now: the earlier ones are written, and its
    /// window is open.
    #[inline]
    pub(crate) fn is_writable(&self, client: ClientIndex) -> bool {
        self.connections[client.0].as_ref().is_some_and(|connection| connection.out.is_empty())
    }

    /// Encodes a message; false if the window is full. `flush` writes it.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        client: ClientIndex,
        publish: &mut Publish<'_>,
        now_ns: u64,
    ) -> Result<bool> {
        let version = self.version;
        let connection = self.connection(client)?;
        if publish.qos != QoS::AtMostOnce {
            let flights = connection.flights.as_mut().context("a publisher without a window")?;
            let Some(packet_id) = flights.take(publish.qos, now_ns) else { return Ok(false) };
            publish.packet_id = Some(packet_id);
            publish.encode(version, &mut connection.out)?;
            self.tally.in_flight += 1;
        } else {
            publish.encode(version, &mut connection.out)?;
        }
        Ok(true)
    }

    #[inline]
    pub(crate) fn flush(&mut self, client: ClientIndex) -> Result<()> {
        self.connection(client)?.flush().context("a write failed")
    }

    /// Sends DISCONNECT and waits for the broker's end of the stream.
    pub(crate) fn leave(&mut self, client: ClientIndex) -> Result<()> {
        let version = self.version;
        let connection = self.connection(client)?;
        connection.phase = Phase::Leaving;
        Disconnect::new(ReasonCode::Success).encode(version, &mut connection.out)?;
        self.flush(client)
    }

    #[inline]
    fn connection(&mut self, client: ClientIndex) -> Result<&mut Connection> {
        self.connections[client.0].as_mut().context("the connection has ended")
    }

    /// Waits for `done` or, as an error, for the end of `timeout`.
    pub(crate) fn until(
        &mut self,
        timeout: Duration,
        what: &str,
        done: impl Fn(&Tally) -> bool,
    ) -> Result<()> {
        let begin = Instant::now();
        while !done(&self.tally) {
            ensure!(begin.elapsed() < timeout, "{what} did not come in {} s", timeout.as_secs());
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Waits for `done`, but no longer than `timeout`, and gives up when nothing has come for
    /// `quiet`. Whether it was done.
    pub(crate) fn settle(
        &mut self,
        timeout: Duration,
        quiet: Duration,
        done: impl Fn(&Tally) -> bool,
    ) -> Result<bool> {
        let begin_ns = self.now_ns();
        while !done(&self.tally) {
            let now_ns = self.now_ns();
            let last_ns = self.tally.last_progress_ns.max(begin_ns);
            let is_quiet = now_ns.saturating_sub(last_ns) > quiet.as_nanos() as u64;
            if is_quiet || now_ns - begin_ns > timeout.as_nanos() as u64 {
                return Ok(false);
            }
            self.turn(Duration::from_millis(20))?;
        }
        Ok(true)
    }

    /// Waits for sockets, at most for `wait`, and does what they ask for.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<()> {
        let wait = if self.unread.is_empty() { wait } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for index in std::mem::take(&mut self.unread) {
            self.read(index)?;
        }
        // The events are borrowed from the engine, so they are taken out meanwhile.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            if event.is_writable() {
                self.write(index)?;
            }
            if event.is_readable() {
                self.read(index)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn write(&mut self, index: usize) -> Result<()> {
        match &mut self.connections[index] {
            Some(connection) => connection.flush().context("a write failed"),
            None => Ok(()),
        }
    }

    fn read(&mut self, index: usize) -> Result<()> {
        // An event of this turn may be of the connection that had this place before.
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        for _ in 0..READS_MAX {
            let burst = match connection.read(&mut self.buffer) {
                Ok(Some(burst)) => burst,
                Ok(None) => return connection.flush().context("a write failed"),
                Err(error) if connection.phase == Phase::Leaving => {
                    // Whether the broker ends the stream or resets it is its own affair.
                    drop(error);
                    return self.close(index);
                }
                Err(error) => return Err(error).context("the broker closed a connection"),
            };
            self.tally.handle_burst(
                connection,
                &self.buffer[..burst.len],
                self.version,
                nanoseconds(self.start),
            )?;
            if !burst.more {
                return connection.flush().context("a write failed");
            }
        }
        self.unread.push(index);
        connection.flush().context("a write failed")
    }

    fn close(&mut self, index: usize) -> Result<()> {
        if let Some(mut connection) = self.connections[index].take() {
            self.poll.registry().deregister(&mut connection.stream)?;
            self.free.push(index);
            self.tally.left += 1;
        }
        Ok(())
    }
}

impl Tally {
    fn handle_burst(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        version: ProtocolVersion,
        now_ns: u64,
    ) -> Result<()> {
        let mut used = 0;
        while let Some((packet, len)) = decode(&bytes[used..], version, READ_BYTES as u32 - 1)? {
            used += len;
            self.handle_packet(connection, &packet, version, now_ns)?;
        }
        connection.keep(&bytes[used..]);
        Ok(())
    }

    #[inline]
    fn handle_packet(
        &mut self,
        connection: &mut Connection,
        packet: &Packet<'_>,
        version: ProtocolVersion,
        now_ns: u64,
    ) -> Result<()> {
        match packet {
            Packet::Publish(publish) => {
                self.handle_publish(connection, publish, version, now_ns)?;
            }
            Packet::PubRel(pubrel) => {
                self.unreleased = self.unreleased.saturating_sub(connection.unreleased.min(1));
                connection.unreleased = connection.unreleased.saturating_sub(1);
                self.last_progress_ns = now_ns;
                PubComp::success(pubrel.packet_id).encode(version, &mut connection.out)?;
            }
            Packet::PubAck(ack) => {
                let id = ack.packet_id;
                self.handle_ack(connection, id, Ack::PubAck, ack.reason, version, now_ns)?;
            }
            Packet::PubRec(ack) => {
                let id = ack.packet_id;
                self.handle_ack(connection, id, Ack::PubRec, ack.reason, version, now_ns)?;
            }
            Packet::PubComp(ack) => {
                let id = ack.packet_id;
                self.handle_ack(connection, id, Ack::PubComp, ack.reason, version, now_ns)?;
            }
            Packet::ConnAck(connack) => {
                ensure!(!connack.reason.is_error(), "the broker refused: {}", connack.reason);
                connection.phase = Phase::Ready;
                self.ready += 1;
            }
            Packet::SubAck(suback) => {
                for reason in suback.reasons.iter() {
                    ensure!(!reason.is_error(), "a subscription was refused: {reason}");
                    self.subscribed += 1;
                }
            }
            Packet::Disconnect(disconnect) => bail!("the broker left: {}", disconnect.reason),
            other => bail!("a packet that was not asked for: {other:?}"),
        }
        Ok(())
    }

    #[inline]
    fn handle_publish(
        &mut self,
        connection: &mut Connection,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        now_ns: u64,
    ) -> Result<()> {
        self.last_progress_ns = now_ns;
        if let Some(receiver) = &mut connection.receiver {
            self.receipts.record(receiver, publish.payload, now_ns);
        }
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                PubAck::success(id).encode(version, &mut connection.out)?;
            }
            (QoS::ExactlyOnce, Some(id)) => {
                self.unreleased += 1;
                connection.unreleased += 1;
                PubRec::success(id).encode(version, &mut connection.out)?;
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn handle_ack(
        &mut self,
        connection: &mut Connection,
        id: PacketId,
        ack: Ack,
        reason: ReasonCode,
        version: ProtocolVersion,
        now_ns: u64,
    ) -> Result<()> {
        let flights = connection.flights.as_mut().context("an acknowledgement of nothing")?;
        match flights.handle(id, ack, reason) {
            Acked::Done { published_ns, refused } => {
                self.acked += 1;
                self.in_flight -= 1;
                self.refused += u64::from(refused);
                self.ack_latency.record(now_ns.saturating_sub(published_ns));
            }
            Acked::SendPubRel => PubRel::success(id).encode(version, &mut connection.out)?,
            Acked::Unexpected => bail!("an acknowledgement that was not due: {ack:?} {id:?}"),
        }
        self.last_progress_ns = now_ns;
        Ok(())
    }
}

/// A run of centuries is not in sight.
fn nanoseconds(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}
