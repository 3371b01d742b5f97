//! How long to wait before the next attempt: exponential, bounded, and varied so that a thousand
//! gateways do not come back in the same second. Reads no clock and no random source.

/// The waits between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    min_ms: u64,
    max_ms: u64,
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// Waits from `min_ms` to `max_ms`, varied by what `seed` draws.
    pub fn new(min_ms: u64, max_ms: u64, seed: u64) -> Self {
        Self { min_ms, max_ms: max_ms.max(min_ms), attempts: 0, random: seed }
    }

    /// The next wait in milliseconds: twice the last, at most `max_ms`, plus or minus up to a
    /// quarter of it.
    pub fn next_delay_ms(&mut self) -> u64 {
        let factor = 1u64.checked_shl(self.attempts).unwrap_or(u64::MAX);
        let base_ms = self.min_ms.saturating_mul(factor).min(self.max_ms);
        if base_ms < self.max_ms {
            self.attempts += 1;
        }
        let quarter_ms = base_ms / 4;
        base_ms - quarter_ms + self.draw() % (2 * quarter_ms + 1)
    }

    /// The link held: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_within_a_quarter() {
        let mut backoff = Backoff::new(1000, 60_000, 7);
        for base_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000] {
            let delay_ms = backoff.next_delay_ms();
            let quarter_ms = base_ms / 4;
            let range = base_ms - quarter_ms..=base_ms + quarter_ms;
            assert!(range.contains(&delay_ms), "{delay_ms} not in {range:?}");
        }
        backoff.reset();
        assert!((750..=1250).contains(&backoff.next_delay_ms()));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_seed_others() {
        let waits = |seed| {
            let mut backoff = Backoff::new(1000, 60_000, seed);
            (0..8).map(|_| backoff.next_delay_ms()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn never_overflows_and_stays_bounded() {
        let mut backoff = Backoff::new(10, 86_400_000, 0);
        for _ in 0..200 {
            assert!(backoff.next_delay_ms() <= 108_000_000);
        }
    }
}
