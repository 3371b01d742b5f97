//! Topic aliases, on the remote side only.

use outpost_protocol::{Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS};

use super::{World, both_ways, first};
use crate::link_error::LinkError;
use crate::relay::aliases::Given;
use crate::side::Side;

const V5: ProtocolVersion = ProtocolVersion::V5;

/// Hands a message to the relay and takes what comes out at the other end: topic and alias.
fn relayed(
    world: &mut World,
    from: Side,
    topic: &str,
    alias: Option<u16>,
) -> Result<(String, Option<u16>), LinkError> {
    let list: Vec<Property<'_>> = alias.map(Property::TopicAlias).into_iter().collect();
    let mut encoded = crate::output::Output::default();
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: PacketId::new(1),
        properties: Properties::list(&list),
        payload: b"x",
    };
    Packet::Publish(publish).encode(V5, &mut encoded).expect("it grows");
    let (packet, _) = first(&encoded, V5).expect("whole");
    let relay = world.relay.as_mut().expect("up");
    relay.handle_packet(from, &packet, 0, &mut world.outputs)?;
    let out = &mut world.outputs[from.other()];
    let (packet, len) = first(out, V5).expect("forwarded");
    let Packet::Publish(publish) = packet else { panic!("not PUBLISH: {packet:?}") };
    let got = (publish.topic.to_owned(), publish.properties.topic_alias());
    out.advance(len);
    Ok(got)
}

#[test]
fn the_remote_broker_gets_as_many_aliases_as_it_takes() {
    let mut world = World::settled(&both_ways(1), V5);
    world.relay().aliases_given.remote = Given::new(1);
    let mut out = |topic| relayed(&mut world, Side::Local, topic, None).expect("the link holds");
    assert_eq!(out("up/a"), ("site7/up/a".into(), Some(1)));
    assert_eq!(out("up/a"), (String::new(), Some(1)));
    assert_eq!(out("up/b"), ("site7/up/b".into(), Some(1)));
    assert_eq!(out("up/a"), ("site7/up/a".into(), Some(1)));
}

/// [MQTT-3.2.2-18]
#[test]
fn a_broker_that_takes_none_gets_none() {
    let mut world = World::settled(&both_ways(1), V5);
    for _ in 0..2 {
        let got = relayed(&mut world, Side::Local, "up/a", None).expect("the link holds");
        assert_eq!(got, ("site7/up/a".into(), None));
    }
}

/// [MQTT-3.3.2-9]
#[test]
fn aliases_of_the_remote_broker_stand_for_its_topics() {
    let mut world = World::settled(&both_ways(1), V5);
    let mut incoming = |topic, alias| relayed(&mut world, Side::Remote, topic, Some(alias));
    assert_eq!(incoming("site7/down/a", 2), Ok(("down/a".into(), None)));
    assert_eq!(incoming("", 2), Ok(("down/a".into(), None)));
    for (topic, alias) in [("", 1), ("site7/down/a", 3)] {
        let error = incoming(topic, alias);
        assert!(matches!(error, Err(LinkError::Protocol { side: Side::Remote, .. })), "{error:?}");
    }
}

#[test]
fn the_local_broker_may_set_none() {
    let mut world = World::settled(&both_ways(1), V5);
    let error = relayed(&mut world, Side::Local, "up/a", Some(1));
    assert!(matches!(error, Err(LinkError::Protocol { side: Side::Local, .. })), "{error:?}");
}

/// The message is not larger than the broker takes for the sake of an alias.
#[test]
fn a_message_that_just_fits_goes_without_an_alias() {
    let mut world = World::settled(&both_ways(1), V5);
    let relay = world.relay();
    relay.aliases_given.remote = Given::new(1);
    // Header and length, topic, identifier, no properties, payload.
    relay.peers.remote.packet_bytes_max = 2 + 2 + 10 + 2 + 1 + 1;
    let got = relayed(&mut world, Side::Local, "up/a", None).expect("the link holds");
    assert_eq!(got, ("site7/up/a".into(), None));
}
