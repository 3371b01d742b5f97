//! mosquitto_pub and mosquitto_sub, 3.1, 3.1.1 and 5.0.

use std::thread;
use std::time::Duration;

use outpost_tests::{Broker, Command, unique};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// How mosquitto_sub writes a message: topic, QoS, retain flag, payload.
const FORMAT: &str = "message %t %q %r %p";

/// Starts a mosquitto_sub that has subscribed. `-d` has it tell about its packets, and stdbuf (of
/// Debian's coreutils) has it write that at once, as to a terminal.
fn subscriber(broker: &Broker, version: &str, arguments: &[&str]) -> Command {
    let port = broker.address().port().to_string();
    let common = ["-oL", "mosquitto_sub", "-V", version, "-p", &port, "-d", "-F", FORMAT];
    let mut command = Command::start("stdbuf", &[&common, arguments].concat());
    command.line_with("Subscribed");
    command
}

/// The next message.
fn message(subscriber: &mut Command) -> String {
    let line = subscriber.line_with("message ");
    line.strip_prefix("message ").expect("debug lines hold no 'message '").to_owned()
}

/// Runs a mosquitto_pub to its end. It has nothing to complain about.
fn publish(broker: &Broker, version: &str, arguments: &[&str]) {
    let port = broker.address().port().to_string();
    let common = ["-V", version, "-p", &port];
    let ended = Command::start("mosquitto_pub", &[&common, arguments].concat()).end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{arguments:?}");
}

#[test]
fn every_qos() {
    let broker = Broker::shared();
    for version in VERSIONS {
        let topic = unique("qos");
        for granted in 0..=2 {
            let granted_text = granted.to_string();
            let mut subscriber =
                subscriber(&broker, version, &["-t", &topic, "-q", &granted_text, "-C", "3"]);
            for qos in 0..=2 {
                publish(&broker, version, &["-t", &topic, "-q", &qos.to_string(), "-m", "21.5"]);
                let lower = qos.min(granted);
                assert_eq!(message(&mut subscriber), format!("{topic} {lower} 0 21.5"));
            }
            assert_eq!(subscriber.end().code, Some(0), "it has got what it wanted");
        }
    }
}

/// Lines of its input, each a message.
#[test]
fn many_lines() {
    const COUNT: usize = 500;
    let broker = Broker::shared();
    for version in VERSIONS {
        let topic = unique("lines");
        let mut subscriber = subscriber(&broker, version, &["-t", &topic, "-q", "2"]);
        let port = broker.address().port().to_string();
        let mut publisher = Command::start(
            "mosquitto_pub",
            &["-V", version, "-p", &port, "-t", &topic, "-q", "2", "-l"],
        );
        for number in 0..COUNT {
            publisher.write(format!("{number}\n").as_bytes());
        }
        assert_eq!(publisher.end().code, Some(0));
        for number in 0..COUNT {
            assert_eq!(message(&mut subscriber), format!("{topic} 2 0 {number}"));
        }
    }
}

#[test]
fn retained() {
    let broker = Broker::shared();
    for version in VERSIONS {
        let topic = unique("retained");
        publish(&broker, version, &["-t", &topic, "-q", "1", "-r", "-m", "kept"]);
        let mut first = subscriber(&broker, version, &["-t", &topic, "-q", "1"]);
        assert_eq!(message(&mut first), format!("{topic} 1 1 kept"));
        publish(&broker, version, &["-t", &topic, "-q", "1", "-r", "-n"]);
        assert_eq!(message(&mut first), format!("{topic} 1 0 "));
        let mut second = subscriber(&broker, version, &["-t", &topic, "-q", "1"]);
        publish(&broker, version, &["-t", &topic, "-q", "1", "-m", "only this"]);
        assert_eq!(message(&mut second), format!("{topic} 1 0 only this"));
    }
}

#[test]
fn will() {
    let broker = Broker::shared();
    for version in VERSIONS {
        let (topic, other) = (unique("will"), unique("other"));
        let mut witness = subscriber(&broker, version, &["-t", &topic, "-q", "2"]);
        let will = ["-t", &other, "--will-topic", &topic, "--will-qos", "2", "--will-payload"];
        // Killed, it says nothing; when it has what it wanted, it disconnects. (By SIGINT it would
        // disconnect and ask for its will.)
        let mortal = subscriber(&broker, version, &[&will[..], &["died"]].concat());
        mortal.signal("KILL");
        assert_eq!(message(&mut witness), format!("{topic} 2 0 died"));
        let polite = subscriber(&broker, version, &[&will[..], &["left", "-C", "1"]].concat());
        publish(&broker, version, &["-t", &other, "-m", "enough"]);
        assert_eq!(polite.end().code, Some(0));
        publish(&broker, version, &["-t", &topic, "-q", "1", "-m", "last"]);
        assert_eq!(message(&mut witness), format!("{topic} 1 0 last"));
    }
}

/// What comes while it is away, it gets when it is back: first QoS 1 and 2 messages, each once.
#[test]
fn session() {
    let broker = Broker::shared();
    for version in VERSIONS {
        let (id, topic) = (unique("session"), unique("kept"));
        let mut arguments = vec!["-i", &id, "-c", "-t", &topic, "-q", "2"];
        if version == "mqttv5" {
            arguments.extend(["-x", "600"]);
        }
        let away = subscriber(&broker, version, &arguments);
        away.signal("INT");
        away.end();
        for number in 0..4 {
            let (qos, payload) = ((1 + number % 2).to_string(), number.to_string());
            publish(&broker, version, &["-t", &topic, "-q", &qos, "-m", &payload]);
        }
        let port = broker.address().port().to_string();
        let common = ["-V", version, "-p", &port, "-F", FORMAT, "-C", "4"];
        let back = Command::start("mosquitto_sub", &[&common, &arguments[..]].concat()).end();
        let lines: Vec<&str> = back.text().lines().collect();
        let of_qos = |qos: &str| {
            let start = format!("message {topic} {qos} 0 ");
            lines.iter().filter_map(|line| line.strip_prefix(&start)).collect::<Vec<_>>()
        };
        assert_eq!((of_qos("1"), of_qos("2")), (vec!["0", "2"], vec!["1", "3"]), "{version}");
        assert_eq!(back.errors, "");
    }
}

#[test]
fn shared_subscription() {
    const COUNT: usize = 20;
    let broker = Broker::shared();
    for version in VERSIONS {
        let topic = unique("shared");
        let (filter, last) = (format!("$share/group/{topic}"), unique("last"));
        let arguments = ["-t", &filter, "-t", &last, "-q", "1"];
        let mut members = [(); 2].map(|()| subscriber(&broker, version, &arguments));
        for number in 0..COUNT {
            publish(&broker, version, &["-t", &topic, "-q", "1", "-m", &number.to_string()]);
        }
        publish(&broker, version, &["-t", &last, "-q", "1", "-m", "last"]);
        let mut numbers: Vec<usize> = Vec::new();
        for member in &mut members {
            let before = numbers.len();
            loop {
                let message = message(member);
                let (_, payload) = message.rsplit_once(' ').expect("topic, QoS, retain, payload");
                let Ok(number) = payload.parse() else { break };
                numbers.push(number);
            }
            assert!(numbers.len() > before, "each member gets some");
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "{version}");
    }
}

/// Expiry, user properties, and what else of 5.0 comes with a message.
#[test]
fn properties_and_expiry() {
    let broker = Broker::shared();
    let (id, topic) = (unique("expiry"), unique("milk"));
    let arguments = ["-i", &id, "-c", "-x", "600", "-t", &topic, "-q", "1"];
    let away = subscriber(&broker, "mqttv5", &arguments);
    away.signal("INT");
    away.end();
    let message = ["-t", &topic, "-q", "1", "-m"];
    let expiry = ["-D", "publish", "message-expiry-interval"];
    let others = [
        "-D",
        "publish",
        "user-property",
        "zone",
        "7",
        "-D",
        "publish",
        "user-property",
        "zone",
        "8",
        "-D",
        "publish",
        "content-type",
        "text/plain",
    ];
    publish(&broker, "mqttv5", &[&message[..], &["sour"], &expiry, &["1"]].concat());
    publish(&broker, "mqttv5", &[&message[..], &["fresh"], &expiry, &["100"], &others].concat());
    // What expires after a second has expired after two, however it is rounded.
    thread::sleep(Duration::from_millis(2_100));
    let port = broker.address().port().to_string();
    let common = ["-V", "mqttv5", "-p", &port, "-F", "%p|%C|%P|%E", "-C", "1"];
    let back = Command::start("mosquitto_sub", &[&common, &arguments[..]].concat()).end();
    let fields: Vec<&str> = back.text().trim_end().split('|').collect();
    assert_eq!(fields[..3], ["fresh", "text/plain", "zone:7 zone:8"]);
    let left: u32 = fields[3].parse().expect("seconds that are left");
    assert!((60..=98).contains(&left), "{left}");
}

/// The topic goes once and then its alias; mosquitto_pub keeps the topic empty after the first.
#[test]
fn topic_alias() {
    let broker = Broker::shared();
    let topic = unique("alias");
    let mut subscriber = subscriber(&broker, "mqttv5", &["-t", &topic, "-q", "1"]);
    let alias = ["-D", "publish", "topic-alias", "3"];
    publish(
        &broker,
        "mqttv5",
        &[&["-t", &topic, "-q", "1", "-m", "x", "--repeat", "3"], &alias[..]].concat(),
    );
    for _ in 0..3 {
        assert_eq!(message(&mut subscriber), format!("{topic} 1 0 x"));
    }
}

/// What a user sees when the broker does not let somebody in or take something.
#[test]
fn what_a_user_is_told() {
    let broker = Broker::with_config("[limits]\nmaximum_qos = 1\n");
    let port = broker.address().port().to_string();
    let end = |arguments: &[&str]| {
        let ended = Command::start("mosquitto_pub", &[&["-p", &port], arguments].concat()).end();
        (ended.code == Some(0), ended.errors)
    };
    let long = "x".repeat(300);
    let (is_done, errors) = end(&["-V", "mqttv5", "-i", &long, "-t", "t", "-m", "m"]);
    assert!(!is_done && errors.contains("Client Identifier not valid"), "{errors}");
    let (is_done, errors) = end(&["-V", "mqttv311", "-i", &long, "-t", "t", "-m", "m"]);
    assert!(!is_done && errors.contains("identifier rejected"), "{errors}");
    let (is_done, errors) = end(&["-V", "mqttv5", "-t", "t", "-q", "2", "-m", "m"]);
    // mosquitto_pub 2.0 says so and ends with 0.
    assert!(errors.contains("QoS not supported"), "{is_done} {errors}");
}
