//! How fast a counter grows, averaged over the last seconds.

/// The moving average forgets two thirds of what was in this time.
const MEMORY_MS: f64 = 10_000.0;

/// Samples that lie closer together are taken as one.
const SAMPLE_MS: u64 = 1_000;

/// The growth of a counter per second. It is looked at now and then, by whoever counts and by whoever
/// reads: a counter that stands still slows down as time goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    per_s: f64,
    last: Option<(u64, u64)>,
}

impl Rate {
    /// The counter stands at `total`, at `now_ms` of any clock that only goes forward.
    pub fn sample(&mut self, total: u64, now_ms: u64) {
        let Some((last_total, last_ms)) = self.last else {
            self.last = Some((total, now_ms));
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(last_ms);
        if elapsed_ms < SAMPLE_MS {
            return;
        }
        let elapsed_ms = elapsed_ms as f64;
        let now_per_s = total.saturating_sub(last_total) as f64 * 1000.0 / elapsed_ms;
        let weight = 1.0 - (-elapsed_ms / MEMORY_MS).exp();
        self.per_s += (now_per_s - self.per_s) * weight;
        self.last = Some((total, now_ms));
    }

    /// What it is, as of the last sample.
    pub fn per_s(&self) -> f64 {
        self.per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_counter_comes_to_its_rate_and_a_still_one_to_nothing() {
        let mut rate = Rate::default();
        for second in 0..=60 {
            rate.sample(second * 50, second * 1000);
        }
        assert!((rate.per_s() - 50.0).abs() < 0.2, "{rate:?}");
        rate.sample(60 * 50, 70_000);
        assert!(
            (18.0..19.0).contains(&rate.per_s()),
            "a third is left after ten seconds: {rate:?}"
        );
        rate.sample(60 * 50, 700_000);
        assert!(rate.per_s() < 1e-9, "{rate:?}");
    }

    #[test]
    fn many_looks_within_a_second_are_one_sample() {
        let mut rate = Rate::default();
        for ms in 0..1_000 {
            rate.sample(ms, ms);
        }
        assert_eq!(rate.per_s(), 0.0);
        rate.sample(1_000, 1_000);
        assert!(rate.per_s() > 0.0);
    }
}
