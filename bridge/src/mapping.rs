//! Which topics go over the bridge, and what they are called at the other end.
//!
//! The meaning of prefixes is Mosquitto's: the local topic is `local_prefix` + name, the remote one
//! `remote_prefix` + name, where the name fits the filter; the first rule that fits, and does not exclude the topic,
//! decides. Response
//! topics in properties are forwarded as they are.
//!
//! One case Mosquitto leaves odd: the filter `plant/#` also matches the topic `plant` (4.7.1.2),
//! which does not begin with the prefix `plant/`. It becomes the other prefix without its final
//! slash, and is not forwarded where that leaves nothing.

use outpost_protocol::{QoS, TopicFilter};

use crate::config::{Direction, RetainRule, TopicConfig};
use crate::side::{PerSide, Side};
use crate::template::Template;

const TOPIC_BYTES_MAX: usize = 65_535;

/// The rules of one bridge, by the end that the messages come from.
#[derive(Clone, Debug)]
pub struct Mapping {
    rules: PerSide<Vec<Rule>>,
    /// Rules of other classes: what they take, this mapping leaves to them.
    others: PerSide<Vec<Rule>>,
    is_local_narrowed: bool,
}

/// One topic rule in one direction.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which table of the configuration it comes from, counted from 0.
    index: usize,
    filter: String,
    exclude: Exclude,
    qos: QoS,
    retain: RetainRule,
    naming: Naming,
}

/// What a rule makes of the name.
#[derive(Clone, Debug)]
enum Naming {
    Prefix { from: String, to: String },
    Template(Template),
}

/// What a rule leaves out.
#[derive(Clone, Debug)]
enum Exclude {
    /// By the topic at the end that it comes from.
    Source(Vec<String>),
    /// By what it is called at the other end.
    Mapped(Vec<String>),
}

impl Exclude {
    fn takes_out(filters: &[String], topic: &str) -> bool {
        let fits = |text: &String| TopicFilter::new(text).is_ok_and(|f| f.matches(topic));
        filters.iter().any(fits)
    }
}

impl Mapping {
    /// The rules of a configuration that [`crate::config::BridgeConfig::validate`] accepts.
    pub fn new(topics: &[TopicConfig]) -> Self {
        Self::of_class(topics, None)
    }

    /// Those of one class, within those of all; none: all of them.
    pub fn of_class(topics: &[TopicConfig], class: Option<&str>) -> Self {
        let is_own = |topic: &TopicConfig| class.is_none_or(|class| class == topic.class());
        Self {
            rules: PerSide::from_fn(|from| rules(topics, from, is_own)),
            others: PerSide::from_fn(|from| rules(topics, from, |topic| !is_own(topic))),
            is_local_narrowed: false,
        }
    }

    /// The same where the local broker gives this class only what it takes ([`Self::takes`]), and what
    /// waited for it before its rules changed.
    pub fn with_local_narrowed(self) -> Self {
        Self { is_local_narrowed: true, ..self }
    }

    /// The rules for messages that come from this end, in the order of the configuration: what is
    /// to be subscribed there.
    pub fn rules(&self, from: Side) -> &[Rule] {
        &self.rules[from]
    }

    /// Writes into `mapped` what `topic` at the end `from` is called at the other end. None where no
    /// rule fits, or where the new name would be empty or longer than MQTT allows.
    pub fn map(&self, from: Side, topic: &str, mapped: &mut String) -> Option<&Rule> {
        let takes = |rule: &&Rule, mapped: &mut String| {
            mapped.clear();
            rule.map(topic, mapped)
        };
        let found = self.rules[from].iter().find(|rule| takes(rule, mapped))?;
        let mut before = self.others[from].iter().take_while(|other| other.index < found.index);
        let is_left = self.others[from].is_empty() || {
            let mut elsewhere = String::new();
            !before.any(|other| takes(&other, &mut elsewhere))
        };
        is_left.then_some(found)
    }

    /// As [`Self::map`], for a message that came over. What waited here when its rule went over to another
    /// class goes by that rule.
    pub fn map_arrived(&self, from: Side, topic: &str, mapped: &mut String) -> Option<&Rule> {
        let own = self.map(from, topic, mapped);
        if own.is_some() || from == Side::Remote || !self.is_local_narrowed {
            return own;
        }
        self.others[from].iter().find(|rule| {
            mapped.clear();
            rule.map(topic, mapped)
        })
    }

    /// The first rule that fits a topic and does not take it.
    pub fn excluded_by(&self, from: Side, topic: &str) -> Option<&Rule> {
        self.rules[from].iter().find(|rule| rule.fits(topic))
    }

    /// Whether a topic goes over the bridge.
    pub fn takes(&self, from: Side, topic: &str) -> bool {
        self.map(from, topic, &mut String::new()).is_some()
    }

    /// How many bytes a topic from this end can grow by.
    pub fn growth_bytes(&self, from: Side) -> usize {
        let growth = |rule: &Rule| match &rule.naming {
            Naming::Prefix { from, to } => to.len().saturating_sub(from.len()),
            Naming::Template(template) => template.growth_bytes(),
        };
        self.rules[from].iter().chain(&self.others[from]).map(growth).max().unwrap_or(0)
    }

    /// Whether some of what its filters fit is left out.
    pub fn has_excludes(&self, from: Side) -> bool {
        if !self.others[from].is_empty() {
            return true;
        }
        let leaves_out = |rule: &Rule| match &rule.exclude {
            Exclude::Source(filters) | Exclude::Mapped(filters) => !filters.is_empty(),
        };
        self.rules[from].iter().any(leaves_out)
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

    /// Which table of the configuration it comes from, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What becomes of the RETAIN flag.
    pub fn retain(&self) -> RetainRule {
        self.retain
    }

    fn map(&self, topic: &str, mapped: &mut String) -> bool {
        if !self.fits(topic) {
            return false;
        }
        match &self.naming {
            Naming::Prefix { from, to } => match topic.strip_prefix(from.as_str()) {
                Some(name) => {
                    mapped.push_str(to);
                    mapped.push_str(name);
                }
                None => mapped.push_str(to.strip_suffix('/').unwrap_or(to)),
            },
            Naming::Template(template) => {
                if !template.map(topic, mapped) {
                    return false;
                }
            }
        }
        let is_excluded = match &self.exclude {
            Exclude::Source(filters) => Exclude::takes_out(filters, topic),
            Exclude::Mapped(filters) => Exclude::takes_out(filters, mapped),
        };
        !is_excluded && (1..=TOPIC_BYTES_MAX).contains(&mapped.len())
    }

    /// What topics are called at the other end that this filter matches, as a filter that matches them
    /// and may match more: where a capture is part of a level, any level stands for it. The filter
    /// matches no more than that of the rule. None: they have no names there.
    pub fn image(&self, filter: &str) -> Option<String> {
        match &self.naming {
            Naming::Prefix { from, to } => match filter.strip_prefix(from.as_str()) {
                Some(name) => Some(format!("{to}{name}")),
                None => Some(to.strip_suffix('/').unwrap_or(to).to_owned()),
            },
            Naming::Template(template) => template.image(filter),
        }
        .filter(|image| TopicFilter::new(image).is_ok())
    }

    fn fits(&self, topic: &str) -> bool {
        // The prefix holds no wildcards, so most rules that do not fit are told by one comparison.
        if let Naming::Prefix { from, .. } = &self.naming
            && !topic.starts_with(from.strip_suffix('/').unwrap_or(from))
        {
            return false;
        }
        TopicFilter::new(&self.filter).is_ok_and(|filter| filter.matches(topic))
    }
}

fn rules(
    topics: &[TopicConfig],
    from: Side,
    is_wanted: impl Fn(&TopicConfig) -> bool,
) -> Vec<Rule> {
    let wanted = match from {
        Side::Local => Direction::Out,
        Side::Remote => Direction::In,
    };
    let applies = |(_, topic): &(usize, &TopicConfig)| {
        topic.direction == wanted || topic.direction == Direction::Both
    };
    topics
        .iter()
        .enumerate()
        .filter(applies)
        .filter(|(_, topic)| is_wanted(topic))
        .filter_map(|(at, topic)| rule(at, topic, from))
        .collect()
}

/// None: a template that validation refuses.
fn rule(index: usize, topic: &TopicConfig, from: Side) -> Option<Rule> {
    let qos = QoS::try_from(topic.qos).unwrap_or(QoS::ExactlyOnce);
    let retain = topic.retain;
    if !topic.from.is_empty() {
        let template = Template::parse(&topic.from, &topic.to).ok()?;
        let goes_back = topic.direction == Direction::Both && from == Side::Remote;
        let template = if goes_back { template.reversed().ok()? } else { template };
        let exclude = match from {
            Side::Local => Exclude::Source(topic.exclude.clone()),
            Side::Remote => Exclude::Mapped(topic.exclude.clone()),
        };
        let (filter, naming) = (template.filter(), Naming::Template(template));
        return Some(Rule { index, filter, exclude, qos, retain, naming });
    }
    let (filter, prefix_from, prefix_to) = match from {
        Side::Local => (topic.local_filter(), &topic.local_prefix, &topic.remote_prefix),
        Side::Remote => (topic.remote_filter(), &topic.remote_prefix, &topic.local_prefix),
    };
    let exclude = topic.exclude.iter().map(|filter| format!("{prefix_from}{filter}")).collect();
    let naming = Naming::Prefix { from: prefix_from.clone(), to: prefix_to.clone() };
    Some(Rule { index, filter, exclude: Exclude::Source(exclude), qos, retain, naming })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(filter: &str, direction: Direction, local: &str, remote: &str) -> TopicConfig {
        TopicConfig {
            local_prefix: local.into(),
            remote_prefix: remote.into(),
            ..TopicConfig::new(filter, direction)
        }
    }

    fn mapped(mapping: &Mapping, from: Side, topic: &str) -> Option<String> {
        let mut mapped = String::from("left over");
        mapping.map(from, topic, &mut mapped).is_some().then_some(mapped)
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

    #[test]
    fn what_is_excluded_is_left_to_later_rules() {
        let mut first = topic("#", Direction::Both, "plant/", "site7/");
        first.exclude = vec!["debug/#".into(), "+/raw".into()];
        let mapping =
            Mapping::new(&[first, topic("plant/debug/important", Direction::Out, "", "")]);
        let local = |topic| mapped(&mapping, Side::Local, topic);
        assert_eq!(local("plant/x").as_deref(), Some("site7/x"));
        assert_eq!(local("plant/debug/x"), None);
        let excluding = mapping.excluded_by(Side::Local, "plant/debug/x").map(Rule::index);
        assert_eq!((excluding, mapping.excluded_by(Side::Local, "x").is_none()), (Some(0), true));
        assert_eq!(local("plant/x/raw"), None);
        assert_eq!(local("plant/debug/important").as_deref(), Some("plant/debug/important"));
        assert_eq!(mapped(&mapping, Side::Remote, "site7/debug/x"), None);
        assert!(mapping.has_excludes(Side::Local));
    }

    #[test]
    fn what_another_class_takes_is_left_to_it() {
        let alarms = TopicConfig {
            class: Some("alarms".into()),
            ..topic("+/alarm", Direction::Out, "", "")
        };
        let last =
            TopicConfig { class: Some("alarms".into()), ..topic("#", Direction::Out, "", "") };
        let topics = [alarms, topic("a/#", Direction::Out, "", "x/"), last];
        let of = |class| Mapping::of_class(&topics, Some(class));
        let (plain, alarms) = (of(crate::config::DEFAULT_CLASS), of("alarms"));
        for (topic, in_plain, in_alarms) in [
            ("a/alarm", None, Some("a/alarm")),
            ("a/b", Some("x/a/b"), None),
            ("b/c", None, Some("b/c")),
        ] {
            assert_eq!(mapped(&plain, Side::Local, topic).as_deref(), in_plain, "{topic}");
            assert_eq!(mapped(&alarms, Side::Local, topic).as_deref(), in_alarms, "{topic}");
        }
        assert_eq!(plain.rules(Side::Local).len(), 1);
        assert_eq!(alarms.rules(Side::Local)[1].index(), 2);
        assert!(plain.has_excludes(Side::Local) && !plain.has_excludes(Side::Remote));
    }

    #[test]
    fn templates_map_both_ways() {
        let mut rule = topic("", Direction::Both, "", "");
        rule.from = "modules/+a/+b/#rest".into();
        rule.to = "devices/x/{a}/{b}/{rest}".into();
        rule.exclude = vec!["modules/secret/#".into()];
        let mapping = Mapping::new(&[rule]);
        let there = mapped(&mapping, Side::Local, "modules/1/2/t");
        assert_eq!(there.as_deref(), Some("devices/x/1/2/t"));
        let back = mapped(&mapping, Side::Remote, "devices/x/1/2/t");
        assert_eq!(back.as_deref(), Some("modules/1/2/t"));
        assert_eq!(mapped(&mapping, Side::Local, "modules/secret/2/t"), None);
        assert_eq!(mapped(&mapping, Side::Remote, "devices/x/secret/2/t"), None);
        assert_eq!(mapping.rules(Side::Remote)[0].filter(), "devices/x/+/+/#");
        assert!(mapping.growth_bytes(Side::Local) >= 2);
    }
}
