//! Whatever publishes at the gateway is heard at the centre, and commands come back.

use std::collections::BTreeMap;

use outpost_tests::{Command, ForeignClient, Kind, Library, built, unique};
use serde_json::json;

use crate::site::{SENSOR, Site};

const COUNT: usize = 25;

/// What came, by topic.
type Heard = BTreeMap<String, Vec<String>>;

#[test]
fn the_centre_hears_every_publisher_of_the_gateway() {
    let site = Site::start();
    let mut receiver = site.receiver();
    publish_with(Kind::new(Library::Paho, "3.1.1"), &site, "telemetry/paho", 2);
    publish_with(Kind::new(Library::MqttJs, "5"), &site, "telemetry/mqttjs", 1);
    publish_with_mosquitto(&site, "telemetry/mosquitto");
    publish_with_firmware_client(&site, "telemetry/sensor");
    let heard = hear(&mut receiver, 4 * COUNT);
    let numbers: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    for publisher in ["paho", "mqttjs", "mosquitto"] {
        assert_eq!(heard[&format!("telemetry/{publisher}")], numbers, "{publisher}");
    }
    let readings = heard["telemetry/sensor"].iter();
    let readings = readings.map(|json| serde_json::from_str::<serde_json::Value>(json));
    let readings = readings.map(|reading| reading.expect("JSON")["number"].to_string());
    assert_eq!(readings.collect::<Vec<_>>(), numbers, "the firmware client");
}

/// A program at the gateway hears a command that was given at the centre, at once and after it was
/// away.
#[test]
fn commands_of_the_centre_come_to_the_gateway() {
    const PAHO: Kind = Kind::new(Library::Paho, "5");
    let site = Site::start();
    let id = unique("valve");
    let keep = json!({"clean": false, "expiry_s": 3600});
    let mut valve = PAHO.connect_with(&site.gateway, &id, &keep);
    valve.subscribe("commands/valve/#", 2);
    let mut operator = PAHO.connect(&site.central);
    // Retained: it comes whether the bridge has subscribed at the centre already or not.
    operator.publish_with("commands/valve/state", "open", 1, &json!({"retain": true}));
    assert_eq!(valve.message().payload, "open");
    valve.disconnect();
    operator.publish("commands/valve/1", "close", 2);
    let mut valve = PAHO.connect_with(&site.gateway, &id, &keep);
    assert_eq!(valve.message().payload, "close");
}

fn publish_with(kind: Kind, site: &Site, topic: &str, qos: u8) {
    let mut client = kind.connect(&site.gateway);
    let numbers: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    client.publish_all(numbers.iter().map(|number| (topic, number.as_str(), qos)));
}

/// One message a line, over TLS, with user name and password.
fn publish_with_mosquitto(site: &Site, topic: &str) {
    let port = site.gateway_tls_port.to_string();
    let ca = site.certificates.path("ca.pem");
    let mut publisher = Command::start(
        "mosquitto_pub",
        &[
            "-V",
            "mqttv5",
            "-h",
            "localhost",
            "-p",
            &port,
            "--cafile",
            &ca,
            "-u",
            SENSOR.0,
            "-P",
            SENSOR.1,
            "-t",
            topic,
            "-q",
            "1",
            "-l",
        ],
    );
    for number in 0..COUNT {
        publisher.write(format!("{number}\n").as_bytes());
    }
    let ended = publisher.end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
}

fn publish_with_firmware_client(site: &Site, topic: &str) {
    let how = "cargo build -p outpost-firmware-client --example sensor";
    let program = built("examples/sensor", how).into_os_string();
    let (address, count) = (site.gateway.address().to_string(), COUNT.to_string());
    let sensor = Command::start(
        program.to_str().expect("the target folder is UTF-8"),
        &["--address", &address, "--topic", topic, "--count", &count, "--interval-ms", "1"],
    );
    let ended = sensor.end();
    assert_eq!(ended.text().lines().count(), COUNT);
    assert_eq!(ended.errors, "");
}

fn hear(receiver: &mut ForeignClient, count: usize) -> Heard {
    let mut heard = Heard::new();
    for _ in 0..count {
        let message = receiver.message();
        heard.entry(message.topic).or_default().push(message.payload);
    }
    heard
}
