//! Which topics the other broker has subscribers for: an Outpost tells the bridge of another one that
//! asks for it, and the bridge sends nothing else.
//!
//! The other broker sends a PUBLISH with QoS 0 on [`TOPIC`], once behind CONNACK and again when what it
//! says has changed. The payload is a byte 0: everything is wanted; or a byte 1 and topic filters, each
//! behind its length in two bytes.

use std::collections::HashSet;
use std::sync::Arc;

use outpost_protocol::TopicFilter;

use crate::connect::TopicTest;
use crate::mapping::Mapping;
use crate::side::Side;

/// The topic on which it is told, to the bridge and to nobody else.
pub const TOPIC: &str = "$outpost/interest";

/// Filters told. A broker that has more wants everything.
pub const FILTERS_MAX: usize = 1000;

/// Bytes of the payload; likewise.
pub const BYTES_MAX: usize = 64 * 1024;

const EVERYTHING: u8 = 0;
const FILTERS: u8 = 1;

/// What the other broker wants, by its names for topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All there is.
    Everything,
    /// What any of these filters fits.
    Filters {
        /// Filters without wildcards.
        topics: HashSet<Box<str>>,
        /// The others.
        wildcards: Vec<Box<str>>,
    },
}

impl Interest {
    /// Reads a payload. None: it is none.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = match payload {
            [EVERYTHING] => return Some(Self::Everything),
            [FILTERS, rest @ ..] if payload.len() <= BYTES_MAX => rest,
            _ => return None,
        };
        let (mut topics, mut wildcards) = (HashSet::new(), Vec::new());
        while let Some((len, more)) = rest.split_first_chunk() {
            let (filter, more) = more.split_at_checked(u16::from_be_bytes(*len).into())?;
            let filter = std::str::from_utf8(filter).ok()?;
            TopicFilter::new(filter).ok()?;
            if filter.contains(['+', '#']) {
                wildcards.push(filter.into());
            } else {
                topics.insert(filter.into());
            }
            rest = more;
        }
        let is_whole = rest.is_empty() && topics.len() + wildcards.len() <= FILTERS_MAX;
        is_whole.then_some(Self::Filters { topics, wildcards })
    }

    /// The payload that tells of these filters, or of everything where they are too many.
    pub fn payload(filters: Option<&[String]>) -> Vec<u8> {
        let mut payload = vec![FILTERS];
        for filter in filters.into_iter().flatten() {
            let Ok(len) = u16::try_from(filter.len()) else { return vec![EVERYTHING] };
            payload.extend_from_slice(&len.to_be_bytes());
            payload.extend_from_slice(filter.as_bytes());
        }
        let fits = |filters: &[String]| filters.len() <= FILTERS_MAX && payload.len() <= BYTES_MAX;
        if filters.is_some_and(fits) { payload } else { vec![EVERYTHING] }
    }

    /// Whether messages on a topic are wanted.
    pub fn wants(&self, topic: &str) -> bool {
        let Self::Filters { topics, wildcards } = self else { return true };
        let fits = |filter: &str| TopicFilter::new(filter).is_ok_and(|f| f.matches(topic));
        topics.contains(topic) || wildcards.iter().any(|filter| fits(filter))
    }
}

/// Which local topics have to wait for the other broker from now on, and on which of them it wants what
/// is retained: on those that it did not want `before`.
pub fn narrowing(
    mapping: &Arc<Mapping>,
    before: Option<Arc<Interest>>,
    interest: &Arc<Interest>,
) -> (TopicTest, TopicTest) {
    let wants = |interest: Arc<Interest>| {
        let mapping = mapping.clone();
        move |topic: &str| {
            let mut mapped = String::new();
            mapping.map(Side::Local, topic, &mut mapped).is_some() && interest.wants(&mapped)
        }
    };
    let takes = wants(interest.clone());
    let (wanted, before) = (takes.clone(), before.map(wants));
    let newly =
        move |topic: &str| wanted(topic) && !before.as_ref().is_some_and(|before| before(topic));
    (Arc::new(takes), Arc::new(newly))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filters: &[&str]) -> Interest {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        Interest::parse(&Interest::payload(Some(&filters))).expect("it is one")
    }

    #[test]
    fn what_is_told_is_understood() {
        let interest = read(&["a/b", "c/+", "d\n/#"]);
        for (topic, is_wanted) in
            [("a/b", true), ("a/bc", false), ("c/x", true), ("c/x/y", false), ("d\n", true)]
        {
            assert_eq!(interest.wants(topic), is_wanted, "{topic:?}");
        }
        assert!(!read(&[]).wants("a"));
    }

    #[test]
    fn too_much_is_everything() {
        assert_eq!(Interest::parse(&Interest::payload(None)), Some(Interest::Everything));
        let many: Vec<String> = (0..=FILTERS_MAX).map(|number| number.to_string()).collect();
        assert_eq!(Interest::payload(Some(&many)), [EVERYTHING]);
        let long: Vec<String> = (0..2).map(|_| "x".repeat(40_000)).collect();
        assert_eq!(Interest::payload(Some(&long)), [EVERYTHING]);
        assert_eq!(Interest::payload(Some(&["x".repeat(70_000)])), [EVERYTHING]);
    }

    #[test]
    fn nonsense_is_none() {
        for payload in [
            &[][..],
            &[2],
            &[EVERYTHING, 0],
            &[FILTERS, 0],
            &[FILTERS, 0, 2, b'a'],
            &[FILTERS, 0, 1, 0xFF],
            &[FILTERS, 0, 0],
            &[FILTERS, 0, 2, b'#', b'a'],
        ] {
            assert_eq!(Interest::parse(payload), None, "{payload:?}");
        }
        let mut long = vec![FILTERS];
        long.extend([0, 1, b'a'].repeat(BYTES_MAX / 3 + 1));
        assert_eq!(Interest::parse(&long), None);
    }
}
