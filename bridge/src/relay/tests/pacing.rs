//! What goes out has its rate, and waits for links that go first; what comes in does not.

use outpost_protocol::{ProtocolVersion, QoS};

use super::{World, both_ways};
use crate::side::Side;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn paced(messages_per_s: u32, bytes_per_s: u32) -> World {
    let mut world = World::new(&both_ways(1), V5);
    world.per_s = (messages_per_s, bytes_per_s);
    world.connect();
    world.run();
    world
}

/// Lets time pass, to each deadline in turn.
fn pass(world: &mut World, until_ms: u64) {
    while let Some(at_ms) = world.relay().deadline_ms().filter(|ms| *ms <= until_ms) {
        world.now_ms = world.now_ms.max(at_ms);
        let now_ms = world.now_ms;
        let relay = world.relay.as_mut().expect("up");
        relay.handle_timeout(now_ms, &mut world.outputs).expect("in time");
        world.run();
    }
    world.now_ms = until_ms;
}

#[test]
fn so_many_messages_go_a_second_in_order() {
    let mut world = paced(2, 0);
    for number in 0..10 {
        world.publish(Side::Local, "up/x", QoS::AtLeastOnce, &number.to_string());
    }
    world.run();
    let mut arrived = vec![world.models[Side::Remote].payloads().len()];
    for ms in [1_000, 2_000, 3_000, 4_000, 5_000] {
        pass(&mut world, ms);
        arrived.push(world.models[Side::Remote].payloads().len());
    }
    assert_eq!(arrived, [1, 3, 5, 7, 9, 10]);
    let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(world.models[Side::Remote].payloads(), expected);
    assert!(world.models[Side::Local].is_idle());
}

#[test]
fn what_comes_in_passes_what_is_held() {
    let mut world = paced(0, 1_000);
    let large = "x".repeat(5_000);
    for _ in 0..5 {
        world.publish(Side::Local, "up/x", QoS::AtLeastOnce, &large);
    }
    for _ in 0..5 {
        world.publish(Side::Remote, "site7/down/x", QoS::AtLeastOnce, "in");
    }
    world.run();
    assert_eq!(world.models[Side::Remote].payloads().len(), 1);
    assert_eq!(world.models[Side::Local].payloads().len(), 5);
    assert!(world.models[Side::Remote].is_idle(), "and is acknowledged");
    pass(&mut world, 30_000);
    assert_eq!(world.models[Side::Remote].payloads().len(), 5);
}

#[test]
fn what_goes_first_holds_up_the_others_and_no_longer() {
    let mut world = paced(0, 0);
    world.relay.as_mut().unwrap().yield_to_others(true, 0, &mut world.outputs).unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        world.publish(Side::Local, "up/x", qos, "out");
    }
    world.publish(Side::Remote, "site7/down/x", QoS::AtLeastOnce, "in");
    world.run();
    assert_eq!(world.models[Side::Remote].payloads().len(), 0);
    assert_eq!(world.models[Side::Local].payloads(), ["in"]);
    world.relay.as_mut().unwrap().yield_to_others(false, 0, &mut world.outputs).unwrap();
    world.run();
    assert_eq!(world.models[Side::Remote].payloads(), ["out", "out"]);
    assert!(world.models[Side::Local].is_idle());
}

/// A broker that does not keep to its window is left unread before memory runs out.
#[test]
fn what_is_held_has_a_bound() {
    let mut world = paced(1, 0);
    let large = "x".repeat(100_000);
    for _ in 0..50 {
        world.publish(Side::Local, "up/x", QoS::AtMostOnce, &large);
    }
    world.run();
    let relay = world.relay.as_ref().expect("up");
    assert!(!relay.may_read(Side::Local, &world.outputs));
    assert!(relay.may_read(Side::Remote, &world.outputs));
    pass(&mut world, 55_000);
    assert_eq!(world.models[Side::Remote].payloads().len(), 50);
}
