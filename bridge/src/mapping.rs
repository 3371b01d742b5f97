//! Which topics go over the bridge, and what they are called at the other end.
//!
//! The meaning is Mosquitto's: the local topic is `local_prefix` + name, the remote one
//! `remote_prefix` + name, where the name fits the filter; the first rule that fits decides. Response
//! topics in properties are forwarded as they are.
//!
//! One case Mosquitto leaves odd: the filter `plant/#` also matches the topic `plant` (4.7.1.2),
//! which does not begin with the prefix `plant/`. It becomes the other prefix without its final
//! slash, and is not forwarded where that leaves nothing.

use outpost_protocol::{QoS, TopicFilter};

use crate::config::{Direction, TopicConfig};
use crate::side::{PerSide, Side};

const TOPIC_BYTES_MAX: usize = 65_535;

/// The rules of one bridge, by the end that the messages come from.
#[derive(Clone, Debug)]
pub struct Mapping {
    rules: PerSide<Vec<Rule>>,
}

/// One topic rule in one direction.
#[derive(Clone, Debug)]
pub struct Rule {
    filter: String,
    qos: QoS,
    prefix_from: String,
    prefix_to: String,
}

impl Mapping {
    /// The rules of a configuration that [`crate::config::BridgeConfig::validate`] accepts.
    pub fn new(topics: &[TopicConfig]) -> Self {
        Self { rules: PerSide::from_fn(|from| rules(topics, from)) }
    }

    /// The rules for messages that come from this end, in the order of the configuration: what is
    /// to be subscribed there.
    pub fn rules(&self, from: Side) -> &[Rule] {
        &self.rules[from]
    }

    /// Writes into `mapped` what `topic` at the end `from` is called at the other end. False where
    /// no rule fits, or where the new name would be empty or longer than MQTT allows.
    pub fn map(&self, from: Side, topic: &str, mapped: &mut String) -> bool {
        mapped.clear();
        let Some(rule) = self.rules[from].iter().find(|rule| rule.fits(topic)) else {
            return false;
        };
        match topic.strip_prefix(rule.prefix_from.as_str()) {
            Some(name) => {
                mapped.push_str(&rule.prefix_to);
                mapped.push_str(name);
            }
            None => mapped.push_str(rule.prefix_to.strip_suffix('/').unwrap_or(&rule.prefix_to)),
        }
        (1..=TOPIC_BYTES_MAX).contains(&mapped.len())
    }

    /// How many bytes a topic from this end can grow by.
    pub fn growth_bytes(&self, from: Side) -> usize {
        let growth = |rule: &Rule| rule.prefix_to.len().saturating_sub(rule.prefix_from.len());
        self.rules[from].iter().map(growth).max().unwrap_or(0)
    }

    /// Whether messages of QoS 2 can come from this end.
    pub fn has_exactly_once(&self, from: Side) -> bool {
        self.rules[from].iter().any(|rule| rule.qos == QoS::ExactlyOnce)
    }
}

impl Rule {
    /// The filter to subscribe at the end that the messages come from.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The highest QoS wanted.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    fn fits(&self, topic: &str) -> bool {
        // The prefix holds no wildcards, so most rules that do not fit are told by one comparison.
        let parent = self.prefix_from.strip_suffix('/').unwrap_or(&self.prefix_from);
        topic.starts_with(parent)
            && TopicFilter::new(&self.filter).is_ok_and(|filter| filter.matches(topic))
    }
}

fn rules(topics: &[TopicConfig], from: Side) -> Vec<Rule> {
    let wanted = match from {
        Side::Local => Direction::Out,
        Side::Remote => Direction::In,
    };
    let applies =
        |topic: &&TopicConfig| topic.direction == wanted || topic.direction == Direction::Both;
    topics.iter().filter(applies).map(|topic| rule(topic, from)).collect()
}

fn rule(topic: &TopicConfig, from: Side) -> Rule {
    let (filter, prefix_from, prefix_to) = match from {
        Side::Local => (topic.local_filter(), &topic.local_prefix, &topic.remote_prefix),
        Side::Remote => (topic.remote_filter(), &topic.remote_prefix, &topic.local_prefix),
    };
    Rule {
        filter,
        qos: QoS::try_from(topic.qos).unwrap_or(QoS::ExactlyOnce),
        prefix_from: prefix_from.clone(),
        prefix_to: prefix_to.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(filter: &str, direction: Direction, local: &str, remote: &str) -> TopicConfig {
        TopicConfig {
            filter: filter.into(),
            direction,
            qos: 1,
            local_prefix: local.into(),
            remote_prefix: remote.into(),
        }
    }

    fn mapped(mapping: &Mapping, from: Side, topic: &str) -> Option<String> {
        let mut mapped = String::from("left over");
        mapping.map(from, topic, &mut mapped).then_some(mapped)
    }

    #[test]
    fn prefixes_are_exchanged_each_way() {
        let mapping =
            Mapping::new(&[topic("sensors/#", Direction::Both, "plant/", "site7/plant/")]);
        assert_eq!(
            mapped(&mapping, Side::Local, "plant/sensors/1/t").as_deref(),
            Some("site7/plant/sensors/1/t")
        );
        assert_eq!(
            mapped(&mapping, Side::Remote, "site7/plant/sensors/1/t").as_deref(),
            Some("plant/sensors/1/t")
        );
        assert_eq!(mapped(&mapping, Side::Local, "sensors/1"), None);
        assert_eq!(mapping.rules(Side::Local)[0].filter(), "plant/sensors/#");
        assert_eq!(mapping.rules(Side::Remote)[0].filter(), "site7/plant/sensors/#");
        assert_eq!(mapping.growth_bytes(Side::Local), 6);
        assert_eq!(mapping.growth_bytes(Side::Remote), 0);
    }

    #[test]
    fn direction_decides_where_a_rule_applies() {
        let mapping = Mapping::new(&[
            topic("up", Direction::Out, "", ""),
            topic("down", Direction::In, "", ""),
        ]);
        assert!(mapped(&mapping, Side::Local, "up").is_some());
        assert!(mapped(&mapping, Side::Remote, "up").is_none());
        assert!(mapped(&mapping, Side::Local, "down").is_none());
        assert!(mapped(&mapping, Side::Remote, "down").is_some());
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let mapping = Mapping::new(&[
            topic("a/b", Direction::Out, "", "first/"),
            topic("a/#", Direction::Out, "", "second/"),
        ]);
        assert_eq!(mapped(&mapping, Side::Local, "a/b").as_deref(), Some("first/a/b"));
        assert_eq!(mapped(&mapping, Side::Local, "a/c").as_deref(), Some("second/a/c"));
    }

    #[test]
    fn an_empty_filter_renames_one_topic() {
        let mapping = Mapping::new(&[topic("", Direction::Out, "here", "there")]);
        assert_eq!(mapped(&mapping, Side::Local, "here").as_deref(), Some("there"));
        assert_eq!(mapped(&mapping, Side::Local, "here/x"), None);
    }

    #[test]
    fn the_parent_of_a_multi_level_wildcard() {
        let mapping = Mapping::new(&[topic("#", Direction::Both, "plant/", "site7/")]);
        assert_eq!(mapped(&mapping, Side::Local, "plant").as_deref(), Some("site7"));
        assert_eq!(mapped(&mapping, Side::Remote, "site7").as_deref(), Some("plant"));
        assert_eq!(mapped(&mapping, Side::Local, "planted"), None);
        let mapping = Mapping::new(&[topic("#", Direction::Out, "plant/", "")]);
        assert_eq!(mapped(&mapping, Side::Local, "plant"), None, "an empty topic is no topic");
    }

    /// [MQTT-4.7.2-1]
    #[test]
    fn wildcards_do_not_fit_dollar_topics() {
        let mapping = Mapping::new(&[topic("#", Direction::Out, "", "x/")]);
        assert_eq!(mapped(&mapping, Side::Local, "$SYS/uptime"), None);
        let mapping = Mapping::new(&[topic("uptime", Direction::Out, "$SYS/", "x/")]);
        assert_eq!(mapped(&mapping, Side::Local, "$SYS/uptime").as_deref(), Some("x/uptime"));
    }

    #[test]
    fn a_name_too_long_for_mqtt_is_not_mapped() {
        let mapping = Mapping::new(&[topic("#", Direction::Out, "", "0123456789")]);
        assert!(mapped(&mapping, Side::Local, &"t".repeat(65_525)).is_some());
        assert!(mapped(&mapping, Side::Local, &"t".repeat(65_526)).is_none());
    }

    #[test]
    fn exactly_once_is_known_by_direction() {
        let mut rule = topic("#", Direction::In, "", "");
        rule.qos = 2;
        let mapping = Mapping::new(&[topic("#", Direction::Out, "", ""), rule]);
        assert!(!mapping.has_exactly_once(Side::Local));
        assert!(mapping.has_exactly_once(Side::Remote));
    }
}
