//! What goes out waits here for its turn: for the rate of its class, for links that go first, and at
//! the beginning for the other broker to say what it wants.
//!
//! Messages are held and not left unread, so that acknowledgements for what comes in pass them. How
//! many there can be is the business of the local broker's window; beyond [`HELD_BYTES_MAX`] the local
//! end is not read any more.

use outpost_protocol::Publish;

use super::Relay;
use super::held::{self, Held};
use crate::link_error::LinkError;
use crate::output::Outputs;
use crate::pace::Pace;
use crate::side::Side;

/// Bytes that may be held before the local end is left unread.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// Messages from the local broker that wait.
#[derive(Debug, Default)]
pub(super) struct Paced {
    pace: Pace,
    held: Held,
    /// Other links go first.
    yields: bool,
    /// Since when the other broker is to say what it wants; none: it has, or was not asked.
    asks_since_ms: Option<u64>,
    /// The remote end has to take something first.
    is_blocked: bool,
}

impl Paced {
    pub(super) fn new(pace: Pace, asks_since_ms: Option<u64>) -> Self {
        Self { pace, asks_since_ms, ..Self::default() }
    }

    /// The other broker has said what it wants.
    pub(super) fn handle_interest(&mut self) {
        self.asks_since_ms = None;
    }

    pub(super) fn asks_since_ms(&self) -> Option<u64> {
        self.asks_since_ms
    }

    /// No more is to come before some has gone.
    pub(super) fn is_full(&self) -> bool {
        self.held.bytes() > HELD_BYTES_MAX
    }

    /// When the next message that is held may go; none: there is none, or it does not depend on time.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let is_time = !self.held.is_empty() && !self.waits_for_others() && !self.is_blocked;
        is_time.then(|| self.pace.free_ms())
    }

    pub(super) fn charge(&mut self, bytes: usize, now_ms: u64) {
        self.pace.charge(bytes, now_ms);
    }

    fn is_open(&self, now_ms: u64) -> bool {
        !self.waits_for_others() && self.pace.free_ms() <= now_ms
    }

    /// For other links, or for what the other broker says.
    fn waits_for_others(&self) -> bool {
        self.yields || self.asks_since_ms.is_some()
    }
}

impl Relay {
    /// True: the message was put behind others and goes later.
    ///
    /// # Errors
    /// It cannot be kept, which would be a fault of the local broker.
    pub(super) fn hold(&mut self, publish: &Publish<'_>, now_ms: u64) -> Result<bool, LinkError> {
        if self.paced.held.is_empty() && self.paced.is_open(now_ms) {
            return Ok(false);
        }
        self.paced.held.push(Side::Local, publish, self.peers.local.version)?;
        Ok(true)
    }

    /// Sends what is held, as far as it may go now.
    pub(super) fn release(&mut self, now_ms: u64, out: &mut Outputs) -> Result<(), LinkError> {
        loop {
            self.paced.is_blocked = out.remote.len() > super::OUTPUT_BYTES_SOFT;
            if self.paced.is_blocked || !self.paced.is_open(now_ms) {
                break;
            }
            let Some(packet) = self.paced.held.pop() else { break };
            let publish = held::read(Side::Local, &packet, self.peers.local.version)?;
            self.take_within_window(Side::Local, &publish, now_ms, out)?;
        }
        Ok(())
    }

    /// Whether links of a higher priority go first, from now on. To be called after each burst as
    /// well: what is held goes when the remote end has taken what waited.
    ///
    /// # Errors
    /// As [`Self::handle_packet`].
    pub fn yield_to_others(
        &mut self,
        yields: bool,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        self.paced.yields = yields;
        self.release(now_ms, out)
    }
}
