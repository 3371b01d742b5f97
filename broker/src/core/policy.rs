//! When the open batch is handed to the store, and how many bytes a day that may cost.

use super::time::Instant;

const DAY_MS: u64 = 24 * 3_600_000;

/// So much of the budget can be saved up while little is written: an hour's share.
const SAVED_MS_MAX: u64 = 3_600_000;

/// When the open batch is handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPolicy {
    /// At most one commit in so many milliseconds: how long an acknowledgement may wait for company,
    /// or for the receivers of its message, whose acknowledgements spare it the commit. Where
    /// nothing is to be spared, the first change after a pause is committed at once.
    pub interval_ms: u64,
    /// How far a spent budget may stretch the interval: no acknowledgement waits longer for it.
    pub interval_max_ms: u64,
    /// How long changes that nobody waits for may gather.
    pub lazy_interval_ms: u64,
    /// A batch of so many rows is handed over without waiting, as far as the budget allows.
    pub rows_max: usize,
    /// Likewise one of so many bytes.
    pub bytes_max: u64,
    /// Bytes that may be written in a day; 0: as many as it takes.
    pub flash_budget_per_day: u64,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self {
            interval_ms: 20,
            interval_max_ms: 10_000,
            lazy_interval_ms: 1_000,
            rows_max: 1_000,
            bytes_max: 256 << 10,
            flash_budget_per_day: 0,
        }
    }
}

/// What is left of the bytes that may be written: a token bucket that fills evenly over the day and
/// holds an hour's share.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_day: u64,
    /// When all that was written until now is paid for. In the past: so much has been saved up.
    paid_at: Instant,
}

/// How the budget stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BudgetStatus {
    /// The time between two commits, as it is stretched now.
    pub interval_ms: u64,
    /// What may be written at once.
    pub bytes_left: u64,
    /// `none`, `ok`, `stretched`, or `exceeded`: more is written than it allows.
    pub state: &'static str,
}

impl Budget {
    pub(super) fn new(bytes_per_day: u64) -> Self {
        Self { bytes_per_day, paid_at: Instant(0) }
    }

    /// So many bytes have been written. A debt of more than an hour's share is forgiven: it could
    /// not be kept, and what is written from now on is to be counted.
    pub(super) fn spend(&mut self, now: Instant, bytes: u64) {
        if self.bytes_per_day == 0 {
            return;
        }
        let saved_since = Instant(now.0.saturating_sub(SAVED_MS_MAX));
        let ms = u128::from(bytes) * u128::from(DAY_MS) / u128::from(self.bytes_per_day);
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let paid_at = self.paid_at.max(saved_since).plus_ms(ms);
        self.paid_at = paid_at.min(now.plus_ms(SAVED_MS_MAX));
    }

    /// When the budget allows to write again; in the past: it does now.
    pub(super) fn allows_at(&self) -> Instant {
        self.paid_at
    }

    /// Bytes that may be written now, and those that were written above the budget.
    pub(super) fn balance(&self, now: Instant) -> (u64, u64) {
        let bytes = |ms: u64| {
            let bytes = u128::from(ms.min(SAVED_MS_MAX)) * u128::from(self.bytes_per_day);
            u64::try_from(bytes / u128::from(DAY_MS)).unwrap_or(u64::MAX)
        };
        (bytes(now.since_ms(self.paid_at)), bytes(self.paid_at.since_ms(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1_700_000_000_000);

    #[test]
    fn a_budget_holds_an_hours_share_and_fills_evenly() {
        let mut budget = Budget::new(24_000);
        budget.spend(NOW, 0);
        assert_eq!(budget.balance(NOW), (1_000, 0), "it begins full");
        budget.spend(NOW, 1_000);
        assert_eq!(budget.balance(NOW), (0, 0));
        assert_eq!(budget.allows_at(), NOW);
        budget.spend(NOW, 100);
        assert_eq!(budget.balance(NOW), (0, 100));
        assert_eq!(budget.allows_at(), NOW.plus_ms(360_000), "a tenth of an hour");
        assert_eq!(budget.balance(NOW.plus_ms(3_600_000)), (900, 0));
        assert_eq!(budget.balance(NOW.plus_ms(100 * 3_600_000)), (1_000, 0));
    }

    #[test]
    fn a_debt_has_a_bound() {
        let mut budget = Budget::new(24_000);
        budget.spend(NOW, u64::MAX);
        assert_eq!(budget.balance(NOW), (0, 1_000));
        assert_eq!(budget.allows_at(), NOW.plus_ms(3_600_000));
    }

    #[test]
    fn without_a_budget_nothing_is_counted() {
        let mut budget = Budget::new(0);
        budget.spend(NOW, 1 << 40);
        assert_eq!(budget.allows_at(), Instant(0));
        assert_eq!(budget.balance(NOW), (0, 0));
    }
}
