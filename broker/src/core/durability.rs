//! What a topic's messages are worth: how much of them a power cut may take.

use outpost_protocol::{TopicFilter, TopicName};

/// What is promised of the messages of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// What is acknowledged survives.
    #[default]
    Durable,
    /// Acknowledged at once and stored within so many milliseconds: what came within that time
    /// before a power cut may be lost.
    Interval {
        /// Milliseconds.
        window_ms: u32,
    },
    /// Acknowledged at once and never stored: a restart loses what has not been delivered.
    Volatile,
}

/// The durability of some topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicClass {
    /// Which topics; a valid filter of no shared subscription.
    pub filter: Box<str>,
    /// What is promised of them.
    pub durability: Durability,
}

impl Durability {
    /// Of a topic: the first class decides that takes it.
    pub(super) fn of(topic: &str, classes: &[TopicClass]) -> Self {
        let Ok(topic) = TopicName::new(topic) else { return Self::default() };
        let takes = |class: &&TopicClass| {
            TopicFilter::new(&class.filter).is_ok_and(|filter| filter.matches(topic.as_str()))
        };
        classes.iter().find(takes).map_or(Self::default(), |class| class.durability)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Interval { .. } => "interval",
            Self::Volatile => "volatile",
        }
    }

    /// The window of loss in milliseconds; none: without bound.
    pub fn window_ms(self) -> Option<u32> {
        match self {
            Self::Durable => Some(0),
            Self::Interval { window_ms } => Some(window_ms),
            Self::Volatile => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_takes_a_topic_decides() {
        let class = |filter: &str, durability| TopicClass { filter: filter.into(), durability };
        let classes = [
            class("t/alarm", Durability::Durable),
            class("t/#", Durability::Volatile),
            class("#", Durability::Interval { window_ms: 5_000 }),
        ];
        assert_eq!(Durability::of("t/alarm", &classes), Durability::Durable);
        assert_eq!(Durability::of("t/x", &classes), Durability::Volatile);
        assert_eq!(Durability::of("u", &classes), Durability::Interval { window_ms: 5_000 });
        assert_eq!(Durability::of("$SYS/x", &classes), Durability::Durable, "no wildcard takes it");
        assert_eq!(Durability::of("u", &[]), Durability::Durable);
    }
}
