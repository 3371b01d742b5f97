//! Topic aliases in both directions [MQTT-3.3.2-7] to [MQTT-3.3.2-12].

use outpost_protocol::{Connect, Packet, Properties, Property, Publish, ReasonCode};

use super::bed::{Bed, Got, QOS_0, QOS_1, publish, v5};
use crate::core::Handled;
use crate::core::limits::Limits;

#[test]
fn a_client_s_alias_stands_for_its_topic_on_this_connection() {
    let mut bed = Bed::new();
    let subscriber = bed.fleeting("s");
    bed.subscribe(subscriber, "#", QOS_0);
    let publisher = bed.durable("p");
    let list = [Property::TopicAlias(2)];
    let properties = Properties::list(&list);
    for topic in ["first", "", "second", ""] {
        let one = Publish { properties, ..publish(topic, QOS_0, 0, "x") };
        assert_eq!(bed.send(publisher, &Packet::Publish(one)), Handled::Done);
    }
    let topics: Vec<String> = bed.messages(subscriber).into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["first", "first", "second", "second"]);
    bed.lose(publisher);
    let publisher = bed.durable("p");
    let one = Publish { properties, ..publish("", QOS_0, 0, "x") };
    bed.send(publisher, &Packet::Publish(one));
    let end = [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed];
    assert_eq!(bed.got(publisher), end, "aliases end with their connection [MQTT-3.3.2-7]");
}

#[test]
fn an_alias_above_the_maximum_is_invalid() {
    let mut bed = Bed::with_limits(Limits { topic_alias_maximum: 2, ..Limits::default() });
    let publisher = bed.fleeting("p");
    let list = [Property::TopicAlias(3)];
    let one = Publish { properties: Properties::list(&list), ..publish("t", QOS_0, 0, "x") };
    bed.send(publisher, &Packet::Publish(one));
    let end = [Got::Disconnect(ReasonCode::TopicAliasInvalid), Got::Closed];
    assert_eq!(bed.got(publisher), end);
}

#[test]
fn the_broker_uses_as_many_aliases_as_the_client_allows() {
    let mut bed = Bed::new();
    let list = [Property::TopicAliasMaximum(2)];
    let id = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("s") });
    bed.subscribe(id, "#", QOS_0);
    let publisher = bed.fleeting("p");
    for topic in ["a", "b", "c", "a", "b", "c"] {
        bed.publish(publisher, topic, QOS_0, 0, "x");
    }
    let got: Vec<(String, Option<u16>)> = bed
        .messages(id)
        .into_iter()
        .map(|m| (m.topic.clone(), m.properties().topic_alias()))
        .collect();
    let expected =
        [("a", Some(1)), ("b", Some(2)), ("c", None), ("", Some(1)), ("", Some(2)), ("c", None)];
    assert_eq!(got, expected.map(|(topic, alias)| (topic.to_owned(), alias)));
}

/// An alias takes three bytes and more, which a short topic does not save.
#[test]
fn an_alias_never_makes_a_packet_larger_than_the_client_takes() {
    for max in [20, 50, 127, 128, 129, 130, 131, 132, 133, 150] {
        let mut bed = Bed::new();
        let list = [Property::TopicAliasMaximum(2), Property::MaximumPacketSize(max)];
        let id = bed.accepted(&Connect { properties: Properties::list(&list), ..v5("s") });
        bed.subscribe(id, "#", QOS_1);
        let publisher = bed.fleeting("p");
        let user = "u".repeat(110);
        for len in 0..200 {
            let payload = "x".repeat(len);
            let user = [Property::UserProperty(&user[..len.min(110)], "")];
            let properties = if len % 2 == 0 { Properties::list(&user) } else { Properties::EMPTY };
            let one = Publish { properties, ..publish("t", QOS_0, 0, &payload) };
            bed.send(publisher, &Packet::Publish(one));
        }
        for size in bed.packet_sizes(id) {
            assert!(size <= max as usize, "{size} bytes for a client that takes {max}");
        }
    }
}
