//! What the unit tests of the packets share.

use std::vec::Vec;

use crate::fuzzing::Bytes;
use crate::{
    DecodeError, MAX_REMAINING_LENGTH, Packet, PacketId, ProtocolVersion, ReasonCode, decode, wire,
};

pub(crate) const V31: ProtocolVersion = ProtocolVersion::V31;
pub(crate) const V311: ProtocolVersion = ProtocolVersion::V311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;

pub(crate) const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
pub(crate) const PROTOCOL_ERROR: ReasonCode = ReasonCode::ProtocolError;

pub(crate) fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("tests use packet identifiers above 0")
}

/// A whole packet: the first byte, the Remaining Length, the body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Bytes(std::vec![first]);
    let remaining = u32::try_from(body.len()).expect("tests use small packets");
    wire::put_var_int(remaining, &mut out).expect("tests use small packets");
    out.0.extend_from_slice(body);
    out.0
}

pub(crate) fn refusal(version: ProtocolVersion, bytes: &[u8]) -> DecodeError {
    match decode(bytes, version, MAX_REMAINING_LENGTH) {
        Err(error) => error,
        other => panic!("{bytes:02x?} is not refused: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_refused(
    version: ProtocolVersion,
    first: u8,
    body: &[u8],
    reason: ReasonCode,
    what: &str,
) {
    let error = refusal(version, &packet(first, body));
    assert_eq!((error.reason, error.what), (reason, what));
}

pub(crate) fn decoded(version: ProtocolVersion, bytes: &[u8]) -> Packet<'_> {
    match decode(bytes, version, MAX_REMAINING_LENGTH) {
        Ok(Some((packet, used))) if used == bytes.len() => packet,
        other => panic!("{bytes:02x?} is not one whole packet: {other:?}"),
    }
}

pub(crate) fn encoded(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Bytes::default();
    packet.encode(version, &mut out).expect("the packet can be written");
    out.0
}

/// `packet` is written as these bytes, and these bytes are read as `packet`.
#[track_caller]
pub(crate) fn assert_wire(version: ProtocolVersion, packet: &Packet<'_>, first: u8, body: &[u8]) {
    let bytes = self::packet(first, body);
    assert_eq!(encoded(packet, version), bytes);
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    assert_eq!(&decoded(version, &bytes), packet);
}
