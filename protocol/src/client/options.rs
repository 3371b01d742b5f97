//! What the caller tells the client: how it is set up, how it connects, what it publishes.

use crate::{Properties, Property, ProtocolVersion, QoS, Will};

/// What stays the same as long as the client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The version that is spoken. Messages in flight are kept in its wire form.
    pub version: ProtocolVersion,
    /// The largest packet that the caller can hand in: the size of its input buffer in bytes.
    /// Announced to a 5.0 server as Maximum Packet Size; a larger packet ends the connection.
    pub maximum_packet_size: u32,
    /// How long the server may take to answer CONNECT, and each PINGREQ, in milliseconds.
    pub response_timeout_ms: u64,
    /// How many messages of QoS 1 and 2 may be on their way at once in 3.x, where the server cannot
    /// say so. Mosquitto closes the connection at more than 20 of QoS 2.
    pub send_quota_3x: u16,
}

impl Config {
    /// MQTT 5.0, for an input buffer of `maximum_packet_size` bytes, 10 s to answer, and in 3.x 20
    /// messages at once.
    pub const fn new(maximum_packet_size: u32) -> Self {
        Self {
            version: ProtocolVersion::V5,
            maximum_packet_size,
            response_timeout_ms: 10_000,
            send_quota_3x: 20,
        }
    }
}

/// What one CONNECT says (3.1).
///
/// A client that has lost its memory, but not its client id, should connect with `clean_start` once:
/// the server may remember QoS 2 packet ids of which this client knows nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectOptions<'a> {
    /// Empty: the server assigns one (5.0), which is then used for the next connections too.
    pub client_id: &'a str,
    /// Whether the server shall forget an earlier session. 3.x: the clean session flag, which also
    /// makes the server forget this session at its end.
    pub clean_start: bool,
    /// The longest time without a packet, in seconds; 0: no keep-alive. The server may set another.
    pub keep_alive_s: u16,
    /// How long the server keeps the session after the connection, in seconds (5.0 only).
    /// 0: not at all; `u32::MAX`: for ever.
    pub session_expiry_interval_s: u32,
    /// What the server publishes should the connection be lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password. In 3.x only together with a user name.
    pub password: Option<&'a [u8]>,
    /// Further properties (5.0 only): user properties, authentication, request problem information.
    /// A Receive Maximum below the capacity of the client. With a Topic Alias Maximum the server
    /// may send messages with a topic alias and an empty topic, which the caller then resolves.
    pub properties: &'a [Property<'a>],
}

impl<'a> ConnectOptions<'a> {
    /// A session that the server keeps for one hour after the connection is lost, keep-alive 60 s.
    pub const fn new(client_id: &'a str) -> Self {
        Self {
            client_id,
            clean_start: false,
            keep_alive_s: 60,
            session_expiry_interval_s: 3_600,
            will: None,
            user_name: None,
            password: None,
            properties: &[],
        }
    }

    pub(super) const fn properties(&self) -> Properties<'a> {
        Properties::list(self.properties)
    }
}

/// A message to be published (3.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message<'a> {
    /// A topic name without wildcards.
    pub topic: &'a str,
    /// The payload, as it is.
    pub payload: &'a [u8],
    /// How often it may or must arrive.
    pub qos: QoS,
    /// Whether the server keeps it for later subscribers.
    pub retain: bool,
    /// The properties (5.0 only).
    pub properties: Properties<'a>,
    /// A number of the caller's that comes back with the acknowledgement; not sent.
    pub token: u32,
}

impl<'a> Message<'a> {
    /// A message that is not retained, without properties, with the token 0.
    pub const fn new(topic: &'a str, payload: &'a [u8], qos: QoS) -> Self {
        Self { topic, payload, qos, retain: false, properties: Properties::EMPTY, token: 0 }
    }
}
