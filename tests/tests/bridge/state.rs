//! Whether a bridge is there: who may tell it under `$SYS/broker/connection/`, and who does.

use std::fs;
use std::net::SocketAddr;

use outpost_protocol::{Connect, Packet, Publish, QoS, ReasonCode, Will};
use outpost_tests::{
    Broker, Command, ConnAck, ForeignBroker, Make, PubAck, message, unique, v5, v311,
};

use crate::control::{bridge, centre, gateway, port};

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

/// Both brokers know it of a bridge between two Outposts.
#[test]
fn outposts_tell_the_state_of_their_bridges() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let mut gateway = gateway(address);
    let filter = "$SYS/broker/connection/+/state";
    let mut here = gateway.connect(&v5("here"));
    here.subscribe(filter, QoS::AtMostOnce);
    let first = here.take();
    assert_eq!(first.topic, "$SYS/broker/connection/outpost-up/state");
    assert_eq!(first.payload, b"0", "not yet");
    let central = centre(address);
    let mut there = central.connect(&v5("there"));
    there.subscribe(filter, QoS::AtMostOnce);
    assert_eq!(here.take().payload, b"1");
    let first = there.take();
    assert_eq!(first.topic, "$SYS/broker/connection/outpost-up/state");
    assert_eq!(first.payload, b"1");
    assert_eq!(bridge(&gateway, &["pause", "up"]).code, Some(0));
    assert_eq!((here.take().payload, there.take().payload), (b"0".into(), b"0".into()));
    assert_eq!(bridge(&gateway, &["resume", "up"]).code, Some(0));
    assert_eq!((here.take().payload, there.take().payload), (b"1".into(), b"1".into()));
    gateway.kill();
    assert_eq!(there.take().payload, b"0");
}

/// A broker of another make is told by messages and by the will.
#[test]
fn another_broker_is_told_on_a_topic_of_its_own() {
    for version in ["3.1.1", "5"] {
        let mut remote = ForeignBroker::start(Make::Mosquitto);
        let port = remote.address().port().to_string();
        let topic = "bridges/{client_id}/{bridge}";
        let mut gateway = Broker::with_config(&format!(
            "[[bridge]]\nname = \"up\"\naddress = \"{}\"\nversion = \"{version}\"\n\
             reconnect_min_ms = 50\nreconnect_max_ms = 200\nnotification_topic = \"{topic}\"\n\
             [[bridge.topic]]\nfilter = \"t/#\"\ndirection = \"out\"\n",
            remote.address()
        ));
        let mut sub = Command::outpost(&["sub", "-p", &port, "-t", "bridges/outpost-up/up"]);
        assert_eq!(sub.line(), "1", "{version}");
        assert_eq!(bridge(&gateway, &["pause", "up"]).code, Some(0));
        assert_eq!(sub.line(), "0", "{version}");
        assert_eq!(bridge(&gateway, &["resume", "up"]).code, Some(0));
        assert_eq!(sub.line(), "1", "{version}");
        gateway.kill();
        assert_eq!(sub.line(), "0", "{version}: its will");
        remote.kill();
    }
}
