//! The time that the core is told.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::time::Instant;

/// The wall clock read once, and monotonic time added to it: never backwards within a run, whatever
/// is done to the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall_ms: u64,
    start: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX / 2);
        Self { wall_ms, start: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        Instant(self.wall_ms + elapsed_ms)
    }
}
