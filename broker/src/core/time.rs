//! Time as the core sees it: a number that the shell passes in.

/// Milliseconds since the Unix epoch. The shell makes sure that it never runs backwards within one
/// run (it adds monotonic time to the wall clock read once at the start), so that deadlines can be
/// stored and compared after a restart as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The moment `s` seconds later.
    pub fn plus_s(self, s: u32) -> Self {
        self.plus_ms(u64::from(s) * 1000)
    }

    /// Milliseconds from `earlier` to here, 0 where it is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
