//! PUBLISH (3.3): an application message on its way. The one packet whose speed matters.

use crate::encode::{self, Buffer, field_length};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::qos::QoS;
use crate::topic::{TopicError, TopicName};
use crate::version::ProtocolVersion;
use crate::wire::{Reader, is_plain_topic, put_var_int, text, var_int_len};

/// PUBLISH.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// DUP: it may have been sent before. Never written with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// A valid topic name; with a topic alias (5.0) it may be empty.
    pub topic: &'a str,
    /// Above QoS 0 it must be there; at QoS 0 it is not written [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// The application's bytes.
    pub payload: &'a [u8],
}

const DUP: u8 = 0x08;
const QOS: u8 = 0x06;
const RETAIN: u8 = 0x01;

const TOPIC_NOT_A_STRING: DecodeError =
    DecodeError::malformed("PUBLISH: the topic name is cut off or not UTF-8");

impl<'a> Publish<'a> {
    /// The flags of the first byte.
    #[inline]
    pub(crate) fn check_flags(first: u8) -> Result<(), DecodeError> {
        match first & (DUP | QOS) {
            // [MQTT-3.3.1-4]
            0x06 | 0x0E => Err(DecodeError::malformed("PUBLISH: QoS 3")),
            // [MQTT-3.3.1-2]
            DUP => Err(DecodeError::malformed("PUBLISH: DUP with QoS 0")),
            _ => Ok(()),
        }
    }

    /// `first` has passed `check_flags`. Always inlined: else the packet is moved twice on its way
    /// out, which costs as much as reading it.
    #[inline(always)]
    pub(crate) fn decode(
        first: u8,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        // [MQTT-3.3.2-1]
        let topic = reader.binary().ok_or(TOPIC_NOT_A_STRING)?;
        let is_plain = is_plain_topic(topic);
        let topic = if is_plain { str::from_utf8(topic).ok() } else { text(topic) };
        let topic = topic.ok_or(TOPIC_NOT_A_STRING)?;
        let qos = match first & QOS {
            0 => QoS::AtMostOnce,
            2 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(packet_id(&mut reader)?) };
        let properties = if version.is_v5() {
            Properties::decode(&mut reader, Place::PUBLISH)?
        } else {
            Properties::EMPTY
        };
        if !is_plain || topic.is_empty() {
            check_topic(topic, &properties, version)?;
        }
        Ok(Self {
            dup: first & DUP != 0,
            qos,
            retain: first & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    /// Writes the packet: at most five contiguous pieces and the listed properties.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written; see there.
    #[inline]
    pub fn encode<B: Buffer>(
        &self,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let properties_len = self.properties_len(version);
        let remaining = self.remaining_length(version, properties_len)?;
        out.reserve(encode::packet_len(remaining)?)?;
        self.encode_head(remaining, out)?;
        out.put(self.topic.as_bytes())?;
        self.encode_middle(version, properties_len, out)?;
        if properties_len != 0 {
            self.properties.encode(out)?;
        }
        out.put(self.payload)
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    #[inline]
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version, self.properties_len(version))?)
    }

    #[inline]
    fn first_byte(&self) -> u8 {
        let dup = if self.dup && self.qos != QoS::AtMostOnce { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        0x30 | dup | (self.qos as u8) << 1 | retain
    }

    /// Without the property length.
    #[inline]
    fn properties_len(&self, version: ProtocolVersion) -> usize {
        if version.is_v5() { self.properties.len() } else { 0 }
    }

    #[inline]
    fn remaining_length(
        &self,
        version: ProtocolVersion,
        properties_len: usize,
    ) -> Result<usize, BufferFull> {
        let packet_id = match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, _) => 0,
            (_, Some(_)) => 2,
            (_, None) => return Err(BufferFull),
        };
        let prefix = match version.is_v5() {
            true => var_int_len(u32::try_from(properties_len).map_err(|_| BufferFull)?),
            false => 0,
        };
        Ok(2 + self.topic.len() + packet_id + prefix + properties_len + self.payload.len())
    }

    /// The fixed header and the length of the topic name. The usual lengths are written as arrays,
    /// which a buffer in memory stores in one instruction.
    #[inline]
    fn encode_head<B: Buffer>(&self, remaining: usize, out: &mut B) -> Result<(), BufferFull> {
        let first = self.first_byte();
        let [high, low] = field_length(self.topic.as_bytes())?;
        match remaining {
            0..0x80 => out.put(&[first, remaining as u8, high, low]),
            0x80..0x4000 => {
                let (more, last) = (remaining as u8 | 0x80, (remaining >> 7) as u8);
                out.put(&[first, more, last, high, low])
            }
            _ => {
                out.put(&[first])?;
                put_var_int(remaining as u32, out)?;
                out.put(&[high, low])
            }
        }
    }

    /// The packet identifier and the property length.
    #[inline]
    fn encode_middle<B: Buffer>(
        &self,
        version: ProtocolVersion,
        properties_len: usize,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let packet_id = match self.qos {
            QoS::AtMostOnce => None,
            _ => self.packet_id.map(|id| id.value().to_be_bytes()),
        };
        match (packet_id, version.is_v5()) {
            (None, false) => Ok(()),
            (Some(id), false) => out.put(&id),
            (Some([high, low]), true) if properties_len < 0x80 => {
                out.put(&[high, low, properties_len as u8])
            }
            (Some(id), true) => {
                out.put(&id)?;
                put_var_int(properties_len as u32, out)
            }
            (None, true) => put_var_int(properties_len as u32, out),
        }
    }
}

#[inline]
fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    let id =
        reader.u16().ok_or(DecodeError::malformed("PUBLISH: the packet identifier is missing"))?;
    // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    PacketId::new(id).ok_or(DecodeError::protocol("PUBLISH: packet identifier 0"))
}

/// Where `is_plain_topic` did not settle it.
#[cold]
fn check_topic(
    topic: &str,
    properties: &Properties<'_>,
    version: ProtocolVersion,
) -> Result<(), DecodeError> {
    match TopicName::new(topic) {
        Ok(_) => Ok(()),
        Err(TopicError::Empty) if version.is_v5() => match properties.topic_alias() {
            Some(_) => Ok(()),
            // 3.3.2.1
            None => Err(DecodeError::protocol("PUBLISH: neither topic name nor topic alias")),
        },
        // [MQTT-4.7.3-1]
        Err(TopicError::Empty) => Err(DecodeError::malformed("PUBLISH: the topic name is empty")),
        // [MQTT-3.3.2-2]
        Err(_) => Err(DecodeError::malformed("PUBLISH: the topic name holds a wildcard")),
    }
}
