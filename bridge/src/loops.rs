//! Messages that would go round, or arrive twice, told from the configuration of the bridges alone.
//!
//! The filters say where to look, by their intersection (see [`crate::overlap`]); what is told has been
//! gone through with an example topic, by the rules themselves, so that each warning is true of one
//! topic at least. What several sites do together cannot be seen here.
//!
//! What stops messages anyway is not told: a bridge does not get back what it published itself, with 5.0
//! by no-local; and a broker drops what bears its own origin, where all bridges on the way speak 5.0 and
//! tell it (`origin`). With 3.1.1 the first hangs on the bridge bit, and there is no origin.

use crate::config::{BridgeConfig, MqttVersion};
use crate::mapping::{Mapping, Rule};
use crate::overlap::intersection;
use crate::side::Side;

/// A message that came round so often does so for ever.
const ROUNDS: usize = 8;

/// Of two bridges, or of one with itself, so many pairs of rules are gone through.
const PAIRS_MAX: usize = 100_000;

/// What a wildcard stands for in an example.
const ANY: &str = "x";

/// What in these bridges of one broker would go round or arrive twice, a line for each pair of links.
/// They are valid, with names that differ.
pub fn warnings(bridges: &[BridgeConfig]) -> Vec<String> {
    // Each link has a session of its own, and gets what the others published.
    let all: Vec<Bridge> = bridges.iter().flat_map(BridgeConfig::links).map(Bridge::new).collect();
    let mut warnings = Vec::new();
    for (index, first) in all.iter().enumerate() {
        warnings.extend(first.goes_round_by_itself());
        for second in all[index + 1..].iter().filter(|second| first.shares_broker(second)) {
            let ways = [(first, second), (second, first)];
            warnings.extend(ways.into_iter().find_map(|(out, inward)| out.goes_round(inward)));
            warnings.extend(Side::BOTH.into_iter().filter_map(|from| first.doubles(second, from)));
        }
    }
    warnings
}

/// One link of a bridge.
struct Bridge {
    config: BridgeConfig,
    name: String,
    mapping: Mapping,
}

/// A topic that comes round: the rule that it goes out by, the one that it comes in by, and what it is
/// called at the local broker, before and after.
struct Round {
    out: usize,
    inward: usize,
    before: String,
    after: String,
}

impl Bridge {
    fn new(config: BridgeConfig) -> Self {
        Self { name: config.link_name(), mapping: config.mapping(), config }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn shares_broker(&self, other: &Self) -> bool {
        self.addresses().any(|address| other.addresses().any(|theirs| theirs == address))
    }

    fn addresses(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.config.address).chain(&self.config.fallback_addresses)
    }

    /// Where a broker that does not know the bridge bit sends a message back.
    fn goes_round_by_itself(&self) -> Option<String> {
        let local = self.config.local.as_ref().map(|local| local.version).unwrap_or_default();
        let (side, other) = match (local, self.config.version) {
            (_, MqttVersion::V311) => (Side::Remote, self.config.address.as_str()),
            (MqttVersion::V311, _) => (Side::Local, ""),
            (MqttVersion::V5, MqttVersion::V5) => return None,
        };
        let round = round(self, self)?;
        let name = self.name();
        let broker = if other.is_empty() { side.to_string() } else { format!("{side} {other}") };
        Some(format!(
            "bridge {name}: {}; only the bridge bit of MQTT 3.1.1 stops it, which Mosquitto and Outpost \
             know: use version = \"5\" if the {broker} does not, or give each direction topics of its \
             own",
            round.words()
        ))
    }

    /// Where what goes out by this bridge comes in by the other one.
    fn goes_round(&self, inward: &Self) -> Option<String> {
        let tells = |bridge: &Self| {
            bridge.config.version == MqttVersion::V5
                && bridge.config.origin
                && bridge.config.local.is_none()
        };
        if tells(self) && tells(inward) {
            return None;
        }
        let round = round(self, inward)?;
        let (out, back, address) = (self.name(), inward.name(), &self.config.address);
        Some(format!(
            "bridges {out} and {back}, both to {address}: {}, out by {out} and in by {back}, and nothing \
             stops it: make it one bridge (and one class), or give each direction topics of its own",
            round.words()
        ))
    }

    /// Where both bring the same message under the same name.
    fn doubles(&self, other: &Self, from: Side) -> Option<String> {
        let pairs = pairs(self.mapping.rules(from), other.mapping.rules(from));
        let (topic, mapped, tables) = pairs.into_iter().find_map(|(mine, theirs)| {
            let topic = example(&intersection(mine.filter(), theirs.filter())?);
            let (by, mapped) = self.map(from, &topic)?;
            let (other_by, other_mapped) = other.map(from, &topic)?;
            (mapped == other_mapped).then_some((topic, mapped, [by, other_by]))
        })?;
        let (first, second, address) = (self.name(), other.name(), &self.config.address);
        let [table, other_table] = tables.map(|table| table + 1);
        Some(format!(
            "bridges {first} and {second}, both to {address}: both carry \"{topic}\" of the {from} to \
             \"{mapped}\" (topic tables {table} and {other_table}), so that it arrives twice, except \
             between Outposts: leave it to one of them"
        ))
    }

    /// The table of the rule that takes a topic, and what it makes of it.
    fn map(&self, from: Side, topic: &str) -> Option<(usize, String)> {
        let mut mapped = String::new();
        let rule = self.mapping.map(from, topic, &mut mapped)?;
        Some((rule.index(), mapped))
    }
}

impl Round {
    fn words(&self) -> String {
        let Self { out, inward, before, after } = self;
        let (out, inward) = (out + 1, inward + 1);
        if before == after {
            return format!(
                "topic \"{before}\" goes round, out by topic table {out} and in by topic table {inward}"
            );
        }
        let grows = if after.len() > before.len() { ", longer each time" } else { "" };
        format!(
            "topic \"{before}\" goes round and comes as \"{after}\"{grows}, out by topic table {out} and \
             in by topic table {inward}"
        )
    }
}

/// A topic that goes out by one bridge and comes in by the other, again and again.
fn round(out: &Bridge, inward: &Bridge) -> Option<Round> {
    let (outs, ins) = (out.mapping.rules(Side::Local), inward.mapping.rules(Side::Remote));
    let by_names_there = pairs(outs, ins).into_iter().filter_map(|(rule, back)| {
        let there = example(&intersection(&rule.image(rule.filter())?, back.filter())?);
        inward.map(Side::Remote, &there).map(|(_, topic)| topic)
    });
    let by_names_here = pairs(ins, outs).into_iter().filter_map(|(back, rule)| {
        Some(example(&intersection(&back.image(back.filter())?, rule.filter())?))
    });
    by_names_there.chain(by_names_here).find_map(|topic| goes_on(out, inward, &topic))
}

fn goes_on(out: &Bridge, inward: &Bridge, first: &str) -> Option<Round> {
    let once = |topic: &str| {
        let (by, there) = out.map(Side::Local, topic)?;
        let (back, after) = inward.map(Side::Remote, &there)?;
        Some(Round { out: by, inward: back, before: topic.to_owned(), after })
    };
    let told = once(first)?;
    let mut topic = told.after.clone();
    for _ in 1..ROUNDS {
        topic = once(&topic)?.after;
    }
    Some(told)
}

/// Each rule with each.
fn pairs<'r>(first: &'r [Rule], second: &'r [Rule]) -> Vec<(&'r Rule, &'r Rule)> {
    let all = first.iter().flat_map(|rule| second.iter().map(move |other| (rule, other)));
    all.take(PAIRS_MAX).collect()
}

/// A topic that the filter matches.
fn example(filter: &str) -> String {
    let level = |level: &str| if matches!(level, "+" | "#") { ANY } else { level }.to_owned();
    filter.split('/').map(level).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bridges `a`, `b` and so on, each from its keys and tables.
    fn told(bridges: &[&str]) -> Vec<String> {
        let names = ["a", "b", "c"];
        let parse = |(name, text): (&str, &&str)| {
            let text = format!("name = \"{name}\"\n{text}");
            let config: BridgeConfig = toml::from_str(&text).expect("well-formed");
            config.validate().expect("valid");
            config
        };
        let configs: Vec<_> = names.into_iter().zip(bridges).map(parse).collect();
        warnings(&configs)
    }

    const BOTH: &str = "topic = [{ filter = \"t/#\", direction = \"both\" }]\n";

    #[test]
    fn one_bridge_both_ways_hangs_on_the_bridge_bit_with_3_1_1() {
        let both = |more: &str| told(&[&format!("address = \"hq:1\"\n{more}{BOTH}")]);
        assert_eq!(both(""), [""; 0]);
        assert_eq!(both("origin = false\n"), [""; 0], "no-local stops it");
        assert_eq!(
            both("version = \"3.1.1\"\n"),
            [
                "bridge a: topic \"t/x\" goes round, out by topic table 1 and in by topic table 1; only the \
              bridge bit of MQTT 3.1.1 stops it, which Mosquitto and Outpost know: use version = \"5\" if \
              the remote broker hq:1 does not, or give each direction topics of its own"
            ]
        );
    }

    #[test]
    fn two_bridges_to_one_broker() {
        let address = "address = \"hq:1\"\n";
        let out = format!("{address}topic = [{{ filter = \"t/#\", direction = \"out\" }}]\n");
        let inward = "topic = [{ filter = \"t/+\", direction = \"in\" }]\n";
        assert_eq!(told(&[&out, &format!("{address}{inward}")]), [""; 0], "origins stop it");
        assert_eq!(
            told(&[&out, &format!("{address}origin = false\n{inward}")]),
            [
                "bridges a and b, both to hq:1: topic \"t/x\" goes round, out by topic table 1 and in by \
              topic table 1, out by a and in by b, and nothing stops it: make it one bridge (and one class), or give each \
              direction topics of its own"
            ]
        );
        assert_eq!(
            told(&[&out, &format!("address = \"hq:2\"\nversion = \"3.1.1\"\n{inward}")]),
            [""; 0]
        );
        let fallback = format!(
            "address = \"hq:2\"\nfallback_addresses = [\"hq:1\"]\nversion = \"3.1.1\"\n{inward}"
        );
        assert_eq!(told(&[&out, &fallback]).len(), 1);
        assert_eq!(
            told(&[&out, &out]),
            [
                "bridges a and b, both to hq:1: both carry \"t/x\" of the local broker to \"t/x\" (topic \
              tables 1 and 1), so that it arrives twice, except between Outposts: leave it to one of them"
            ]
        );
        let renamed = out.replace("\"out\"", "\"out\", remote_prefix = \"copy/\"");
        assert_eq!(told(&[&out, &renamed]), [""; 0]);
    }

    #[test]
    fn two_links_of_one_bridge_are_as_two_bridges() {
        let text = "address = \"hq:1\"\norigin = false\nclass = [{ name = \"fast\" }]\n\
                    topic = [{ filter = \"t/#\", direction = \"out\" },\n\
                    { filter = \"t/#\", direction = \"in\", class = \"fast\" }]\n";
        let [warning] = &told(&[text])[..] else { panic!("one warning") };
        assert!(
            warning.starts_with("bridges a and a.fast, both to hq:1: topic \"t/x\""),
            "{warning}"
        );
        assert_eq!(told(&[&text.replace("origin = false\n", "")]), [""; 0]);
    }

    #[test]
    fn a_topic_that_grows() {
        let text = "address = \"hq:1\"\nversion = \"3.1.1\"\n\
                    topic = [{ filter = \"#\", direction = \"out\", remote_prefix = \"up/\" },\n\
                    { filter = \"up/#\", direction = \"in\", local_prefix = \"down/\" }]\n";
        let [warning] = &told(&[text])[..] else { panic!("one warning") };
        let words = "goes round and comes as \"down/up/down/up/x\", longer each time, out by topic table \
                     1 and in by topic table 2";
        assert!(warning.contains(words), "{warning}");
    }

    #[test]
    fn what_comes_back_once_and_no_more_is_no_loop() {
        let text = "address = \"hq:1\"\nversion = \"3.1.1\"\n\
                    topic = [{ filter = \"ask/#\", direction = \"out\" },\n\
                    { filter = \"ask/#\", direction = \"in\", local_prefix = \"seen/\" }]\n";
        assert_eq!(told(&[text]), [""; 0]);
    }

    #[test]
    fn renaming_by_templates_and_what_is_excluded() {
        let with = |more: &str| {
            told(&[&format!(
                "address = \"hq:1\"\nversion = \"3.1.1\"\n\
                 [[topic]]\nfrom = \"m/+a/#rest\"\nto = \"d/s-{{a}}/{{rest}}\"\ndirection = \"out\"\n\
                 [[topic]]\nfrom = \"d/+b/#rest\"\nto = \"m/{{b}}/{{rest}}\"\ndirection = \"in\"\n{more}"
            )])
        };
        let [warning] = &with("")[..] else { panic!("one warning") };
        assert!(warning.contains("longer each time"), "{warning}");
        assert_eq!(with("exclude = [\"m/#\"]\n"), [""; 0]);
    }

    #[test]
    fn without_a_broker_nothing_is_stopped_by_origins() {
        let alone = |version: &str| {
            let parse = |name: &str| {
                let text = format!("name = \"{name}\"\naddress = \"hq:1\"\n{BOTH}");
                let config: BridgeConfig = toml::from_str(&text).expect("well-formed");
                let local = format!("address = \"here:1\"\nversion = \"{version}\"");
                BridgeConfig { local: Some(toml::from_str(&local).expect("well-formed")), ..config }
            };
            warnings(&[parse("a"), parse("b")])
        };
        let words = |all: &[String], word: &str| all.iter().filter(|w| w.contains(word)).count();
        let told = alone("5");
        assert_eq!((words(&told, "nothing stops it"), words(&told, "twice")), (1, 2), "{told:#?}");
        assert_eq!(words(&alone("3.1.1"), "the local broker does not"), 2);
    }
}
