//! Topic names and topic filters (5.0 section 4.7), matched by the broker itself.

use crate::prelude::*;

/// Filters with names that match and names that do not, below a root of their own.
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("sport/tennis/player1", &["sport/tennis/player1"], &["sport/tennis", "sport/tennis/player1/"]),
    (
        "sport/tennis/player1/#",
        &[
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player1/score/wimbledon",
            "sport/tennis/player1/",
        ],
        &["sport/tennis", "sport/tennis/player10", "sport/tennis/player2/x"],
    ),
    ("sport/#", &["sport", "sport/", "sport/a/b/c"], &["sports", "Sport", "/sport"]),
    (
        "sport/tennis/+",
        &["sport/tennis/player1", "sport/tennis/"],
        &["sport/tennis", "sport/tennis/player1/ranking"],
    ),
    ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b", "sport/a/"]),
    ("+/tennis/#", &["a/tennis", "/tennis/x", "a/tennis/b/c"], &["tennis", "a/b/tennis"]),
    ("+/+", &["/finance", "a/b", "/"], &["a", "a/b/c"]),
    ("/+", &["/finance", "/"], &["finance", "a/finance", "/a/b"]),
    ("+", &["finance"], &["/finance", "finance/"]),
    (
        "sport/+/player1",
        &["sport/x/player1", "sport//player1"],
        &["sport/player1", "sport/x/y/player1"],
    ),
    ("a//b", &["a//b"], &["a/b", "a/x/b"]),
    ("a/+/+/#", &["a/b/c", "a///", "a/b/c/d"], &["a/b", "a"]),
    ("/", &["/"], &["//", "a/"]),
    ("A/b", &["A/b"], &["a/b", "A/B"]),
    ("a b/ü", &["a b/ü"], &["ab/ü", "a b/u\u{308}", "a b/u"]),
    ("\u{FEFF}a", &["\u{FEFF}a"], &["a"]),
    ("$a/b", &["$a/b"], &["a/b"]),
    ("x/$a/+", &["x/$a/b"], &["x/a/b"]),
];

/// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-4], [MQTT-3.3.2-3], [MQTT-1.5.4-3]: each filter of
/// its own client; each name published once; each client must get exactly what matches.
#[test]
fn filters_match_what_they_should() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut sender = publisher(&broker);
    for (pattern, matching, others) in MATCHES {
        let mut receiver = subscriber(&broker, &format!("{root}/{pattern}"));
        for name in matching.iter().chain(*others) {
            sender.publish(&message(&format!("{root}/{name}"), b""));
        }
        for name in *matching {
            assert_eq!(receiver.take().topic, format!("{root}/{name}"), "{pattern}");
        }
        receiver.expect_nothing();
    }
}

/// The same for retained messages, which are found the other way round.
#[test]
fn filters_find_the_retained_messages_they_should() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut sender = publisher(&broker);
    for (index, (pattern, matching, others)) in MATCHES.iter().enumerate() {
        let root = format!("{root}/{index}");
        let names: Vec<String> =
            matching.iter().chain(*others).map(|name| format!("{root}/{name}")).collect();
        for name in &names {
            sender.publish(&Message { retain: true, ..message(name, b"kept") });
        }
        let mut receiver = subscriber(&broker, &format!("{root}/{pattern}"));
        let mut got: Vec<String> = matching.iter().map(|_| receiver.take().topic).collect();
        receiver.expect_nothing();
        got.sort_unstable();
        let mut expected = names[..matching.len()].to_vec();
        expected.sort_unstable();
        assert_eq!(got, expected, "{pattern}");
        for name in &names {
            sender.publish(&Message { retain: true, ..message(name, b"") });
        }
    }
}

/// [MQTT-4.7.2-1]: `#` and `+` at the front do not reach topics that begin with `$`, live or
/// retained; a filter that names the first level does.
#[test]
fn leading_wildcards_do_not_match_dollar_topics() {
    let broker = Broker::shared();
    let name = unique("dollar");
    let topic = format!("${name}/monitor/x");
    let mut sender = publisher(&broker);
    sender.publish(&Message { retain: true, ..message(&topic, b"kept") });

    let mut named = subscriber(&broker, &format!("${name}/#"));
    assert_eq!(named.take().text(), "kept");
    let mut one = subscriber(&broker, &format!("${name}/monitor/+"));
    assert_eq!(one.take().text(), "kept");
    let mut plus = broker.connect(&v5(&unique("sub")));
    plus.subscribe("+/monitor/x", AtMostOnce);
    sender.publish(&message(&topic, b"live"));
    assert_eq!(named.take().text(), "live");
    assert_eq!(one.take().text(), "live");
    plus.expect_nothing();

    // `#` gets what all the other tests publish: it must not get this one.
    let mut all = subscriber(&broker, "#");
    sender.publish(&message(&topic, b"live"));
    let end = unique("end");
    sender.publish(&message(&end, b""));
    loop {
        let got = all.take();
        assert!(!got.topic.starts_with('$'), "{got:?}");
        if got.topic == end {
            break;
        }
    }
    sender.publish(&Message { retain: true, ..message(&topic, b"") });
}

/// [MQTT-4.7.3-3]: as long as a name can be in a packet that the broker takes: 65535 bytes.
#[test]
fn longest_topic() {
    let broker = Broker::shared();
    let root = unique("t");
    let topic = format!("{root}{}", "x".repeat(65_535 - root.len()));
    let mut client = subscriber(&broker, &topic);
    client.publish(&Message { qos: AtLeastOnce, retain: true, ..message(&topic, b"long") });
    let got = client.take();
    assert!(got.topic == topic, "another topic came back");
    client.publish(&Message { retain: true, ..message(&topic, b"") });
}

/// [MQTT-1.5.4-3]: U+FEFF is a character like any other, and so are all that UTF-8 can say but
/// control characters and non-characters, which a receiver may refuse (1.5.4).
#[test]
fn every_character_passes_unchanged() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut receiver = subscriber(&broker, &format!("{root}/#"));
    let mut sender = publisher(&broker);
    let texts = ["\u{FEFF}", "a\u{FEFF}", "\u{7FF}\u{800}", "\u{D7FF}\u{E000}", "\u{10FFFD}", " "];
    for text in texts {
        let topic = format!("{root}/{text}");
        let pair = [Property::UserProperty(text, text)];
        sender.publish(&Message { properties: list(&pair), ..message(&topic, text.as_bytes()) });
        let got = receiver.take();
        assert_eq!((got.topic.as_str(), got.text()), (topic.as_str(), text));
        assert_eq!(user_properties(&got.props()), [(text, text)]);
    }
}
