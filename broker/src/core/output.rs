//! What the core has for a connection, and its way into bytes.
//!
//! The core gives out values; the connection's own task encodes them after the lock is released.
//! What is the same for all receivers of a message stands in the message in wire form, so that
//! encoding is a few copies of memory.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use outpost_bridge::origin::{self, Origin};
use outpost_bridge::peering::{Features, NodeId};
use outpost_protocol::{
    Buffer, BufferFull, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp,
    PubRec, PubRel, Publish, QoS, ReasonCode,
};

use super::change::Seq;
use super::message::{Message, Topic};
use super::stamp;
use super::time::Instant;

/// One packet towards a client.
#[derive(Debug)]
pub enum Output {
    /// PUBLISH.
    Publish(Delivery),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(AckKind, PacketId, ReasonCode),
    /// PINGRESP.
    PingResp,
    /// Any other packet, encoded.
    Encoded(Box<[u8]>),
    /// The connection is closed after what stands before.
    Close,
}

/// The packets of the QoS flows that carry nothing but an identifier and a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

/// A message on its way to one client.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// None with QoS 0.
    pub packet_id: Option<PacketId>,
    /// The QoS it is sent with.
    pub qos: QoS,
    /// It has been sent before.
    pub dup: bool,
    /// The RETAIN flag.
    pub retain: bool,
    /// Subscription identifiers of this client.
    pub subscription_ids: Option<Arc<[u32]>>,
    /// Its number at this broker, for bridges: no other message ever has it.
    pub number: Option<Seq>,
    /// When it came to this broker, for bridges that tell it; 0: now.
    pub came_at: Instant,
}

/// Encodes what one connection is to get. It belongs to the connection's task.
#[derive(Debug)]
pub struct Encoder {
    version: ProtocolVersion,
    /// The client asked for reason strings (Request Problem Information).
    wants_reasons: bool,
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    aliases: HashMap<Topic, u16, RandomState>,
    /// Properties of the packet being encoded; kept for its memory.
    list: Vec<Property<'static>>,
    /// This broker, where messages to the client tell where they come from: it is a bridge.
    node: Option<NodeId>,
    /// Since when the client is there, where messages to it are told when they came.
    stamps_since: Option<Instant>,
    /// Properties with what this broker adds; kept for its memory.
    with_added: outpost_bridge::output::Output,
}

/// Bytes that grow: the buffer of everything that is written to a socket.
#[derive(Debug, Default)]
pub struct ByteBuffer(pub Vec<u8>);

impl Buffer for ByteBuffer {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// How a connection's packets are to be encoded, as its CONNECT says.
#[derive(Debug, Clone, Copy)]
pub struct EncoderOptions {
    /// The protocol version.
    pub version: ProtocolVersion,
    /// Request Problem Information.
    pub wants_reasons: bool,
    /// Maximum Packet Size of the client.
    pub maximum_packet_size: u32,
    /// Topic aliases that may be set.
    pub topic_alias_maximum: u16,
    /// It is the bridge of an Outpost: the name of this broker, and what the bridge was granted.
    pub bridge: Option<(NodeId, Features)>,
    /// Since when it is there, where its messages are to be told when they came.
    pub stamps_since: Option<Instant>,
}

impl Encoder {
    /// An encoder for a new connection.
    pub fn new(options: EncoderOptions) -> Self {
        Self {
            version: options.version,
            wants_reasons: options.wants_reasons,
            maximum_packet_size: options.maximum_packet_size,
            topic_alias_maximum: options.topic_alias_maximum,
            aliases: HashMap::default(),
            list: Vec::new(),
            node: options.bridge.map(|(node, _)| node),
            stamps_since: options.stamps_since,
            with_added: Default::default(),
        }
    }

    /// Appends one packet. False: the connection is to be closed after what `out` holds.
    pub fn encode(&mut self, output: &Output, now: Instant, out: &mut ByteBuffer) -> bool {
        match output {
            Output::Publish(delivery) => self.encode_publish(delivery, now, out),
            Output::Ack(kind, packet_id, reason) => {
                return self.encode_ack(*kind, *packet_id, *reason, out);
            }
            Output::PingResp => return self.put(&[0xD0, 0x00], out),
            Output::Encoded(bytes) => return self.put(bytes, out),
            Output::Close => return false,
        }
        true
    }

    /// What has to be sent to go on and is larger than the client takes cannot be sent
    /// [MQTT-3.1.2-24]: false.
    fn put(&self, bytes: &[u8], out: &mut ByteBuffer) -> bool {
        let fits = bytes.len() <= self.maximum_packet_size as usize;
        if fits {
            out.0.extend_from_slice(bytes);
        }
        fits
    }

    fn encode_publish(&mut self, delivery: &Delivery, now: Instant, out: &mut ByteBuffer) {
        let message = &*delivery.message;
        if self.version < ProtocolVersion::V5 {
            let packet = Self::publish(delivery, &message.topic, Properties::EMPTY);
            packet.encode(self.version, out).expect(FITS);
            return;
        }
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        if let Some(at) = message.expires_at {
            // What is left of it [MQTT-3.3.2-6], rounded up: 0 would mean that it has expired.
            let left_s = u32::try_from(at.since_ms(now).div_ceil(1000)).unwrap_or(u32::MAX);
            list.push(Property::MessageExpiryInterval(left_s.max(1)));
        }
        for id in delivery.subscription_ids.as_deref().unwrap_or_default() {
            list.push(Property::SubscriptionIdentifier(*id));
        }
        let mut topic = &*message.topic;
        match self.alias(delivery) {
            Some(Alias::Known(alias)) => {
                list.push(Property::TopicAlias(alias));
                topic = "";
            }
            Some(Alias::New(alias)) => list.push(Property::TopicAlias(alias)),
            None => {}
        }
        self.with_added.advance(self.with_added.len());
        if let Some(node) = self.node {
            let properties = message.properties();
            let own = || Origin { node, number: delivery.number.map(|seq| seq.0), hops: 0 };
            let origin = Origin::of(&properties).unwrap_or_else(own).hopped();
            origin::write(properties.iter(), Some(origin), &mut self.with_added);
        }
        if let Some(since) = self.stamps_since.filter(|_| self.node.is_some()) {
            let came_at = if delivery.came_at == Instant(0) { now } else { delivery.came_at };
            stamp::write(&message.properties(), came_at, since, &mut self.with_added);
        }
        let encoded = match self.node {
            Some(_) => self.with_added.pending(),
            None => message.properties().as_encoded(),
        };
        let properties = Properties::encoded_and_list(encoded, &list);
        Self::publish(delivery, topic, properties).encode(self.version, out).expect(FITS);
        self.list = list;
    }

    fn publish<'a>(
        delivery: &'a Delivery,
        topic: &'a str,
        properties: Properties<'a>,
    ) -> Publish<'a> {
        Publish {
            dup: delivery.dup,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            packet_id: delivery.packet_id,
            properties,
            payload: delivery.message.payload(),
        }
    }

    /// The first topics sent get the aliases: a subscriber's telemetry repeats them.
    fn alias(&mut self, delivery: &Delivery) -> Option<Alias> {
        if self.topic_alias_maximum == 0 {
            return None;
        }
        let topic = &delivery.message.topic;
        let known = self.aliases.get(topic).copied();
        if self.maximum_packet_size != u32::MAX {
            // Instead of a short topic, or with its topic, an alias makes the packet longer.
            let saved = if known.is_some() { topic.len() as u64 } else { 0 };
            let added = added_bytes_max(self.node.is_some(), self.stamps_since.is_some());
            let len = delivery.encoded_len_max(added) - saved + ALIAS_LEN_MAX;
            if len > u64::from(self.maximum_packet_size) {
                return None;
            }
        }
        if let Some(alias) = known {
            return Some(Alias::Known(alias));
        }
        let alias = u16::try_from(self.aliases.len() + 1).ok()?;
        if alias > self.topic_alias_maximum {
            return None;
        }
        self.aliases.insert(topic.clone(), alias);
        Some(Alias::New(alias))
    }

    fn encode_ack(
        &self,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        out: &mut ByteBuffer,
    ) -> bool {
        let text = [Property::ReasonString(reason_text(reason))];
        let properties = if reason.is_error() && self.wants_reasons {
            Properties::list(&text)
        } else {
            Properties::EMPTY
        };
        let mut packet = ack(kind, packet_id, reason, properties);
        let is_too_large = |packet: &Packet<'_>| {
            packet.encoded_len(self.version).expect(FITS) > self.maximum_packet_size as usize
        };
        if is_too_large(&packet) {
            // [MQTT-3.4.2-2]: without the reason string.
            packet = ack(kind, packet_id, reason, Properties::EMPTY);
            if is_too_large(&packet) {
                return false;
            }
        }
        packet.encode(self.version, out).expect(FITS);
        true
    }
}

const FITS: &str = "a packet that was received fits into a packet that is sent";
/// The property, and a byte more in each of the two lengths of the packet.
const ALIAS_LEN_MAX: u64 = 5;

enum Alias {
    Known(u16),
    New(u16),
}

fn ack<'a>(
    kind: AckKind,
    packet_id: PacketId,
    reason: ReasonCode,
    properties: Properties<'a>,
) -> Packet<'a> {
    match kind {
        AckKind::PubAck => Packet::PubAck(PubAck { packet_id, reason, properties }),
        AckKind::PubRec => Packet::PubRec(PubRec { packet_id, reason, properties }),
        AckKind::PubRel => Packet::PubRel(PubRel { packet_id, reason, properties }),
        AckKind::PubComp => Packet::PubComp(PubComp { packet_id, reason, properties }),
    }
}

/// What the reason strings of acknowledgements say.
pub(super) fn reason_text(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::QuotaExceeded => {
            "a queue, a table or the disk of the broker is full; try again later"
        }
        ReasonCode::NotAuthorized => "not authorized",
        ReasonCode::TopicNameInvalid => "the topic name is not accepted",
        ReasonCode::PacketIdentifierNotFound => "no such packet identifier in this session",
        _ => "refused",
    }
}

/// The bytes of the properties that this broker adds to a message at the most.
pub(super) fn added_bytes_max(is_bridge: bool, stamps: bool) -> u64 {
    match (is_bridge, stamps) {
        (false, _) => 0,
        (true, false) => origin::PROPERTY_BYTES_MAX as u64,
        (true, true) => origin::PROPERTY_BYTES_MAX as u64 + stamp::BYTES_MAX,
    }
}

impl Delivery {
    /// The size of the PUBLISH for a 5.0 client, without a topic alias: at most this. `added`: what
    /// this broker says itself.
    pub(super) fn encoded_len_max(&self, added: u64) -> u64 {
        let ids = self.subscription_ids.as_deref().unwrap_or_default();
        let ids: u64 = ids.iter().map(|id| 1 + var_int_len(u64::from(*id))).sum();
        let expiry = if self.message.expires_at.is_some() { 5 } else { 0 };
        let properties = self.message.properties().len() as u64 + ids + expiry + added;
        let packet_id = if self.packet_id.is_some() { 2 } else { 0 };
        let body = 2
            + self.message.topic.len() as u64
            + packet_id
            + var_int_len(properties)
            + properties
            + self.message.payload().len() as u64;
        1 + var_int_len(body) + body
    }
}

fn var_int_len(value: u64) -> u64 {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
