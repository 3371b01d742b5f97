//! What the relay remembers of the messages of one direction while a connection lasts. All of it is
//! for watching and for words in the log: the state that decides is in the sessions of the brokers.

use outpost_protocol::{PacketId, QoS};

/// A set of packet identifiers: one bit each, 8 KiB in all.
#[derive(Clone, Debug)]
pub(super) struct IdSet {
    words: Box<[u64; 1024]>,
    count: u32,
}

impl Default for IdSet {
    fn default() -> Self {
        Self { words: Box::new([0; 1024]), count: 0 }
    }
}

impl IdSet {
    pub(super) fn insert(&mut self, id: PacketId) {
        let (word, bit) = place(id);
        self.count += u32::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Whether it was in the set.
    pub(super) fn remove(&mut self, id: PacketId) -> bool {
        let (word, bit) = place(id);
        let held = self.words[word] & bit != 0;
        self.count -= u32::from(held);
        self.words[word] &= !bit;
        held
    }

    pub(super) fn contains(&self, id: PacketId) -> bool {
        let (word, bit) = place(id);
        self.words[word] & bit != 0
    }

    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn place(id: PacketId) -> (usize, u64) {
    let value = id.value();
    (usize::from(value / 64), 1 << (value % 64))
}

/// The topics of the last messages, so that a refusal can be logged with its topic. A slot is taken
/// over by a later message whose identifier has the same remainder: then the topic is not known any
/// more, and nothing else is lost.
#[derive(Debug, Default)]
pub(super) struct RecentTopics {
    slots: Vec<(u16, String)>,
}

/// As many as `inflight_max` can be. The strings are used again, so that a steady flow allocates
/// nothing.
const SLOTS: usize = 1024;

/// A longer topic is cut: this is for the log.
const TOPIC_BYTES_MAX: usize = 256;

impl RecentTopics {
    pub(super) fn remember(&mut self, id: PacketId, topic: &str) {
        let index = usize::from(id.value()) % SLOTS;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Default::default);
        }
        let (owner, kept) = &mut self.slots[index];
        *owner = id.value();
        kept.clear();
        kept.push_str(&topic[..topic.floor_char_boundary(TOPIC_BYTES_MAX)]);
    }

    /// The topic of the message with this identifier; empty where it is not known any more.
    pub(super) fn topic(&self, id: PacketId) -> &str {
        match self.slots.get(usize::from(id.value()) % SLOTS) {
            Some((owner, topic)) if *owner == id.value() => topic,
            _ => "",
        }
    }
}

/// The messages that come from one end.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Sent on, and not yet acknowledged for good by the other end.
    pub(super) pending: IdSet,
    /// Those of them that came with QoS 2, whatever they went on with.
    pub(super) exactly_once: IdSet,
    pub(super) topics: RecentTopics,
    /// When an acknowledgement last passed, or the first message after none was pending.
    pub(super) progress_ms: u64,
}

impl Flow {
    /// A PUBLISH that came with this QoS.
    pub(super) fn sent(&mut self, id: PacketId, came_with: QoS, now_ms: u64) {
        self.begin(id, now_ms);
        if came_with == QoS::ExactlyOnce {
            self.exactly_once.insert(id);
        }
    }

    /// A PUBREL, whose PUBLISH may have come by a former link.
    pub(super) fn released(&mut self, id: PacketId, now_ms: u64) {
        self.begin(id, now_ms);
        self.exactly_once.insert(id);
        self.progress_ms = now_ms;
    }

    fn begin(&mut self, id: PacketId, now_ms: u64) {
        if self.pending.is_empty() {
            self.progress_ms = now_ms;
        }
        self.pending.insert(id);
    }

    /// An acknowledgement came; `done`: the last one for its message. False where none was pending:
    /// it says nothing.
    pub(super) fn acknowledged(&mut self, id: PacketId, done: bool, now_ms: u64) -> bool {
        if !self.pending.contains(id) {
            return false;
        }
        if done {
            self.pending.remove(id);
            self.exactly_once.remove(id);
        }
        self.progress_ms = now_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).expect("not 0")
    }

    #[test]
    fn the_set_counts_each_identifier_once() {
        let mut set = IdSet::default();
        for value in [1, 63, 64, 65_535, 1] {
            set.insert(id(value));
        }
        assert!(set.remove(id(1)));
        assert!(!set.remove(id(1)));
        assert!(set.remove(id(63)) && set.remove(id(64)) && !set.is_empty());
        assert!(set.remove(id(65_535)) && set.is_empty());
    }

    #[test]
    fn topics_are_known_until_their_slot_is_taken() {
        let mut topics = RecentTopics::default();
        topics.remember(id(5), "a");
        assert_eq!(topics.topic(id(5)), "a");
        assert_eq!(topics.topic(id(6)), "");
        topics.remember(id(5 + 1024), "b");
        assert_eq!(topics.topic(id(5)), "");
        let long = "\u{e4}".repeat(500);
        topics.remember(id(7), &long);
        assert!(long.starts_with(topics.topic(id(7))));
        assert_eq!(topics.topic(id(7)).len(), 256);
    }
}
