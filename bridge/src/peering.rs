//! How two Outposts know each other: one user property in CONNECT and in CONNACK.
//!
//! Its value is words with spaces between them. In CONNECT they are the features that the bridge asks
//! for; in CONNACK they are those that are granted. `node=` is the name of the broker that says it, or
//! that the bridge stands for: what that broker has taken in need not be sent back to it. Words that
//! are not known are passed over, so that versions may differ. A broker of another make does not look at
//! the property, and gets plain MQTT.

use std::fmt;

use outpost_protocol::{Properties, Property};

/// The key of the property.
pub const KEY: &str = "outpost-bridge";

/// More than all words that are known take.
const VALUE_BYTES_MAX: usize = 256;

/// The number of a broker that no other one has: drawn when its store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// From sixteen hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hex { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The values of the user properties with this key.
pub(crate) fn user_property<'a>(
    properties: &Properties<'a>,
    key: &'static str,
) -> impl Iterator<Item = &'a str> {
    properties.iter().filter_map(move |property| match property {
        Property::UserProperty(known, value) if known == key => Some(value),
        _ => None,
    })
}

/// What one end of a bridge says to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peering {
    /// The broker that says it, in CONNACK; in CONNECT, the one at the other end of the bridge.
    pub node: Option<NodeId>,
    /// What is asked for, or granted.
    pub features: Features,
}

/// What two Outposts can do beyond MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Behind CONNECT and CONNACK both directions are zstd streams.
    pub zstd: bool,
    /// The broker tells the bridge which filters it has subscribers for.
    pub interest: bool,
}

impl Features {
    /// What is asked for here and possible there.
    pub fn common(self, possible: Self) -> Self {
        Self { zstd: self.zstd && possible.zstd, interest: self.interest && possible.interest }
    }
}

impl Peering {
    /// What the properties of CONNECT or CONNACK say; none where the other end is no Outpost.
    pub fn of(properties: &Properties<'_>) -> Option<Self> {
        user_property(properties, KEY).find_map(Self::parse)
    }

    /// The value of the property.
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let mut peering = Self::default();
        for word in value.split(' ') {
            match word {
                "zstd" => peering.features.zstd = true,
                "interest" => peering.features.interest = true,
                _ => {
                    let node = word.strip_prefix("node=").and_then(NodeId::parse);
                    peering.node = node.or(peering.node);
                }
            }
        }
        Some(peering)
    }
}

impl fmt::Display for Peering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The version of these words themselves.
        f.write_str("1")?;
        if let Some(node) = self.node {
            write!(f, " node={node}")?;
        }
        let Features { zstd, interest } = self.features;
        for (word, is_said) in [("zstd", zstd), ("interest", interest)] {
            if is_said {
                write!(f, " {word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for node in [None, Some(NodeId(0)), Some(NodeId(u64::MAX))] {
            for (zstd, interest) in [(false, false), (true, false), (true, true)] {
                let peering = Peering { node, features: Features { zstd, interest } };
                assert_eq!(Peering::parse(&peering.to_string()), Some(peering));
            }
        }
    }

    #[test]
    fn unknown_words_are_passed_over() {
        let peering = Peering::parse("2 tomorrow node=12 node=0000000000000ab1 zstd  =").unwrap();
        assert_eq!(peering.node, Some(NodeId(0xab1)));
        assert_eq!(peering.features, Features { zstd: true, interest: false });
        assert_eq!(Peering::parse(""), Some(Peering::default()));
        assert_eq!(Peering::parse(&"x".repeat(300)), None);
    }

    #[test]
    fn only_what_both_can_do_is_granted() {
        let all = Features { zstd: true, interest: true };
        let zstd = Features { zstd: true, interest: false };
        assert_eq!(all.common(zstd), zstd);
        assert_eq!(zstd.common(Features::default()), Features::default());
    }

    #[test]
    fn is_found_among_other_user_properties() {
        let list = [
            Property::UserProperty("outpost", "node=1"),
            Property::UserProperty(KEY, "1 interest"),
        ];
        let found = Peering::of(&Properties::list(&list)).unwrap();
        assert!(found.features.interest && !found.features.zstd);
        assert_eq!(Peering::of(&Properties::EMPTY), None);
    }
}
