//! The link is cut between any two packets: QoS 2 stays exactly once, QoS 1 at least once, and both
//! stay in order, whatever was on its way.

use outpost_protocol::{ProtocolVersion, QoS};

use super::{World, both_ways};
use crate::side::Side;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V311];

fn publish_some(world: &mut World, qos: QoS, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.publish(Side::Local, "up/x", qos, &format!("up {number}"));
        world.publish(Side::Remote, "site7/down/x", qos, &format!("down {number}"));
    }
}

fn expected(word: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{word} {number}")).collect()
}

/// Runs `steps` packets from the connection on, then cuts. True where all was done before the cut.
fn cut_after(world: &mut World, steps: usize, order: usize) -> bool {
    for step in 0..steps {
        if !world.step(step * order).expect("the link holds") {
            return true;
        }
    }
    world.cut();
    false
}

fn assert_exactly_once(world: &World, count: u32) {
    assert_eq!(world.models.remote.payloads(), expected("up", 0..count));
    assert_eq!(world.models.local.payloads(), expected("down", 0..count));
    assert!(world.models.local.is_idle() && world.models.remote.is_idle());
}

fn without_repetitions(payloads: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for payload in payloads {
        if !seen.contains(&payload) {
            seen.push(payload);
        }
    }
    seen
}

/// `order` decides which way moves first: 0 drains one way after the other, 1 and 3 go round.
#[test]
fn exactly_once_with_one_cut_anywhere() {
    for (version, on_release, order) in cases() {
        let mut steps = 0;
        loop {
            let mut world = World::settled(&both_ways(2), version);
            world.models.local.deliver_on_release = on_release;
            world.models.remote.deliver_on_release = on_release;
            publish_some(&mut world, QoS::ExactlyOnce, 0..3);
            let done = cut_after(&mut world, steps, order);
            publish_some(&mut world, QoS::ExactlyOnce, 3..5);
            world.connect();
            world.run();
            assert_exactly_once(&world, 5);
            if done {
                assert!(steps > 40, "three exchanges each way are many packets, not {steps}");
                break;
            }
            steps += 1;
        }
    }
}

#[test]
fn exactly_once_with_two_cuts_anywhere() {
    for first in 0..45 {
        for second in 0..45 {
            let mut world = World::settled(&both_ways(2), ProtocolVersion::V5);
            publish_some(&mut world, QoS::ExactlyOnce, 0..2);
            cut_after(&mut world, first, 1);
            world.connect();
            cut_after(&mut world, second, 3);
            world.connect();
            world.run();
            assert_exactly_once(&world, 2);
        }
    }
}

#[test]
fn at_least_once_in_order_with_one_cut_anywhere() {
    for (version, _, order) in cases() {
        let mut steps = 0;
        loop {
            let mut world = World::settled(&both_ways(1), version);
            publish_some(&mut world, QoS::AtLeastOnce, 0..4);
            let done = cut_after(&mut world, steps, order);
            publish_some(&mut world, QoS::AtLeastOnce, 4..6);
            world.connect();
            world.run();
            let up = without_repetitions(world.models.remote.payloads());
            let down = without_repetitions(world.models.local.payloads());
            assert_eq!((up, down), (expected("up", 0..6), expected("down", 0..6)));
            assert!(world.models.local.is_idle() && world.models.remote.is_idle());
            if done {
                break;
            }
            steps += 1;
        }
    }
}

/// What is published after the remote broker lost its session arrives exactly once, although the
/// local one still holds identifiers of the exchanges that were cut, and the new session uses the
/// same identifiers. The sweep itself is cut too.
#[test]
fn a_session_lost_at_either_end_takes_no_later_message_with_it() {
    for lost in Side::BOTH {
        for steps in (0..30).step_by(3) {
            let mut world = World::settled(&both_ways(2), ProtocolVersion::V5);
            world.models[lost.other()].deliver_on_release = steps % 2 == 0;
            publish_some(&mut world, QoS::ExactlyOnce, 0..3);
            cut_after(&mut world, steps, 1);
            world.models[lost].session = None;
            world.connect();
            cut_after(&mut world, 5000, 1);
            world.connect();
            world.run();
            publish_some(&mut world, QoS::ExactlyOnce, 3..6);
            world.run();
            let (up, down) = (world.models.remote.payloads(), world.models.local.payloads());
            assert!(up.ends_with(&expected("up", 3..6)), "{lost:?} {steps}: {up:?}");
            assert!(down.ends_with(&expected("down", 3..6)), "{lost:?} {steps}: {down:?}");
            assert!(world.models.local.is_idle() && world.models.remote.is_idle());
        }
    }
}

/// Shows that the test above can fail: without the sweep, a message is lost.
#[test]
fn without_the_sweep_a_new_message_is_taken_for_a_repetition() {
    let lost_without_sweep = (0..30).any(|steps| {
        let mut world = World::settled(&both_ways(2), ProtocolVersion::V5);
        publish_some(&mut world, QoS::ExactlyOnce, 0..3);
        cut_after(&mut world, steps, 1);
        world.models.remote.session = None;
        world.connect();
        world.relay().sweep = None;
        world.outputs.local = crate::output::Output::default();
        world.run();
        publish_some(&mut world, QoS::ExactlyOnce, 3..6);
        world.run();
        !world.models.local.payloads().ends_with(&expected("down", 3..6))
    });
    assert!(lost_without_sweep);
}

fn cases() -> Vec<(ProtocolVersion, bool, usize)> {
    let mut cases = Vec::new();
    for version in VERSIONS {
        for on_release in [false, true] {
            cases.extend([0, 1, 3].map(|order| (version, on_release, order)));
        }
    }
    cases
}
