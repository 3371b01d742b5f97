//! Only what the other Outpost has subscribers for is sent, where the bridge asks for it.

use std::net::SocketAddr;

use outpost_protocol::{Connect, Properties, Property, Publish, QoS};
use outpost_tests::{Broker, FakeRemote, RawClient, message, v5};

use crate::control::{bridge, centre, port, status, wait_for};

fn gateway(central: SocketAddr) -> Broker {
    gateway_with(central, "")
}

fn gateway_with(central: SocketAddr, more: &str) -> Broker {
    Broker::with_config(&format!(
        "[sys]\ninterval_s = 1\n\
         [[bridge]]\nname = \"up\"\naddress = \"{central}\"\ninterest = true\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n{more}\
         [[bridge.topic]]\nfilter = \"t/#\"\ndirection = \"out\"\nremote_prefix = \"far/\"\n"
    ))
}

fn publish(client: &mut RawClient, topic: &str, payload: &str) {
    client.publish(&Publish { qos: QoS::AtLeastOnce, ..message(topic, payload.as_bytes()) });
}

fn retain(client: &mut RawClient, topic: &str, payload: &str) {
    let publish = message(topic, payload.as_bytes());
    client.publish(&Publish { qos: QoS::AtLeastOnce, retain: true, ..publish });
}

fn drained(gateway: &Broker) {
    assert_eq!(bridge(gateway, &["drain", "up", "--timeout", "10"]).text(), "up: drained\n");
}

#[test]
fn what_nobody_wants_does_not_wait_and_is_not_sent() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let central = centre(address);
    let expiry = [Property::SessionExpiryInterval(1000)];
    let properties = Properties::list(&expiry);
    let durable = Connect { clean_start: false, properties, ..v5("reader") };
    let mut reader = central.connect(&durable);
    reader.subscribe("far/t/+/wanted", QoS::AtLeastOnce);
    let gateway = gateway(address);
    let mut sensor = gateway.connect(&v5("sensor"));
    wait_for(&gateway, |s| s["state"] == "connected");
    retain(&mut sensor, "t/1/state", "on");
    for topic in ["t/1/wanted", "t/1/other", "t/2/wanted", "t/1/other"] {
        publish(&mut sensor, topic, topic);
    }
    assert_eq!(reader.take().topic, "far/t/1/wanted");
    assert_eq!(reader.take().topic, "far/t/2/wanted");
    drained(&gateway);
    assert_eq!(status(&gateway)["out"]["forwarded"], 2);

    // Who comes later gets what is retained, and what follows.
    let mut late = central.connect(&v5("late"));
    late.subscribe("far/t/1/#", QoS::AtLeastOnce);
    let state = late.take();
    assert_eq!((&*state.topic, state.payload.as_slice()), ("far/t/1/state", &b"on"[..]));
    publish(&mut sensor, "t/1/other", "now");
    assert_eq!(late.take().payload, b"now");
    drained(&gateway);
    assert_eq!(status(&gateway)["out"]["forwarded"], 4);

    // Who is away and has a session wants what it wanted.
    reader.cut();
    late.disconnect();
    publish(&mut sensor, "t/3/wanted", "3");
    drained(&gateway);
    let mut reader = central.connect(&durable);
    assert_eq!(reader.take().payload, b"3");

    // While the link is down, what was wanted last is what waits.
    assert_eq!(bridge(&gateway, &["pause", "up"]).code, Some(0));
    publish(&mut sensor, "t/4/wanted", "4");
    publish(&mut sensor, "t/4/other", "4");
    assert_eq!(status(&gateway)["backlog"]["messages"], 1);
    assert_eq!(bridge(&gateway, &["resume", "up"]).code, Some(0));
    assert_eq!(reader.take().payload, b"4");
}

/// What one remote broker did not want is not kept from another in its place, which has no words for it.
#[test]
fn a_broker_of_another_make_in_its_place_gets_everything() {
    if Broker::is_external() {
        return;
    }
    let other = FakeRemote::start(|caller| {
        caller.welcome(&[])?;
        caller.serve(|packet, answer| answer.politely(packet))
    });
    let address = port();
    let central = centre(address);
    let gateway =
        gateway_with(address, &format!("fallback_addresses = [\"{}\"]\n", other.address()));
    let mut sensor = gateway.connect(&v5("sensor"));
    wait_for(&gateway, |s| s["state"] == "connected");
    retain(&mut sensor, "t/state", "on");
    publish(&mut sensor, "t/1", "unwanted");
    drained(&gateway);
    assert_eq!(status(&gateway)["out"]["forwarded"], 0);
    drop(central);
    wait_for(&gateway, |s| {
        s["state"] == "connected" && s["address"] == other.address().to_string()
    });
    wait_for(&gateway, |s| s["out"]["forwarded"].as_u64() >= Some(1));
    let retained = status(&gateway)["out"]["forwarded"].as_u64();
    publish(&mut sensor, "t/1", "wanted");
    wait_for(&gateway, |s| s["out"]["forwarded"].as_u64() > retained);
}

/// A remote broker that was not asked, or is of another make, gets everything.
#[test]
fn without_asking_everything_is_sent() {
    let address = port();
    let _central = centre(address);
    let gateway = crate::control::gateway(address);
    let mut sensor = gateway.connect(&v5("sensor"));
    publish(&mut sensor, "t/1", "x");
    drained(&gateway);
    assert_eq!(status(&gateway)["out"]["forwarded"], 1);
}
