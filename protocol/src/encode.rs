//! Where encoded bytes go, and the pieces that every packet is written from.

use crate::MAX_REMAINING_LENGTH;
use crate::error::BufferFull;
use crate::wire::{FIELD_BYTES_MAX, var_int_bytes, var_int_len};

/// A place for encoded bytes.
///
/// A packet is written as a few calls of `put` with contiguous slices, after one call of `reserve`
/// with the length of the whole packet.
pub trait Buffer {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`BufferFull`] where there is no room for all of them.
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull>;

    /// Told how many bytes follow at once. A bounded buffer refuses here, so that no part of a
    /// packet is written that does not fit as a whole; a growing one makes room in one step.
    ///
    /// # Errors
    /// [`BufferFull`] where there is no room for `len` bytes.
    #[inline]
    fn reserve(&mut self, len: usize) -> Result<(), BufferFull> {
        let _ = len;
        Ok(())
    }
}

impl<B: Buffer + ?Sized> Buffer for &mut B {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        (**self).put(bytes)
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Result<(), BufferFull> {
        (**self).reserve(len)
    }
}

/// A [`Buffer`] on a slice of the caller's.
#[derive(Debug)]
pub struct SliceBuffer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> SliceBuffer<'a> {
    /// An empty buffer that can take `bytes.len()` bytes.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// What has been written.
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what has been written.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Buffer for SliceBuffer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        let end = self.len + bytes.len();
        self.bytes.get_mut(self.len..end).ok_or(BufferFull)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Result<(), BufferFull> {
        if len <= self.bytes.len() - self.len { Ok(()) } else { Err(BufferFull) }
    }
}

/// The length of a whole packet whose Remaining Length is `remaining`.
///
/// # Errors
/// [`BufferFull`] where `remaining` is more than the wire can say (1.5.5).
#[inline]
pub(crate) fn packet_len(remaining: usize) -> Result<usize, BufferFull> {
    let remaining = remaining_length(remaining)?;
    Ok(1 + var_int_len(remaining) + remaining as usize)
}

#[inline]
fn remaining_length(remaining: usize) -> Result<u32, BufferFull> {
    match u32::try_from(remaining) {
        Ok(remaining) if remaining <= MAX_REMAINING_LENGTH => Ok(remaining),
        _ => Err(BufferFull),
    }
}

/// Up to 16 bytes that are contiguous on the wire, gathered so that they are one `put`.
pub(crate) struct Gather {
    bytes: [u8; 16],
    len: usize,
}

impl Gather {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; 16], len: 0 }
    }

    /// Starts a packet: tells `out` its length and gathers its fixed header.
    #[inline]
    pub(crate) fn packet<B: Buffer>(
        first: u8,
        remaining: usize,
        out: &mut B,
    ) -> Result<Self, BufferFull> {
        let length = remaining_length(remaining)?;
        out.reserve(packet_len(remaining)?)?;
        let mut gather = Self::new();
        gather.u8(first);
        gather.var_int(length);
        Ok(gather)
    }

    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes[self.len] = value;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes[self.len..self.len + 2].copy_from_slice(&value.to_be_bytes());
        self.len += 2;
    }

    #[inline]
    pub(crate) fn var_int(&mut self, value: u32) {
        if value < 0x80 {
            self.u8(value as u8);
            return;
        }
        let (bytes, len) = var_int_bytes(value);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// The length prefix of a string or binary field.
    #[inline]
    pub(crate) fn length(&mut self, field: &[u8]) -> Result<(), BufferFull> {
        field_length(field)?.into_iter().for_each(|byte| self.u8(byte));
        Ok(())
    }

    #[inline]
    pub(crate) fn put<B: Buffer>(self, out: &mut B) -> Result<(), BufferFull> {
        out.put(&self.bytes[..self.len])
    }
}

/// The length prefix of a string or binary field.
#[inline]
pub(crate) fn field_length(field: &[u8]) -> Result<[u8; 2], BufferFull> {
    match u16::try_from(field.len()) {
        Ok(len) => Ok(len.to_be_bytes()),
        Err(_) => Err(BufferFull),
    }
}

/// Whether each length fits a length prefix.
pub(crate) fn check_field_lengths(lens: impl IntoIterator<Item = usize>) -> Result<(), BufferFull> {
    if lens.into_iter().all(|len| len <= FIELD_BYTES_MAX) { Ok(()) } else { Err(BufferFull) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{V5, id};
    use crate::{Properties, PubAck, Publish, QoS};

    const PUBLISH: Publish<'_> = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"payload",
    };

    #[test]
    fn a_slice_takes_what_fits_and_nothing_of_the_rest() {
        let mut bytes = [0; 16];
        let mut out = SliceBuffer::new(&mut bytes);
        assert_eq!(PUBLISH.encode(V5, &mut out), Ok(()));
        assert_eq!(out.written(), b"\x30\x0B\0\x01a\0payload");
        assert_eq!(out.len(), 13);
        assert_eq!(PUBLISH.encode(V5, &mut out), Err(BufferFull));
        assert_eq!(out.len(), 13, "a packet that does not fit leaves no part behind");
        out.clear();
        assert!(out.is_empty());
        assert_eq!(PubAck::success(id(5)).encode(V5, &mut out), Ok(()));
        assert_eq!(out.written(), [0x40, 2, 0, 5]);
    }

    #[test]
    fn a_topic_that_is_too_long_is_not_written() {
        let topic = std::string::String::from_utf8(std::vec![b'a'; 65_536]).expect("it is ASCII");
        let publish = Publish { topic: &topic, ..PUBLISH };
        let mut out = crate::fuzzing::Bytes::default();
        assert_eq!(publish.encode(V5, &mut out), Err(BufferFull));
        assert!(out.0.is_empty());
    }

    /// 1.5.5: the Remaining Length says at most 268,435,455.
    #[test]
    fn a_packet_longer_than_the_wire_can_say_is_refused() {
        assert_eq!(packet_len(268_435_455), Ok(268_435_460));
        assert_eq!(packet_len(268_435_456), Err(BufferFull));
        assert_eq!(packet_len(usize::MAX), Err(BufferFull));
    }

    #[test]
    fn each_length_of_the_remaining_length() {
        for len in [100, 200, 20_000, 3_000_000] {
            let payload = std::vec![7; len];
            let publish = Publish { payload: &payload, ..PUBLISH };
            let bytes = crate::testing::encoded(&crate::Packet::Publish(publish.clone()), V5);
            assert_eq!(publish.encoded_len(V5), Ok(bytes.len()));
            assert_eq!(crate::testing::decoded(V5, &bytes), crate::Packet::Publish(publish));
        }
    }
}
