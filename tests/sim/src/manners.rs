//! What no client should do, and some do.

use outpost_broker::core::output::AckKind;
use outpost_protocol::{Packet, PacketId, Properties, ProtocolVersion, Publish, QoS};

use crate::client::Client;
use crate::draw::Draw;
use crate::packet::{encode, encode_ack};
use crate::watch::UNKNOWN_IDS;
use crate::wire::Line;

/// A piece of bad behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rudeness {
    /// Bytes that are no packet.
    Garbage,
    /// Acknowledges what nobody sent.
    UnknownAck,
    /// Acknowledges once more what it acknowledged last.
    DoubleAck,
    /// Acknowledges with the wrong packet.
    WrongAck,
    /// Reads nothing for a while, and acknowledges nothing.
    Deafness,
    /// A packet larger than the broker takes.
    Oversize,
    /// A packet that only servers send.
    ServerPacket,
}

/// All of them.
pub(crate) const RUDENESS: [Rudeness; 7] = [
    Rudeness::Garbage,
    Rudeness::UnknownAck,
    Rudeness::DoubleAck,
    Rudeness::WrongAck,
    Rudeness::Deafness,
    Rudeness::Oversize,
    Rudeness::ServerPacket,
];

impl Rudeness {
    /// Does it.
    pub(crate) fn show(
        self,
        client: &mut Client,
        line: &mut Line,
        packet_bytes_max: u32,
        draw: &mut Draw,
    ) {
        let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
        match self {
            Self::Garbage => {
                let first = draw.of(&[0x00, 0x0F, 0x36, 0x60, 0xF7]);
                let bytes: Vec<u8> = (0..draw.below(20)).map(|_| draw.next() as u8).collect();
                line.up.send(&[first]);
                line.up.send(&bytes);
            }
            Self::UnknownAck => {
                let packet_id = UNKNOWN_IDS + draw.below(100) as u16;
                line.up.send(&encode_ack(draw.of(&kinds), packet_id, line.version));
            }
            Self::DoubleAck => {
                if let Some((kind, packet_id)) = client.last_acknowledged {
                    line.up.send(&encode_ack(kind, packet_id, line.version));
                }
            }
            Self::WrongAck => {
                if let Some((kind, packet_id)) = client.last_acknowledged {
                    let is_pubrec = kind == AckKind::PubRec;
                    let wrong = if is_pubrec { AckKind::PubAck } else { AckKind::PubRec };
                    line.up.send(&encode_ack(wrong, packet_id, line.version));
                }
            }
            Self::Deafness => client.deaf_for = draw.between(1, 20),
            Self::Oversize => {
                line.up.send(&oversize(packet_bytes_max, line.version));
            }
            Self::ServerPacket => line.up.send(&[0xD0, 0x00]),
        }
    }
}

fn oversize(packet_bytes_max: u32, version: ProtocolVersion) -> Vec<u8> {
    // Where a packet may be a megabyte, the header says enough.
    let payload = vec![b'.'; packet_bytes_max as usize];
    let packet = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "t/0",
        packet_id: PacketId::new(UNKNOWN_IDS),
        properties: Properties::EMPTY,
        payload: &payload,
    };
    let mut bytes = encode(&Packet::Publish(packet), version);
    bytes.truncate(1_000);
    bytes
}
