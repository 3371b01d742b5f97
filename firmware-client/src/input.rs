//! Bytes that were read and not yet taken.

/// A buffer of `N` bytes: filled at its end, taken from its front.
#[derive(Debug)]
pub(crate) struct Input<const N: usize> {
    bytes: [u8; N],
    start: usize,
    end: usize,
}

impl<const N: usize> Input<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], start: 0, end: 0 }
    }

    pub(crate) const fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) const fn take(&mut self, len: usize) {
        self.start += len;
        assert!(self.start <= self.end, "more taken than there was");
    }

    /// The free part of the buffer, for [`Self::filled`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    pub(crate) const fn filled(&mut self, len: usize) {
        self.end += len;
        assert!(self.end <= N, "more read than there was room for");
    }
}
