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
