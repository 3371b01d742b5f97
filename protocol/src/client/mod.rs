//! The MQTT client without I/O: 3.1, 3.1.1 and 5.0.
//!
//! [`Client`] owns the state of one session and of its present connection. It reads no clock and no
//! socket: bytes that came in go to [`Client::handle_input`], bytes to be sent come from
//! [`Client::poll_output`], and time is an argument, in milliseconds of any epoch that does not run
//! backwards. All that is to be kept is in this value, so whoever drives it may stop anywhere (drop
//! a future, lose the connection) and go on later.
//!
//! The way of one connection:
//! 1. Open a transport, call [`Client::connect`].
//! 2. Over and over: write what [`Client::poll_output`] gives, and say so by
//!    [`Client::handle_written`]; read bytes and hand them to [`Client::handle_input`] until it says
//!    [`Handled::Incomplete`]; call [`Client::handle_timeout`] when [`Client::poll_timeout`] is due.
//! 3. When the transport fails, or a call says that the connection must end: close it and call
//!    [`Client::handle_closed`]. The session stays. Go to 1.
//!
//! Messages of QoS 1 and 2 are kept, encoded, in a buffer of the caller's until the server has
//! acknowledged them. After a reconnection they are sent again in their order with the same packet
//! ids: with DUP where the server still has the session, as new ones where it has not.
//!
//! A message that came in is acknowledged when [`Client::handle_input`] is called the next time: who
//! comes back for more is done with the last one. QoS 2 messages are handed out exactly once as long
//! as this value lives.
//!
//! Limits: `IN_FLIGHT` messages of QoS 1 and 2 on their way out, whose packets together fit into the
//! `retained` buffer; any one other packet (CONNECT, SUBSCRIBE, a PUBLISH of QoS 0) fits into the
//! `output` buffer; `RECEIVE` QoS 2 messages on their way in; [`REQUESTS_MAX`] SUBSCRIBE and
//! UNSUBSCRIBE unanswered; an assigned client id of up to [`ASSIGNED_CLIENT_ID_BYTES_MAX`] bytes is
//! remembered. The server may use topic aliases only where the caller of [`Client::connect`] allows
//! it, and then the caller resolves them.

mod error;
mod event;
mod input;
mod options;
mod output;
mod pending;
mod records;
mod requests;
mod retained;
mod staged;
mod terms;
#[cfg(test)]
mod tests;

pub use error::{ConnectionError, RequestError};
pub use event::{Event, Handled, Outcome, Published};
pub use options::{Config, ConnectOptions, Message};
pub use terms::Terms;

use core::mem;

use crate::{
    BufferFull, Connect, KeepAlive, KeepAliveStep, Packet, PacketId, Properties, Property,
    ProtocolVersion, QoS, ReceivingHalf, SliceBuffer,
};
use output::Source;
use pending::Pending;
use retained::Retained;
use staged::Staged;

/// How many SUBSCRIBE and UNSUBSCRIBE may wait for their answer at once.
pub const REQUESTS_MAX: usize = 8;
/// The longest assigned client identifier that is remembered.
pub const ASSIGNED_CLIENT_ID_BYTES_MAX: usize = 64;

/// Session Expiry Interval, Receive Maximum and Maximum Packet Size in wire form.
const OWN_PROPERTIES_BYTES: usize = 5 + 3 + 5;

/// The buffers of a client: arrays, slices or anything else that keeps its length.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<O, R> {
    /// For packets that are sent once: CONNECT, SUBSCRIBE, acknowledgements, PUBLISH of QoS 0. The
    /// largest of them must fit; at least 16 bytes.
    pub output: O,
    /// For the PUBLISH packets of QoS 1 and 2, until they are acknowledged.
    pub retained: R,
}

/// One session with a server, and its present connection.
#[derive(Debug)]
pub struct Client<O, R, const IN_FLIGHT: usize, const RECEIVE: usize> {
    config: Config,
    phase: Phase,
    staged: Staged<O>,
    retained: Retained<R, IN_FLIGHT>,
    receiving: ReceivingHalf<RECEIVE>,
    pending: Pending,
    /// The message that was handed out last, if it has to be acknowledged.
    unacknowledged: Option<(PacketId, QoS)>,
    next_packet_id: PacketId,
    /// How many more PUBLISH may be sent [MQTT-4.9.0-1].
    quota: u16,
    /// Where the bytes came from that `poll_output` gave last.
    source: Source,
    clean_start: bool,
    keep_alive_s: u16,
    keep_alive: KeepAlive,
    /// The highest topic alias that the server may use.
    topic_alias_maximum: u16,
    assigned: AssignedClientId,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    AwaitConnAck {
        deadline_ms: u64,
    },
    Connected(Terms),
    /// Nothing is taken any more; what is staged (a DISCONNECT) may still be written.
    Closing,
}

impl<O, R, const IN_FLIGHT: usize, const RECEIVE: usize> Client<O, R, IN_FLIGHT, RECEIVE>
where
    O: AsRef<[u8]> + AsMut<[u8]>,
    R: AsRef<[u8]> + AsMut<[u8]>,
{
    /// A new session without a connection.
    pub fn new(config: Config, buffers: Buffers<O, R>) -> Self {
        const {
            assert!(RECEIVE > 0, "a Receive Maximum of 0 is not allowed");
            assert!(IN_FLIGHT <= 60_000, "there are 65,535 packet ids");
        }
        Self {
            config,
            phase: Phase::Closed,
            staged: Staged::new(buffers.output),
            retained: Retained::new(buffers.retained),
            receiving: ReceivingHalf::new(),
            pending: Pending::new(),
            unacknowledged: None,
            next_packet_id: PacketId::MIN,
            quota: 0,
            source: Source::Staged,
            clean_start: true,
            keep_alive_s: 0,
            keep_alive: KeepAlive::new(0, 0, 0),
            topic_alias_maximum: 0,
            assigned: AssignedClientId::NONE,
        }
    }

    /// A transport was opened: says CONNECT on it. Ends what was left of an earlier connection.
    ///
    /// # Errors
    /// [`RequestError::TooLarge`] where the CONNECT does not fit into the `output` buffer,
    /// [`RequestError::Property`] for properties that are not for the caller.
    pub fn connect(
        &mut self,
        now_ms: u64,
        options: &ConnectOptions<'_>,
    ) -> Result<(), RequestError> {
        self.handle_closed();
        let mut own = [0; OWN_PROPERTIES_BYTES];
        let properties = self.connect_properties(options, &mut own)?;
        let is_anonymous = options.client_id.is_empty();
        let client_id =
            self.assigned.as_str().filter(|_| is_anonymous).unwrap_or(options.client_id);
        let connect = Connect {
            version: self.config.version,
            bridge: false,
            clean_start: options.clean_start,
            keep_alive_s: options.keep_alive_s,
            properties,
            client_id,
            will: options.will.clone(),
            user_name: options.user_name,
            password: options.password,
        };
        self.staged.push(&Packet::Connect(connect), self.config.version)?;
        self.clean_start = options.clean_start;
        self.topic_alias_maximum = options.properties().topic_alias_maximum().unwrap_or(0);
        self.keep_alive_s = options.keep_alive_s;
        let timeout_ms = self.config.response_timeout_ms;
        self.keep_alive = KeepAlive::new(options.keep_alive_s, timeout_ms, now_ms);
        self.phase = Phase::AwaitConnAck { deadline_ms: now_ms.saturating_add(timeout_ms) };
        Ok(())
    }

    fn connect_properties<'p>(
        &self,
        options: &ConnectOptions<'p>,
        own: &'p mut [u8; OWN_PROPERTIES_BYTES],
    ) -> Result<Properties<'p>, RequestError> {
        let is_refused = |property: &Property<'_>| match *property {
            Property::SessionExpiryInterval(_) | Property::MaximumPacketSize(_) => true,
            Property::ReceiveMaximum(maximum) => maximum == 0 || usize::from(maximum) > RECEIVE,
            _ => false,
        };
        if options.properties.iter().any(is_refused) {
            return Err(RequestError::Property);
        }
        let receive_maximum = match options.properties().receive_maximum() {
            Some(_) => None,
            None => Some(Property::ReceiveMaximum(u16::try_from(RECEIVE).unwrap_or(u16::MAX))),
        };
        let len = {
            let mut out = SliceBuffer::new(own);
            [
                Some(Property::SessionExpiryInterval(options.session_expiry_interval_s)),
                receive_maximum,
                Some(Property::MaximumPacketSize(self.config.maximum_packet_size.max(1))),
            ]
            .iter()
            .flatten()
            .try_for_each(|property| property.encode(&mut out))
            .map_err(|BufferFull| RequestError::TooLarge)?;
            out.len()
        };
        Ok(Properties::encoded_and_list(&own[..len], options.properties))
    }

    /// The transport was closed or lost. The session is kept; unanswered SUBSCRIBE and UNSUBSCRIBE
    /// are forgotten, as no server answers them on another connection.
    pub fn handle_closed(&mut self) {
        self.phase = Phase::Closed;
        self.staged.clear();
        self.retained.stop();
        self.pending.clear();
        self.source = Source::Staged;
        // What was handed out is the caller's: the server sends it again. QoS 2: and is answered
        // by PUBREC, for its packet id is known.
        self.unacknowledged = None;
    }

    /// When [`Self::handle_timeout`] wants to be called, in milliseconds of the caller's time.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::AwaitConnAck { deadline_ms } => Some(deadline_ms),
            Phase::Connected(_) => self.keep_alive.deadline_ms(),
            Phase::Closed | Phase::Closing => None,
        }
    }

    /// Time has passed: sends a PINGREQ where one is due. May be called at any time.
    ///
    /// # Errors
    /// The server did not answer in time; the connection must end.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), ConnectionError> {
        match self.phase {
            Phase::AwaitConnAck { deadline_ms } if deadline_ms <= now_ms => {
                Err(self.fail(ConnectionError::ConnAckTimeout))
            }
            Phase::Connected(_) => match self.keep_alive.poll(now_ms) {
                KeepAliveStep::Idle => Ok(()),
                KeepAliveStep::SendPingReq => {
                    // Without room there is output that the transport does not take: then the time
                    // for the answer runs all the same.
                    let _ = self.staged.push(&Packet::PingReq, self.config.version);
                    Ok(())
                }
                KeepAliveStep::Close => Err(self.fail(ConnectionError::KeepAliveTimeout)),
            },
            Phase::AwaitConnAck { .. } | Phase::Closed | Phase::Closing => Ok(()),
        }
    }

    /// The version that is spoken.
    pub const fn version(&self) -> ProtocolVersion {
        self.config.version
    }

    /// The terms of the connection; None: not connected.
    pub const fn terms(&self) -> Option<&Terms> {
        match &self.phase {
            Phase::Connected(terms) => Some(terms),
            Phase::Closed | Phase::AwaitConnAck { .. } | Phase::Closing => None,
        }
    }

    /// Whether the server has accepted the connection, and it is not ending.
    pub const fn is_connected(&self) -> bool {
        self.terms().is_some()
    }

    /// Whether there is a connection that goes on: accepted, or waiting for CONNACK.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::AwaitConnAck { .. } | Phase::Connected(_))
    }

    /// How many messages of QoS 1 and 2 have not come to their end.
    pub const fn in_flight(&self) -> usize {
        self.retained.len()
    }

    /// Where the packet ids of this client start, or go on. A client that has lost its memory, but
    /// goes on with the session, should start anywhere: the server may take a QoS 2 message for one
    /// that it knows where both have the same packet id [MQTT-4.3.3-10].
    pub const fn set_next_packet_id(&mut self, packet_id: PacketId) {
        self.next_packet_id = packet_id;
    }

    /// Takes other buffers, for packets that do not fit into the present ones. Gives back those
    /// that are not needed any more.
    ///
    /// # Errors
    /// Gives back `buffers` where anything is in flight or waits to be written.
    pub fn replace_buffers(
        &mut self,
        buffers: Buffers<O, R>,
    ) -> Result<Buffers<O, R>, Buffers<O, R>> {
        if self.in_flight() > 0 || !self.staged.is_empty() {
            return Err(buffers);
        }
        let output = mem::replace(&mut self.staged, Staged::new(buffers.output));
        let retained = mem::replace(&mut self.retained, Retained::new(buffers.retained));
        Ok(Buffers { output: output.into_bytes(), retained: retained.into_bytes() })
    }

    /// The client identifier that the server assigned (5.0).
    pub fn assigned_client_id(&self) -> Option<&str> {
        self.assigned.as_str()
    }
}

/// A client identifier from a server, in a place of fixed size.
#[derive(Clone, Copy, Debug)]
struct AssignedClientId {
    bytes: [u8; ASSIGNED_CLIENT_ID_BYTES_MAX],
    len: usize,
}

impl AssignedClientId {
    const NONE: Self = Self { bytes: [0; ASSIGNED_CLIENT_ID_BYTES_MAX], len: 0 };

    /// One that is too long is not remembered: a part of it would be another client's.
    fn set(&mut self, id: &str) {
        self.len = 0;
        if let Some(bytes) = self.bytes.get_mut(..id.len()) {
            bytes.copy_from_slice(id.as_bytes());
            self.len = id.len();
        }
    }

    fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.bytes[..self.len]).ok().filter(|id| !id.is_empty())
    }
}
