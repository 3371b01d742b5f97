//! When what waits for the remote broker is written: at once, or gathered for a while, so that links
//! that are paid or woken by the packet carry fewer and fuller ones.

/// So much is not held back whatever the time.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// Holds small outputs back. Times are milliseconds of any clock that only goes forward.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    delay_ms: u64,
    waiting: usize,
    since_ms: Option<u64>,
}

impl Gather {
    /// `delay_ms` 0: nothing is held back.
    pub(crate) fn new(delay_ms: u64) -> Self {
        Self { delay_ms, ..Self::default() }
    }

    /// So many bytes wait now.
    pub(crate) fn note(&mut self, waiting: usize, now_ms: u64) {
        self.waiting = waiting;
        self.since_ms = if waiting == 0 { None } else { self.since_ms.or(Some(now_ms)) };
    }

    /// Whether what waits is to be written now. Once it is, it is until nothing waits.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.waiting >= GATHERED_BYTES_MAX || self.due_ms().is_none_or(|due_ms| now_ms >= due_ms)
    }

    /// When to ask again, where something is held back.
    pub(crate) fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        self.due_ms().filter(|_| !self.is_due(now_ms))
    }

    fn due_ms(&self) -> Option<u64> {
        self.since_ms.map(|since_ms| since_ms + self.delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_held_back_without_a_delay() {
        let mut gather = Gather::new(0);
        gather.note(1, 5);
        assert!(gather.is_due(5));
        assert_eq!(gather.deadline_ms(5), None);
    }

    #[test]
    fn the_first_byte_starts_the_wait_and_the_last_ends_it() {
        let mut gather = Gather::new(100);
        gather.note(10, 1_000);
        gather.note(20, 1_050);
        assert!(!gather.is_due(1_099));
        assert_eq!(gather.deadline_ms(1_099), Some(1_100));
        assert!(gather.is_due(1_100));
        assert_eq!(gather.deadline_ms(1_100), None);
        gather.note(5, 1_150);
        assert!(gather.is_due(1_150), "the rest of what was begun");
        gather.note(0, 1_200);
        gather.note(1, 1_300);
        assert!(!gather.is_due(1_300));
    }

    #[test]
    fn much_does_not_wait() {
        let mut gather = Gather::new(100);
        gather.note(GATHERED_BYTES_MAX, 0);
        assert!(gather.is_due(0));
        assert_eq!(gather.deadline_ms(0), None);
    }
}
