//! How fast messages may go: so many a second, so many bytes a second.

/// What a link that was idle may send at once beyond the rate: so much time's worth, and one message.
const BURST_US: u64 = 100_000;

/// Two rates, each kept by itself. Times are milliseconds of any clock that only goes forward.
#[derive(Debug, Default)]
pub struct Pace {
    messages: Option<Meter>,
    bytes: Option<Meter>,
}

impl Pace {
    /// So many messages and bytes a second; 0: as many as there are.
    pub fn new(messages_per_s: u32, bytes_per_s: u32) -> Self {
        let meter = |per_s: u32| (per_s > 0).then_some(Meter { per_s, free_us: 0 });
        Self { messages: meter(messages_per_s), bytes: meter(bytes_per_s) }
    }

    /// Whether it holds anything back at all.
    pub fn is_limited(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }

    /// When the next message may go; a time that is past: now.
    pub fn free_ms(&self) -> u64 {
        let meters = [&self.messages, &self.bytes].into_iter().flatten();
        meters.map(|meter| meter.free_us.div_ceil(1000)).max().unwrap_or(0)
    }

    /// A message of so many bytes went.
    pub fn charge(&mut self, bytes: usize, now_ms: u64) {
        if let Some(meter) = &mut self.messages {
            meter.charge(1, now_ms);
        }
        if let Some(meter) = &mut self.bytes {
            meter.charge(bytes as u64, now_ms);
        }
    }
}

/// One rate, as the time at which what went is paid for.
#[derive(Debug)]
struct Meter {
    per_s: u32,
    free_us: u64,
}

impl Meter {
    fn charge(&mut self, count: u64, now_ms: u64) {
        let earliest_us = (now_ms * 1000).saturating_sub(BURST_US);
        let cost_us = count.saturating_mul(1_000_000) / u64::from(self.per_s);
        self.free_us = self.free_us.max(earliest_us).saturating_add(cost_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages of so many bytes go within a time.
    fn sent(pace: &mut Pace, bytes: usize, from_ms: u64, for_ms: u64) -> usize {
        let mut count = 0;
        for now_ms in from_ms..from_ms + for_ms {
            while pace.free_ms() <= now_ms && count < 1_000_000 {
                pace.charge(bytes, now_ms);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn nothing_is_held_back_without_a_rate() {
        let mut pace = Pace::new(0, 0);
        pace.charge(usize::MAX, 5);
        assert_eq!((pace.free_ms(), pace.is_limited()), (0, false));
    }

    #[test]
    fn so_many_messages_a_second() {
        for per_s in [1, 7, 100, 5_000] {
            let count = sent(&mut Pace::new(per_s, 0), 10, 1_000, 10_000);
            let allowed = 10 * per_s as usize + per_s as usize / 10 + 1;
            assert!((10 * per_s as usize..=allowed).contains(&count), "{per_s}: {count}");
        }
    }

    #[test]
    fn so_many_bytes_a_second() {
        let count = sent(&mut Pace::new(0, 10_000), 500, 1_000, 10_000);
        assert!((200..=203).contains(&count), "{count}");
        // One message larger than the rate goes, and is paid for afterwards.
        let mut pace = Pace::new(0, 1_000);
        pace.charge(5_000, 1_000);
        assert_eq!(pace.free_ms(), 5_900);
    }

    #[test]
    fn the_stricter_rate_decides() {
        let count = sent(&mut Pace::new(10, 1_000_000), 10, 1_000, 10_000);
        assert!((100..=102).contains(&count), "{count}");
    }

    #[test]
    fn time_spent_idle_is_not_saved_up() {
        let mut pace = Pace::new(100, 0);
        pace.charge(1, 0);
        let count = sent(&mut pace, 1, 3_600_000, 1_000);
        assert!((100..=111).contains(&count), "{count}");
    }
}
