//! What was published where, and who has got it.

use std::collections::BTreeMap;

use outpost_protocol::QoS;

use super::publisher::Published;
use crate::packet::GotPublish;

/// The model of what all sites owe their subscribers.
#[derive(Debug)]
pub(super) struct Oracle {
    messages: Vec<Message>,
    /// By subscriber and message: how often it came.
    taken: Vec<BTreeMap<usize, u32>>,
    /// By subscriber, topic and QoS: the highest message that came first there.
    newest: BTreeMap<(usize, &'static str, QoS), usize>,
}

#[derive(Debug)]
struct Message {
    publisher: usize,
    published: Published,
    attempts: u32,
    is_acknowledged: bool,
}

impl Oracle {
    pub(super) fn new(sites: usize) -> Self {
        Self { messages: Vec::new(), taken: vec![BTreeMap::new(); sites], newest: BTreeMap::new() }
    }

    /// A new message. Its number.
    pub(super) fn add(&mut self, publisher: usize, published: Published) -> usize {
        let (attempts, is_acknowledged) = (0, false);
        self.messages.push(Message { publisher, published, attempts, is_acknowledged });
        self.messages.len() - 1
    }

    pub(super) fn published(&self, message: usize) -> Published {
        self.messages[message].published
    }

    /// Its publisher sends it, once more perhaps.
    pub(super) fn attempted(&mut self, message: usize) {
        self.messages[message].attempts += 1;
    }

    /// PUBACK or PUBREC has left its site: from now on it is promised to all.
    pub(super) fn acknowledged(&mut self, message: usize) {
        self.messages[message].is_acknowledged = true;
    }

    fn has_taken(&self, who: usize, message: usize) -> bool {
        self.taken[who].contains_key(&message)
    }

    /// A subscriber takes a message that is not a repetition by its own site.
    pub(super) fn taken(&mut self, who: usize, index: usize, got: &GotPublish) {
        let message = &self.messages[index];
        let Published { topic, qos, .. } = message.published;
        assert_eq!(got.topic, topic, "{index} came with another topic");
        assert_eq!(got.qos, qos, "{index} came with another QoS");
        let times = self.taken[who].entry(index).or_default();
        *times += 1;
        let times_max = if qos == QoS::ExactlyOnce { 1 } else { message.attempts };
        assert!(
            *times <= times_max,
            "{index} of publisher {} reached site {who} {times} times at {qos:?}, and was sent {} times",
            message.publisher,
            message.attempts
        );
        if *times == 1 {
            let newest = self.newest.entry((who, topic, qos)).or_insert(index);
            assert!(
                *newest <= index || qos == QoS::AtMostOnce,
                "{index} reached site {who} after {newest} of the same topic, {qos:?}"
            );
            *newest = (*newest).max(index);
        }
    }

    /// What was promised and has not come: site and message.
    pub(super) fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            if message.is_acknowledged {
                let lacks = |who: &usize| !self.has_taken(*who, index);
                missing.extend((0..self.taken.len()).filter(lacks).map(|who| (who, index)));
            }
        }
        missing
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    pub(super) fn check_end(&self) {
        assert_eq!(self.missing(), [], "these never came: site and message");
        assert!(
            self.messages.iter().any(|message| message.is_acknowledged),
            "nothing was promised"
        );
    }
}
