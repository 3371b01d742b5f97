//! All libraries and versions at once.

use std::collections::BTreeSet;

use outpost_tests::{Broker, Kind, unique};

const ALL: [(&str, Kind); 12] = [
    ("paho 3.1", crate::PAHO_V31),
    ("paho 3.1.1", crate::PAHO_V311),
    ("paho 5", crate::PAHO_V5),
    ("aiomqtt 3.1.1", crate::AIOMQTT_V311),
    ("aiomqtt 5", crate::AIOMQTT_V5),
    ("gmqtt 3.1.1", crate::GMQTT_V311),
    ("gmqtt 5", crate::GMQTT_V5),
    ("MQTT.js 3.1", crate::MQTTJS_V31),
    ("MQTT.js 3.1.1", crate::MQTTJS_V311),
    ("MQTT.js 5", crate::MQTTJS_V5),
    ("rumqttc 3.1.1", crate::RUMQTTC_V311),
    ("rumqttc 5", crate::RUMQTTC_V5),
];

/// Each publishes once, and each hears everybody.
#[test]
fn all_hear_each_other() {
    let broker = Broker::shared();
    let root = unique("crowd");
    let mut clients = ALL.map(|(_, kind)| kind.connect(&broker));
    for client in &mut clients {
        client.subscribe(&format!("{root}/+"), 2);
    }
    for (number, (client, (name, _))) in clients.iter_mut().zip(ALL).enumerate() {
        let qos = u8::try_from(number % 3).expect("less than 3");
        client.publish(&format!("{root}/{number}"), name, qos);
    }
    let everybody: BTreeSet<String> = ALL.map(|(name, _)| name.to_owned()).into();
    for (mut client, (name, _)) in clients.into_iter().zip(ALL) {
        let heard: BTreeSet<String> = ALL.map(|_| client.message().payload).into();
        assert_eq!(heard, everybody, "heard by {name}");
    }
}
