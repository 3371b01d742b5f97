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
