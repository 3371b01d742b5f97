//! How many lines clients can bring into the log.
//!
//! Every connection, refusal and fault of a client is a line; whoever can open connections could
//! fill the disk with them. So there are only so many in a while; what is left out is counted, and
//! told with the next line that goes through.

use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::core::time::Instant;

/// So many lines go through at once: all clients of a site that come back after a power cut, say.
const LINES_AT_ONCE: u64 = 2_000;

/// So many lines a second go through for good. Worst case: some 7 KB a second.
const LINES_PER_S: u64 = 50;

/// A line is counted in thousandths, so that each millisecond brings a whole number of them.
const LINE: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct LogBudget(Mutex<State>);

#[derive(Debug)]
struct State {
    left: u64,
    at: Instant,
    left_out: u64,
}

impl LogBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { left: LINES_AT_ONCE * LINE, at: now, left_out: 0 }))
    }

    /// Whether a line about a client may be written now.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        // A panic in here leaves numbers, and numbers are all right.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = state.take(now);
        drop(state);
        if let Some(left_out @ 1..) = taken {
            warn!(left_out, "lines about clients were left out of the log: there were too many");
        }
        taken.is_some()
    }
}

impl State {
    /// Some: a line goes through, and so many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let earned = now.since_ms(self.at).saturating_mul(LINES_PER_S * LINE / 1_000);
        self.at = self.at.max(now);
        self.left = self.left.saturating_add(earned).min(LINES_AT_ONCE * LINE);
        match self.left.checked_sub(LINE) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let budget = LogBudget::new(Instant(5_000));
        let through = (0..5_000).filter(|_| budget.allows(Instant(5_000))).count();
        assert_eq!(through as u64, LINES_AT_ONCE);
        let mut state = budget.0.into_inner().unwrap();
        assert_eq!(state.take(Instant(5_019)), None, "a line takes 20 ms to earn");
        assert_eq!(state.take(Instant(5_020)), Some(3_001));
        assert_eq!(state.take(Instant(5_020)), None);
        assert_eq!(state.take(Instant(5_010)), None, "time that goes backwards earns nothing");
        assert_eq!(state.take(Instant(5_040)), Some(2));
        state.take(Instant(u64::MAX)).unwrap();
        assert_eq!(state.left, (LINES_AT_ONCE - 1) * LINE);
    }
}
