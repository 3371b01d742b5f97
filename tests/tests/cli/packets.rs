//! What the commands send, packet by packet.

use outpost_protocol::{
    Packet, Properties, Property, ProtocolVersion, PubComp, PubRec, ReasonCodes, RetainHandling,
    SubAck, UnsubAck,
};

use crate::prelude::*;
use crate::server::{Connection, Server};

fn all(properties: &Properties<'_>) -> Vec<String> {
    properties.iter().map(|property| format!("{property:?}")).collect()
}

fn debug(properties: &[Property<'_>]) -> Vec<String> {
    properties.iter().map(|property| format!("{property:?}")).collect()
}

#[track_caller]
fn expect_disconnect(mut connection: Connection) {
    connection.expect(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    assert_eq!(connection.next(), None);
}

/// The exchange of QoS 2 is complete before the end.
#[test]
fn exactly_once_to_its_end() {
    let server = Server::start();
    let client = start("pub", server.address(), "-t a -q 2 -m x", &[]);
    let mut connection = server.accept(ProtocolVersion::V311);
    connection.accept_client();
    let packet_id = connection.expect(|packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!((publish.qos, publish.dup, publish.retain), (QoS::ExactlyOnce, false, false));
        publish.packet_id.unwrap()
    });
    connection.send(&Packet::PubRec(PubRec::success(packet_id)));
    connection.expect(|packet| assert!(matches!(packet, Packet::PubRel(_)), "{packet:?}"));
    connection.send(&Packet::PubComp(PubComp::success(packet_id)));
    expect_disconnect(connection);
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn connect_and_will_and_disconnect() {
    let server = Server::start();
    let line = "-i me -c -x 50 -k 33 -u ann -P pw --will-topic w --will-payload gone --will-qos 2 \
                --will-retain -D will will-delay-interval 7 -D will content-type t \
                -D connect receive-maximum 9 -D connect topic-alias-maximum 4 \
                -D connect maximum-packet-size 5000 -D connect user-property a b \
                -D connect request-problem-information 0 -D disconnect session-expiry-interval 3 \
                -D disconnect user-property c d -t a -m x";
    let client = start("pub", server.address(), line, &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.expect(|packet| {
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        assert_eq!((connect.version, connect.client_id), (ProtocolVersion::V5, "me"));
        assert_eq!((connect.clean_start, connect.keep_alive_s), (false, 33));
        assert_eq!((connect.user_name, connect.password), (Some("ann"), Some(&b"pw"[..])));
        let mut properties = all(&connect.properties);
        properties.sort_unstable();
        let mut expected = debug(&[
            Property::SessionExpiryInterval(50),
            Property::MaximumPacketSize(5_000),
            Property::ReceiveMaximum(9),
            Property::TopicAliasMaximum(4),
            Property::UserProperty("a", "b"),
            Property::RequestProblemInformation(0),
        ]);
        expected.sort_unstable();
        assert_eq!(properties, expected);
        let will = connect.will.unwrap();
        assert_eq!((will.topic, will.payload), ("w", &b"gone"[..]));
        assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
        let expected = debug(&[Property::WillDelayInterval(7), Property::ContentType("t")]);
        assert_eq!(all(&will.properties), expected);
    });
    connection.send_conn_ack(ReasonCode::Success, Properties::EMPTY);
    connection.expect(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
    connection.expect(|packet| {
        let Packet::Disconnect(packet) = packet else { panic!("{packet:?}") };
        let expected =
            debug(&[Property::SessionExpiryInterval(3), Property::UserProperty("c", "d")]);
        assert_eq!(all(&packet.properties), expected);
    });
    drop(connection);
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn as_mosquitto_pub_connects_where_nothing_is_said() {
    for (line, wire) in [
        ("", ProtocolVersion::V311),
        ("-V 31", ProtocolVersion::V31),
        ("-V mqttv5", ProtocolVersion::V5),
    ] {
        let server = Server::start();
        let client = start("pub", server.address(), &format!("{line} -t a -m x"), &[]);
        let mut connection = server.accept(wire);
        connection.expect(|packet| {
            let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
            assert_eq!((connect.version, connect.clean_start), (wire, true));
            assert_eq!((connect.keep_alive_s, connect.user_name), (60, None));
            let id_len = if wire == ProtocolVersion::V5 { 0 } else { 23 };
            assert_eq!(connect.client_id.len(), id_len, "{}", connect.client_id);
        });
        connection.send_conn_ack(ReasonCode::Success, Properties::EMPTY);
        connection.expect(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
        expect_disconnect(connection);
        assert_eq!(client.end().code, Some(0));
    }
}

#[test]
fn publish_with_every_property() {
    let server = Server::start();
    let line = "-t a -m x -r -D publish payload-format-indicator 1 \
                -D publish message-expiry-interval 60 -D publish content-type text/plain \
                -D publish response-topic r/t -D publish correlation-data id \
                -D publish user-property k v -D publish user-property k w";
    let client = start("pub", server.address(), line, &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.accept_client();
    connection.expect(|packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!((publish.topic, publish.payload, publish.retain), ("a", &b"x"[..], true));
        let expected = debug(&[
            Property::PayloadFormatIndicator(1),
            Property::MessageExpiryInterval(60),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("r/t"),
            Property::CorrelationData(b"id"),
            Property::UserProperty("k", "v"),
            Property::UserProperty("k", "w"),
        ]);
        assert_eq!(all(&publish.properties), expected);
    });
    expect_disconnect(connection);
    assert_eq!(client.end().code, Some(0));
}

/// The topic goes with the first message only.
#[test]
fn a_topic_alias_stands_for_the_topic() {
    let server = Server::start();
    let line = "-t long/topic -D publish topic-alias 2 -m x --repeat 3";
    let client = start("pub", server.address(), line, &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.expect(|packet| assert!(matches!(packet, Packet::Connect(_))));
    let properties = [Property::TopicAliasMaximum(2)];
    connection.send_conn_ack(ReasonCode::Success, Properties::list(&properties));
    for expected in ["long/topic", "", ""] {
        connection.expect(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!((publish.topic, publish.properties.topic_alias()), (expected, Some(2)));
        });
    }
    expect_disconnect(connection);
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn subscribe_and_unsubscribe() {
    let server = Server::start();
    let line = "-t a/# -t b -U c -q 1 -E --no-local --retain-as-published --retain-handling 1 \
                -D subscribe subscription-identifier 5 -D subscribe user-property k v \
                -D unsubscribe user-property l w";
    let client = start("sub", server.address(), line, &[]);
    let mut connection = server.accept(ProtocolVersion::V5);
    connection.accept_client();
    let packet_id = connection.expect(|packet| {
        let Packet::Subscribe(subscribe) = packet else { panic!("{packet:?}") };
        let filters: Vec<_> = subscribe.filters.iter().map(|filter| filter.filter).collect();
        assert_eq!(filters, ["a/#", "b"]);
        for filter in subscribe.filters.iter() {
            let options = filter.options;
            assert_eq!(options.qos, QoS::AtLeastOnce);
            assert!(options.no_local && options.retain_as_published);
            assert_eq!(options.retain_handling, RetainHandling::SendAtSubscribeIfNew);
        }
        let expected =
            debug(&[Property::SubscriptionIdentifier(5), Property::UserProperty("k", "v")]);
        assert_eq!(all(&subscribe.properties), expected);
        subscribe.packet_id
    });
    let reasons = [ReasonCode::GrantedQoS1, ReasonCode::GrantedQoS1];
    let reasons = ReasonCodes::List(&reasons);
    let properties = Properties::EMPTY;
    connection.send(&Packet::SubAck(SubAck { packet_id, properties, reasons }));
    let packet_id = connection.expect(|packet| {
        let Packet::Unsubscribe(unsubscribe) = packet else { panic!("{packet:?}") };
        assert_eq!(unsubscribe.filters.iter().collect::<Vec<_>>(), ["c"]);
        assert_eq!(all(&unsubscribe.properties), debug(&[Property::UserProperty("l", "w")]));
        unsubscribe.packet_id
    });
    let reasons = [ReasonCode::NoSubscriptionExisted];
    let reasons = ReasonCodes::List(&reasons);
    connection.send(&Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }));
    expect_disconnect(connection);
    assert_eq!(client.end().code, Some(0));
}

/// The keep-alive runs while nothing comes from standard input.
#[test]
fn lines_keep_the_connection_alive() {
    let server = Server::start();
    let mut client = start("pub", server.address(), "-t a -l -k 1", &[]);
    let mut connection = server.accept(ProtocolVersion::V311);
    connection.accept_client();
    connection.expect(|packet| assert!(matches!(packet, Packet::PingReq), "{packet:?}"));
    connection.send(&Packet::PingResp);
    client.close_input();
    expect_disconnect(connection);
    assert_eq!(client.end().code, Some(0));
}
