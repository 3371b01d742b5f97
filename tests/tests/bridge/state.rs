//! Who may tell a bridge's state under `$SYS/broker/connection/`: Mosquitto's own bridge, as it comes,
//! and nobody else.

use std::fs;
use std::net::SocketAddr;

use outpost_protocol::{Connect, Packet, Publish, QoS, ReasonCode, Will};
use outpost_tests::{Broker, Command, ConnAck, PubAck, message, unique, v5, v311};

use crate::control::port;

const STATE: &str = "$SYS/broker/connection/far.up/state";

/// Mosquitto with a bridge to `address`, with its notifications on, as they are unless told.
fn mosquitto_bridge(dir: &Broker, own: SocketAddr, address: SocketAddr) -> Command {
    let file = dir.dir().join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\n\
         connection up\naddress {address}\nremote_clientid far.up\n\
         bridge_protocol_version mqttv311\nrestart_timeout 1\ntopic t/# out 1\n",
        own.port()
    );
    fs::write(&file, text).expect("write mosquitto.conf");
    Command::start("mosquitto", &["-c", file.to_str().expect("UTF-8")])
}

#[test]
fn mosquittos_bridge_tells_its_state() {
    if Broker::is_external() {
        return;
    }
    let broker = Broker::start();
    let port_here = broker.address().port().to_string();
    let mosquitto = mosquitto_bridge(&broker, port(), broker.address());
    let mut sub = Command::outpost(&["sub", "-p", &port_here, "-t", STATE]);
    assert_eq!(sub.line(), "1");
    mosquitto.signal("KILL");
    assert_eq!(sub.line(), "0", "its will");
}

#[test]
fn nobody_else_may() {
    let broker = Broker::shared();
    let id = unique("c");
    let own = format!("$SYS/broker/connection/{id}/state");
    let other = "$SYS/broker/connection/somebody/state";
    let mut client = broker.connect(&v5(&id));
    let packet_id = Some(client.next_packet_id());
    let qos = QoS::AtLeastOnce;
    let publish = Publish { qos, retain: true, packet_id, ..message(&own, b"1") };
    client.send(&Packet::Publish(publish));
    assert_eq!(client.expect::<PubAck>().reason, ReasonCode::NotAuthorized, "no bridge");
    let will = Some(Will {
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Default::default(),
        topic: other,
        payload: b"0",
    });
    let bridge = Connect { bridge: true, will, ..v311(&id) };
    let mut client = broker.open(bridge.version);
    client.send(&Packet::Connect(bridge));
    assert_ne!(client.expect::<ConnAck>().reason, ReasonCode::Success, "the state of another");
}
