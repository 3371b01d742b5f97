//! PUBREC (3.5): the first answer to a PUBLISH of QoS 2.

use crate::ack::{Fields, Form, PUBLISH_REASONS};
use crate::encode::Buffer;
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::Properties;
use crate::reason_code::ReasonCode;
use crate::version::ProtocolVersion;

/// PUBREC. Written in its short form where it says Success and has no properties.
#[derive(Clone, Debug, PartialEq)]
pub struct PubRec<'a> {
    /// That of the PUBLISH [MQTT-2.2.1-5].
    pub packet_id: PacketId,
    /// 5.0 only; 3.1 and 3.1.1 always say Success.
    pub reason: ReasonCode,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

const FORM: Form = Form {
    first: 0x50,
    reasons: PUBLISH_REASONS,
    short: "PUBREC: the packet identifier is missing",
    zero: "PUBREC: packet identifier 0",
    reason: "PUBREC: not a reason code of this packet",
    trailing: "PUBREC: bytes after its end",
};

impl<'a> PubRec<'a> {
    /// With reason code Success and no properties.
    pub const fn success(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }
    }

    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let Fields { packet_id, reason, properties } = FORM.decode(body, version)?;
        Ok(Self { packet_id, reason, properties })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written; see there.
    #[inline]
    pub fn encode<B: Buffer>(
        &self,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        FORM.encode(&self.fields(), version, out)
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        FORM.encoded_len(&self.fields(), version)
    }

    #[inline]
    fn fields(&self) -> Fields<'a> {
        Fields { packet_id: self.packet_id, reason: self.reason, properties: self.properties }
    }
}
