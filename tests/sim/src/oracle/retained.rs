//! Retained messages: each topic has one publisher, so that it is known which value is the last.

use std::collections::{BTreeMap, BTreeSet};

use outpost_broker::core::time::Instant;

use super::messages::Messages;

/// What may be retained.
#[derive(Debug, Default)]
pub(super) struct Retained(BTreeMap<&'static str, Topic>);

#[derive(Debug, Default)]
struct Topic {
    /// The last value acknowledged: no earlier one may be there.
    floor: Option<usize>,
    handled: BTreeSet<usize>,
    /// The second value came, or came again, after later ones up to the first. Those are not taken
    /// again where they are of QoS 2, so that it may stay.
    late: Option<(usize, usize)>,
}

impl Retained {
    /// The broker handled this value.
    pub(super) fn handled(&mut self, topic: &'static str, message: usize) {
        let topic = self.0.entry(topic).or_default();
        topic.handled.insert(message);
        topic.floor = topic.floor.map(|floor| floor.min(message));
        if let Some(last) = topic.handled.last().copied().filter(|last| *last > message) {
            let earlier = topic.late.filter(|(upto, _)| *upto == last);
            let lowest = earlier.map_or(message, |(_, lowest)| lowest.min(message));
            topic.late = Some((last, lowest));
        }
    }

    pub(super) fn acknowledged(&mut self, topic: &'static str, message: usize) {
        let topic = self.0.entry(topic).or_default();
        topic.floor = match topic.late {
            Some((upto, lowest)) if message <= upto => Some(message.min(lowest)),
            _ => Some(message),
        };
    }

    /// What is retained is the last value acknowledged, or a later one.
    pub(super) fn check(
        &self,
        now: Instant,
        topic: &str,
        value: Option<usize>,
        messages: &Messages,
    ) {
        let Some(known) = self.0.get(topic) else {
            return assert_eq!(value, None, "nobody ever retained anything at {topic}");
        };
        let floor = known.floor;
        let Some(value) = value else {
            let may_go = |index: &usize| {
                let message = messages.of(*index);
                message.is_erasing || message.earliest_expiry.is_some_and(|at| at <= now)
            };
            let is_gone = floor.is_none_or(|floor| known.handled.range(floor..).any(may_go));
            return assert!(is_gone, "{topic} holds nothing, and {floor:?} was acknowledged");
        };
        assert!(Some(value) >= floor, "{topic} holds {value}, and {floor:?} was acknowledged");
        assert!(known.handled.contains(&value), "{topic} holds {value}, which it never got");
    }
}
