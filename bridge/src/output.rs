//! What waits to be written to an end. Grows with what is put in; the bounds are kept by the relay,
//! which knows what may be dropped and what may not.

use outpost_protocol::{Buffer, BufferFull};

use crate::side::PerSide;

/// Encoded packets that wait for one end.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    taken: usize,
}

/// The outputs of both ends.
pub type Outputs = PerSide<Output>;

/// An empty output keeps no more memory than this, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

impl Output {
    /// The bytes that wait, in order.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` of the pending bytes have been written.
    ///
    /// # Panics
    /// Where `count` is more than what waits: the transport lied.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more written than there was");
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
            self.taken = 0;
        } else if self.taken >= KEPT_BYTES_MAX && self.taken * 2 >= self.bytes.len() {
            // At least half is done with: moving the rest costs no more than writing it did.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

impl Buffer for Output {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_the_steps() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        let mut written = Vec::new();
        for round in 0..50_000u32 {
            output.put(&round.to_be_bytes()).expect("it grows");
            expected.extend(round.to_be_bytes());
            let step = (round as usize * 7 % 8).min(output.len());
            written.extend_from_slice(&output.pending()[..step]);
            output.advance(step);
        }
        written.extend_from_slice(output.pending());
        output.advance(output.len());
        assert_eq!(written, expected);
        assert!(output.is_empty());
    }

    #[test]
    fn an_empty_output_gives_memory_back() {
        let mut output = Output::default();
        output.put(&vec![0; 1 << 20]).expect("it grows");
        output.advance(1 << 20);
        assert!(output.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
