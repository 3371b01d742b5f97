//! The codecs that we did not write, behind one function each.

use std::format;
use std::string::String;
use std::vec::Vec;

use bytes::BytesMut;

use crate::ProtocolVersion;

/// A codec, seen from outside.
pub(super) struct Codec {
    /// Its name in the list of deviations.
    pub(super) name: &'static str,
    /// What it speaks.
    pub(super) version: ProtocolVersion,
    /// Reads one packet and writes it again.
    pub(super) bounce: fn(&[u8]) -> Bounce,
}

/// What a codec made of some bytes.
#[derive(Debug)]
pub(super) enum Bounce {
    /// It did not take them for a packet.
    Refused(String),
    /// It took them for a packet that it could not write.
    Unwritable,
    /// The packet as it wrote it again.
    Written(Vec<u8>),
}

pub(super) const CODECS: [Codec; 4] = [
    Codec { name: "mqttbytes v4", version: ProtocolVersion::V311, bounce: mqttbytes_v4 },
    Codec { name: "mqttbytes v5", version: ProtocolVersion::V5, bounce: mqttbytes_v5 },
    Codec { name: "rumqttc v4", version: ProtocolVersion::V311, bounce: rumqttc_v4 },
    Codec { name: "rumqttc v5", version: ProtocolVersion::V5, bounce: rumqttc_v5 },
];

const MAX_SIZE: usize = 1 << 20;

fn written<T, E>(result: Result<T, E>, out: &BytesMut) -> Bounce {
    match result {
        Ok(_) => Bounce::Written(out.to_vec()),
        Err(_) => Bounce::Unwritable,
    }
}

fn mqttbytes_v4(bytes: &[u8]) -> Bounce {
    use mqttbytes::v4::{Disconnect, Packet, PingReq, PingResp, read};
    let packet = match read(&mut BytesMut::from(bytes), MAX_SIZE) {
        Ok(packet) => packet,
        Err(error) => return Bounce::Refused(format!("{error:?}")),
    };
    let mut out = BytesMut::new();
    let result = match packet {
        Packet::Connect(packet) => packet.write(&mut out),
        Packet::ConnAck(packet) => packet.write(&mut out),
        Packet::Publish(packet) => packet.write(&mut out),
        Packet::PubAck(packet) => packet.write(&mut out),
        Packet::PubRec(packet) => packet.write(&mut out),
        Packet::PubRel(packet) => packet.write(&mut out),
        Packet::PubComp(packet) => packet.write(&mut out),
        Packet::Subscribe(packet) => packet.write(&mut out),
        Packet::SubAck(packet) => packet.write(&mut out),
        Packet::Unsubscribe(packet) => packet.write(&mut out),
        Packet::UnsubAck(packet) => packet.write(&mut out),
        Packet::PingReq => PingReq.write(&mut out),
        Packet::PingResp => PingResp.write(&mut out),
        Packet::Disconnect => Disconnect.write(&mut out),
    };
    written(result, &out)
}

fn mqttbytes_v5(bytes: &[u8]) -> Bounce {
    use mqttbytes::v5::{Packet, PingReq, PingResp, read};
    let packet = match read(&mut BytesMut::from(bytes), MAX_SIZE) {
        Ok(packet) => packet,
        Err(error) => return Bounce::Refused(format!("{error:?}")),
    };
    let mut out = BytesMut::new();
    let result = match packet {
        Packet::Connect(packet) => packet.write(&mut out),
        Packet::ConnAck(packet) => packet.write(&mut out),
        Packet::Publish(packet) => packet.write(&mut out),
        Packet::PubAck(packet) => packet.write(&mut out),
        Packet::PubRec(packet) => packet.write(&mut out),
        Packet::PubRel(packet) => packet.write(&mut out),
        Packet::PubComp(packet) => packet.write(&mut out),
        Packet::Subscribe(packet) => packet.write(&mut out),
        Packet::SubAck(packet) => packet.write(&mut out),
        Packet::Unsubscribe(packet) => packet.write(&mut out),
        Packet::UnsubAck(packet) => packet.write(&mut out),
        Packet::PingReq => PingReq.write(&mut out),
        Packet::PingResp => PingResp.write(&mut out),
        Packet::Disconnect(packet) => packet.write(&mut out),
    };
    written(result, &out)
}

fn rumqttc_v4(bytes: &[u8]) -> Bounce {
    use rumqttc::mqttbytes::v4::Packet;
    let mut out = BytesMut::new();
    match Packet::read(&mut BytesMut::from(bytes), MAX_SIZE) {
        Ok(packet) => written(packet.write(&mut out, MAX_SIZE), &out),
        Err(error) => Bounce::Refused(format!("{error:?}")),
    }
}

fn rumqttc_v5(bytes: &[u8]) -> Bounce {
    use rumqttc::v5::mqttbytes::v5::Packet;
    let mut out = BytesMut::new();
    match Packet::read(&mut BytesMut::from(bytes), Some(MAX_SIZE as u32)) {
        Ok(packet) => written(packet.write(&mut out, None), &out),
        Err(error) => Bounce::Refused(format!("{error:?}")),
    }
}
