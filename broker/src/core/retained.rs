//! Retained messages, in an order in which all topics below one level stand together.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::message::{Message, Topic};

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<LevelOrder, Arc<Message>>,
    bytes: u64,
}

/// A topic in the order of its levels: `/` sorts below every other character, so that `a`, `a/b`,
/// `a/c` and `a!` come in this order and the topics below a level are one range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LevelOrder(pub Topic);

impl Ord for LevelOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for LevelOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Retained {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn find(&self, topic: &Topic) -> Option<&Arc<Message>> {
        self.messages.get(&LevelOrder(topic.clone()))
    }

    pub(super) fn insert(&mut self, message: Arc<Message>) {
        self.bytes += message.bytes();
        if let Some(old) = self.messages.insert(LevelOrder(message.topic.clone()), message) {
            self.bytes -= old.bytes();
        }
    }

    pub(super) fn remove(&mut self, topic: &Topic) -> bool {
        let old = self.messages.remove(&LevelOrder(topic.clone()));
        self.bytes -= old.as_ref().map_or(0, |m| m.bytes());
        old.is_some()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.values()
    }

    /// The first retained message behind `after` whose topic matches `filter`. Branches that cannot
    /// match are skipped, not walked: the cost is a few look-ups for each level of the filter.
    pub(super) fn next_match(&self, filter: &str, after: Option<&Topic>) -> Option<&Arc<Message>> {
        let mut from = match after {
            Some(topic) => Bound::Excluded(LevelOrder(topic.clone())),
            None => Bound::Unbounded,
        };
        loop {
            let (LevelOrder(topic), message) =
                self.messages.range((from, Bound::Unbounded)).next()?;
            match step(filter, topic) {
                Step::Match => return Some(message),
                Step::Seek(to) => from = Bound::Included(LevelOrder(to.into())),
                Step::Past => return None,
            }
        }
    }
}

/// Where a topic stands with regard to a filter.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Match,
    /// It does not match; the first topic that may match is this one or behind it.
    Seek(String),
    /// It does not match and none behind it does.
    Past,
}

fn step(filter: &str, topic: &str) -> Step {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        // [MQTT-4.7.2-1]; `%` is the character behind `$`.
        return Step::Seek("%".to_owned());
    }
    let mut matched = 0;
    // How much of the topic stands before the last level that a `+` took: the way on from there.
    let mut last_plus: Option<usize> = None;
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return Step::Match;
        }
        let Some(level) = levels.next() else {
            // The topic is a level above what the filter asks for: go below it.
            let below = if wanted == "+" { "" } else { wanted };
            return Step::Seek(format!("{topic}/{below}"));
        };
        if wanted == "+" {
            last_plus = Some(matched);
        } else {
            match level.cmp(wanted) {
                Ordering::Equal => {}
                Ordering::Less => return Step::Seek(format!("{}{wanted}", &topic[..matched])),
                Ordering::Greater => return behind(topic, last_plus),
            }
        }
        matched += level.len() + 1;
    }
    if levels.next().is_none() { Step::Match } else { behind(topic, last_plus) }
}

/// The first topic whose level at the last `+` is a later one.
fn behind(topic: &str, last_plus: Option<usize>) -> Step {
    let Some(start) = last_plus else { return Step::Past };
    let level = topic[start..].split('/').next().unwrap_or_default();
    // U+0001 is the lowest character a topic can have, so `level` + U+0001 is the next level.
    Step::Seek(format!("{}{level}\u{1}", &topic[..start]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use outpost_protocol::{QoS, TopicFilter};
    use proptest::prelude::*;

    fn message(topic: &str) -> Arc<Message> {
        Arc::new(Message::new(topic.into(), QoS::AtMostOnce, true, None, b"", b"x"))
    }

    fn all(retained: &Retained, filter: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut after = None;
        while let Some(message) = retained.next_match(filter, after.as_ref()) {
            found.push(message.topic.to_string());
            after = Some(message.topic.clone());
        }
        found
    }

    #[test]
    fn counts_what_it_holds() {
        let mut retained = Retained::default();
        retained.insert(message("a/b"));
        retained.insert(message("a/b"));
        assert_eq!((retained.len(), retained.bytes()), (1, 4));
        assert!(retained.remove(&"a/b".into()));
        assert!(!retained.remove(&"a/b".into()));
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn finds_just_what_matches(
            topics in proptest::collection::btree_set("(\\$x|a|b|a!|%|)(/(a|b|a!|c|)){0,4}", 0..40),
            filter in "(\\$x|a|b|\\+|)(/(a|b|\\+|)){0,4}(/#)?|#",
        ) {
            let Ok(checked) = TopicFilter::new(&filter) else { return Ok(()) };
            let mut retained = Retained::default();
            for topic in topics.iter().filter(|t| !t.is_empty()) {
                retained.insert(message(topic));
            }
            let mut found = all(&retained, &filter);
            found.sort();
            let expected: Vec<String> =
                topics.iter().filter(|t| !t.is_empty() && checked.matches(t)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
