//! AUTH (3.15): a step of the extended authentication of 5.0.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::properties::{Place, Properties};
use crate::reason_code::ReasonCode;
use crate::reason_set::ReasonSet;
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// AUTH. Written in its short form where it says Success and has no properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Its properties.
    pub properties: Properties<'a>,
}

const FIRST_BYTE: u8 = 0xF0;

/// 3.15.2.1
const REASONS: ReasonSet = ReasonSet::of(&[0x00, 0x18, 0x19]);

impl<'a> Auth<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        // The one form without a property length (3.15.2.1).
        if reader.is_empty() {
            return Ok(Self { reason: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let reason = reader
            .u8()
            .and_then(|code| REASONS.get(code))
            .ok_or(DecodeError::malformed("AUTH: not a reason code of this packet"))?;
        let properties = Properties::decode(&mut reader, Place::AUTH)?;
        if !reader.is_empty() {
            return Err(DecodeError::malformed("AUTH: bytes after its end"));
        }
        // 3.15.2.2.2: It is a Protocol Error to omit the Authentication Method.
        if properties.authentication_method().is_none() {
            return Err(DecodeError::protocol("AUTH: no Authentication Method"));
        }
        Ok(Self { reason, properties })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written, and always before 5.0, which has no AUTH.
    pub fn encode<B: Buffer>(
        &self,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let mut head = Gather::packet(FIRST_BYTE, self.remaining_length(version)?, out)?;
        if self.is_short() {
            return head.put(out);
        }
        // [MQTT-3.15.2-1]
        debug_assert!(REASONS.contains(self.reason as u8), "not a reason code of AUTH");
        head.u8(self.reason as u8);
        head.put(out)?;
        self.properties.encode_with_prefix(out)
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all, and always before 5.0.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version)?)
    }

    fn is_short(&self) -> bool {
        self.reason == ReasonCode::Success && self.properties.is_empty()
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        match version {
            ProtocolVersion::V5 if self.is_short() => Ok(0),
            ProtocolVersion::V5 => Ok(1 + self.properties.len_with_prefix()),
            _ => Err(BufferFull),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{MALFORMED, PROTOCOL_ERROR, V5, V311, assert_refused, assert_wire};

    #[test]
    fn each_form() {
        let list = [Property::AuthenticationMethod("m"), Property::AuthenticationData(&[0xFF])];
        let properties = Properties::list(&list);
        let auth = Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties });
        assert_wire(V5, &auth, 0xF0, b"\x18\x08\x15\0\x01m\x16\0\x01\xFF");
        let success = Auth { reason: ReasonCode::Success, properties: Properties::EMPTY };
        assert_wire(V5, &Packet::Auth(success.clone()), 0xF0, b"");
        assert_eq!(success.encoded_len(V311), Err(BufferFull));
    }

    /// [MQTT-3.15.2-1], 3.15.2.2.2
    #[test]
    fn foreign_reason_codes_and_a_missing_method_are_refused() {
        let reason = "AUTH: not a reason code of this packet";
        assert_refused(V5, 0xF0, b"\x01\0", MALFORMED, reason);
        assert_refused(V5, 0xF0, b"\x87\0", MALFORMED, reason);
        let method = "AUTH: no Authentication Method";
        assert_refused(V5, 0xF0, b"\x18\0", PROTOCOL_ERROR, method);
        let length = "the property length is wrong or missing";
        assert_refused(V5, 0xF0, b"\x18", MALFORMED, length);
    }
}
