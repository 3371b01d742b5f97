//! What every client has to be able to do, whatever the library.
//!
//! That something is not delivered is shown by what is delivered next.

use std::thread;
use std::time::Duration;

use outpost_tests::{Broker, ForeignClient, ForeignMessage, Kind, unique};
use serde_json::json;

/// A little more than a second: what expires after a second has expired, however it is rounded.
const OVER_A_SECOND: Duration = Duration::from_millis(2_100);

/// What a client that comes again asks for.
const KEEP: &str = r#"{"clean": false, "expiry_s": 600}"#;

/// A message without properties.
fn plain(topic: &str, payload: &str, qos: u64) -> ForeignMessage {
    ForeignMessage {
        topic: topic.to_owned(),
        payload: payload.to_owned(),
        qos,
        retain: false,
        expiry_s: None,
        user: Vec::new(),
    }
}

fn keep() -> serde_json::Value {
    serde_json::from_str(KEEP).expect("it is JSON")
}

/// Each QoS published to a subscription of each QoS, empty, short and large payloads; then nothing
/// after UNSUBSCRIBE.
pub fn every_qos(kind: Kind) {
    let broker = Broker::shared();
    let root = unique("qos");
    let mut subscriber = kind.connect(&broker);
    let mut publisher = kind.connect(&broker);
    let large = "0123456789abcdef".repeat(20_000);
    for granted in 0..=2 {
        let topic = format!("{root}/{granted}");
        subscriber.subscribe(&format!("{topic}/#"), granted);
        for qos in 0..=2 {
            let payload = ["", "21.5 °C", &large][usize::from(2 - qos)];
            publisher.publish(&topic, payload, qos);
            assert_eq!(
                subscriber.message(),
                plain(&topic, payload, u64::from(qos.min(granted))),
                "published with {qos}, subscribed with {granted}"
            );
        }
    }
    subscriber.unsubscribe(&format!("{root}/1/#"));
    publisher.publish(&format!("{root}/1"), "unwanted", 1);
    publisher.publish(&format!("{root}/2"), "wanted", 1);
    assert_eq!(subscriber.message().payload, "wanted");
}

/// Many messages at once with QoS 1 and 2: all come once, in order.
pub fn burst(kind: Kind) {
    const COUNT: u64 = 300;
    let broker = Broker::shared();
    for qos in [1, 2] {
        let topic = unique("burst");
        let mut subscriber = kind.connect(&broker);
        subscriber.subscribe(&topic, qos);
        let mut publisher = kind.connect(&broker);
        for number in 0..COUNT {
            publisher.send_publish(&topic, &number.to_string(), qos, &json!({}));
        }
        let mut tags: Vec<u64> = (0..COUNT)
            .map(|_| {
                let event = publisher.next_event();
                assert_eq!(event["event"], "published", "{event}");
                event["tag"].as_u64().expect("a number")
            })
            .collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..COUNT).collect::<Vec<_>>());
        for number in 0..COUNT {
            assert_eq!(subscriber.message(), plain(&topic, &number.to_string(), u64::from(qos)));
        }
    }
}

/// Set, got by who comes later, replaced, cleared.
pub fn retained(kind: Kind) {
    let broker = Broker::shared();
    let topic = unique("retained");
    let mut publisher = kind.connect(&broker);
    let mut first = kind.connect(&broker);
    first.subscribe(&topic, 2);
    publisher.publish_with(&topic, "old", 1, &json!({"retain": true}));
    publisher.publish_with(&topic, "new", 2, &json!({"retain": true}));
    assert_eq!(first.message(), plain(&topic, "old", 1), "it was subscribed already");
    assert_eq!(first.message(), plain(&topic, "new", 2));

    let mut second = kind.connect(&broker);
    second.subscribe(&topic, 1);
    assert_eq!(second.message(), ForeignMessage { retain: true, ..plain(&topic, "new", 1) });

    publisher.publish_with(&topic, "", 1, &json!({"retain": true}));
    let mut third = kind.connect(&broker);
    third.subscribe(&topic, 1);
    publisher.publish(&topic, "only this", 1);
    assert_eq!(third.message(), plain(&topic, "only this", 1));
    assert_eq!(second.message(), plain(&topic, "", 1));
}

/// Published when the client dies, not when it says good-bye.
pub fn will(kind: Kind) {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut witness = kind.connect(&broker);
    witness.subscribe(&topic, 2);
    for qos in 0..=2 {
        let will =
            json!({"will": {"topic": topic, "payload": "died", "qos": qos, "retain": false}});
        kind.connect_with(&broker, &unique("mortal"), &will).kill();
        assert_eq!(witness.message(), plain(&topic, "died", qos));
        kind.connect_with(&broker, &unique("polite"), &will).disconnect();
    }
    let will = json!({"topic": topic, "payload": "stays", "qos": 1, "retain": true});
    kind.connect_with(&broker, &unique("mortal"), &json!({"will": will})).kill();
    assert_eq!(witness.message(), plain(&topic, "stays", 1));
    let mut later = kind.connect(&broker);
    later.subscribe(&topic, 1);
    assert_eq!(later.message(), ForeignMessage { retain: true, ..plain(&topic, "stays", 1) });
    later.publish_with(&topic, "", 1, &json!({"retain": true}));
}

/// Not published when the client is back before the delay is over; with user properties when it
/// has no delay.
pub fn delayed_will(kind: Kind) {
    let broker = Broker::shared();
    let topic = unique("delayed");
    let mut witness = kind.connect(&broker);
    witness.subscribe(&topic, 1);
    let id = unique("mortal");
    let mut options = keep();
    options["will"] = json!({
        "topic": topic, "payload": "never", "qos": 1, "retain": false, "delay_s": 500,
    });
    kind.connect_with(&broker, &id, &options).kill();
    options["will"] = json!({
        "topic": topic, "payload": "died", "qos": 1, "retain": false, "user": [["why", "test"]],
    });
    kind.connect_with(&broker, &id, &options).kill();
    let user = vec![("why".to_owned(), "test".to_owned())];
    assert_eq!(witness.message(), ForeignMessage { user, ..plain(&topic, "died", 1) });
}

/// What was published while the client was away waits for it, whether it said good-bye or not;
/// what it does not want any more is gone.
pub fn session(kind: Kind) {
    let broker = Broker::shared();
    let (id, root) = (unique("session"), unique("kept"));
    let mut publisher = kind.connect(&broker);
    let mut client = kind.connect_with(&broker, &id, &keep());
    assert_ne!(client.session_present(), Some(true));
    client.subscribe(&format!("{root}/#"), 2);
    for dies in [false, true] {
        if dies {
            // A client without a memory of its own must not die within a flow: rumqttc takes the
            // PUBREL that it does not remember for an error. Once it has published, the flows of
            // all that it received before are complete.
            client.publish(&unique("flows"), "", 2);
            client.kill();
        } else {
            client.disconnect();
        }
        let numbers: Vec<(String, String, u8)> = (0..20)
            .map(|number| (number, 1 + number % 2))
            .map(|(number, qos)| (format!("{root}/{qos}"), number.to_string(), qos))
            .collect();
        publisher.publish_all(numbers.iter().map(|(topic, n, qos)| (&**topic, &**n, *qos)));
        client = kind.connect_with(&broker, &id, &keep());
        // Before 3.1.1 a CONNACK does not tell.
        assert!(kind.version == "3.1" || client.session_present() != Some(false));
        let messages: Vec<ForeignMessage> = (0..20).map(|_| client.message()).collect();
        for qos in 1..=2 {
            let expected = (0..20)
                .filter(|number| 1 + number % 2 == qos)
                .map(|number: u64| plain(&format!("{root}/{qos}"), &number.to_string(), qos));
            let of_qos = messages.iter().filter(|message| message.qos == qos).cloned();
            assert_eq!(of_qos.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
    client.disconnect();
    publisher.publish(&format!("{root}/1"), "too late", 1);
    let mut client = kind.connect_with(&broker, &id, &json!({"clean": true}));
    assert_ne!(client.session_present(), Some(true));
    client.subscribe(&format!("{root}/#"), 1);
    publisher.publish(&format!("{root}/1"), "in time", 1);
    assert_eq!(client.message().payload, "in time");
}

/// Each message goes to one of the members, and each of them gets some.
pub fn shared(kind: Kind) {
    const COUNT: usize = 40;
    let broker = Broker::shared();
    let (root, last) = (unique("shared"), unique("last"));
    let mut members = [kind.connect(&broker), kind.connect(&broker)];
    for member in &mut members {
        member.subscribe(&format!("$share/group/{root}/#"), 1);
        member.subscribe(&last, 1);
    }
    let mut publisher = kind.connect(&broker);
    let (topic, numbers) = (format!("{root}/a"), (0..COUNT).map(|number| number.to_string()));
    let numbers: Vec<String> = numbers.collect();
    publisher.publish_all(numbers.iter().map(|number| (&*topic, &**number, 1)));
    publisher.publish(&last, "", 1);
    let mut numbers = Vec::new();
    for member in &mut members {
        let before = numbers.len();
        numbers.extend(numbers_until(member, &last));
        assert!(numbers.len() > before, "each member gets some");
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

fn numbers_until(client: &mut ForeignClient, last: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        let message = client.message();
        if message.topic == last {
            return numbers;
        }
        numbers.push(message.payload.parse().expect("a number"));
    }
}

/// A message that expires while the client is away does not come; one that does not, comes with
/// what is left of its time.
pub fn expiry(kind: Kind) {
    let broker = Broker::shared();
    let (id, topic) = (unique("expiry"), unique("milk"));
    let mut client = kind.connect_with(&broker, &id, &keep());
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = kind.connect(&broker);
    publisher.publish_with(&topic, "sour", 1, &json!({"expiry_s": 1}));
    publisher.publish_with(&topic, "fresh", 1, &json!({"expiry_s": 100}));
    publisher.publish(&topic, "honey", 1);
    thread::sleep(OVER_A_SECOND);
    let mut client = kind.connect_with(&broker, &id, &keep());
    let fresh = client.message();
    assert_eq!(fresh.payload, "fresh");
    assert!(fresh.expiry_s.is_some_and(|left| (60..=98).contains(&left)), "{fresh:?}");
    assert_eq!(client.message(), plain(&topic, "honey", 1));
}

/// The topic once, then only its alias.
pub fn alias_to_the_broker(kind: Kind) {
    let broker = Broker::shared();
    let topic = unique("alias");
    let mut subscriber = kind.connect(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = kind.connect(&broker);
    publisher.publish_with(&topic, "with its name", 1, &json!({"alias": 1}));
    publisher.publish_with("", "with its alias", 1, &json!({"alias": 1}));
    assert_eq!(subscriber.message(), plain(&topic, "with its name", 1));
    assert_eq!(subscriber.message(), plain(&topic, "with its alias", 1));
}

/// A client that allows aliases sees the topic all the same.
pub fn alias_from_the_broker(kind: Kind) {
    let broker = Broker::shared();
    let root = unique("alias");
    let mut subscriber = kind.connect_with(&broker, &unique("alias"), &json!({"alias_maximum": 2}));
    subscriber.subscribe(&format!("{root}/#"), 1);
    let mut publisher = kind.connect(&broker);
    for number in 0..12 {
        let topic = format!("{root}/{}", number % 3);
        publisher.publish(&topic, &number.to_string(), 1);
        assert_eq!(subscriber.message(), plain(&topic, &number.to_string(), 1));
    }
}

/// In their order, names twice as well.
pub fn user_properties(kind: Kind) {
    let broker = Broker::shared();
    let topic = unique("user");
    let mut subscriber = kind.connect(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = kind.connect(&broker);
    let pairs = [["zone", "7"], ["tag", "b"], ["tag", "a"], ["", "ü"]];
    publisher.publish_with(&topic, "", 2, &json!({"user": pairs}));
    let user = pairs.map(|[name, value]| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(subscriber.message(), ForeignMessage { user, ..plain(&topic, "", 2) });
}
