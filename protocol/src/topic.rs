//! Topic names and topic filters (4.7), shared subscriptions taken apart (4.8.2).
//!
//! Names and filters are compared and matched byte by byte, never normalized [MQTT-4.7.3-4].

use core::fmt;

use crate::wire::{FIELD_BYTES_MAX, is_plain_topic};

/// What is wrong with a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It has no character [MQTT-4.7.3-1].
    Empty,
    /// It has more than 65,535 bytes [MQTT-4.7.3-3].
    TooLong,
    /// It holds U+0000 [MQTT-4.7.3-2].
    Null,
    /// A topic name holds `+` or `#` [MQTT-4.7.0-1].
    WildcardInName,
    /// `#` is not the whole last level [MQTT-4.7.1-1], or `+` not a whole level [MQTT-4.7.1-2].
    MisplacedWildcard,
    /// `$share/` without a share name [MQTT-4.8.2-1] or without a filter after it [MQTT-4.8.2-2].
    BadShare,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 65,535 bytes",
            Self::Null => "it holds U+0000",
            Self::WildcardInName => "a topic name must not hold + or #",
            Self::MisplacedWildcard => "+ must be a whole level, # a whole level and the last one",
            Self::BadShare => "a shared subscription is $share/NAME/FILTER, NAME without + and #",
        })
    }
}

impl core::error::Error for TopicError {}

/// A topic name that may be published to: 1 to 65,535 bytes, no U+0000, no `+`, no `#`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    ///
    /// # Errors
    /// The first rule of 4.7 that it breaks.
    #[inline]
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        check_length(name)?;
        if !is_plain_topic(name.as_bytes()) {
            check_name(name)?;
        }
        Ok(Self(name))
    }

    /// The name.
    #[inline]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

fn check_name(name: &str) -> Result<(), TopicError> {
    match name.bytes().find(|byte| matches!(byte, 0 | b'+' | b'#')) {
        None => Ok(()),
        Some(0) => Err(TopicError::Null),
        Some(_) => Err(TopicError::WildcardInName),
    }
}

#[inline]
fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        1..=FIELD_BYTES_MAX => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// A checked topic filter, its shared form taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    /// Where the filter begins in `text`: behind `$share/NAME/`, else 0.
    filter_at: usize,
}

const SHARE: &str = "$share/";

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter, `$share/NAME/FILTER` included.
    ///
    /// # Errors
    /// The first rule of 4.7 or 4.8.2 that it breaks.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_length(text)?;
        if text.contains('\0') {
            return Err(TopicError::Null);
        }
        let filter_at = match text.strip_prefix(SHARE) {
            Some(shared) => SHARE.len() + share_name(shared)?.len() + 1,
            None => 0,
        };
        check_wildcards(&text[filter_at..])?;
        Ok(Self { text, filter_at })
    }

    /// The whole text, as it stands in SUBSCRIBE.
    #[inline]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The share name of a shared subscription.
    pub fn share_name(&self) -> Option<&'a str> {
        self.filter_at.checked_sub(1).map(|end| &self.text[SHARE.len()..end])
    }

    /// What topics are matched against: the text without `$share/NAME/`.
    #[inline]
    pub fn filter(&self) -> &'a str {
        &self.text[self.filter_at..]
    }

    /// The levels of [`Self::filter`].
    pub fn levels(&self) -> core::str::Split<'a, char> {
        self.filter().split('/')
    }

    /// Whether it holds `+` or `#`.
    pub fn has_wildcards(&self) -> bool {
        self.filter().bytes().any(is_wildcard)
    }

    /// Whether it matches a topic name. A leading wildcard does not match a name that begins with
    /// `$` [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.filter().starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for level in self.levels() {
            // `a/#` matches `a` as well (4.7.1.2), so `#` comes before the look for a level.
            if level == "#" {
                return true;
            }
            match topic_levels.next() {
                Some(topic_level) if level == "+" || level == topic_level => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

/// The share name at the start of what follows `$share/` [MQTT-4.8.2-1] [MQTT-4.8.2-2].
fn share_name(shared: &str) -> Result<&str, TopicError> {
    match shared.split_once('/') {
        Some((name, filter))
            if !name.is_empty() && !filter.is_empty() && !name.bytes().any(is_wildcard) =>
        {
            Ok(name)
        }
        _ => Err(TopicError::BadShare),
    }
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_wrong = match level {
            "+" => false,
            "#" => levels.peek().is_some(),
            _ => level.bytes().any(is_wildcard),
        };
        if is_wrong {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

const fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'+' | b'#')
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn matches(text: &str, topic: &str) -> bool {
        filter(text).matches(topic)
    }

    /// [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3]
    #[test]
    fn names() {
        let longest = String::from_utf8(std::vec![b'a'; 65_535]).expect("it is ASCII");
        for name in ["a", "/", "//", "a b", "é/$", "$SYS/x", "\u{FEFF}", "a\n", &longest] {
            assert_eq!(TopicName::new(name).map(|name| name.as_str()), Ok(name));
        }
        let too_long = longest.clone() + "a";
        for (name, error) in [
            ("", TopicError::Empty),
            ("a/+", TopicError::WildcardInName),
            ("é#", TopicError::WildcardInName),
            ("a\0", TopicError::Null),
            (&too_long, TopicError::TooLong),
        ] {
            assert_eq!(TopicName::new(name), Err(error));
        }
    }

    /// [MQTT-4.7.1-1] [MQTT-4.7.1-2], with the examples of 4.7.1
    #[test]
    fn wildcards_have_their_places() {
        for text in ["#", "sport/tennis/#", "+", "+/tennis/#", "sport/+/player1", "/+", "+/+", "a"]
        {
            assert_eq!(filter(text).as_str(), text);
        }
        for text in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/+b", "##", "#/", "++"]
        {
            assert_eq!(TopicFilter::new(text), Err(TopicError::MisplacedWildcard), "{text}");
        }
    }

    /// [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3]
    #[test]
    fn filters_have_the_bounds_of_names() {
        let too_long = String::from_utf8(std::vec![b'a'; 65_536]).expect("it is ASCII");
        assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
        assert_eq!(TopicFilter::new("a\0"), Err(TopicError::Null));
        assert_eq!(TopicFilter::new(&too_long), Err(TopicError::TooLong));
    }

    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[test]
    fn shared_filters_are_taken_apart() {
        let shared = filter("$share/consumer/sport/+/#");
        assert_eq!(shared.share_name(), Some("consumer"));
        assert_eq!(shared.filter(), "sport/+/#");
        assert_eq!(shared.levels().collect::<Vec<_>>(), ["sport", "+", "#"]);
        assert_eq!(shared.as_str(), "$share/consumer/sport/+/#");
        assert!(shared.has_wildcards());
        assert!(shared.matches("sport/a"));
        assert_eq!(filter("$share/g//finance").filter(), "/finance");
        for text in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a"] {
            assert_eq!(TopicFilter::new(text), Err(TopicError::BadShare), "{text}");
        }
        assert_eq!(TopicFilter::new("$share/g/a#"), Err(TopicError::MisplacedWildcard));
        // Only the whole first level counts.
        assert_eq!(filter("$share").share_name(), None);
        assert_eq!(filter("$shared/g/a").share_name(), None);
    }

    /// The examples of 4.7.1.2 and 4.7.1.3.
    #[test]
    fn wildcards_match() {
        for topic in [
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player1/score/wimbledon",
        ] {
            assert!(matches("sport/tennis/player1/#", topic), "{topic}");
        }
        assert!(matches("sport/#", "sport"));
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance"));
        assert!(matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
    }

    /// [MQTT-4.7.2-1]
    #[test]
    fn leading_wildcards_do_not_match_a_leading_dollar_sign() {
        assert!(!matches("#", "$SYS/uptime"));
        assert!(!matches("+/uptime", "$SYS/uptime"));
        assert!(!matches("$share/g/#", "$SYS/uptime"));
        assert!(matches("$SYS/#", "$SYS/uptime"));
        assert!(matches("$SYS/+", "$SYS/uptime"));
        assert!(matches("a/+", "a/$b"));
    }

    /// [MQTT-4.7.3-4]
    #[test]
    fn nothing_is_normalized() {
        assert!(!matches("a", "A"));
        assert!(!matches("a/", "a"));
        assert!(!matches("/a", "a"));
        assert!(!matches("e\u{301}", "\u{E9}"));
        assert!(!matches("\u{FEFF}a", "a"));
    }
}
