//! Times in nanoseconds, counted in buckets that are at most 1/32 wide of their value.

const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Enough for every `u64`.
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB_BUCKETS;

/// A histogram of fixed size.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, value_ns: u64) {
        self.counts[bucket(value_ns)] += 1;
        self.total += 1;
    }

    /// The upper end of the bucket in which the quantile (0 to 1) lies; none without values.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(upper_end(found) as f64 / 1_000.0)
    }
}

/// Values below 32 have a bucket each; above, the top bit and the five bits below it choose.
#[inline]
fn bucket(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BITS;
    let sub = (value >> shift) as usize - SUB_BUCKETS;
    (shift as usize + 1) * SUB_BUCKETS + sub
}

fn upper_end(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let low = ((bucket % SUB_BUCKETS + SUB_BUCKETS) as u64) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_a_bucket_that_is_narrow_and_follows_the_one_before() {
        for value in (0..4_096).chain([1 << 20, (1 << 40) + 12_345, u64::MAX]) {
            let end = upper_end(bucket(value));
            assert!(end >= value && end - value <= value / 32, "{value} ends at {end}");
        }
        for bucket_number in 1..BUCKETS {
            assert_eq!(bucket(upper_end(bucket_number)), bucket_number);
            assert_eq!(bucket(upper_end(bucket_number - 1) + 1), bucket_number);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        for value in 1..=1_000 {
            histogram.record(value * 1_000);
        }
        for (quantile, expected_us) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let got = histogram.quantile_us(quantile).expect("values were recorded");
            assert!(got >= expected_us && got < expected_us * 1.04, "{quantile}: {got}");
        }
    }
}
