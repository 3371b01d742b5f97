//! DISCONNECT (3.14): the last packet of a connection. Before 5.0 only clients send it.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::properties::{Place, Properties};
use crate::reason_code::ReasonCode;
use crate::reason_set::ReasonSet;
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// DISCONNECT. Written in its short form where it says Success and has no properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// 5.0 only: why. Success is the normal disconnection, which is all that 3.1 and 3.1.1 have.
    pub reason: ReasonCode,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

const FIRST_BYTE: u8 = 0xE0;

/// 3.14.2.1, and 0x8C, which 2.4 gives to DISCONNECT as well.
const REASONS: ReasonSet = ReasonSet::of(&[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
]);

impl<'a> Disconnect<'a> {
    /// With this reason code and no properties.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::EMPTY }
    }

    /// Ends a connection for this reason: the reason itself, or Protocol Error where DISCONNECT
    /// cannot carry it. A CONNECT of an unknown version in the midst of a connection is such a case.
    pub fn for_error(reason: ReasonCode) -> Self {
        let is_carried = REASONS.contains(reason as u8);
        Self::new(if is_carried { reason } else { ReasonCode::ProtocolError })
    }

    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        // The Remaining Length of 3.1 and 3.1.1 was found to be 0 already.
        if reader.is_empty() || !version.is_v5() {
            return Ok(Self::new(ReasonCode::Success));
        }
        let reason = reader
            .u8()
            .and_then(|code| REASONS.get(code))
            .ok_or(DecodeError::malformed("DISCONNECT: not a reason code of this packet"))?;
        // Below a Remaining Length of 2 there is no property length (3.14.2.2.1).
        let properties = if reader.is_empty() {
            Properties::EMPTY
        } else {
            Properties::decode(&mut reader, Place::DISCONNECT)?
        };
        if !reader.is_empty() {
            return Err(DecodeError::malformed("DISCONNECT: bytes after its end"));
        }
        Ok(Self { reason, properties })
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
        let mut head = Gather::packet(FIRST_BYTE, self.remaining_length(version), out)?;
        if self.is_short(version) {
            return head.put(out);
        }
        // [MQTT-3.14.2-1]
        debug_assert!(REASONS.contains(self.reason as u8), "not a reason code of DISCONNECT");
        head.u8(self.reason as u8);
        head.put(out)?;
        self.properties.encode_with_prefix(out)
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version))
    }

    fn is_short(&self, version: ProtocolVersion) -> bool {
        !version.is_v5() || (self.reason == ReasonCode::Success && self.properties.is_empty())
    }

    fn remaining_length(&self, version: ProtocolVersion) -> usize {
        if self.is_short(version) { 0 } else { 1 + self.properties.len_with_prefix() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{
        MALFORMED, V5, V311, assert_refused, assert_wire, decoded, encoded, packet,
    };

    /// 3.14.2.1: reason code and property length may be left out.
    #[test]
    fn each_form_is_read() {
        let normal = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
        assert_wire(V5, &normal, 0xE0, b"");
        assert_wire(V311, &normal, 0xE0, b"");
        assert_eq!(decoded(V5, &packet(0xE0, b"\0")), normal);
        assert_eq!(decoded(V5, &packet(0xE0, b"\0\0")), normal);
        let will = Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWillMessage));
        assert_wire(V5, &will, 0xE0, b"\x04\0");
        assert_eq!(decoded(V5, &packet(0xE0, b"\x04")), will);
        let list = [Property::SessionExpiryInterval(7)];
        let properties = Properties::list(&list);
        let expiry = Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties });
        assert_wire(V5, &expiry, 0xE0, b"\0\x05\x11\0\0\0\x07");
    }

    #[test]
    fn before_5_0_it_says_nothing() {
        let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
        assert_eq!(encoded(&taken_over, V311), [0xE0, 0]);
        let what = "the remaining length is not that of the packet type";
        assert_refused(V311, 0xE0, b"\0", MALFORMED, what);
    }

    /// [MQTT-3.14.2-1]
    #[test]
    fn foreign_reason_codes_and_trailing_bytes_are_refused() {
        let what = "DISCONNECT: not a reason code of this packet";
        for code in [0x01, 0x05, 0x10, 0x84, 0x85, 0x86, 0x88, 0x8A, 0x91, 0x92, 0xA3, 0xFF] {
            assert_refused(V5, 0xE0, &[code], MALFORMED, what);
        }
        let trailing = "DISCONNECT: bytes after its end";
        assert_refused(V5, 0xE0, b"\0\0\0", MALFORMED, trailing);
    }
}
