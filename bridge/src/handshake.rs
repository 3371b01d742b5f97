//! CONNECT and CONNACK: what the bridge asks of a broker, and what it was granted.

use outpost_protocol::{
    Buffer, BufferFull, ConnAck, Connect, Properties, Property, ProtocolVersion, QoS, ReasonCode,
    Will,
};

use crate::peering::{self, Features, NodeId, Peering};

/// What the bridge asks of one broker.
#[derive(Clone, Debug)]
pub struct Request {
    /// The MQTT version.
    pub version: ProtocolVersion,
    /// The bit that tells a 3.1.1 broker that a bridge connects: it then keeps the retain flag and
    /// does not send the bridge its own messages. Not part of the specification.
    pub bridge_bit: bool,
    /// The client identifier: the name of the session.
    pub client_id: String,
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The keep-alive, in seconds.
    pub keep_alive_s: u16,
    /// QoS 1 and 2 messages that the broker may have unacknowledged; 5.0 only.
    pub receive_maximum: u16,
    /// The largest packet that the broker may send; 5.0 only.
    pub packet_bytes_max: u32,
    /// Topic aliases that the broker may set, and that it is given where it takes as many; 5.0 only.
    pub topic_alias_max: u16,
    /// What is asked of another Outpost; 5.0 only.
    pub features: Features,
    /// The broker at the other end of the bridge, where it is known; 5.0 only.
    pub node: Option<NodeId>,
    /// The topic that a retained will of `0` goes to.
    pub will_topic: Option<String>,
    /// The session is not wanted any more, nor what waits in it.
    pub ends_session: bool,
}

impl Request {
    /// Writes CONNECT. The session is to outlive the connection whatever happens, but for
    /// [`Self::ends_session`].
    ///
    /// # Errors
    /// [`BufferFull`] where a text is longer than MQTT allows.
    pub fn encode<B: Buffer>(&self, out: &mut B) -> Result<(), BufferFull> {
        let peering = Peering { node: self.node, features: self.features }.to_string();
        let properties = [
            Property::SessionExpiryInterval(if self.ends_session { 0 } else { u32::MAX }),
            Property::ReceiveMaximum(self.receive_maximum),
            Property::MaximumPacketSize(self.packet_bytes_max),
            Property::TopicAliasMaximum(self.topic_alias_max),
            Property::UserProperty(peering::KEY, &peering),
        ];
        let properties = match self.version {
            ProtocolVersion::V5 => Properties::list(&properties),
            ProtocolVersion::V31 | ProtocolVersion::V311 => Properties::EMPTY,
        };
        let connect = Connect {
            version: self.version,
            bridge: self.bridge_bit,
            clean_start: self.ends_session,
            keep_alive_s: self.keep_alive_s,
            properties,
            client_id: &self.client_id,
            will: self.will_topic.as_ref().map(|topic| Will {
                qos: QoS::AtLeastOnce,
                retain: true,
                properties: Properties::EMPTY,
                topic,
                payload: b"0",
            }),
            user_name: self.user_name.as_deref(),
            password: self.password.as_ref().map(String::as_bytes),
        };
        connect.encode(self.version, out)
    }
}

/// What a broker that speaks 3.1.1 is taken to allow, because it cannot say. Mosquitto 2.0 closes the
/// connection when more QoS 2 messages are unreleased than its `max_inflight_messages`, 20 unless it
/// was changed.
pub const RECEIVE_MAXIMUM_V311: u16 = 20;

/// What a broker granted: the bounds for what is sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The MQTT version spoken with it.
    pub version: ProtocolVersion,
    /// Whether it still had the session.
    pub session_present: bool,
    /// QoS 1 and 2 messages that it may be sent unacknowledged.
    pub receive_maximum: u16,
    /// The largest packet that it takes, in bytes with its header.
    pub packet_bytes_max: u32,
    /// The highest QoS that it takes.
    pub maximum_qos: QoS,
    /// Whether it takes retained messages.
    pub retain_available: bool,
    /// The keep-alive that holds, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// How long it keeps the session without a connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    /// Topic aliases that it may be given.
    pub topic_aliases_out: u16,
    /// Topic aliases that it may set.
    pub topic_aliases_in: u16,
    /// What it said as an Outpost, with the features that it granted; none: it is of another make.
    pub peering: Option<Peering>,
}

impl Peer {
    /// What `connack` grants to who asked for `request`.
    ///
    /// # Errors
    /// The reason of a refusal.
    pub fn granted(request: &Request, connack: &ConnAck<'_>) -> Result<Self, ReasonCode> {
        if connack.reason.is_error() {
            return Err(connack.reason);
        }
        let granted = &connack.properties;
        Ok(Self {
            version: request.version,
            session_present: connack.session_present,
            receive_maximum: match request.version {
                ProtocolVersion::V5 => granted.receive_maximum().unwrap_or(u16::MAX),
                ProtocolVersion::V31 | ProtocolVersion::V311 => RECEIVE_MAXIMUM_V311,
            },
            packet_bytes_max: granted.maximum_packet_size().unwrap_or(u32::MAX),
            maximum_qos: granted
                .maximum_qos()
                .and_then(|qos| QoS::try_from(qos).ok())
                .unwrap_or(QoS::ExactlyOnce),
            retain_available: granted.retain_available() != Some(0),
            keep_alive_s: granted.server_keep_alive_s().unwrap_or(request.keep_alive_s),
            session_expiry_s: granted.session_expiry_interval_s().unwrap_or(u32::MAX),
            topic_aliases_out: granted
                .topic_alias_maximum()
                .unwrap_or(0)
                .min(request.topic_alias_max),
            topic_aliases_in: request.topic_alias_max,
            peering: Peering::of(granted).map(|peering| Peering {
                features: peering.features.common(request.features),
                ..peering
            }),
        })
    }
}
