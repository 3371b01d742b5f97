//! One queue for all timers. A timer is not taken out when its reason goes away: when it is due, its
//! owner looks whether it still means anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::change::SessionId;
use super::connection::ConnId;
use super::message::Topic;
use super::time::Instant;

/// What may be due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    KeepAlive(ConnId),
    QueueFullWait(ConnId),
    WillDelay(SessionId),
    SessionExpiry(SessionId),
    RetainedExpiry(Topic),
    Sys,
}

/// The timers by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}
