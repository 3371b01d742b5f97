//! The session and its memory: what stays when a connection is lost.

use embedded_io_async::{Read, Write};
use outpost_protocol::client::{
    self as protocol, Buffers, Config, ConnectOptions, ConnectionError, Handled, Message,
    Published, RequestError,
};
use outpost_protocol::{Packet, ProtocolVersion, QoS, decode};
use serde::Serialize;

use crate::input::Input;
use crate::queue::Queue;
use crate::{Clock, Error, Event, Link, PublishError, WhenFull};

/// What a [`Client`] is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The version to speak.
    pub version: ProtocolVersion,
    /// How long the server may take to answer CONNECT and PINGREQ, in milliseconds.
    pub response_timeout_ms: u64,
    /// How many messages of QoS 1 and 2 may be on their way at once in 3.x, where the server cannot
    /// say so. Mosquitto closes the connection at more than 20 of QoS 2.
    pub send_quota_3x: u16,
    /// What happens to a message that would have to wait when the queue is full.
    pub when_full: WhenFull,
}

impl Default for Settings {
    /// MQTT 5.0, 10 s, in 3.x 20 messages at once, refuse.
    fn default() -> Self {
        Self {
            version: ProtocolVersion::V5,
            response_timeout_ms: 10_000,
            send_quota_3x: 20,
            when_full: WhenFull::Refuse,
        }
    }
}

/// A client in about 4 KiB: packets of up to 256 bytes either way, 8 messages in flight, 16 readings
/// queued with topic and payload of up to 64 bytes together.
pub type SmallClient<K> = Client<K, 256, 256, 1024, 8, 4, 16, 64>;

/// One MQTT session. Its size is about the sum of the bytes below.
///
/// - `INPUT`: the largest packet that can come in, in bytes. A 5.0 server is told so.
/// - `OUTPUT`: the largest packet that goes out other than a PUBLISH of QoS 1 or 2, in bytes: CONNECT
///   with will and password, SUBSCRIBE, a PUBLISH of QoS 0.
/// - `RETAINED`: bytes for the PUBLISH packets of QoS 1 and 2 that are not yet acknowledged.
/// - `IN_FLIGHT`: how many of them there may be (40 bytes each).
/// - `RECEIVE`: how many QoS 2 messages may be on their way in. A 5.0 server is told so.
/// - `QUEUED`: how many messages can wait for a connection, or for room in `RETAINED`.
/// - `READING`: how long topic, properties and payload of such a message may be together, in bytes
///   (each place of the queue has this length and about 32 bytes more).
#[derive(Debug)]
pub struct Client<
    K,
    const INPUT: usize,
    const OUTPUT: usize,
    const RETAINED: usize,
    const IN_FLIGHT: usize,
    const RECEIVE: usize,
    const QUEUED: usize,
    const READING: usize,
> {
    pub(crate) session: protocol::Client<[u8; OUTPUT], [u8; RETAINED], IN_FLIGHT, RECEIVE>,
    pub(crate) clock: K,
    pub(crate) input: Input<INPUT>,
    pub(crate) response_timeout_ms: u64,
    queue: Queue<QUEUED, READING>,
    /// How many bytes at the front of `input` belong to the event that was given last.
    given: usize,
    not_sent: Option<(u32, RequestError)>,
}

/// What to do next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Give(Ready),
    Write,
    Read,
}

/// An event that can be given, without the bytes that it borrows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    Published(Published),
    NotSent {
        token: u32,
        error: RequestError,
    },
    /// A packet at the front of the input.
    Packet,
}

impl<
    K: Clock,
    const INPUT: usize,
    const OUTPUT: usize,
    const RETAINED: usize,
    const IN_FLIGHT: usize,
    const RECEIVE: usize,
    const QUEUED: usize,
    const READING: usize,
> Client<K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>
{
    /// A new session, not connected.
    pub fn new(settings: Settings, clock: K) -> Self {
        let config = Config {
            version: settings.version,
            maximum_packet_size: u32::try_from(INPUT).unwrap_or(u32::MAX),
            response_timeout_ms: settings.response_timeout_ms,
            send_quota_3x: settings.send_quota_3x,
        };
        let buffers = Buffers { output: [0; OUTPUT], retained: [0; RETAINED] };
        Self {
            session: protocol::Client::new(config, buffers),
            clock,
            input: Input::new(),
            response_timeout_ms: settings.response_timeout_ms,
            queue: Queue::new(settings.when_full),
            given: 0,
            not_sent: None,
        }
    }

    /// Connects over an open transport and waits for the answer. What was queued or is in flight
    /// goes out by the calls of the [`Link`].
    ///
    /// # Errors
    /// The connection did not come about; the session stays as it was.
    pub async fn connect<T: Read + Write>(
        &mut self,
        transport: T,
        options: &ConnectOptions<'_>,
    ) -> Result<
        Link<'_, T, K, INPUT, OUTPUT, RETAINED, IN_FLIGHT, RECEIVE, QUEUED, READING>,
        Error<T::Error>,
    > {
        self.handle_closed();
        self.session.connect(self.clock.now_ms(), options).map_err(Error::Request)?;
        let mut link = Link::new(self, transport);
        link.await_conn_ack().await?;
        Ok(link)
    }

    /// Publishes a message: hands it to the connection, if there is one that has room for it, or
    /// else queues it. Messages go out in the order of these calls (QoS 0 may overtake the others).
    /// A queued message keeps its Message Expiry Interval as it was given.
    ///
    /// With QoS 1 and 2 its end is told by [`Event::Published`] with its token.
    ///
    /// # Errors
    /// It was not taken.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        self.forward_queue();
        if self.queue.is_empty() && self.session.is_connected() {
            match self.session.publish(message) {
                Ok(_) => return Ok(()),
                Err(RequestError::Full) => {}
                Err(error) => return Err(PublishError::Request(error)),
            }
        }
        self.queue.push(message)
    }

    /// Publishes a value in postcard's format, see [`Self::publish`]. The payload has up to `READING`
    /// bytes.
    ///
    /// # Errors
    /// It was not taken.
    pub fn publish_postcard<V: Serialize + ?Sized>(
        &mut self,
        topic: &str,
        value: &V,
        qos: QoS,
        token: u32,
    ) -> Result<(), PublishError> {
        let mut buffer = [0; READING];
        let payload = postcard::to_slice(value, &mut buffer).map_err(|_| PublishError::Payload)?;
        self.publish(&Message { token, ..Message::new(topic, payload, qos) })
    }

    /// How many messages wait in the queue.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many messages were dropped from the queue to make room ([`WhenFull::DropOldest`]).
    pub const fn dropped(&self) -> u32 {
        self.queue.dropped()
    }

    /// How many messages of QoS 1 and 2 have been handed to a connection and not come to their end.
    pub const fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    /// The clock.
    pub const fn clock(&self) -> &K {
        &self.clock
    }

    pub(crate) fn handle_closed(&mut self) {
        self.session.handle_closed();
        self.input.clear();
        self.given = 0;
    }

    /// Moves queued messages to the connection as far as it takes them.
    pub(crate) fn forward_queue(&mut self) {
        while self.session.is_connected()
            && self.not_sent.is_none()
            && let Some(message) = self.queue.front()
        {
            match self.session.publish(&message) {
                Ok(_) => {}
                Err(RequestError::Full) => return,
                Err(error) => self.not_sent = Some((message.token, error)),
            }
            self.queue.pop();
        }
    }

    /// Goes on until there is an event, or something to be written, or more input is needed.
    pub(crate) fn step(&mut self) -> Result<Step, ConnectionError> {
        self.input.take(core::mem::take(&mut self.given));
        loop {
            self.forward_queue();
            if let Some((token, error)) = self.not_sent.take() {
                return Ok(Step::Give(Ready::NotSent { token, error }));
            }
            let ready = match self.session.handle_input(self.input.bytes())? {
                Handled::Incomplete => return Ok(Step::Read),
                Handled::OutputFull => return Ok(Step::Write),
                Handled::Taken { used, event: None } => {
                    self.input.take(used);
                    continue;
                }
                Handled::Taken { used, event: Some(protocol::Event::Published(published)) } => {
                    self.input.take(used);
                    Ready::Published(published)
                }
                Handled::Taken { used, event: Some(_) } => {
                    self.given = used;
                    Ready::Packet
                }
            };
            return Ok(Step::Give(ready));
        }
    }

    /// The packet behind [`Ready::Packet`].
    pub(crate) fn given_packet(&self) -> Packet<'_> {
        let version = self.session.version();
        match decode(self.input.bytes(), version, u32::MAX) {
            Ok(Some((packet, _))) => packet,
            _ => unreachable!("it was decoded before"),
        }
    }

    pub(crate) fn event<E>(&self, ready: Ready) -> Result<Event<'_>, Error<E>> {
        let packet = match ready {
            Ready::Published(published) => return Ok(Event::Published(published)),
            Ready::NotSent { token, error } => return Ok(Event::NotSent { token, error }),
            Ready::Packet => self.given_packet(),
        };
        match packet {
            Packet::Publish(packet) => Ok(Event::Message(packet)),
            Packet::SubAck(packet) => Ok(Event::Subscribed(packet)),
            Packet::UnsubAck(packet) => Ok(Event::Unsubscribed(packet)),
            Packet::Disconnect(packet) => Ok(Event::Disconnected(packet)),
            Packet::ConnAck(packet) => Err(Error::Refused(packet.reason)),
            _ => Err(Error::AuthenticationNotSupported),
        }
    }
}
