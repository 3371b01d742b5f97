//! One queue for all timers. Each timer stands in it once at the most: setting it again moves it, so
//! that the queue is never longer than there are connections, sessions and retained messages.

use std::collections::{BTreeMap, BTreeSet};

use super::change::SessionId;
use super::connection::ConnId;
use super::message::Topic;
use super::time::Instant;

/// What may be due. Its owner looks whether it still means anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    KeepAlive(ConnId),
    QueueFullWait(ConnId),
    WillDelay(SessionId),
    SessionExpiry(SessionId),
    QueueAge(SessionId),
    RetainedExpiry(Topic),
    Interest,
    Sys,
}

/// The timers by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    times: BTreeMap<Timer, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        if let Some(old) = self.times.insert(timer.clone(), at) {
            if old == at {
                return;
            }
            self.queue.remove(&(old, timer.clone()));
        }
        self.queue.insert((at, timer));
    }

    /// Takes a timer out. One that is not set is no fault.
    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.times.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.times.remove(&timer);
        Some(timer)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.queue.len(), self.times.len());
        self.queue.len()
    }
}
