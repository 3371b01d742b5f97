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
            Some(0) => false,
            Some(1) => true,
            // [MQTT-3.2.2-1]; 3.1 does not say what the reserved byte must be.
            Some(_) if version == ProtocolVersion::V31 => false,
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
