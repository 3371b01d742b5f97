//! What becomes of a topic, in words.

use outpost_bridge::config::RetainRule;
use outpost_bridge::mapping::Mapping;
use outpost_bridge::side::Side;

use super::{Bridges, unknown};

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
        let entries = self.entries();
        if let Some(name) = name.filter(|name| !entries.contains_key(*name)) {
            return Err(unknown(name, &entries));
        }
        let wanted = entries.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
        let mut lines = Vec::new();
        for (name, entry) in wanted {
            let mapping = Mapping::new(&entry.config.topics());
            for &side in sides {
                lines.push(format!("{name}: {}", words(&mapping, side, topic)));
            }
        }
        Ok(lines)
    }
}

fn words(mapping: &Mapping, from: Side, topic: &str) -> String {
    let mut mapped = String::new();
    match mapping.map(from, topic, &mut mapped) {
        Some(rule) => {
            let (table, filter, qos) = (rule.index() + 1, rule.filter(), rule.qos() as u8);
            let retain = match rule.retain() {
                RetainRule::Keep => "",
                RetainRule::Clear => ", not retained there",
            };
            format!(
                "\"{topic}\" of the {from} becomes \"{mapped}\" at the {}, by topic table {table} \
                 (\"{filter}\"), with QoS {qos} at the most{retain}",
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
