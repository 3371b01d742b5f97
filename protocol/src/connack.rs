//! CONNACK (3.2): the server's answer to CONNECT.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::properties::{Place, Properties};
use crate::reason_code::ReasonCode;
use crate::reason_set::ReasonSet;
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// CONNACK.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// The server goes on with a session that it has; false with any other reason than Success
    /// [MQTT-3.2.2-6]. Not written in 3.1, which does not have it.
    pub session_present: bool,
    /// Success, or why not. 3.1 and 3.1.1 write the nearest of their five refusals.
    pub reason: ReasonCode,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

const FIRST_BYTE: u8 = 0x20;

/// 3.2.2.2
const REASONS: ReasonSet = ReasonSet::of(&[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
]);

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let session_present = match reader.u8() {
            // 3.1 has no such flag, and does not say what the reserved byte must be.
            Some(_) if version == ProtocolVersion::V31 => false,
            Some(0) => false,
            Some(1) => true,
            // [MQTT-3.2.2-1]
            _ => return Err(DecodeError::malformed("CONNACK: reserved flags are set")),
        };
        let reason = reader
            .u8()
            .and_then(|code| reason(code, version))
            .ok_or(DecodeError::malformed("CONNACK: not a reason code of this packet"))?;
        // [MQTT-3.2.2-6]
        if session_present && reason != ReasonCode::Success {
            return Err(DecodeError::protocol("CONNACK: session present in a refusal"));
        }
        let properties = match version {
            ProtocolVersion::V5 => Properties::decode(&mut reader, Place::CONNACK)?,
            _ => Properties::EMPTY,
        };
        if !reader.is_empty() {
            return Err(DecodeError::malformed("CONNACK: bytes after its end"));
        }
        Ok(Self { session_present, reason, properties })
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
        // [MQTT-3.2.2-6]
        let session_present = self.session_present
            && self.reason == ReasonCode::Success
            && version != ProtocolVersion::V31;
        head.u8(u8::from(session_present));
        if !version.is_v5() {
            head.u8(self.reason.v311_connect_return_code());
            return head.put(out);
        }
        // [MQTT-3.2.2-8]
        debug_assert!(REASONS.contains(self.reason as u8), "not a reason code of CONNACK");
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

    fn remaining_length(&self, version: ProtocolVersion) -> usize {
        if version.is_v5() { 2 + self.properties.len_with_prefix() } else { 2 }
    }
}

fn reason(code: u8, version: ProtocolVersion) -> Option<ReasonCode> {
    if version.is_v5() {
        REASONS.get(code)
    } else {
        ReasonCode::from_v311_connect_return_code(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{
        MALFORMED, PROTOCOL_ERROR, V5, V31, V311, assert_refused, assert_wire, decoded, encoded,
        packet,
    };

    fn connack(session_present: bool, reason: ReasonCode) -> Packet<'static> {
        Packet::ConnAck(ConnAck { session_present, reason, properties: Properties::EMPTY })
    }

    #[test]
    fn each_version_has_its_form() {
        assert_wire(V5, &connack(true, ReasonCode::Success), 0x20, &[1, 0, 0]);
        assert_wire(V311, &connack(true, ReasonCode::Success), 0x20, &[1, 0]);
        assert_wire(V31, &connack(false, ReasonCode::Success), 0x20, &[0, 0]);
        let list = [Property::ServerKeepAlive(60), Property::RetainAvailable(0)];
        let properties = Properties::list(&list);
        let refusal =
            ConnAck { session_present: false, reason: ReasonCode::ServerBusy, properties };
        assert_wire(V5, &Packet::ConnAck(refusal), 0x20, b"\0\x89\x05\x13\0\x3C\x25\0");
    }

    /// 3.1 has no such flag: the byte is reserved.
    #[test]
    fn in_3_1_session_present_is_not_written() {
        assert_eq!(encoded(&connack(true, ReasonCode::Success), V31), packet(0x20, &[0, 0]));
    }

    /// 3.1.1: table 3.1
    #[test]
    fn return_codes_of_3_1_1() {
        let table = [
            (1, ReasonCode::UnsupportedProtocolVersion),
            (2, ReasonCode::ClientIdentifierNotValid),
            (3, ReasonCode::ServerUnavailable),
            (4, ReasonCode::BadUserNameOrPassword),
            (5, ReasonCode::NotAuthorized),
        ];
        for (code, reason) in table {
            assert_wire(V311, &connack(false, reason), 0x20, &[0, code]);
        }
        let what = "CONNACK: not a reason code of this packet";
        assert_refused(V311, 0x20, &[0, 6], MALFORMED, what);
        assert_eq!(
            encoded(&connack(false, ReasonCode::QuotaExceeded), V311),
            packet(0x20, &[0, 3]),
            "the nearest of the five"
        );
    }

    /// [MQTT-3.2.2-6]
    #[test]
    fn a_refusal_has_no_session() {
        let what = "CONNACK: session present in a refusal";
        assert_refused(V5, 0x20, &[1, 0x87, 0], PROTOCOL_ERROR, what);
        let bytes = encoded(&connack(true, ReasonCode::NotAuthorized), V5);
        assert_eq!(decoded(V5, &bytes), connack(false, ReasonCode::NotAuthorized));
    }

    /// [MQTT-3.2.2-1] [MQTT-3.2.2-8]
    #[test]
    fn reserved_flags_and_foreign_reason_codes_are_refused() {
        let flags = "CONNACK: reserved flags are set";
        let reason = "CONNACK: not a reason code of this packet";
        assert_refused(V5, 0x20, &[2, 0, 0], MALFORMED, flags);
        assert_refused(V311, 0x20, &[0x80, 0], MALFORMED, flags);
        // 0x8B and 0x8E are of DISCONNECT only.
        assert_refused(V5, 0x20, &[0, 0x8B, 0], MALFORMED, reason);
        assert_refused(V5, 0x20, &[0, 0x8E, 0], MALFORMED, reason);
    }

    /// [MQTT-2.2.2-1]
    #[test]
    fn the_property_length_must_be_there() {
        let what = "the property length is wrong or missing";
        assert_refused(V5, 0x20, &[0, 0], MALFORMED, what);
    }
}
