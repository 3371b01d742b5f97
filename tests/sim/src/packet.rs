//! Packets as values of their own, and their way into bytes.

use std::collections::VecDeque;

use outpost_bridge::origin::Origin;
use outpost_broker::core::output::{AckKind, ByteBuffer};
use outpost_protocol::{
    Packet, PacketId, Properties, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, QoS,
    ReasonCode, decode,
};

/// A packet that the broker sent. Packet identifiers are plain numbers, 0: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    /// CONNACK, and the broker's Receive Maximum.
    ConnAck { session_present: bool, reason: ReasonCode, receive_maximum: u16 },
    /// PUBLISH.
    Publish(GotPublish),
    /// PUBACK.
    PubAck(u16, ReasonCode),
    /// PUBREC.
    PubRec(u16, ReasonCode),
    /// PUBREL.
    PubRel(u16),
    /// PUBCOMP.
    PubComp(u16),
    /// SUBACK; true: all that was asked for was granted.
    SubAck(u16, bool),
    /// UNSUBACK.
    UnsubAck(u16),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(ReasonCode),
}

/// A PUBLISH that the broker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GotPublish {
    /// Empty where an alias stands for it.
    pub topic: String,
    pub alias: Option<u16>,
    /// The number of the message; none where the payload is empty.
    pub message: Option<usize>,
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    pub packet_id: u16,
    pub expiry_s: Option<u32>,
    /// Where it comes from, over a bridge.
    pub origin: Option<Origin>,
}

impl Got {
    /// In few words.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ConnAck { session_present, .. } => format!("CONNACK {session_present}"),
            Self::Publish(p) => {
                let dup = if p.dup { ", DUP" } else { "" };
                let origin = p.origin.map_or(String::new(), |origin| format!(", {origin}"));
                let GotPublish { message, packet_id, qos, .. } = p;
                format!("PUBLISH {message:?}, id {packet_id}, {qos:?}{dup}{origin}")
            }
            other => format!("{other:?}"),
        }
    }
}

/// The bytes of a packet.
pub(crate) fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = ByteBuffer::default();
    packet.encode(version, &mut bytes).expect("the simulation sends packets that fit");
    bytes.0
}

/// The four packets that carry nothing but an identifier.
pub(crate) fn encode_ack(kind: AckKind, packet_id: u16, version: ProtocolVersion) -> Vec<u8> {
    let packet_id = PacketId::new(packet_id).expect("identifiers here are above 0");
    let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
    let packet = match kind {
        AckKind::PubAck => Packet::PubAck(PubAck { packet_id, reason, properties }),
        AckKind::PubRec => Packet::PubRec(PubRec { packet_id, reason, properties }),
        AckKind::PubRel => Packet::PubRel(PubRel { packet_id, reason, properties }),
        AckKind::PubComp => Packet::PubComp(PubComp { packet_id, reason, properties }),
    };
    encode(&packet, version)
}

/// Takes the next whole packet off the front.
pub(crate) fn take_packet(bytes: &mut VecDeque<u8>, version: ProtocolVersion) -> Option<Got> {
    let all = bytes.make_contiguous();
    let packet = decode(all, version, u32::MAX).expect("the broker sends valid packets");
    let (got, len) = packet.map(|(packet, len)| (owned(&packet), len))?;
    bytes.drain(..len);
    Some(got)
}

/// All packets of these bytes, which end with one.
pub(crate) fn packets(mut bytes: &[u8], version: ProtocolVersion) -> Vec<(Got, usize)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let packet = decode(bytes, version, u32::MAX).expect("the broker sends valid packets");
        let (packet, len) = packet.expect("the broker sends whole packets");
        all.push((owned(&packet), len));
        bytes = &bytes[len..];
    }
    all
}

/// What a payload says: the number of its message, before what fills it up.
pub(crate) fn message_of(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).expect("payloads are text");
    let digits = text.trim_end_matches('.');
    (!digits.is_empty()).then(|| digits.parse().expect("payloads are numbers"))
}

/// The payload of a message, filled up to `bytes`.
pub(crate) fn payload_of(message: usize, bytes: usize) -> Vec<u8> {
    let mut payload = message.to_string().into_bytes();
    payload.resize(payload.len().max(bytes), b'.');
    payload
}

fn owned(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(p) => Got::ConnAck {
            session_present: p.session_present,
            reason: p.reason,
            receive_maximum: p.properties.receive_maximum().unwrap_or(u16::MAX),
        },
        Packet::Publish(p) => Got::Publish(GotPublish {
            topic: p.topic.to_owned(),
            alias: p.properties.topic_alias(),
            // What brokers tell each other is no message of a client.
            message: if p.topic.starts_with('$') { None } else { message_of(p.payload) },
            qos: p.qos,
            dup: p.dup,
            retain: p.retain,
            packet_id: p.packet_id.map_or(0, PacketId::value),
            expiry_s: p.properties.message_expiry_interval_s(),
            origin: Origin::of(&p.properties),
        }),
        Packet::PubAck(p) => Got::PubAck(p.packet_id.value(), p.reason),
        Packet::PubRec(p) => Got::PubRec(p.packet_id.value(), p.reason),
        Packet::PubRel(p) => Got::PubRel(p.packet_id.value()),
        Packet::PubComp(p) => Got::PubComp(p.packet_id.value()),
        Packet::SubAck(p) => {
            Got::SubAck(p.packet_id.value(), p.reasons.iter().all(|r| !r.is_error()))
        }
        Packet::UnsubAck(p) => Got::UnsubAck(p.packet_id.value()),
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(p) => Got::Disconnect(p.reason),
        other => panic!("a server does not send {other:?}"),
    }
}
