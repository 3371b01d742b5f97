//! What goes out: which bytes come next, and what follows from their having been written.

use super::{Client, Phase};

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Staged,
    Retained,
}

impl<O, R, const IN_FLIGHT: usize, const RECEIVE: usize> Client<O, R, IN_FLIGHT, RECEIVE>
where
    O: AsRef<[u8]> + AsMut<[u8]>,
    R: AsRef<[u8]> + AsMut<[u8]>,
{
    /// The bytes to be written next; empty: none. Whole packets as far as they lie contiguous, and
    /// there may be more when these are written. Until [`Self::handle_written`] tells otherwise the
    /// same bytes are given again.
    pub fn poll_output(&mut self) -> &[u8] {
        // Acknowledgements go first, but never into the middle of another packet.
        let is_within_packet = self.retained.is_within_packet();
        self.source = if is_within_packet || self.staged.is_empty() {
            Source::Retained
        } else {
            Source::Staged
        };
        match (self.source, self.phase) {
            (_, Phase::Closed) => &[],
            (Source::Staged, _) => self.staged.pending(),
            (Source::Retained, Phase::Connected(_)) => self.retained.output(self.quota),
            (Source::Retained, Phase::Closing) => self.retained.rest_of_packet(),
            (Source::Retained, Phase::AwaitConnAck { .. }) => &[],
        }
    }

    /// The first `len` bytes of what [`Self::poll_output`] gave last were written.
    ///
    /// # Panics
    /// Where `len` is more than were given.
    pub fn handle_written(&mut self, now_ms: u64, len: usize) {
        if len == 0 || matches!(self.phase, Phase::Closed) {
            return;
        }
        match self.source {
            Source::Staged => self.staged.advance(len),
            // [MQTT-4.9.0-2]
            Source::Retained => {
                let publishes = self.retained.advance(len);
                self.quota = self.quota.saturating_sub(publishes);
            }
        }
        self.keep_alive.handle_sent(now_ms);
    }

    /// Whether nothing waits to be written now.
    pub fn is_written(&mut self) -> bool {
        self.poll_output().is_empty()
    }

    /// Whether every message has come to its end and nothing waits to be written.
    pub fn is_idle(&mut self) -> bool {
        self.in_flight() == 0 && self.is_written()
    }
}
