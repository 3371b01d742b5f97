//! Takes the next packet from a byte stream: the fixed header (2.1), its checks, and the choice of
//! the packet's own decoder.

use crate::auth::Auth;
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::disconnect::Disconnect;
use crate::error::DecodeError;
use crate::packet::Packet;
use crate::puback::PubAck;
use crate::pubcomp::PubComp;
use crate::publish::Publish;
use crate::pubrec::PubRec;
use crate::pubrel::PubRel;
use crate::reason_code::ReasonCode;
use crate::suback::SubAck;
use crate::subscribe::Subscribe;
use crate::unsuback::UnsubAck;
use crate::unsubscribe::Unsubscribe;
use crate::version::ProtocolVersion;
use crate::wire::{VarInt, var_int};

/// Takes the next packet from the start of `input`: the packet and how many bytes it has, or none
/// while it is incomplete.
///
/// `version` is what the connection speaks; for CONNECT it is ignored, as the packet says it.
/// `max_size` is the Maximum Packet Size of the reader, in bytes of a whole packet with its header.
///
/// # Errors
/// Why the connection must be closed, as soon as it is sure: a first byte that no packet has and a
/// packet that is announced larger than `max_size` are refused before the rest has come.
#[inline]
pub fn decode(
    input: &[u8],
    version: ProtocolVersion,
    max_size: u32,
) -> Result<Option<(Packet<'_>, usize)>, DecodeError> {
    let Some(&first) = input.first() else { return Ok(None) };
    check_first_byte(first, version)?;
    let Some(header) = header(input)? else { return Ok(None) };
    if header.packet_len() > max_size as usize {
        return Err(TOO_LARGE);
    }
    check_remaining_length(first, header.remaining, version)?;
    let Some(body) = input.get(header.len..header.packet_len()) else { return Ok(None) };
    if first >> 4 == 3 {
        return match Publish::decode(first, body, version) {
            Ok(publish) => Ok(Some((Packet::Publish(publish), header.packet_len()))),
            Err(error) => Err(error),
        };
    }
    decode_body(first, body, version).map(|packet| Some((packet, header.packet_len())))
}

const TOO_LARGE: DecodeError = DecodeError {
    reason: ReasonCode::PacketTooLarge,
    what: "the packet is larger than the Maximum Packet Size",
};

/// How many bytes the next packet has in all; none while its fixed header is incomplete.
///
/// # Errors
/// The remaining length has more than four bytes, or more than it needs [MQTT-1.5.5-1].
#[inline]
pub fn packet_len(input: &[u8]) -> Result<Option<usize>, DecodeError> {
    Ok(header(input)?.map(Header::packet_len))
}

/// A fixed header.
#[derive(Clone, Copy)]
struct Header {
    /// How many bytes it has itself.
    len: usize,
    /// The Remaining Length.
    remaining: u32,
}

impl Header {
    #[inline]
    fn packet_len(self) -> usize {
        self.len + self.remaining as usize
    }
}

#[inline]
fn header(input: &[u8]) -> Result<Option<Header>, DecodeError> {
    match var_int(input.get(1..).unwrap_or_default()) {
        VarInt::Value(remaining, len) => Ok(Some(Header { len: 1 + len, remaining })),
        VarInt::Incomplete => Ok(None),
        VarInt::Malformed => Err(DecodeError::malformed("the remaining length is malformed")),
    }
}

/// The type and the flags. Reserved flags have one value only [MQTT-2.1.3-1].
#[inline]
fn check_first_byte(first: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    match first {
        // PUBLISH: its flags are checked here, so that they are refused at once.
        0x30..=0x3F => Publish::check_flags(first),
        // CONNECT, CONNACK, PUBACK, PUBREC, PUBREL [MQTT-3.6.1-1], PUBCOMP,
        0x10 | 0x20 | 0x40 | 0x50 | 0x62 | 0x70
        // SUBSCRIBE [MQTT-3.8.1-1], SUBACK, UNSUBSCRIBE [MQTT-3.10.1-1], UNSUBACK,
        | 0x82 | 0x90 | 0xA2 | 0xB0
        // PINGREQ, PINGRESP, DISCONNECT [MQTT-3.14.1-1].
        | 0xC0 | 0xD0 | 0xE0 => Ok(()),
        // AUTH [MQTT-3.15.1-1] is of 5.0; before it the type was reserved.
        0xF0 if version.is_v5() => Ok(()),
        // 3.1 repeats PUBREL, SUBSCRIBE and UNSUBSCRIBE with the DUP flag (3.1: 2.1).
        0x6A | 0x8A | 0xAA if version == ProtocolVersion::V31 => Ok(()),
        0x00..=0x0F | 0xF0..=0xFF => {
            Err(DecodeError::malformed("the first byte is of no packet type"))
        }
        _ => Err(DecodeError::malformed("reserved flags of the first byte are set wrong")),
    }
}

/// Packets whose length is given are refused before a longer body has come.
#[inline]
fn check_remaining_length(
    first: u8,
    remaining: u32,
    version: ProtocolVersion,
) -> Result<(), DecodeError> {
    let given = match first >> 4 {
        12 | 13 => 0,
        _ if version.is_v5() => return Ok(()),
        14 => 0,
        2 | 4 | 5 | 6 | 7 | 11 => 2,
        _ => return Ok(()),
    };
    if remaining == given {
        Ok(())
    } else {
        Err(DecodeError::malformed("the remaining length is not that of the packet type"))
    }
}

/// All packets but PUBLISH. Apart from `decode`, so that the way of a PUBLISH stays short.
#[inline(never)]
fn decode_body(
    first: u8,
    body: &[u8],
    version: ProtocolVersion,
) -> Result<Packet<'_>, DecodeError> {
    Ok(match first >> 4 {
        1 => Packet::Connect(Connect::decode(body)?),
        2 => Packet::ConnAck(ConnAck::decode(body, version)?),
        4 => Packet::PubAck(PubAck::decode(body, version)?),
        5 => Packet::PubRec(PubRec::decode(body, version)?),
        6 => Packet::PubRel(PubRel::decode(body, version)?),
        7 => Packet::PubComp(PubComp::decode(body, version)?),
        8 => Packet::Subscribe(Subscribe::decode(body, version)?),
        9 => Packet::SubAck(SubAck::decode(body, version)?),
        10 => Packet::Unsubscribe(Unsubscribe::decode(body, version)?),
        11 => Packet::UnsubAck(UnsubAck::decode(body, version)?),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect(Disconnect::decode(body, version)?),
        _ => Packet::Auth(Auth::decode(body)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MALFORMED, V5, V31, V311, assert_refused, decoded, packet, refusal};

    /// 2.1.2: type 0 does not exist, type 15 only in 5.0.
    #[test]
    fn forbidden_types_are_refused_by_their_first_byte() {
        for version in [V31, V311, V5] {
            for first in 0x00..0x10 {
                assert_eq!(refusal(version, &[first]).reason, MALFORMED);
            }
        }
        assert_eq!(refusal(V311, &[0xF0]).reason, MALFORMED);
        assert_eq!(decode(&[0xF0], V5, 100), Ok(None));
    }

    /// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
    /// [MQTT-3.15.1-1]: table 2-2.
    #[test]
    fn reserved_flags_have_one_value() {
        for kind in (1..=15_u8).filter(|kind| *kind != 3) {
            let right = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            for flags in 0..16 {
                let first = kind << 4 | flags;
                let result = decode(core::slice::from_ref(&first), V5, 100);
                assert_eq!(result.is_ok(), flags == right, "{first:02x}");
            }
        }
    }

    /// 3.1: 2.1 (DUP of SUBSCRIBE, UNSUBSCRIBE and PUBREL).
    #[test]
    fn dup_of_3_1_is_taken_in_3_1_only() {
        let unsubscribe = packet(0xAA, b"\0\x01\0\x01a");
        assert!(matches!(decoded(V31, &unsubscribe), Packet::Unsubscribe(_)));
        assert_eq!(refusal(V311, &unsubscribe).reason, MALFORMED);
    }

    /// [MQTT-1.5.5-1]
    #[test]
    fn the_remaining_length_must_be_minimal_and_have_four_bytes_at_most() {
        assert_eq!(refusal(V5, &[0xC0, 0x80, 0x00]).reason, MALFORMED);
        assert_eq!(refusal(V5, &[0x30, 0x80, 0x80, 0x80, 0x80]).reason, MALFORMED);
        assert_eq!(packet_len(&[0x30, 0x80, 0x01]), Ok(Some(131)));
        assert_eq!(packet_len(&[0x30, 0x80]), Ok(None));
        assert_eq!(packet_len(&[0x30]), Ok(None));
        assert_eq!(packet_len(&[]), Ok(None));
    }

    /// 3.1.2.11.4: the Maximum Packet Size counts the whole packet.
    #[test]
    fn a_packet_too_large_is_refused_before_it_has_come() {
        let bytes = packet(0x30, b"\0\x01a\0payload");
        let size = bytes.len() as u32;
        assert!(matches!(decode(&bytes, V5, size), Ok(Some(_))));
        let error = decode(&bytes[..2], V5, size - 1).expect_err("it is announced too large");
        assert_eq!(error.reason, ReasonCode::PacketTooLarge);
        assert_eq!(decode(&bytes[..2], V5, size), Ok(None));
    }

    #[test]
    fn what_follows_a_packet_is_not_looked_at() {
        let result = decode(&[0xD0, 0, 0xFF, 0xFF], V5, 100);
        assert_eq!(result, Ok(Some((Packet::PingResp, 2))));
    }

    #[test]
    fn pings_have_no_body() {
        assert_eq!(decoded(V311, &[0xC0, 0]), Packet::PingReq);
        for first in [0xC0, 0xD0] {
            let what = "the remaining length is not that of the packet type";
            assert_refused(V5, first, &[0], MALFORMED, what);
            assert_refused(V311, first, &[0], MALFORMED, what);
        }
    }
}
