//! What becomes of a topic, in words.

use outpost_bridge::config::{BridgeConfig, DEFAULT_CLASS, RetainRule};
use outpost_bridge::mapping::Mapping;
use outpost_bridge::side::Side;

use super::Bridges;

impl Bridges {
    /// What the bridges, or one of them, do with a topic of one end or of both: a line for each.
    ///
    /// # Errors
    /// There is no such bridge, or `from` is neither "local" nor "remote".
    pub(crate) fn explain(
        &self,
        topic: &str,
        name: Option<&str>,
        from: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let sides = match from {
            None => &Side::BOTH[..],
            Some("local") => &[Side::Local],
            Some("remote") => &[Side::Remote],
            Some(other) => return Err(format!("from = \"{other}\": must be local or remote")),
        };
        let mut bridges: Vec<BridgeConfig> =
            self.find(name)?.into_iter().map(|link| link.config).collect();
        // The rules of all its links decide together.
        bridges.dedup_by(|a, b| a.name == b.name);
        let mut lines = Vec::new();
        for bridge in bridges {
            let mapping = Mapping::new(&bridge.topics());
            for &side in sides {
                let mut line =
                    format!("{}: {}", bridge.name, words(&bridge, &mapping, side, topic));
                if side == Side::Local
                    && let Some(rule) = mapping.map(side, topic, &mut String::new())
                {
                    line.push_str(&self.queue(&bridge, bridge.topic[rule.index()].class()));
                }
                lines.push(line);
            }
        }
        Ok(lines)
    }

    /// Where what goes out waits, and what happens when there is no more room; nothing where that is
    /// another program's business.
    fn queue(&self, bridge: &BridgeConfig, class: &str) -> String {
        let link = BridgeConfig { link_class: Some(class.to_owned()), ..bridge.clone() };
        let client_id = link.client_id();
        let Some(door) = &self.door else { return String::new() };
        let policy = door.shared.enter(None, |core| core.broker.queue_policy(&client_id));
        format!("; it waits in the queue of {client_id} (when full: {})", policy.full.name())
    }
}

fn words(bridge: &BridgeConfig, mapping: &Mapping, from: Side, topic: &str) -> String {
    let mut mapped = String::new();
    match mapping.map(from, topic, &mut mapped) {
        Some(rule) => {
            let (table, filter, qos) = (rule.index() + 1, rule.filter(), rule.qos() as u8);
            let retain = match rule.retain() {
                RetainRule::Keep => "",
                RetainRule::Clear => ", not retained there",
            };
            let class = match bridge.topic[rule.index()].class() {
                DEFAULT_CLASS => String::new(),
                class => format!(", in class {class}"),
            };
            format!(
                "\"{topic}\" of the {from} becomes \"{mapped}\" at the {}, by topic table {table} \
                 (\"{filter}\"), with QoS {qos} at the most{retain}{class}",
                from.other()
            )
        }
        None => match mapping.excluded_by(from, topic) {
            Some(rule) => format!(
                "\"{topic}\" of the {from} does not go over: topic table {} (\"{}\") excludes it, and no \
                 later one takes it",
                rule.index() + 1,
                rule.filter()
            ),
            None => format!("\"{topic}\" of the {from} does not go over: no topic table fits it"),
        },
    }
}
