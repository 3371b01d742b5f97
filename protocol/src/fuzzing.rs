//! What the fuzz targets in `fuzz/` check, so that it builds on stable Rust and the ordinary tests
//! replay the committed corpus. Every function panics where a promise of this crate is broken.

mod build;
mod client;
#[cfg(test)]
mod tests;

use std::string::String;
use std::vec::Vec;

use crate::{
    Buffer, BufferFull, DecodeError, MAX_REMAINING_LENGTH, Packet, ProtocolVersion, TopicFilter,
    TopicName, decode, packet_len,
};

pub use build::with_packet;
pub use client::client;

/// Large enough for every input that a fuzzer makes.
const MAX_SIZE: u32 = MAX_REMAINING_LENGTH;

/// A [`Buffer`] without a bound.
#[derive(Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Buffer for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Decodes a stream of packets of 3.1.1. A CONNECT in it does not change the version.
pub fn decode_v311(data: &[u8]) {
    decode_all(data, ProtocolVersion::V311);
    decode_all(data, ProtocolVersion::V31);
}

/// Decodes a stream of packets of 5.0.
pub fn decode_v5(data: &[u8]) {
    decode_all(data, ProtocolVersion::V5);
}

fn decode_all(mut data: &[u8], version: ProtocolVersion) {
    while let Ok(Some((packet, used))) = decode(data, version, MAX_SIZE) {
        check_decoded(&packet, &data[..used], version);
        data = &data[used..];
    }
}

/// `packet` is what `bytes` were decoded to.
fn check_decoded(packet: &Packet<'_>, bytes: &[u8], version: ProtocolVersion) {
    // It was not longer than announced, and nothing behind it counted.
    assert_eq!(packet_len(bytes), Ok(Some(bytes.len())));
    assert_eq!(decode(bytes, version, MAX_SIZE), Ok(Some((packet.clone(), bytes.len()))));
    // A limit below its length refuses it.
    let too_small = u32::try_from(bytes.len() - 1).expect("a packet is below 256 MiB");
    assert!(decode(bytes, version, too_small).is_err());
    // No part of it is a packet.
    for len in 0..bytes.len().min(64) {
        assert!(!matches!(decode(&bytes[..len], version, MAX_SIZE), Ok(Some(_))));
    }
    check_round_trip(packet, version);
}

/// A packet survives being encoded and decoded, and its length is told right beforehand.
pub fn check_round_trip(packet: &Packet<'_>, version: ProtocolVersion) {
    let mut out = Bytes::default();
    packet.encode(version, &mut out).expect("a legal packet can be encoded");
    assert_eq!(packet.encoded_len(version), Ok(out.0.len()));
    let (again, used) = decode(&out.0, version, MAX_SIZE)
        .expect("what was encoded is not refused")
        .expect("what was encoded is whole");
    assert_eq!(&again, packet);
    assert_eq!(used, out.0.len());
}

/// Builds a legal packet out of the bytes and sends it through encoder and decoder.
pub fn roundtrip(data: &[u8]) {
    for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
        with_packet(data, version, |packet| check_round_trip(packet, version));
    }
}

/// A topic and a filter, separated by a line feed: the checks and the matching agree with plain
/// rewordings of the specification.
pub fn topic(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (topic, filter) = text.split_once('\n').unwrap_or((&text, "#"));
    let is_name = !topic.is_empty() && topic.len() <= 65_535 && !topic.contains(['\0', '+', '#']);
    assert_eq!(TopicName::new(topic).is_ok(), is_name);
    let checked = TopicFilter::new(filter);
    assert_eq!(checked.is_ok(), is_filter(filter));
    let Ok(filter) = checked else { return };
    assert_eq!(filter.share_name().is_some(), filter.as_str().starts_with("$share/"));
    if let Some(name) = filter.share_name() {
        assert_eq!(std::format!("$share/{name}/{}", filter.filter()), filter.as_str());
    }
    if is_name {
        let expected = is_match(filter.filter(), topic)
            && !(topic.starts_with('$') && filter.filter().starts_with(['+', '#']));
        assert_eq!(filter.matches(topic), expected, "{filter:?} {topic:?}");
    }
}

fn is_filter(text: &str) -> bool {
    if text.is_empty() || text.len() > 65_535 || text.contains('\0') {
        return false;
    }
    let filter = match text.strip_prefix("$share/").map(|rest| rest.split_once('/')) {
        None => text,
        Some(Some((name, filter))) if !name.is_empty() && !name.contains(['+', '#']) => filter,
        Some(_) => return false,
    };
    let levels: Vec<&str> = filter.split('/').collect();
    let hash_is_last = levels.iter().rev().skip(1).all(|level| !level.contains('#'));
    let are_whole = levels.iter().all(|level| level.len() == 1 || !level.contains(['+', '#']));
    !filter.is_empty() && hash_is_last && are_whole
}

/// 4.7.1, by recursion over characters instead of levels.
fn is_match(filter: &str, topic: &str) -> bool {
    match (filter.chars().next(), topic.chars().next()) {
        (Some('#'), _) => true,
        (Some('+'), _) => {
            let level_end = topic.find('/').unwrap_or(topic.len());
            is_match(&filter[1..], &topic[level_end..])
        }
        (None, None) => true,
        (Some(a), Some(b)) if a == b => is_match(&filter[a.len_utf8()..], &topic[b.len_utf8()..]),
        // `a/#` matches `a` as well.
        (Some('/'), None) => filter == "/#",
        _ => false,
    }
}

/// A stream that comes in pieces gives the same packets, or the same refusal, as one that comes at
/// once. The first byte chooses the version, the second the size of the pieces.
pub fn packet_stream(data: &[u8]) {
    let [version, piece, stream @ ..] = data else { return };
    let version = match version % 3 {
        0 => ProtocolVersion::V31,
        1 => ProtocolVersion::V311,
        _ => ProtocolVersion::V5,
    };
    let (at_once, end_at_once) = drain(stream, version, 0);
    let mut in_pieces = Vec::new();
    let mut end = Ok(());
    let mut taken = 0;
    let mut come = 0;
    while end.is_ok() && come < stream.len() {
        come = (come + usize::from(*piece).max(1)).min(stream.len());
        let (lens, result) = drain(&stream[taken..come], version, taken);
        taken = lens.last().copied().unwrap_or(taken);
        in_pieces.extend(lens);
        end = result;
    }
    assert_eq!(in_pieces, at_once);
    assert_eq!(end, end_at_once);
}

/// Where each packet ends, and why no more came.
fn drain(
    stream: &[u8],
    version: ProtocolVersion,
    start: usize,
) -> (Vec<usize>, Result<(), DecodeError>) {
    let mut ends = Vec::new();
    let mut at = 0;
    loop {
        match decode(&stream[at..], version, 1 << 16) {
            Ok(Some((_, used))) => at += used,
            Ok(None) => return (ends, Ok(())),
            Err(error) => return (ends, Err(error)),
        }
        ends.push(start + at);
    }
}
