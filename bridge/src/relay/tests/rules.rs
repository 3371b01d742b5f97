//! What is changed on the way, what is not, and what is refused.

use outpost_protocol::{
    Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubRec, Publish, QoS,
    ReasonCode,
};

use super::{World, both_ways, first, topic};
use crate::config::Direction;
use crate::link_error::LinkError;
use crate::model::Message;
use crate::output::Output;
use crate::relay::Notice;
use crate::side::Side;

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not 0")
}

fn publish<'a>(topic: &'a str, properties: Properties<'a>) -> Publish<'a> {
    Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic,
        packet_id: Some(id(4711)),
        properties,
        payload: b"21.5",
    }
}

/// What the remote end gets for a packet from the local one.
fn relayed<'a>(world: &'a mut World, packet: Packet<'_>) -> Packet<'a> {
    let now_ms = world.now_ms;
    let relay = world.relay.as_mut().expect("up");
    relay.handle_packet(Side::Local, &packet, now_ms, &mut world.outputs).expect("allowed");
    first(&world.outputs.remote, world.models.remote.version).expect("it is passed on").0
}

/// A configuration before had many more rules.
#[test]
fn what_is_not_subscribed_any_more_is_taken_back_first() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let mut world = World::settled(&both_ways(1), version);
        world.cut();
        let old: Vec<String> = (0..40).map(|number| format!("old/{number}")).collect();
        world.retired.remote = old;
        world.models.remote.subscribe("old/7");
        world.connect();
        world.run();
        assert_eq!(world.models.remote.subscribed(), ["site7/down/#"]);
        assert!(world.relay().take_notices().contains(&Notice::Subscribed(Side::Remote)));
    }
}

#[test]
fn a_message_keeps_all_but_its_topic() {
    let mut world = World::settled(&both_ways(1), V5);
    let properties = [
        Property::UserProperty("b", "2"),
        Property::UserProperty("a", "1"),
        Property::MessageExpiryInterval(60),
        Property::ResponseTopic("up/reply"),
    ];
    let sent = publish("up/t", Properties::list(&properties));
    let expected = Publish { topic: "site7/up/t", ..sent.clone() };
    let mut wire = Output::default();
    Packet::Publish(expected).encode(V5, &mut wire).expect("short");
    relayed(&mut world, Packet::Publish(sent));
    assert_eq!(world.outputs.remote.pending(), wire.pending());
}

#[test]
fn subscription_identifiers_stay_behind() {
    let mut world = World::settled(&both_ways(1), V5);
    let properties = [
        Property::SubscriptionIdentifier(3),
        Property::ContentType("text"),
        Property::SubscriptionIdentifier(9),
        Property::UserProperty("a", "1"),
    ];
    let sent = Packet::Publish(publish("up/t", Properties::list(&properties)));
    let Packet::Publish(got) = relayed(&mut world, sent) else { panic!("not PUBLISH") };
    let kept: Vec<_> = got.properties.iter().collect();
    assert_eq!(kept, [Property::ContentType("text"), Property::UserProperty("a", "1")]);
}

#[test]
fn properties_do_not_go_to_a_3_1_1_broker() {
    let mut world = World::settled(&both_ways(1), V311);
    let properties = [Property::UserProperty("a", "1")];
    let sent = Packet::Publish(publish("up/t", Properties::list(&properties)));
    let Packet::Publish(got) = relayed(&mut world, sent) else { panic!("not PUBLISH") };
    assert!(got.properties.is_empty());
    assert_eq!((got.topic, got.payload), ("site7/up/t", &b"21.5"[..]));
}

#[test]
fn subscriptions_ask_for_what_a_bridge_needs() {
    let world = World::settled(&both_ways(2), V5);
    let local = &world.models.local.session.as_ref().expect("connected").filters;
    let options = local["up/#"];
    assert!(options.no_local && options.retain_as_published);
    assert_eq!(options.qos, QoS::ExactlyOnce);
    let remote = &world.models.remote.session.as_ref().expect("connected").filters;
    assert_eq!(remote.keys().collect::<Vec<_>>(), ["site7/down/#"]);
}

#[test]
fn many_rules_are_subscribed_a_few_at_a_time() {
    let topics: Vec<_> = (0..40).map(|n| topic(&format!("t/{n}"), Direction::Out, 1)).collect();
    let mut world = World::settled(&topics, V5);
    assert_eq!(world.models.local.session.as_ref().expect("connected").filters.len(), 40);
    assert_eq!(world.models.local.subscribes, 3);
    let notices = world.relay().take_notices();
    assert!(notices.contains(&Notice::Subscribed(Side::Local)), "{notices:?}");
    assert!(notices.contains(&Notice::Subscribed(Side::Remote)), "{notices:?}");
}

#[test]
fn a_lower_granted_qos_is_noticed() {
    let mut world = World::new(&both_ways(2), V5);
    // More than what CONNACK says: this is decided for the one subscription.
    world.connect();
    world.models.remote.maximum_qos = QoS::AtMostOnce;
    world.run();
    let lowered = Notice::QosLowered {
        side: Side::Remote,
        filter: "site7/down/#".into(),
        wanted: 2,
        granted: 0,
    };
    assert!(world.relay().take_notices().contains(&lowered));
}

#[test]
fn a_broker_without_qos_2_gets_qos_1_and_the_exchange_still_ends() {
    for maximum_qos in [QoS::AtLeastOnce, QoS::AtMostOnce] {
        let mut world = World::settled(&both_ways(2), V5);
        world.cut();
        for number in 0..3 {
            world.publish(Side::Local, "up/x", QoS::ExactlyOnce, &number.to_string());
        }
        // The queue already holds messages of QoS 2 when the remote broker changes its mind.
        world.models.remote.maximum_qos = maximum_qos;
        world.connect();
        world.run();
        world.publish(Side::Local, "up/x", QoS::ExactlyOnce, "3");
        world.run();
        assert_eq!(world.models.remote.payloads(), ["0", "1", "2", "3"]);
        assert!(world.models.remote.delivered.iter().all(|message| message.qos == maximum_qos));
        assert!(world.models.local.is_idle());
    }
}

#[test]
fn retain_goes_through_where_it_is_available() {
    for available in [true, false] {
        let mut world = World::new(&both_ways(1), V5);
        world.models.remote.retain_available = available;
        world.connect();
        world.run();
        let retained = Message { retain: true, ..Message::new("up/x", QoS::AtLeastOnce, "r") };
        world.models.local.publish(retained);
        world.run();
        assert_eq!(world.models.remote.delivered[0].retain, available);
    }
}

#[test]
fn a_message_that_no_rule_fits_is_acknowledged_and_counted() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for version in [V5, V311] {
            let mut world = World::settled(&both_ways(2), version);
            let session = world.models.remote.session.as_mut().expect("connected");
            let options = session.filters["site7/down/#"];
            session.filters.insert("stale/#".into(), options);
            world.publish(Side::Remote, "stale/x", qos, "old");
            world.publish(Side::Remote, "site7/down/x", qos, "new");
            world.run();
            assert_eq!(world.models.local.payloads(), ["new"]);
            assert!(world.models.remote.is_idle());
            assert_eq!(world.relay().counts().unmapped.remote, 1);
        }
    }
}

#[test]
fn a_message_too_large_for_the_other_end_is_refused_and_the_next_goes_on() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new(&both_ways(2), V5);
        world.models.local.packet_bytes_max = 200;
        world.connect();
        world.run();
        world.publish(Side::Remote, "site7/down/x", qos, &"x".repeat(300));
        world.publish(Side::Remote, "site7/down/x", qos, "small");
        world.run();
        assert_eq!(world.models.local.payloads(), ["small"]);
        assert!(world.models.remote.is_idle());
        assert_eq!(world.relay().counts().refused.remote, 1);
        assert_eq!(world.relay().counts().forwarded.remote, 1);
    }
}

#[test]
fn a_refusal_for_now_keeps_the_message() {
    for side in Side::BOTH {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = World::settled(&both_ways(2), V5);
            world.models[side].verdicts.extend([ReasonCode::Success, ReasonCode::QuotaExceeded]);
            let topic = if side == Side::Remote { "up/x" } else { "site7/down/x" };
            for payload in ["0", "1", "2"] {
                world.publish(side.other(), topic, qos, payload);
            }
            let ended = world.try_run();
            let reason = ReasonCode::QuotaExceeded;
            assert_eq!(ended, Err(LinkError::Busy { side, reason, topic: topic.into() }));
            world.connect();
            world.run();
            let mut payloads = world.models[side].payloads();
            payloads.dedup();
            assert!(payloads.ends_with(&["1".into(), "2".into()]), "{payloads:?}");
            assert!(world.models[side.other()].is_idle(), "and in the end all is acknowledged");
        }
    }
}

#[test]
fn a_refusal_for_good_is_passed_on_counted_and_noted_with_its_topic() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::settled(&both_ways(2), V5);
        world.relay().take_notices();
        let refused = ReasonCode::NotAuthorized;
        world.models.remote.verdicts.extend([refused, ReasonCode::Success, refused]);
        for number in 0..4 {
            world.publish(Side::Local, &format!("up/{number}"), qos, &number.to_string());
        }
        world.run();
        assert_eq!(world.models.remote.payloads(), ["1", "3"]);
        assert!(world.models.local.is_idle());
        assert_eq!(world.relay().counts().refused.local, 2);
        assert_eq!(world.relay().counts().forwarded.local, 2);
        let noted = |topic: &str, others| Notice::MessageRefused {
            from: Side::Local,
            topic: topic.into(),
            reason: refused,
            others,
        };
        assert_eq!(world.relay().take_notices(), [noted("up/0", 0)], "one in 10 s");
        world.now_ms += 10_000;
        world.models.remote.verdicts.push_back(refused);
        world.publish(Side::Local, "up/4", qos, "4");
        world.run();
        assert_eq!(world.relay().take_notices(), [noted("up/4", 1)]);
    }
}

#[test]
fn counts_are_of_what_was_acknowledged() {
    let mut world = World::settled(&both_ways(2), V5);
    world.now_ms = 77;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        world.publish(Side::Local, "up/x", qos, "x");
    }
    world.step_in(Side::Local).expect("the link holds");
    world.step_in(Side::Local).expect("the link holds");
    assert_eq!(world.relay().counts().forwarded.local, 1, "QoS 0 is sent, QoS 1 only sent");
    assert_eq!(world.relay().acknowledged_ms(Side::Remote), None);
    world.run();
    assert_eq!(world.relay().counts().forwarded.local, 3);
    assert_eq!(world.relay().acknowledged_ms(Side::Remote), Some(77));
    assert_eq!(world.relay().acknowledged_ms(Side::Local), None);
}

#[test]
fn what_a_broker_may_not_send_ends_the_link() {
    let alias = [Property::TopicAlias(1)];
    let packets = [
        Packet::PingReq,
        Packet::Publish(publish("up/x", Properties::list(&alias))),
        Packet::Publish(publish("", Properties::list(&alias))),
    ];
    for packet in packets {
        let mut world = World::settled(&both_ways(1), V5);
        let relay = world.relay.as_mut().expect("up");
        let ended = relay.handle_packet(Side::Local, &packet, 0, &mut world.outputs);
        assert!(matches!(ended, Err(LinkError::Protocol { side: Side::Local, .. })), "{ended:?}");
    }
}

/// Passed on, it would have the local broker end the connection, and be blamed for it.
#[test]
fn an_acknowledgement_of_the_wrong_kind_is_the_fault_of_who_sent_it() {
    let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
    for (qos, version) in [(QoS::AtLeastOnce, V5), (QoS::ExactlyOnce, V311)] {
        let mut world = World::settled(&both_ways(2), version);
        let packet_id = Some(id(9));
        let came = Publish { qos, packet_id, ..publish("up/x", Properties::EMPTY) };
        relayed(&mut world, Packet::Publish(came));
        let wrong = match qos {
            QoS::ExactlyOnce => Packet::PubAck(PubAck { packet_id: id(9), reason, properties }),
            _ => Packet::PubRec(PubRec { packet_id: id(9), reason, properties }),
        };
        let relay = world.relay.as_mut().expect("up");
        let ended = relay.handle_packet(Side::Remote, &wrong, 0, &mut world.outputs);
        assert!(matches!(ended, Err(LinkError::Protocol { side: Side::Remote, .. })), "{ended:?}");
    }
}

#[test]
fn an_acknowledgement_of_nothing_is_neither_counted_nor_passed_on() {
    let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
    let mut world = World::settled(&both_ways(2), V5);
    let ack = Packet::PubAck(PubAck { packet_id: id(9), reason, properties });
    let relay = world.relay.as_mut().expect("up");
    relay.handle_packet(Side::Remote, &ack, 0, &mut world.outputs).expect("allowed");
    assert!(world.outputs.local.is_empty());
    assert_eq!(world.relay().counts().forwarded.local, 0);
}

/// Answered PINGREQs are no excuse.
#[test]
fn a_subscribe_that_is_not_answered_ends_the_link() {
    let mut world = World::new(&both_ways(1), V5);
    world.connect();
    let relay = world.relay.as_mut().expect("up");
    assert_eq!(relay.handle_timeout(59_999, &mut world.outputs), Ok(()));
    let ended = relay.handle_timeout(60_000, &mut world.outputs);
    assert!(matches!(ended, Err(LinkError::SubscribeTimeout { .. })), "{ended:?}");
}
