//! SUBACK (3.9): the server's answer to SUBSCRIBE.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::reason_code::ReasonCode;
use crate::reason_set::{ReasonCodes, ReasonSet, WireReasonCodes};
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// SUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE [MQTT-2.2.1-6].
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// One for each topic filter [MQTT-3.8.4-6]. 3.1 and 3.1.1 write any failure as 0x80.
    pub reasons: ReasonCodes<'a>,
}

const FIRST_BYTE: u8 = 0x90;

/// 3.9.3
const REASONS: ReasonSet =
    ReasonSet::of(&[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]);

/// 3.1.1: 3.9.3
const REASONS_V311: ReasonSet = ReasonSet::of(&[0x00, 0x01, 0x02, 0x80]);

impl<'a> SubAck<'a> {
    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader
            .u16()
            .ok_or(DecodeError::malformed("SUBACK: the packet identifier is missing"))?;
        let packet_id =
            PacketId::new(packet_id).ok_or(DecodeError::protocol("SUBACK: packet identifier 0"))?;
        let (properties, set) = match version {
            ProtocolVersion::V5 => (Properties::decode(&mut reader, Place::ACK)?, REASONS),
            _ => (Properties::EMPTY, REASONS_V311),
        };
        // A SUBSCRIBE has at least one topic filter, so its answer has at least one code.
        if reader.is_empty() {
            return Err(DecodeError::malformed("SUBACK: no reason code"));
        }
        let reasons = WireReasonCodes::new(reader.rest(), set)
            .ok_or(DecodeError::malformed("SUBACK: not a reason code of this packet"))?;
        Ok(Self { packet_id, properties, reasons: ReasonCodes::Wire(reasons) })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written; see there.
    pub fn encode<B: Buffer>(
        &self,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let mut head = Gather::packet(FIRST_BYTE, self.remaining_length(version)?, out)?;
        head.u16(self.packet_id.value());
        head.put(out)?;
        if version.is_v5() {
            self.properties.encode_with_prefix(out)?;
        }
        self.reasons.iter().try_for_each(|reason| out.put(&[code(reason, version)]))
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version)?)
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        if self.reasons.is_empty() {
            return Err(BufferFull);
        }
        let properties = if version.is_v5() { self.properties.len_with_prefix() } else { 0 };
        Ok(2 + properties + self.reasons.len())
    }
}

fn code(reason: ReasonCode, version: ProtocolVersion) -> u8 {
    // [MQTT-3.9.3-2]
    debug_assert!(REASONS.contains(reason as u8), "not a reason code of SUBACK");
    if reason.is_error() && !version.is_v5() { 0x80 } else { reason as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::testing::{MALFORMED, V5, V311, assert_refused, assert_wire, encoded, id, packet};

    const REASONS: [ReasonCode; 3] =
        [ReasonCode::GrantedQoS2, ReasonCode::Success, ReasonCode::TopicFilterInvalid];

    fn suback(reasons: &[ReasonCode]) -> Packet<'_> {
        let reasons = ReasonCodes::List(reasons);
        Packet::SubAck(SubAck { packet_id: id(10), properties: Properties::EMPTY, reasons })
    }

    /// [MQTT-3.9.3-1]
    #[test]
    fn codes_stand_in_their_order() {
        assert_wire(V5, &suback(&REASONS), 0x90, b"\0\x0A\0\x02\0\x8F");
        let reasons = [ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
        assert_wire(V311, &suback(&reasons), 0x90, b"\0\x0A\x01\x80");
    }

    /// 3.1.1: 3.9.3
    #[test]
    fn in_3_1_1_every_failure_is_0x80() {
        assert_eq!(encoded(&suback(&REASONS), V311), packet(0x90, b"\0\x0A\x02\0\x80"));
        let what = "SUBACK: not a reason code of this packet";
        assert_refused(V311, 0x90, b"\0\x0A\x8F", MALFORMED, what);
    }

    /// [MQTT-3.9.3-2]
    #[test]
    fn foreign_reason_codes_and_none_are_refused() {
        let what = "SUBACK: not a reason code of this packet";
        assert_refused(V5, 0x90, b"\0\x0A\0\0\x11", MALFORMED, what);
        assert_refused(V5, 0x90, b"\0\x0A\0\x03", MALFORMED, what);
        assert_refused(V5, 0x90, b"\0\x0A\0", MALFORMED, "SUBACK: no reason code");
    }
}
