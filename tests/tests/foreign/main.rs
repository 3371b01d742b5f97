//! Clients that we did not write, against the running broker. `tests/install.sh` installs them;
//! `tests/foreign/README.md` tells how they are driven.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod crowd;
mod mosquitto;
mod mqttjs_command_line;

mod rumqttc_driver_v4;
mod rumqttc_driver_v5;
mod rumqttc_flows;
mod scenarios;
mod tls;

use outpost_tests::{Kind, Library};

/// Runs scenarios with a library at a version, each as a test of its own.
macro_rules! run {
    ($($module:ident = $kind:expr => $($scenario:ident)*;)*) => {$(
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    super::scenarios::$scenario($kind);
                }
            )*
        }

    )*};
}

const PAHO_V31: Kind = Kind::new(Library::Paho, "3.1");
const PAHO_V311: Kind = Kind::new(Library::Paho, "3.1.1");
const PAHO_V5: Kind = Kind::new(Library::Paho, "5");
const AIOMQTT_V311: Kind = Kind::new(Library::Aiomqtt, "3.1.1");
const AIOMQTT_V5: Kind = Kind::new(Library::Aiomqtt, "5");
const GMQTT_V311: Kind = Kind::new(Library::Gmqtt, "3.1.1");
const GMQTT_V5: Kind = Kind::new(Library::Gmqtt, "5");
const MQTTJS_V31: Kind = Kind::new(Library::MqttJs, "3.1");
const MQTTJS_V311: Kind = Kind::new(Library::MqttJs, "3.1.1");
const MQTTJS_V5: Kind = Kind::new(Library::MqttJs, "5");
const RUMQTTC_V311: Kind = Kind { start: rumqttc_driver_v4::start, version: "3.1.1" };
const RUMQTTC_V5: Kind = Kind { start: rumqttc_driver_v5::start, version: "5" };

run! {
    paho_v31 = crate::PAHO_V31 => every_qos burst retained will session shared;
    paho_v311 = crate::PAHO_V311 => every_qos burst retained will session shared;
    paho_v5 = crate::PAHO_V5 => every_qos burst retained will session shared
        delayed_will expiry alias_to_the_broker user_properties;
    aiomqtt_v311 = crate::AIOMQTT_V311 => every_qos burst retained will session shared;
    aiomqtt_v5 = crate::AIOMQTT_V5 => every_qos burst retained will session shared
        delayed_will expiry alias_to_the_broker user_properties;
    gmqtt_v311 = crate::GMQTT_V311 => every_qos burst retained will session shared;
    gmqtt_v5 = crate::GMQTT_V5 => every_qos burst retained will session shared
        delayed_will expiry alias_to_the_broker alias_from_the_broker user_properties;
    mqttjs_v31 = crate::MQTTJS_V31 => every_qos burst retained will session shared;
    mqttjs_v311 = crate::MQTTJS_V311 => every_qos burst retained will session shared;
    mqttjs_v5 = crate::MQTTJS_V5 => every_qos burst retained will session shared
        delayed_will expiry alias_to_the_broker alias_from_the_broker user_properties;
    rumqttc_v311 = crate::RUMQTTC_V311 => every_qos burst retained will session shared;
    rumqttc_v5 = crate::RUMQTTC_V5 => every_qos burst retained will session shared
        delayed_will expiry alias_to_the_broker user_properties;
}
