//! Topic aliases (3.3.2.3.4): a number of two bytes in place of a topic, from its second message on.
//!
//! Both tables live as long as the connection [MQTT-3.3.2-7], and hold as many topics as both brokers
//! and the configuration allow. Worst case of memory: that many topics of 64 KiB in each.

use std::collections::HashMap;
use std::sync::Arc;

/// What an alias can add to a packet: the property, and one more byte in each of the two lengths.
pub(super) const BYTES_MAX: usize = 5;

/// An alias that takes no less than its topic is not worth its place.
const TOPIC_BYTES_MIN: usize = 4;

/// The aliases that the relay gives to topics towards one broker.
#[derive(Debug, Default)]
pub(super) struct Given {
    max: usize,
    /// The alias is the index and 1.
    slots: Vec<Slot>,
    by_topic: HashMap<Arc<str>, usize>,
    /// Counts the messages.
    now: u64,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<str>,
    used: u64,
}

/// How a topic is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) number: u16,
    /// The broker knows it already: the topic is left out.
    pub(super) is_known: bool,
}

impl Given {
    /// `max`: what the broker takes, and the bridge wants to give.
    pub(super) fn new(max: u16) -> Self {
        Self { max: max.into(), ..Self::default() }
    }

    /// The alias of this topic. Where all are given, the topic whose last message is the oldest loses
    /// its own. The message that follows has to go out: the broker keeps the same table.
    pub(super) fn give(&mut self, topic: &str) -> Option<Alias> {
        if self.max == 0 || topic.len() < TOPIC_BYTES_MIN {
            return None;
        }
        self.now += 1;
        if let Some(&at) = self.by_topic.get(topic) {
            self.slots[at].used = self.now;
            return Some(Alias { number: number(at), is_known: true });
        }
        let slot = Slot { topic: topic.into(), used: self.now };
        let at = if self.slots.len() < self.max {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.used);
            let (at, _) = oldest.expect("max is not 0");
            let former = std::mem::replace(&mut self.slots[at], slot);
            self.by_topic.remove(&former.topic);
            at
        };
        self.by_topic.insert(Arc::clone(&self.slots[at].topic), at);
        Some(Alias { number: number(at), is_known: false })
    }
}

/// Aliases begin with 1 [MQTT-3.3.2-8].
fn number(at: usize) -> u16 {
    u16::try_from(at + 1).expect("max is a u16")
}

/// The aliases that one broker gives to topics.
#[derive(Debug, Default)]
pub(super) struct Taken {
    max: u16,
    topics: Vec<Option<Arc<str>>>,
}

impl Taken {
    /// `max`: what the broker was told.
    pub(super) fn new(max: u16) -> Self {
        Self { max, topics: Vec::new() }
    }

    /// The topic of a message that came with this alias and this topic (empty: the alias stands for
    /// it). None: the alias is 0, above what the broker was told, or was never set [MQTT-3.3.2-9].
    pub(super) fn resolve(&mut self, alias: u16, topic: &str) -> Option<Arc<str>> {
        if alias == 0 || alias > self.max {
            return None;
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            return self.topics.get(at)?.clone();
        }
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        let topic: Arc<str> = topic.into();
        self.topics[at] = Some(Arc::clone(&topic));
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.3.2-8] [MQTT-3.3.2-11]
    #[test]
    fn the_topic_that_was_not_used_for_longest_makes_room() {
        let mut given = Given::new(2);
        let mut give = |topic| given.give(topic).map(|alias| (alias.number, alias.is_known));
        assert_eq!(give("a/long"), Some((1, false)));
        assert_eq!(give("b/long"), Some((2, false)));
        assert_eq!(give("a/long"), Some((1, true)));
        assert_eq!(give("c/long"), Some((2, false)));
        assert_eq!(give("a/long"), Some((1, true)));
        assert_eq!(give("b/long"), Some((2, false)));
        assert_eq!(give("abc"), None, "as short as an alias");
        assert_eq!(Given::new(0).give("a/long"), None);
    }

    /// [MQTT-3.3.2-9] [MQTT-3.3.2-10] [MQTT-3.3.2-12]
    #[test]
    fn aliases_stand_for_the_last_topic_they_were_set_to() {
        let mut taken = Taken::new(2);
        assert_eq!(taken.resolve(2, ""), None, "not yet set");
        assert_eq!(taken.resolve(2, "a").as_deref(), Some("a"));
        assert_eq!(taken.resolve(1, ""), None);
        assert_eq!(taken.resolve(2, "").as_deref(), Some("a"));
        assert_eq!(taken.resolve(2, "b").as_deref(), Some("b"));
        assert_eq!(taken.resolve(2, "").as_deref(), Some("b"));
        for alias in [0, 3, u16::MAX] {
            assert_eq!(taken.resolve(alias, "a"), None);
        }
    }

    #[test]
    fn both_tables_agree_whatever_is_sent() {
        for max in [1, 3, 10] {
            let (mut given, mut taken) = (Given::new(max), Taken::new(max));
            for round in 0..1000_u32 {
                let topic = format!("topic/{}", round * round % 17);
                let alias = given.give(&topic).unwrap();
                let sent = if alias.is_known { "" } else { &topic };
                assert_eq!(taken.resolve(alias.number, sent).as_deref(), Some(topic.as_str()));
            }
        }
    }
}
