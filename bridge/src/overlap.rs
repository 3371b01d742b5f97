//! Which topics two topic filters have in common.
//!
//! What two filters both match is always matched by one filter, or by none: level by level the
//! narrower of the two stands, and where one ends with `#`, all that the other one goes on with.

const FILTER_BYTES_MAX: usize = 65_535;

/// The filter that matches exactly the topics that both `a` and `b` match; none where there is no such
/// topic, or where the filter would be longer than MQTT allows, 65535 bytes. Both are valid filters
/// of no shared subscription.
pub fn intersection(a: &str, b: &str) -> Option<String> {
    // [MQTT-4.7.2-1]
    if is_wild(a) && b.starts_with('$') || is_wild(b) && a.starts_with('$') {
        return None;
    }
    let (mut a_levels, mut b_levels) = (a.split('/'), b.split('/'));
    let mut levels = Vec::new();
    loop {
        match (a_levels.next(), b_levels.next()) {
            (None, None) => break,
            // `x/#` matches `x` as well (4.7.1.2), so the other one may have ended.
            (Some("#"), other) => {
                levels.extend(other.into_iter().chain(b_levels));
                break;
            }
            (other, Some("#")) => {
                levels.extend(other.into_iter().chain(a_levels));
                break;
            }
            (Some("+"), Some(level)) | (Some(level), Some("+")) => levels.push(level),
            (Some(level), Some(other)) if level == other => levels.push(level),
            _ => return None,
        }
    }
    let common = levels.join("/");
    // Of `/#` and `+` it is the empty topic, which is none.
    (1..=FILTER_BYTES_MAX).contains(&common.len()).then_some(common)
}

fn is_wild(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}

#[cfg(test)]
mod tests {
    use outpost_protocol::TopicFilter;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_narrower_level_stands() {
        for (a, b, common) in [
            ("a/b", "a/b", Some("a/b")),
            ("a/b", "a/c", None),
            ("a/+", "+/b", Some("a/b")),
            ("+", "+", Some("+")),
            ("a/+", "a", None),
            ("#", "a/+/b", Some("a/+/b")),
            ("a/#", "a", Some("a")),
            ("a/#", "a/b/#", Some("a/b/#")),
            ("a/#", "+/b/+", Some("a/b/+")),
            ("+/#", "#", Some("+/#")),
            ("a/#", "b/#", None),
            ("a//#", "a/+", Some("a/")),
            ("/", "+/+", Some("/")),
            ("/#", "+", None),
            ("/#", "+/#", Some("/#")),
        ] {
            assert_eq!(intersection(a, b).as_deref(), common, "{a} {b}");
            assert_eq!(intersection(b, a).as_deref(), common, "{b} {a}");
        }
    }

    /// [MQTT-4.7.2-1]
    #[test]
    fn dollar_topics_stand_apart() {
        assert_eq!(intersection("#", "$SYS/#"), None);
        assert_eq!(intersection("$SYS/a", "+/a"), None);
        assert_eq!(intersection("$SYS/#", "$SYS/+").as_deref(), Some("$SYS/+"));
        assert_eq!(intersection("a/+", "a/$SYS").as_deref(), Some("a/$SYS"));
    }

    #[test]
    fn no_filter_is_longer_than_mqtt_allows() {
        let long = "x".repeat(40_000);
        assert_eq!(intersection(&format!("{long}/+"), &format!("+/{long}")), None);
    }

    proptest! {
        /// Against every topic of up to four levels of these.
        #[test]
        fn matches_what_both_match(
            a in "(a|b|\\$a|\\+|)(/(a|b|\\+|)){0,2}(/#)?|#",
            b in "(a|b|\\$a|\\+|)(/(a|b|\\+|)){0,2}(/#)?|#",
        ) {
            prop_assume!(!a.is_empty() && !b.is_empty());
            let common = intersection(&a, &b);
            let matches = |filter: &str, topic: &str| {
                TopicFilter::new(filter).unwrap().matches(topic)
            };
            for topic in all_topics() {
                let both = matches(&a, &topic) && matches(&b, &topic);
                let by_common = common.as_deref().is_some_and(|common| matches(common, &topic));
                prop_assert_eq!(by_common, both, "{} and {} is {:?}: {}", a, b, common, topic);
            }
        }
    }

    fn all_topics() -> Vec<String> {
        let levels = ["", "a", "b", "c", "$a"];
        let mut topics: Vec<String> = levels.map(String::from).into();
        let mut longest = topics.clone();
        for _ in 0..3 {
            let longer = |t: &String| levels.map(|level| format!("{t}/{level}"));
            longest = longest.iter().flat_map(longer).collect();
            topics.extend(longest.iter().cloned());
        }
        topics.retain(|topic| !topic.is_empty());
        topics
    }
}
