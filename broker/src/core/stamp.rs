//! When a message came to this broker, told to bridges that ask for it as user properties.

use outpost_bridge::output::Output;
use outpost_protocol::{Properties, Property};

use super::time::Instant;

/// The key of the time at which a message came to the first broker that told it, in UTC and whole
/// seconds: `2026-12-01T08:00:00Z`.
const TIME: &str = "outpost-time";

/// The key of the mark of messages that are older than the link they go by; its value is `1`.
const BACKLOG: &str = "outpost-backlog";

/// Both properties in wire form: an identifier and two lengths each.
pub(super) const BYTES_MAX: u64 = 2 * 5 + 12 + 20 + 15 + 1;

/// Appends what `properties`, which come from the message, do not say already. `since`: when the link
/// was made.
pub(super) fn write(properties: &Properties<'_>, came: Instant, since: Instant, out: &mut Output) {
    const GROWS: &str = "an output grows, and the texts are short";
    let says = |key: &str| {
        properties.iter().any(|p| matches!(p, Property::UserProperty(name, _) if name == key))
    };
    if says(TIME) {
        return;
    }
    let came_s = came.0 / 1000;
    let time = i64::try_from(came_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let time = time.unwrap_or_default().to_string();
    Property::UserProperty(TIME, &time).encode(out).expect(GROWS);
    // Times from the store are in whole seconds.
    if came_s < since.0 / 1000 {
        Property::UserProperty(BACKLOG, "1").encode(out).expect(GROWS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(list: &[Property<'_>], came_ms: u64, since_ms: u64) -> Vec<(String, String)> {
        let mut out = Output::default();
        write(&Properties::list(list), Instant(came_ms), Instant(since_ms), &mut out);
        assert!(out.len() as u64 <= BYTES_MAX);
        Properties::encoded(out.pending())
            .iter()
            .map(|property| match property {
                Property::UserProperty(key, value) => (key.to_owned(), value.to_owned()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_time_and_the_mark() {
        let (time, mark) = ("2026-12-01T08:00:01Z", 1_796_112_001_000);
        let said = |since| -> Vec<String> {
            written(&[], mark, since).into_iter().map(|(key, value)| key + "=" + &value).collect()
        };
        let stamp = format!("outpost-time={time}");
        assert_eq!(said(mark), [&*stamp]);
        assert_eq!(said(mark + 999), [&*stamp], "within the same second");
        assert_eq!(said(mark + 1000), [&*stamp, "outpost-backlog=1"]);
    }

    #[test]
    fn what_a_broker_before_has_told_stays() {
        let list = [Property::UserProperty(TIME, "1999-12-31T23:59:59Z")];
        assert_eq!(written(&list, 5_000, 9_000), []);
    }
}
