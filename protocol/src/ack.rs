//! The one form of PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7): a packet identifier, and in
//! 5.0 a reason code and properties, both left out where there is nothing to say.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::reason_code::ReasonCode;
use crate::reason_set::ReasonSet;
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// The three fields of an acknowledgement.
pub(crate) struct Fields<'a> {
    pub(crate) packet_id: PacketId,
    pub(crate) reason: ReasonCode,
    pub(crate) properties: Properties<'a>,
}

/// What tells the four packets apart.
pub(crate) struct Form {
    /// The first byte.
    pub(crate) first: u8,
    /// The reason codes that it may carry.
    pub(crate) reasons: ReasonSet,
    /// A packet identifier that is cut off.
    pub(crate) short: &'static str,
    /// Packet identifier 0.
    pub(crate) zero: &'static str,
    /// A reason code that is not its own.
    pub(crate) reason: &'static str,
    /// Bytes after the end.
    pub(crate) trailing: &'static str,
}

/// The reason codes of PUBACK and PUBREC (3.4.2.1, 3.5.2.1).
pub(crate) const PUBLISH_REASONS: ReasonSet =
    ReasonSet::of(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);

/// The reason codes of PUBREL and PUBCOMP (3.6.2.1, 3.7.2.1).
pub(crate) const RELEASE_REASONS: ReasonSet = ReasonSet::of(&[0x00, 0x92]);

impl Form {
    #[inline]
    pub(crate) fn decode<'a>(
        &self,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Fields<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.u16().ok_or(DecodeError::malformed(self.short))?;
        let packet_id = PacketId::new(packet_id).ok_or(DecodeError::protocol(self.zero))?;
        let mut fields =
            Fields { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY };
        if reader.is_empty() {
            // 5.0 leaves out a reason code of Success without properties; 3.x has no more.
            return Ok(fields);
        }
        if version.is_v5() {
            self.decode_reason(&mut reader, &mut fields)?;
        }
        if reader.is_empty() { Ok(fields) } else { Err(DecodeError::malformed(self.trailing)) }
    }

    fn decode_reason<'a>(
        &self,
        reader: &mut Reader<'a>,
        fields: &mut Fields<'a>,
    ) -> Result<(), DecodeError> {
        fields.reason = reader
            .u8()
            .and_then(|code| self.reasons.get(code))
            .ok_or(DecodeError::malformed(self.reason))?;
        // Below a Remaining Length of 4 there is no property length (3.4.2.2.1).
        if !reader.is_empty() {
            fields.properties = Properties::decode(reader, Place::ACK)?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn encode<B: Buffer>(
        &self,
        fields: &Fields<'_>,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let mut head = Gather::packet(self.first, remaining_length(fields, version), out)?;
        head.u16(fields.packet_id.value());
        if !version.is_v5()
            || (fields.reason == ReasonCode::Success && fields.properties.is_empty())
        {
            return head.put(out);
        }
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        debug_assert!(self.reasons.contains(fields.reason as u8), "{}", self.reason);
        head.u8(fields.reason as u8);
        head.put(out)?;
        fields.properties.encode_with_prefix(out)
    }

    #[inline]
    pub(crate) fn encoded_len(
        &self,
        fields: &Fields<'_>,
        version: ProtocolVersion,
    ) -> Result<usize, BufferFull> {
        encode::packet_len(remaining_length(fields, version))
    }
}

#[inline]
fn remaining_length(fields: &Fields<'_>, version: ProtocolVersion) -> usize {
    if !version.is_v5() || (fields.reason == ReasonCode::Success && fields.properties.is_empty()) {
        2
    } else {
        3 + fields.properties.len_with_prefix()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{
        MALFORMED, PROTOCOL_ERROR, V5, V311, assert_wire, decoded, encoded, id, packet, refusal,
    };
    use crate::{PubAck, PubComp, PubRec, PubRel};

    /// All four with the same fields, and their first bytes.
    fn all<'a>(reason: ReasonCode, properties: Properties<'a>) -> [(u8, Packet<'a>); 4] {
        let packet_id = id(0x1234);
        [
            (0x40, Packet::PubAck(PubAck { packet_id, reason, properties })),
            (0x50, Packet::PubRec(PubRec { packet_id, reason, properties })),
            (0x62, Packet::PubRel(PubRel { packet_id, reason, properties })),
            (0x70, Packet::PubComp(PubComp { packet_id, reason, properties })),
        ]
    }

    /// 3.4.2.1: reason code and property length may be left out.
    #[test]
    fn success_is_written_short_and_read_in_each_form() {
        for (first, ack) in all(ReasonCode::Success, Properties::EMPTY) {
            assert_wire(V5, &ack, first, b"\x12\x34");
            assert_wire(V311, &ack, first, b"\x12\x34");
            assert_eq!(decoded(V5, &packet(first, b"\x12\x34\0")), ack);
            assert_eq!(decoded(V5, &packet(first, b"\x12\x34\0\0")), ack);
        }
    }

    #[test]
    fn properties_stand_behind_the_reason_code() {
        let list = [Property::ReasonString("why")];
        for (first, ack) in all(ReasonCode::Success, Properties::list(&list)) {
            assert_wire(V5, &ack, first, b"\x12\x34\0\x06\x1F\0\x03why");
            assert_eq!(encoded(&ack, V311), packet(first, b"\x12\x34"));
        }
    }

    /// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    #[test]
    fn each_takes_its_own_reason_codes() {
        let of_publish = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        for (first, reasons) in
            [(0x40, &of_publish[..]), (0x50, &of_publish), (0x62, &[0, 0x92]), (0x70, &[0, 0x92])]
        {
            let is_taken = |code: &u8| {
                let bytes = packet(first, &[0, 1, *code]);
                matches!(crate::decode(&bytes, V5, 100), Ok(Some(_)))
            };
            let taken: Vec<u8> = (0..=255).filter(is_taken).collect();
            assert_eq!(taken, reasons, "{first:02x}");
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_refused() {
        for first in [0x40, 0x50, 0x62, 0x70] {
            for body in [&b""[..], b"\0", b"\0\x01\0\x01", b"\0\x01\0\0\0", b"\0\x01\0\x02\x1F\0"] {
                assert_eq!(refusal(V5, &packet(first, body)).reason, MALFORMED, "{body:02x?}");
            }
            assert_eq!(refusal(V311, &packet(first, b"\0\x01\0")).reason, MALFORMED);
        }
    }

    /// [MQTT-2.2.1-5]: it is that of a PUBLISH, hence not 0.
    #[test]
    fn packet_identifier_0_is_refused() {
        for first in [0x40, 0x50, 0x62, 0x70] {
            assert_eq!(refusal(V5, &packet(first, b"\0\0")).reason, PROTOCOL_ERROR);
        }
    }
}
