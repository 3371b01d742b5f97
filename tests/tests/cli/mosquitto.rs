//! Mosquitto at the other end: its clients at this broker, and its broker for these clients.

use std::net::SocketAddr;

use outpost_tests::{ForeignBroker, Make};

use crate::prelude::*;

/// A line that shows everything that does not depend on the clock.
const FORMAT: &str = "%t|%p|%q|%r|%l|%x|%X|%A|%C|%D|%E|%F|%P|%R|%S|%%|%10t|%-10t|%.3t|%08l|%5l|\
                      %-5l|%7C|%5S|%05E|@@|\\t\\\\\\e\\a";

fn arguments<'a>(address: &'a (String, String), line: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    ["-h", &address.0, "-p", &address.1]
        .into_iter()
        .chain(words)
        .chain(more.iter().copied())
        .collect()
}

fn host_and_port(address: SocketAddr) -> (String, String) {
    (address.ip().to_string(), address.port().to_string())
}

#[track_caller]
fn mosquitto_pub(address: SocketAddr, line: &str, more: &[&str]) {
    let address = host_and_port(address);
    let ended = Command::start("mosquitto_pub", &arguments(&address, line, more)).end();
    assert_eq!((ended.text(), ended.errors.as_str()), ("", ""), "{line}");
}

/// It says nothing when it is subscribed; but then it shows a retained message of this topic.
#[track_caller]
fn mosquitto_sub(address: SocketAddr, filter: &str, line: &str, more: &[&str]) -> Command {
    let ready = unique("ready");
    publish(address, &format!("-t {ready}"), &["-m", "\"ready\"", "-r"]);
    let words = host_and_port(address);
    let filters = ["-t", filter, "-t", &ready].into_iter().chain(more.iter().copied());
    let filters: Vec<_> = filters.collect();
    let mut sub = Command::start("mosquitto_sub", &arguments(&words, line, &filters));
    assert!(sub.line().contains("ready"));
    sub
}

#[test]
fn from_pub_to_mosquitto_sub() {
    let broker = Broker::shared();
    for (version, qos) in [("mqttv31", "0"), ("mqttv311", "1"), ("mqttv311", "2"), ("mqttv5", "2")]
    {
        let topic = unique("t");
        let options = format!("-V {version} -q {qos}");
        let mut sub = mosquitto_sub(broker.address(), &topic, &format!("{options} -v"), &[]);
        publish(broker.address(), &format!("{options} -t {topic} -m hello"), &[]);
        assert_eq!(sub.line(), format!("{topic} hello"));
        let mut lines = start("pub", broker.address(), &format!("{options} -t {topic} -l"), &[]);
        lines.write(b"one\ntwo\n");
        assert_eq!(lines.end().text(), "");
        assert_eq!((sub.line(), sub.line()), (format!("{topic} one"), format!("{topic} two")));
    }
}

#[test]
fn from_mosquitto_pub_to_sub() {
    let broker = Broker::shared();
    for (version, qos) in [("mqttv31", "0"), ("mqttv311", "1"), ("mqttv311", "2"), ("mqttv5", "2")]
    {
        let topic = unique("t");
        let options = format!("-V {version} -q {qos} -t {topic}");
        let sub = subscribed(broker.address(), &format!("{options} -v -C 2"), &[]);
        mosquitto_pub(broker.address(), &format!("{options} -m hello"), &[]);
        mosquitto_pub(broker.address(), &format!("{options} -n"), &[]);
        assert_eq!(sub.end().text(), format!("{topic} hello\n{topic} (null)\n"));
    }
}

/// The same messages, the same line, character for character.
#[test]
fn formats_are_shown_alike() {
    let broker = Broker::shared();
    let topic = unique("t");
    let options = "-V 5 -q 1 -D subscribe subscription-identifier 7";
    let mut theirs = mosquitto_sub(broker.address(), &topic, options, &["-F", FORMAT]);
    let line = format!("{options} -t {topic}");
    let mut ours = subscribed(broker.address(), &line, &["-F", FORMAT]);
    publish(broker.address(), &format!("-V 5 -t {topic} -m hello"), &[]);
    let properties = "-D publish content-type text -D publish correlation-data cd \
                      -D publish message-expiry-interval 5000 \
                      -D publish payload-format-indicator 1 -D publish response-topic r/t \
                      -D publish user-property k v -D publish user-property k2 v2";
    mosquitto_pub(broker.address(), &format!("-q 1 -t {topic} -m hello {properties}"), &[]);
    publish(broker.address(), &format!("-q 1 -t {topic} -m other {properties}"), &[]);
    publish(broker.address(), &format!("-t {topic} -n"), &[]);
    for _ in 0..4 {
        assert_eq!(ours.line(), theirs.line());
    }
}

/// The same JSON but for the time, where mosquitto_sub 2.0 writes a "Z" and an offset.
#[test]
fn json_is_shown_alike() {
    let broker = Broker::shared();
    for format in ["%j", "%J"] {
        let topic = unique("t");
        let filter = format!("{topic}/#");
        let format = ["-F", format];
        let mut theirs = mosquitto_sub(broker.address(), &filter, "-V 5 -q 1", &format);
        let ours = format!("-V 5 -q 1 -t {filter} -R");
        let mut ours = subscribed(broker.address(), &ours, &format);
        for payload in [r#"{"a":[1,"x"],"b":null}"#, "12", r#""text""#] {
            let line = format!("-V 5 -q 1 -t {topic}/a -D publish content-type json");
            publish(broker.address(), &line, &["-m", payload]);
            assert_eq!(after_time(&ours.line()), after_time(&theirs.line()));
        }
        publish(broker.address(), &format!("-t {topic}/a -n"), &[]);
        assert_eq!(after_time(&ours.line()), after_time(&theirs.line()));
    }
}

fn after_time(json: &str) -> String {
    let (_, rest) = json.split_once(",\"topic\":").expect("a topic after the time");
    rest.to_owned()
}

#[test]
fn at_mosquitto() {
    let mosquitto = ForeignBroker::start(Make::Mosquitto);
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let options = format!("-V {version} -q {qos} -t t");
            let sub = subscribed(mosquitto.address(), &format!("{options} -C 101 -F %q%p"), &[]);
            publish(mosquitto.address(), &format!("{options} -m x"), &[]);
            let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
            let mut lines_in = start("pub", mosquitto.address(), &format!("{options} -l"), &[]);
            lines_in.write(lines.as_bytes());
            assert_eq!(lines_in.end().text(), "");
            let expected: String = ["x"]
                .into_iter()
                .chain(lines.lines())
                .map(|payload| format!("{qos}{payload}\n"))
                .collect();
            assert_eq!(sub.end().text(), expected, "{options}");
        }
    }
}

/// A session at Mosquitto, left and taken up again.
#[test]
fn a_session_at_mosquitto() {
    let mosquitto = ForeignBroker::start(Make::Mosquitto);
    for version in ["311", "5"] {
        let line = format!("-t t -q 2 -c -i keeper{version} -V {version}");
        assert_eq!(start("sub", mosquitto.address(), &format!("{line} -E"), &[]).end().text(), "");
        for payload in ["1", "2", "3"] {
            publish(mosquitto.address(), &format!("-t t -q 2 -m {payload}"), &[]);
        }
        for (count, expected) in [("1", "1\n"), ("2", "2\n3\n")] {
            let ended = start("sub", mosquitto.address(), &format!("{line} -C {count}"), &[]).end();
            assert_eq!(ended.text(), expected, "{line}");
        }
    }
}
