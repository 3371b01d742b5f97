//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// 1 s, 2 s, 4 s and so on up to 30 s; from the start again after a connection that was accepted.
#[derive(Debug)]
pub(in crate::cli) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(in crate::cli) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The connection was accepted.
    pub(in crate::cli) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Another connection was lost or refused.
    pub(in crate::cli) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_start_again() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..7).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), FIRST);
    }
}
