//! Which messages of other brokers came here before, by the numbers that they have where they were
//! taken in ([`outpost_bridge::origin`]).
//!
//! Numbers come nearly in order, from a broker by one way or by several, with gaps where a message was
//! not for this way. So they are kept as ranges, of each broker the [`RANGES_MAX`] to which a number was
//! added last: what came so long before is not known any more, and would pass once again rather than be
//! lost. A link that goes through what waited for days, far below the numbers that others bring, is known
//! in this way as well.
//!
//! A change rides along with the batch that brings the message itself; the acknowledgement waits for it,
//! so that no restart forgets what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use outpost_bridge::origin::Origin;
use outpost_bridge::peering::NodeId;
use outpost_protocol::Publish;

use super::change::{OriginRecord, Seq};
use super::connection::ConnId;
use super::event::Event;
use super::message::Topic;
use super::time::Instant;
use super::topics::SessionKey;
use super::{Broker, Handled};

/// Ranges of numbers that are kept of one broker: 24 KiB in memory. More than a link has in flight.
pub const RANGES_MAX: usize = 1024;

/// Numbers of one broker.
#[derive(Debug, Default)]
struct Seen {
    /// Ascending, with a gap between any two.
    ranges: Vec<Range>,
    /// When a message of it came last, in the order of all of them.
    used_at: u64,
}

/// Numbers without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    /// When a number was added last; 0: before this run.
    used_at: u64,
}

/// The numbers of all brokers that are known.
#[derive(Debug, Default)]
pub(super) struct Origins {
    seen: BTreeMap<NodeId, Seen>,
    uses: u64,
    /// Whose row is to be written, or to go.
    dirty: BTreeSet<NodeId>,
}

impl Seen {
    fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.last < number);
        self.ranges.get(at).is_some_and(|range| range.first <= number)
    }

    fn insert(&mut self, number: u64, used_at: u64) {
        self.used_at = used_at;
        let at = self.ranges.partition_point(|range| range.last < number);
        if self.ranges.get(at).is_some_and(|range| range.first <= number) {
            return;
        }
        let joins_last = at > 0 && self.ranges[at - 1].last + 1 == number;
        let joins_next = self.ranges.get(at).is_some_and(|range| range.first - 1 == number);
        let (mut first, mut last) = (number, number);
        let (mut from, mut to) = (at, at);
        if joins_last {
            from = at - 1;
            first = self.ranges[from].first;
        }
        if joins_next {
            last = self.ranges[at].last;
            to = at + 1;
        }
        self.ranges.splice(from..to, [Range { first, last, used_at }]);
        if self.ranges.len() > RANGES_MAX {
            let oldest = (0..self.ranges.len()).min_by_key(|at| self.ranges[*at].used_at);
            self.ranges.remove(oldest.unwrap_or(0));
        }
    }
}

impl Origins {
    /// Whether this message came before.
    fn contains(&self, node: NodeId, number: u64) -> bool {
        self.seen.get(&node).is_some_and(|seen| seen.contains(number))
    }

    /// Notes a message. A broker that is new takes the place of the one that was silent for longest,
    /// where there are `max`.
    fn insert(&mut self, node: NodeId, number: u64, max: usize) {
        if !self.seen.contains_key(&node) && self.seen.len() >= max.max(1) {
            let silent = self.seen.iter().min_by_key(|(_, seen)| seen.used_at);
            if let Some(silent) = silent.map(|(node, _)| *node) {
                self.seen.remove(&silent);
                self.dirty.insert(silent);
            }
        }
        self.uses += 1;
        self.seen.entry(node).or_default().insert(number, self.uses);
        self.dirty.insert(node);
    }

    /// What the store knows of a broker.
    pub(super) fn restore(&mut self, node: NodeId, record: OriginRecord) {
        let range = |(first, last)| Range { first, last, used_at: 0 };
        let seen = Seen { ranges: record.numbers.into_iter().map(range).collect(), used_at: 0 };
        self.seen.insert(node, seen);
    }

    /// The rows that have changed since the last call.
    pub(super) fn take_rows(&mut self) -> BTreeMap<NodeId, Option<OriginRecord>> {
        let row = |node: NodeId| {
            let seen = self.seen.get(&node);
            let numbers = |seen: &Seen| seen.ranges.iter().map(|r| (r.first, r.last)).collect();
            (node, seen.map(|seen| OriginRecord { numbers: numbers(seen) }))
        };
        std::mem::take(&mut self.dirty).into_iter().map(row).collect()
    }
}

/// What is to become of a message that came over a bridge.
pub(super) enum Arrival {
    /// It is new; its origin is to be noted when it has been taken.
    New(Option<Origin>),
    /// It was here before, or is this broker's own: this was done about it.
    Handled(Handled),
}

impl Broker {
    /// Looks at where a message comes from, as far as a bridge brings it.
    pub(super) fn check_origin(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
    ) -> Arrival {
        if self.connections[id.index()].bridge.is_none() {
            return Arrival::New(None);
        }
        let Some(origin) = Origin::of(&publish.properties) else { return Arrival::New(None) };
        let hops_max = self.settings.limits.bridge_hops_max;
        if origin.node == self.node || origin.hops > hops_max {
            self.counters.dropped_loop += 1;
            if let Some(times) = self.loops.tell(now) {
                let topic = publish.topic.into();
                self.push_event(Event::Loop { topic, hops: origin.hops, times });
            }
            self.acknowledge_dropped(now, id, session, publish, false);
            return Arrival::Handled(Handled::Done);
        }
        if origin.number.is_some_and(|number| self.origins.contains(origin.node, number)) {
            self.counters.dropped_repeated += 1;
            self.acknowledge_dropped(now, id, session, publish, true);
            return Arrival::Handled(Handled::Done);
        }
        Arrival::New(Some(origin))
    }

    /// Whether a later message of the same broker is retained here. What is retained there is sent anew
    /// where a bridge begins anew, with a number of its own: by a slow way it comes when what has replaced
    /// it is here already, and would be taken for the present. Who has subscribed gets it, for it may not
    /// have come before.
    pub(super) fn retains_later(&self, topic: &Topic, origin: Option<Origin>) -> bool {
        let Some(Origin { node, number: Some(number), .. }) = origin else { return false };
        let retained = self.retained.find(topic);
        let later = retained.and_then(|message| Origin::of(&message.properties()));
        later.is_some_and(|o| o.node == node && o.number.is_some_and(|later| later > number))
    }

    /// The number with which a bridge is told of a message: one that no restart gives away again.
    pub(super) fn told_number(&mut self, now: Instant, id: ConnId, seq: Seq) -> Option<Seq> {
        self.connections[id.index()].bridge?;
        if self.pending.needs_reserve(seq) {
            self.pending.lazy(now);
        }
        Some(seq).filter(|seq| self.pending.is_reserved(*seq))
    }

    /// The batch after whose commit a bridge may be told of messages: the name of this broker is
    /// stored then, and so is that the next numbers are in use.
    pub(super) fn origins_known_after(&mut self, now: Instant) -> u64 {
        if self.pending.needs_reserve(self.next_seq) {
            self.pending.urgent(now)
        } else if self.pending.is_reserved(self.next_seq) {
            0
        } else {
            self.all_durable_after() // The mark has moved with the batch under commit.
        }
    }

    /// A message was taken: it is not taken again. True: an acknowledgement waits for that.
    pub(super) fn note_origin(&mut self, origin: Option<Origin>) -> bool {
        let Some(Origin { node, number: Some(number), .. }) = origin else { return false };
        let origins_max = self.settings.limits.bridge_origins_max as usize;
        self.origins.insert(node, number, origins_max);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[u64]) -> Seen {
        let mut seen = Seen::default();
        for (at, number) in (1..).zip(numbers) {
            seen.insert(*number, at);
        }
        seen
    }

    fn ranges(numbers: &[u64]) -> Vec<(u64, u64)> {
        seen(numbers).ranges.iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn numbers_become_ranges_in_whatever_order_they_come() {
        assert_eq!(ranges(&[1, 2, 3, 7, 5, 6]), [(1, 3), (5, 7)]);
        assert_eq!(ranges(&[3, 1, 2]), [(1, 3)]);
        assert_eq!(ranges(&[0, u64::MAX, u64::MAX - 1]), [(0, 0), (u64::MAX - 1, u64::MAX)]);
        assert_eq!(ranges(&[5, 5, 9]), [(5, 5), (9, 9)]);
        let seen = seen(&[5, 5, 9]);
        assert!(seen.contains(5) && seen.contains(9) && !seen.contains(7) && !seen.contains(10));
    }

    #[test]
    fn what_was_added_to_long_ago_is_forgotten() {
        let mut numbers: Vec<u64> = (0..=RANGES_MAX as u64).map(|n| 2 * n).collect();
        let ascending = seen(&numbers);
        assert_eq!(ascending.ranges.len(), RANGES_MAX);
        let highest = 2 * RANGES_MAX as u64;
        assert!(!ascending.contains(0) && ascending.contains(2) && ascending.contains(highest));
        // Also where a backlog comes that is older than all of it.
        numbers.iter_mut().for_each(|number| *number += 1_000_000);
        numbers.extend((0..100).map(|n| 2 * n));
        let late = seen(&numbers);
        assert_eq!(late.ranges.len(), RANGES_MAX);
        assert!((0..100).all(|n| late.contains(2 * n)) && late.contains(1_000_000 + highest));
    }

    #[test]
    fn the_broker_that_was_silent_for_longest_makes_room() {
        let mut origins = Origins::default();
        for (node, number) in [(1, 1), (2, 1), (1, 2), (3, 1)] {
            origins.insert(NodeId(node), number, 2);
        }
        assert!(origins.contains(NodeId(1), 1) && origins.contains(NodeId(3), 1));
        assert!(!origins.contains(NodeId(2), 1));
        let rows = origins.take_rows();
        assert_eq!(rows[&NodeId(2)], None);
        assert_eq!(rows[&NodeId(1)], Some(OriginRecord { numbers: vec![(1, 2)] }));
        assert!(origins.take_rows().is_empty());
    }
}
