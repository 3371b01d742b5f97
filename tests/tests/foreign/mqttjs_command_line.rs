//! `mqtt_pub` and `mqtt_sub`, the command line of MQTT.js.

use outpost_tests::{Broker, Command, tests_folder, unique};

/// Starts one of the programs.
fn start(program: &str, broker: &Broker, version: &str, arguments: &[&str]) -> Command {
    let path = tests_folder().join("node_modules/.bin").join(program);
    let port = broker.address().port().to_string();
    let common = [path.to_str().expect("UTF-8"), "-h", "127.0.0.1", "-p", &port, "-V", version];
    Command::start("node", &[&common, arguments].concat())
}

fn publish(broker: &Broker, version: &str, arguments: &[&str]) {
    let ended = start("mqtt_pub", broker, version, arguments).end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{arguments:?}");
}

/// It does not tell when it has subscribed: a retained message does.
fn subscriber(broker: &Broker, version: &str, topic: &str, arguments: &[&str]) -> Command {
    publish(broker, version, &["-t", topic, "-m", "ready", "-r", "-q", "1"]);
    let mut command =
        start("mqtt_sub", broker, version, &[&["-t", topic, "-q", "2"], arguments].concat());
    assert_eq!(command.line(), "ready");
    command
}

#[test]
fn every_qos_and_retained() {
    let broker = Broker::shared();
    for version in ["4", "5"] {
        let topic = unique("cli");
        let mut subscriber = subscriber(&broker, version, &topic, &[]);
        for qos in ["0", "1", "2"] {
            publish(&broker, version, &["-t", &topic, "-q", qos, "-m", qos]);
            assert_eq!(subscriber.line(), qos);
        }
        publish(&broker, version, &["-t", &topic, "-q", "1", "-r", "-m", "kept"]);
        assert_eq!(subscriber.line(), "kept");
        let mut later = start("mqtt_sub", &broker, version, &["-t", &topic, "-v"]);
        assert_eq!(later.line(), format!("{topic} kept"));
    }
}

#[test]
fn will() {
    let broker = Broker::shared();
    for version in ["4", "5"] {
        let (topic, other) = (unique("will"), unique("other"));
        let mut witness = subscriber(&broker, version, &topic, &[]);
        let will = ["--will-topic", &topic, "--will-message", "died", "--will-qos", "1"];
        subscriber(&broker, version, &other, &will).signal("KILL");
        assert_eq!(witness.line(), "died");
    }
}
