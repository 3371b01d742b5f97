//! What happened over many runs: a simulation in which something never happens proves nothing of it.

use std::collections::BTreeMap;
use std::fmt;

use outpost_broker::core::Counters;

use crate::disk::DiskCounts;

/// How often each kind of thing happened.
#[derive(Debug, Default, Clone)]
pub struct Coverage(BTreeMap<&'static str, u64>);

/// What has to happen in a thousand runs of several sites.
const SITE_KINDS: &[&str] = &[
    "interests heard",
    "links cut",
    "links gone silent",
    "links made",
    "links that let others go first",
    "loops stopped",
    "messages that overtook",
    "power cuts of sites",
    "repetitions stopped",
    RUNS_OF_SITES,
    "sites ended in order",
    "sites killed",
    "subscribers that left topics",
    "writes lost",
    "writes torn",
];

/// Such a run.
pub(crate) const RUNS_OF_SITES: &str = "runs of sites";

/// What has to happen in a thousand runs of one.
const KINDS: &[&str] = &[
    "acknowledged before a commit",
    "acts",
    "broker ended in order",
    "broker killed",
    "bytes in pieces",
    "clean starts",
    "commits",
    "commits that took a second",
    "commits that waited for space",
    "connections cut",
    "connections refused",
    "deliveries with DUP",
    "disk full",
    "double deliveries at QoS 1",
    "dropped for a full queue",
    "dropped for a later one of its topic",
    "dropped for its age",
    "expired",
    "extensions lost",
    "flooded",
    "had to wait",
    "held back for a slow reader",
    "keep alive timeouts",
    "loads",
    "messages acknowledged",
    "messages refused",
    "never stored, acknowledged before",
    "power cuts",
    "power cuts in a commit",
    "power cuts while opening",
    "published again",
    "retained messages",
    "rude acts",
    "runs",
    "sessions lost",
    "sessions resumed",
    "shared deliveries",
    "syncs failed",
    "takeovers",
    "wills taken",
    "writes failed",
    "writes lost",
    "writes torn",
];

impl Coverage {
    /// It happened.
    pub fn hit(&mut self, kind: &'static str) {
        self.add(kind, 1);
    }

    /// It happened so many times.
    pub fn add(&mut self, kind: &'static str, times: u64) {
        let is_known = KINDS.contains(&kind) || SITE_KINDS.contains(&kind);
        debug_assert!(is_known, "{kind} is not in the list");
        *self.0.entry(kind).or_default() += times;
    }

    /// What the disk counted.
    pub fn add_disk(&mut self, counts: DiskCounts) {
        self.add("writes torn", counts.torn_writes);
        self.add("writes lost", counts.lost_writes);
        self.add("extensions lost", counts.lost_extensions);
        self.add("disk full", counts.refused_full);
        self.add("writes failed", counts.failed_writes);
        self.add("syncs failed", counts.failed_syncs);
    }

    /// What a broker counted before its end.
    pub(crate) fn add_broker(&mut self, counters: Counters) {
        self.add("dropped for a full queue", counters.dropped_full);
        self.add("dropped for a later one of its topic", counters.dropped_replaced);
        self.add("dropped for its age", counters.dropped_aged);
        self.add("expired", counters.dropped_expired);
        self.add("never stored, acknowledged before", counters.elided);
        self.add("acknowledged before a commit", counters.released_early);
    }

    /// Another run's.
    pub fn merge(&mut self, other: &Self) {
        for (kind, times) in &other.0 {
            self.add(kind, *times);
        }
    }

    fn kinds(&self) -> &'static [&'static str] {
        if self.0.contains_key(RUNS_OF_SITES) { SITE_KINDS } else { KINDS }
    }

    /// What never happened.
    pub fn blind_spots(&self) -> Vec<&'static str> {
        let is_blind = |kind: &&&'static str| self.0.get(**kind).copied().unwrap_or(0) == 0;
        self.kinds().iter().filter(is_blind).copied().collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in self.kinds() {
            writeln!(f, "{:>12}  {kind}", self.0.get(kind).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}
