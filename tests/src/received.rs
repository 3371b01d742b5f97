//! Packets from the broker, copied out of the read buffer so that tests can keep them.

use std::fmt;

use outpost_protocol::{Packet, PacketId, Properties, QoS, ReasonCode};

/// Properties in wire form.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Props(Vec<u8>);

impl Props {
    fn new(properties: &Properties<'_>) -> Self {
        Self(properties.as_encoded().to_vec())
    }

    /// To look at them.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties::encoded(&self.0)
    }
}

impl fmt::Debug for Props {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_properties().iter()).finish()
    }
}

/// Implements the look at the properties of a packet.
macro_rules! props {
    ($($packet:ident),*) => {$(
        impl $packet {
            /// Its properties.
            pub fn props(&self) -> Properties<'_> {
                self.properties.as_properties()
            }
        }
    )*};
}

props!(ConnAck, Publish, Ack, SubAck, UnsubAck, Disconnect, Auth);

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Props,
}

/// PUBLISH.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty with a Topic Alias.
    pub topic: String,
    /// Packet Identifier.
    pub packet_id: Option<PacketId>,
    /// Properties.
    pub properties: Props,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A large payload is cut short.
impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.payload[..self.payload.len().min(64)];
        f.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("properties", &self.properties)
            .field(
                "payload",
                &format_args!("{} bytes: {}", self.payload.len(), shown.escape_ascii()),
            )
            .finish()
    }
}

impl Publish {
    /// The packet identifier of a QoS 1 or 2 PUBLISH.
    pub fn id(&self) -> PacketId {
        self.packet_id.expect("a PUBLISH with QoS 1 or 2 has a packet identifier")
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.payload).expect("the payload is text")
    }
}

/// What PUBACK, PUBREC, PUBREL and PUBCOMP hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Props,
}

/// SUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// One for each filter.
    pub reasons: Vec<ReasonCode>,
    /// Properties.
    pub properties: Props,
}

/// UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// One for each filter; empty in 3.1 and 3.1.1.
    pub reasons: Vec<ReasonCode>,
    /// Properties.
    pub properties: Props,
}

/// DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Props,
}

/// AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Props,
}

/// Any packet that a broker may send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named for the packets")]
pub enum Received {
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(SubAck),
    UnsubAck(UnsubAck),
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

/// Copies an acknowledgement.
macro_rules! ack {
    ($p:expr) => {
        Ack { packet_id: $p.packet_id, reason: $p.reason, properties: Props::new(&$p.properties) }
    };
}

impl Received {
    /// Copies a packet.
    ///
    /// # Panics
    /// When it is one that only a client may send.
    pub fn new(packet: &Packet<'_>) -> Self {
        match packet {
            Packet::ConnAck(p) => Self::ConnAck(ConnAck {
                session_present: p.session_present,
                reason: p.reason,
                properties: Props::new(&p.properties),
            }),
            Packet::Publish(p) => Self::Publish(Publish {
                dup: p.dup,
                qos: p.qos,
                retain: p.retain,
                topic: p.topic.to_owned(),
                packet_id: p.packet_id,
                properties: Props::new(&p.properties),
                payload: p.payload.to_vec(),
            }),
            Packet::PubAck(p) => Self::PubAck(ack!(p)),
            Packet::PubRec(p) => Self::PubRec(ack!(p)),
            Packet::PubRel(p) => Self::PubRel(ack!(p)),
            Packet::PubComp(p) => Self::PubComp(ack!(p)),
            Packet::SubAck(p) => Self::SubAck(SubAck {
                packet_id: p.packet_id,
                reasons: p.reasons.iter().collect(),
                properties: Props::new(&p.properties),
            }),
            Packet::UnsubAck(p) => Self::UnsubAck(UnsubAck {
                packet_id: p.packet_id,
                reasons: p.reasons.iter().collect(),
                properties: Props::new(&p.properties),
            }),
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(p) => Self::Disconnect(Disconnect {
                reason: p.reason,
                properties: Props::new(&p.properties),
            }),
            Packet::Auth(p) => {
                Self::Auth(Auth { reason: p.reason, properties: Props::new(&p.properties) })
            }
            other => panic!("a broker never sends {other:?}"),
        }
    }
}

/// A kind of packet that a test can ask for.
pub trait FromReceived: Sized {
    /// The name of the packet.
    const NAME: &'static str;

    /// The packet, if it is of this kind.
    fn from_received(received: Received) -> Result<Self, Received>;
}

/// Makes a kind of packet one that can be asked for.
macro_rules! from_received {
    ($($packet:ident $name:literal),*) => {$(
        impl FromReceived for $packet {
            const NAME: &'static str = $name;

            fn from_received(received: Received) -> Result<Self, Received> {
                match received {
                    Received::$packet(packet) => Ok(packet),
                    other => Err(other),
                }
            }
        }
    )*};
}

from_received!(
    ConnAck "CONNACK", Publish "PUBLISH", SubAck "SUBACK", UnsubAck "UNSUBACK",
    Disconnect "DISCONNECT", Auth "AUTH"
);

/// Makes an acknowledgement a kind of its own.
macro_rules! ack_kind {
    ($($packet:ident $name:literal),*) => {$(
        #[doc = concat!($name, ".")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $packet(pub Ack);

        impl std::ops::Deref for $packet {
            type Target = Ack;

            fn deref(&self) -> &Ack {
                &self.0
            }
        }

        impl FromReceived for $packet {
            const NAME: &'static str = $name;

            fn from_received(received: Received) -> Result<Self, Received> {
                match received {
                    Received::$packet(ack) => Ok(Self(ack)),
                    other => Err(other),
                }
            }
        }
    )*};
}

ack_kind!(PubAck "PUBACK", PubRec "PUBREC", PubRel "PUBREL", PubComp "PUBCOMP");

/// PINGRESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResp;

impl FromReceived for PingResp {
    const NAME: &'static str = "PINGRESP";

    fn from_received(received: Received) -> Result<Self, Received> {
        match received {
            Received::PingResp => Ok(Self),
            other => Err(other),
        }
    }
}
