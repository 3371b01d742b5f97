//! What happened that an operator may want to read: values that the shell logs outside the lock.

use outpost_protocol::ReasonCode;

use super::time::Instant;

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client is connected.
    Connected {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// User name.
        user_name: Option<Box<str>>,
        /// Protocol level: 3, 4 or 5.
        level: u8,
        /// A session was resumed.
        session_present: bool,
        /// Both directions are zstd streams from now on.
        is_compressed: bool,
    },
    /// A CONNECT was refused.
    Refused {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// The answer.
        reason: ReasonCode,
        /// Why, in words.
        why: &'static str,
    },
    /// A client is gone.
    Disconnected {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// Why.
        reason: ReasonCode,
        /// Why, in words.
        why: &'static str,
    },
    /// A session came to its end.
    SessionEnded {
        /// Client identifier.
        client_id: Box<str>,
        /// Messages that waited for it.
        dropped: usize,
    },
    /// The store cannot write for want of space. Told when it begins, and as long as it lasts.
    StoreStalled {
        /// What the system says.
        why: Box<str>,
        /// For how long by now, in milliseconds.
        lasts_ms: u64,
    },
    /// The store can write again.
    StoreRecovered {
        /// How long it could not, in milliseconds.
        lasted_ms: u64,
    },
    /// More is written than the flash budget allows, and no acknowledgement may wait any longer for
    /// it. Told once an hour.
    BudgetExceeded {
        /// Bytes written above it, at most an hour's share.
        excess_bytes: u64,
    },
    /// A message that should be in the store is not there.
    Damaged {
        /// Who does not get it.
        client_id: Box<str>,
        /// Its sequence number.
        number: u64,
    },
    /// A message that came over a bridge had been here before, or had crossed too many bridges.
    Loop {
        /// Its topic.
        topic: Box<str>,
        /// Bridges that it had crossed.
        hops: u8,
        /// How often since it was told last.
        times: u64,
    },
    /// A message was not taken, or dropped, for want of room.
    Full {
        /// Whose queue or which table.
        what: Box<str>,
        /// What was done.
        done: &'static str,
        /// How often since it was told last.
        times: u64,
    },
}

/// How often the same thing is told, at the most.
const TELL_EVERY_MS: u64 = 10_000;

/// Keeps what happens with every message from filling the log: it is told at once, then once in ten
/// seconds with how often it happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Throttle {
    told_at: Option<Instant>,
    times: u64,
}

impl Throttle {
    /// It happened once more. Some: it is to be told, with how often it happened since the last time.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.told_at.is_some_and(|at| now.since_ms(at) < TELL_EVERY_MS) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_told_once_and_counted() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.tell(Instant(5)), Some(1));
        assert_eq!(throttle.tell(Instant(6)), None);
        assert_eq!(throttle.tell(Instant(10_004)), None);
        assert_eq!(throttle.tell(Instant(10_005)), Some(3));
    }
}
