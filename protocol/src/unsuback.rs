//! UNSUBACK (3.11): the server's answer to UNSUBSCRIBE.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::reason_set::{ReasonCodes, ReasonSet, WireReasonCodes};
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE [MQTT-2.2.1-6].
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// 5.0: one for each topic filter [MQTT-3.11.3-1]. 3.1 and 3.1.1: none, not written.
    pub reasons: ReasonCodes<'a>,
}

const FIRST_BYTE: u8 = 0xB0;

/// 3.11.3
const REASONS: ReasonSet = ReasonSet::of(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader
            .u16()
            .ok_or(DecodeError::malformed("UNSUBACK: the packet identifier is missing"))?;
        let packet_id = PacketId::new(packet_id)
            .ok_or(DecodeError::protocol("UNSUBACK: packet identifier 0"))?;
        // The Remaining Length of 3.1 and 3.1.1 was found to be 2 already.
        if !version.is_v5() {
            let reasons = ReasonCodes::List(&[]);
            return Ok(Self { packet_id, properties: Properties::EMPTY, reasons });
        }
        let properties = Properties::decode(&mut reader, Place::ACK)?;
        // An UNSUBSCRIBE has at least one topic filter, so its answer has at least one code.
        if reader.is_empty() {
            return Err(DecodeError::malformed("UNSUBACK: no reason code"));
        }
        let reasons = WireReasonCodes::new(reader.rest(), REASONS)
            .ok_or(DecodeError::malformed("UNSUBACK: not a reason code of this packet"))?;
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
        if !version.is_v5() {
            return Ok(());
        }
        self.properties.encode_with_prefix(out)?;
        self.reasons.iter().try_for_each(|reason| {
            // [MQTT-3.11.3-2]
            debug_assert!(REASONS.contains(reason as u8), "not a reason code of UNSUBACK");
            out.put(&[reason as u8])
        })
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version)?)
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        if !version.is_v5() {
            return Ok(2);
        }
        if self.reasons.is_empty() {
            return Err(BufferFull);
        }
        Ok(2 + self.properties.len_with_prefix() + self.reasons.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::reason_code::ReasonCode;
    use crate::testing::{MALFORMED, V5, V311, assert_refused, assert_wire, encoded, id, packet};

    fn unsuback(reasons: &[ReasonCode]) -> Packet<'_> {
        let reasons = ReasonCodes::List(reasons);
        Packet::UnsubAck(UnsubAck { packet_id: id(10), properties: Properties::EMPTY, reasons })
    }

    /// [MQTT-3.11.3-1]
    #[test]
    fn codes_are_of_5_0() {
        let reasons = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        assert_wire(V5, &unsuback(&reasons), 0xB0, b"\0\x0A\0\0\x11");
        assert_wire(V311, &unsuback(&[]), 0xB0, b"\0\x0A");
        assert_eq!(encoded(&unsuback(&reasons), V311), packet(0xB0, b"\0\x0A"));
    }

    /// [MQTT-3.11.3-2]
    #[test]
    fn foreign_reason_codes_and_none_are_refused() {
        let what = "UNSUBACK: not a reason code of this packet";
        assert_refused(V5, 0xB0, b"\0\x0A\0\x01", MALFORMED, what);
        assert_refused(V5, 0xB0, b"\0\x0A\0", MALFORMED, "UNSUBACK: no reason code");
        let length = "the remaining length is not that of the packet type";
        assert_refused(V311, 0xB0, b"\0\x0A\0", MALFORMED, length);
    }
}
