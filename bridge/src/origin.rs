//! Where a message comes from: a user property that it carries over every bridge on its way.
//!
//! Its value is `NODE/NUMBER/HOPS`: the broker that took the message in from its publisher, the number
//! that it has there, and how many bridges it has crossed. A broker that gets its own message back drops
//! it, and one that gets a message for the second time, by another way or because the first
//! acknowledgement was lost, acknowledges and drops it. So rings do not turn, diamonds do not double,
//! and QoS 1 is exactly once between Outposts. Equal values that a sensor repeats have numbers of their
//! own, and pass.
//!
//! A message without a number (`-`: it came by a broker of another make, which vouches for nothing) is
//! stopped by the node and the hops alone.

use std::fmt;

use outpost_protocol::{Properties, Property};

use crate::output::Output;
use crate::peering::{NodeId, user_property};

/// The key of the property.
pub const KEY: &str = "outpost-origin";

/// What the property takes in a packet, at most.
pub const PROPERTY_BYTES_MAX: usize = 1 + 2 + KEY.len() + 2 + VALUE_BYTES_MAX;

/// 16 digits of the node, up to 20 of the number, up to 3 of the hops, two slashes.
const VALUE_BYTES_MAX: usize = 41;

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The broker that took it in first.
    pub node: NodeId,
    /// Its number there; ascending, and never given to another message.
    pub number: Option<u64>,
    /// Bridges that it has crossed.
    pub hops: u8,
}

impl Origin {
    /// What the property of a message says; none where it has none, or one that makes no sense.
    pub fn of(properties: &Properties<'_>) -> Option<Self> {
        user_property(properties, KEY).find_map(Self::parse)
    }

    /// The value of the property, strictly as it is written.
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let (node, rest) = value.split_once('/')?;
        let (number, hops) = rest.split_once('/')?;
        let number = match number {
            "-" => None,
            digits => Some(decimal(digits)?),
        };
        let hops = u8::try_from(decimal(hops)?).ok()?;
        Some(Self { node: NodeId::parse(node)?, number, hops })
    }

    /// The same after one more bridge.
    #[must_use]
    pub fn hopped(self) -> Self {
        Self { hops: self.hops.saturating_add(1), ..self }
    }
}

/// `u64::from_str` takes a plus sign.
fn decimal(digits: &str) -> Option<u64> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, number, hops } = self;
        match number {
            Some(number) => write!(f, "{node}/{number}/{hops}"),
            None => write!(f, "{node}/-/{hops}"),
        }
    }
}

/// Whether a property says where its message comes from.
pub fn is_origin(property: &Property<'_>) -> bool {
    matches!(property, Property::UserProperty(KEY, _))
}

/// Writes the properties in wire form, with this origin (none: without one) in the place of theirs.
pub fn write<'a>(
    properties: impl Iterator<Item = Property<'a>>,
    origin: Option<Origin>,
    out: &mut Output,
) {
    const GROWS: &str = "an output grows, and the properties came from the wire";
    for property in properties.filter(|property| !is_origin(property)) {
        property.encode(out).expect(GROWS);
    }
    if let Some(origin) = origin {
        let value = origin.to_string();
        Property::UserProperty(KEY, &value).encode(out).expect(GROWS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: Option<u64>, hops: u8) -> Origin {
        Origin { node: NodeId(0xfeed), number, hops }
    }

    #[test]
    fn what_is_written_is_read() {
        for number in [None, Some(0), Some(u64::MAX)] {
            let origin = origin(number, 255);
            assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
        assert_eq!(origin(Some(7), 1).to_string(), "000000000000feed/7/1");
        assert_eq!(origin(Some(u64::MAX), 255).to_string().len(), VALUE_BYTES_MAX);
    }

    #[test]
    fn nonsense_is_no_origin() {
        for value in [
            "",
            "/",
            "000000000000feed/7",
            "000000000000feed/7/256",
            "000000000000feed/+7/1",
            "000000000000feed/7/",
            "000000000000feed//1",
            "feed/7/1",
            "000000000000fee\u{e9}/7/1",
            "000000000000feed/7/1/1",
            "000000000000feed/18446744073709551616/1",
        ] {
            assert_eq!(Origin::parse(value), None, "{value}");
        }
        assert_eq!(Origin::parse(&"0".repeat(1000)), None);
    }

    #[test]
    fn hops_do_not_overflow() {
        assert_eq!(origin(None, 255).hopped().hops, 255);
        assert_eq!(origin(None, 1).hopped().hops, 2);
    }

    #[test]
    fn the_origin_is_replaced_and_nothing_else() {
        let old = origin(Some(1), 1).to_string();
        let list = [
            Property::ContentType("text/plain"),
            Property::UserProperty(KEY, &old),
            Property::UserProperty("site", "7"),
        ];
        let new = origin(Some(1), 2);
        let mut out = Output::default();
        write(Properties::list(&list).iter(), Some(new), &mut out);
        let written = Properties::encoded(out.pending());
        assert_eq!(Origin::of(&written), Some(new));
        assert_eq!(written.content_type(), Some("text/plain"));
        assert_eq!(written.iter().count(), 3);
        out.advance(out.len());
        write(Properties::list(&list).iter(), None, &mut out);
        assert_eq!(Origin::of(&Properties::encoded(out.pending())), None);
    }
}
