//! Bounds of memory and of time.

use outpost_protocol::{
    Packet, PacketId, Properties, ProtocolVersion, PubAck, Publish, QoS, ReasonCode,
};

use super::{World, both_ways};
use crate::link_error::LinkError;
use crate::relay::{OUTPUT_BYTES_RESERVE, OUTPUT_BYTES_SOFT};
use crate::side::Side;

const V5: ProtocolVersion = ProtocolVersion::V5;

const PAYLOAD: [u8; 10_000] = [b'x'; 10_000];

fn large(topic: &str) -> Packet<'_> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    })
}

/// Sends towards `to`, which takes nothing, until its output is full.
fn fill(world: &mut World, to: Side) {
    let from = to.other();
    let packet = large(if from == Side::Local { "up/x" } else { "site7/down/x" });
    let relay = world.relay.as_mut().expect("up");
    while world.outputs[to].len() <= OUTPUT_BYTES_SOFT {
        assert!(relay.may_read(from, &world.outputs));
        relay.handle_packet(from, &packet, 0, &mut world.outputs).expect("within bounds");
    }
}

#[test]
fn a_full_output_stops_the_reading_of_the_other_end() {
    for to in Side::BOTH {
        let mut world = World::settled(&both_ways(1), V5);
        fill(&mut world, to);
        assert!(world.outputs[to].len() <= OUTPUT_BYTES_SOFT + 11_000);
        let relay = world.relay.as_ref().expect("up");
        assert!(!relay.may_read(to.other(), &world.outputs));
        assert!(relay.may_read(to, &world.outputs), "its acknowledgements may come");
        world.outputs[to].advance(20_000);
        assert!(relay.may_read(to.other(), &world.outputs));
    }
}

/// A broker that speaks 3.1.1 sends large messages to one that takes one at a time: were they all taken,
/// the link would end, and the next one as well.
#[test]
fn what_is_beyond_the_window_stops_the_reading() {
    let mut world = World::new(&both_ways(1), V5);
    world.models.remote.receive_maximum = 1;
    world.connect();
    world.run();
    let payload = [b'x'; 900_000];
    let mut next_id = 1;
    let mut send_all = |world: &mut World| {
        let before = next_id;
        let relay = world.relay.as_mut().expect("up");
        while next_id <= 20 && relay.may_read(Side::Local, &world.outputs) {
            let (qos, packet_id) = (QoS::AtLeastOnce, PacketId::new(next_id));
            let Packet::Publish(publish) = large("up/x") else { unreachable!() };
            let packet = Packet::Publish(Publish { qos, packet_id, payload: &payload, ..publish });
            relay.handle_packet(Side::Local, &packet, 0, &mut world.outputs).expect("in bounds");
            // The network takes it, and the acknowledgement is not here yet.
            world.outputs.remote.advance(world.outputs.remote.len());
            next_id += 1;
        }
        next_id - before
    };
    assert_eq!(send_all(&mut world), 2);
    for id in 1..=18 {
        let packet_id = PacketId::new(id).expect("not 0");
        let ack = PubAck { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY };
        let relay = world.relay.as_mut().expect("up");
        let acknowledged =
            relay.handle_packet(Side::Remote, &Packet::PubAck(ack), 0, &mut world.outputs);
        acknowledged.expect("in bounds");
        world.outputs.remote.advance(world.outputs.remote.len());
        assert_eq!(send_all(&mut world), 1);
    }
    // It is the remote end that is awaited, and that end is read.
    let relay = world.relay.as_mut().expect("up");
    for side in Side::BOTH {
        relay.handle_received(side, 59_999);
        relay.handle_written(side, 59_999);
    }
    assert!(!relay.may_read(Side::Local, &world.outputs));
    assert_eq!(relay.handle_timeout(59_999, &mut world.outputs), Ok(()));
    let ended = relay.handle_timeout(60_000, &mut world.outputs);
    assert_eq!(ended, Err(LinkError::AckTimeout { side: Side::Remote, limit_s: 60 }));
}

/// Two brokers that read nothing while they cannot write: with both outputs full, both ends are
/// read, so that both brokers can write, and then read. QoS 0 is dropped meanwhile; the
/// acknowledgements go through.
#[test]
fn two_full_outputs_do_not_block_each_other() {
    let mut world = World::settled(&both_ways(1), V5);
    world.publish(Side::Local, "up/x", QoS::AtLeastOnce, "wanted");
    fill(&mut world, Side::Remote);
    fill(&mut world, Side::Local);
    let relay = world.relay.as_mut().expect("up");
    assert!(Side::BOTH.into_iter().all(|side| relay.may_read(side, &world.outputs)));
    let before = world.outputs.remote.len();
    relay.handle_packet(Side::Local, &large("up/x"), 0, &mut world.outputs).expect("dropped");
    assert_eq!(world.outputs.remote.len(), before);
    assert_eq!(world.relay().counts().dropped.local, 1);
    world.run();
    let payloads = world.models.remote.payloads();
    assert_eq!(payloads.last().map(String::as_str), Some("wanted"));
    assert!(world.models.local.is_idle());
}

/// A 3.1.1 broker has no Receive Maximum to keep to.
#[test]
fn an_output_past_its_reserve_ends_the_link() {
    let mut world = World::settled(&both_ways(1), ProtocolVersion::V311);
    fill(&mut world, Side::Remote);
    let relay = world.relay.as_mut().expect("up");
    let mut ended = Ok(());
    let mut ids = 1..=u16::MAX;
    while ended.is_ok() {
        let Packet::Publish(publish) = large("site7/down/x") else { unreachable!() };
        let packet_id = outpost_protocol::PacketId::new(ids.next().expect("bounded before"));
        let packet = Packet::Publish(Publish { qos: QoS::AtLeastOnce, packet_id, ..publish });
        ended = relay.handle_packet(Side::Remote, &packet, 0, &mut world.outputs);
    }
    assert_eq!(ended, Err(LinkError::Overflow(Side::Local)));
    assert!(world.outputs.local.len() < OUTPUT_BYTES_SOFT + OUTPUT_BYTES_RESERVE + (2 << 20));
}

#[test]
fn acknowledgements_that_do_not_come_end_the_link() {
    let mut world = World::settled(&both_ways(1), V5);
    world.publish(Side::Local, "up/x", QoS::AtLeastOnce, "x");
    world.now_ms = 5_000;
    world.step_in(Side::Local).expect("the link holds");
    let relay = world.relay.as_mut().expect("up");
    for side in Side::BOTH {
        relay.handle_received(side, 64_999);
        relay.handle_written(side, 64_999);
    }
    assert_eq!(relay.deadline_ms(), Some(65_000));
    assert_eq!(relay.handle_timeout(64_999, &mut world.outputs), Ok(()));
    let ended = relay.handle_timeout(65_000, &mut world.outputs);
    assert_eq!(ended, Err(LinkError::AckTimeout { side: Side::Remote, limit_s: 60 }));
}

#[test]
fn an_unread_end_is_not_blamed_for_its_silence() {
    let mut world = World::settled(&both_ways(1), V5);
    world.publish(Side::Remote, "site7/down/x", QoS::AtLeastOnce, "x");
    world.step_in(Side::Remote).expect("the link holds");
    fill(&mut world, Side::Remote);
    let relay = world.relay.as_mut().expect("up");
    for now_ms in (0..300_000).step_by(30_000) {
        // The remote end takes bytes slowly, so that the local one is not read.
        relay.handle_received(Side::Remote, now_ms);
        relay.handle_written(Side::Remote, now_ms);
        relay.handle_written(Side::Local, now_ms);
        assert_eq!(relay.handle_timeout(now_ms, &mut world.outputs), Ok(()));
    }
}

#[test]
fn a_quiet_link_is_kept_alive() {
    let mut world = World::settled(&both_ways(1), V5);
    assert_eq!(world.relay().deadline_ms(), Some(60_000));
    for now_ms in [60_000, 120_000, 180_000] {
        world.now_ms = now_ms;
        let relay = world.relay.as_mut().expect("up");
        relay.handle_timeout(now_ms, &mut world.outputs).expect("alive");
        for side in Side::BOTH {
            relay.handle_written(side, now_ms);
            relay.handle_received(side, now_ms);
        }
        world.run();
    }
    assert_eq!((world.models.local.pings, world.models.remote.pings), (3, 3));
}
