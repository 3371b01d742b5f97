//! Bytes that wait to be written once, in order: all packets but the PUBLISH of QoS 1 and 2.

use crate::{BufferFull, Packet, ProtocolVersion, SliceBuffer};

use super::RequestError;

/// A queue of bytes in a buffer of the caller's; whole packets go in, any number of bytes comes out.
#[derive(Debug)]
pub(super) struct Staged<O> {
    bytes: O,
    start: usize,
    end: usize,
}

impl<O: AsRef<[u8]> + AsMut<[u8]>> Staged<O> {
    pub(super) const fn new(bytes: O) -> Self {
        Self { bytes, start: 0, end: 0 }
    }

    pub(super) fn into_bytes(self) -> O {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn room(&self) -> usize {
        self.bytes.as_ref().len() - (self.end - self.start)
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes.as_ref()[self.start..self.end]
    }

    pub(super) fn advance(&mut self, written: usize) {
        self.start += written;
        assert!(self.start <= self.end, "more bytes reported as written than were given");
        if self.is_empty() {
            self.clear();
        }
    }

    /// Adds a packet, or nothing at all.
    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        version: ProtocolVersion,
    ) -> Result<(), RequestError> {
        let len = packet.encoded_len(version).map_err(|BufferFull| RequestError::TooLarge)?;
        let capacity = self.bytes.as_ref().len();
        if len > capacity {
            return Err(RequestError::TooLarge);
        }
        if len > self.room() {
            return Err(RequestError::Full);
        }
        if len > capacity - self.end {
            self.move_to_front();
        }
        let mut out = SliceBuffer::new(&mut self.bytes.as_mut()[self.end..]);
        packet.encode(version, &mut out).map_err(|BufferFull| RequestError::TooLarge)?;
        self.end += out.len();
        Ok(())
    }

    fn move_to_front(&mut self) {
        self.bytes.as_mut().copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}
