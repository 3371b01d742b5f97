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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::reason_code::ReasonCode;
    use crate::testing::{
        MALFORMED, PROTOCOL_ERROR, V5, V311, assert_refused, assert_wire, decoded, encoded, id,
        packet,
    };

    const QOS_1: Publish<'_> = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b",
        packet_id: PacketId::new(0x1234),
        properties: Properties::EMPTY,
        payload: b"payload",
    };

    #[test]
    fn each_field_has_its_place() {
        let publish = Packet::Publish(QOS_1);
        assert_wire(V311, &publish, 0x3B, b"\0\x03a/b\x12\x34payload");
        assert_wire(V5, &publish, 0x3B, b"\0\x03a/b\x12\x34\0payload");
        let list = [Property::TopicAlias(5), Property::UserProperty("k", "v")];
        let publish = Publish { topic: "", properties: Properties::list(&list), ..QOS_1 };
        let body = b"\0\0\x12\x34\x0A\x23\0\x05\x26\0\x01k\0\x01vpayload";
        assert_wire(V5, &Packet::Publish(publish), 0x3B, body);
    }

    /// [MQTT-2.2.1-2] [MQTT-3.3.1-2]
    #[test]
    fn qos_0_has_neither_packet_identifier_nor_dup() {
        let publish = Publish { qos: QoS::AtMostOnce, ..QOS_1 };
        let bytes = encoded(&Packet::Publish(publish.clone()), V311);
        assert_eq!(bytes, packet(0x31, b"\0\x03a/bpayload"));
        let expected = Publish { dup: false, packet_id: None, ..publish };
        assert_eq!(decoded(V311, &bytes), Packet::Publish(expected));
    }

    /// [MQTT-2.2.1-3]
    #[test]
    fn above_qos_0_it_is_not_written_without_a_packet_identifier() {
        let publish = Publish { packet_id: None, ..QOS_1 };
        assert_eq!(publish.encoded_len(V5), Err(BufferFull));
    }

    /// [MQTT-3.3.1-2] [MQTT-3.3.1-4]
    #[test]
    fn flags_are_refused_by_the_first_byte() {
        for first in [0x36, 0x37, 0x3E, 0x3F] {
            assert_eq!(Publish::check_flags(first), Err(DecodeError::malformed("PUBLISH: QoS 3")));
        }
        for first in [0x38, 0x39] {
            let error = DecodeError::malformed("PUBLISH: DUP with QoS 0");
            assert_eq!(Publish::check_flags(first), Err(error));
        }
    }

    /// [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    #[test]
    fn packet_identifier_0_is_refused() {
        assert_refused(V5, 0x32, b"\0\x01a\0\0\0", PROTOCOL_ERROR, "PUBLISH: packet identifier 0");
    }

    /// [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.0-1]
    #[test]
    fn a_topic_name_that_is_none_is_refused() {
        let wildcard = "PUBLISH: the topic name holds a wildcard";
        let not_a_string = "PUBLISH: the topic name is cut off or not UTF-8";
        assert_refused(V5, 0x30, b"\0\x03a/+\0", MALFORMED, wildcard);
        assert_refused(V311, 0x30, b"\0\x01#", MALFORMED, wildcard);
        assert_refused(V5, 0x30, b"\0\x02a\0\0", MALFORMED, not_a_string);
        assert_refused(V5, 0x30, b"\0\x03a\xC3\x28\0", MALFORMED, not_a_string);
        assert_refused(V5, 0x30, b"\0\x09a", MALFORMED, not_a_string);
        // Outside ASCII, where the quick look does not settle it.
        assert_refused(V5, 0x30, "\0\x04é/+\0".as_bytes(), MALFORMED, wildcard);
    }

    /// [MQTT-4.7.3-1], 3.3.2.1
    #[test]
    fn an_empty_topic_name_needs_an_alias() {
        let neither = "PUBLISH: neither topic name nor topic alias";
        assert_refused(V5, 0x30, b"\0\0\0", PROTOCOL_ERROR, neither);
        assert_refused(V311, 0x30, b"\0\0", MALFORMED, "PUBLISH: the topic name is empty");
    }

    /// [MQTT-3.3.2-8]
    #[test]
    fn topic_alias_0_is_refused() {
        let body = b"\0\x01a\x03\x23\0\0";
        assert_refused(V5, 0x30, body, ReasonCode::TopicAliasInvalid, "Topic Alias is 0");
    }

    /// [MQTT-3.3.2-14]
    #[test]
    fn a_response_topic_with_a_wildcard_is_refused() {
        let what = "Response Topic has a value that is not allowed";
        assert_refused(V5, 0x30, b"\0\x01a\x06\x08\0\x03a/#", PROTOCOL_ERROR, what);
    }

    /// [MQTT-3.3.4-3]: a server sends all that match.
    #[test]
    fn subscription_identifiers_may_stand_together() {
        let list = [Property::SubscriptionIdentifier(1), Property::SubscriptionIdentifier(300)];
        let publish =
            Publish { properties: Properties::list(&list), packet_id: Some(id(1)), ..QOS_1 };
        let body = b"\0\x03a/b\0\x01\x05\x0B\x01\x0B\xAC\x02payload";
        assert_wire(V5, &Packet::Publish(publish), 0x3B, body);
    }

    /// [MQTT-3.3.2-17] [MQTT-3.3.2-18]: wire form goes on unaltered, a list behind it.
    #[test]
    fn wire_form_and_a_list_are_written_one_after_the_other() {
        let list = [Property::MessageExpiryInterval(9)];
        let encoded = b"\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";
        let properties = Properties::encoded_and_list(encoded, &list);
        let publish = Publish { properties, packet_id: Some(id(1)), ..QOS_1 };
        let mut body = std::vec::Vec::from(*b"\0\x03a/b\0\x01\x13");
        body.extend_from_slice(encoded);
        body.extend_from_slice(b"\x02\0\0\0\x09payload");
        assert_wire(V5, &Packet::Publish(publish), 0x3B, &body);
    }
}
