//! Lost connections and ends in the midst.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use outpost_protocol::{Packet, PacketId, Properties, ProtocolVersion, PubAck, Publish};

use crate::prelude::*;
use crate::server::Server;

/// Every line arrives although the broker is killed in the midst, twice.
#[test]
fn lines_outlive_the_broker() {
    if Broker::is_external() {
        return;
    }
    let mut broker = Broker::with_config("");
    let address = broker.address();
    let keep = "-t t -q 1 -c -i keeper";
    assert_eq!(start("sub", address, &format!("{keep} -E"), &[]).end().text(), "");
    let mut lines = start("pub", address, "-t t -q 1 -l -c -i source -d", &[]);
    let mut expected = BTreeSet::new();
    for round in 0..3 {
        let text: Vec<_> = (0..300).map(|n| format!("{round} {n}")).collect();
        lines.write(format!("{}\n", text.join("\n")).as_bytes());
        lines.wait_for_error("received PUBACK", 300 * round + 50);
        expected.extend(text);
        if round < 2 {
            broker.kill();
            lines.wait_for_error("; trying again in 1 s", round + 1);
            broker.restart();
            lines.wait_for_error("received CONNACK (0", round + 2);
        }
    }
    assert_eq!(lines.end().code, Some(0));
    let mut shown = BTreeSet::new();
    let mut sub = start("sub", address, keep, &[]);
    while shown.len() < expected.len() {
        shown.insert(sub.line());
    }
    assert_eq!(shown, expected);
}

#[test]
fn a_subscriber_comes_back() {
    if Broker::is_external() {
        return;
    }
    let mut broker = Broker::with_config("");
    let mut sub = subscribed(broker.address(), "-t t -q 1 -v", &[]);
    publish(broker.address(), "-t t -m before", &[]);
    assert_eq!(sub.line(), "t before");
    broker.kill();
    sub.wait_for_error("outpost sub: connection lost", 1);
    broker.restart();
    sub.wait_for_error("received SUBACK", 2);
    publish(broker.address(), "-t t -m after", &[]);
    assert_eq!(sub.line(), "t after");
    sub.signal("INT");
    assert_eq!(sub.end().code, Some(0));
}

/// A message is sent again on the next connection, where its acknowledgement did not come.
#[test]
fn an_unacknowledged_line_is_sent_again() {
    let server = Server::start();
    let mut lines = start("pub", server.address(), "-t t -q 1 -l", &[]);
    lines.write(b"only\n");
    let mut first = server.accept(ProtocolVersion::V311);
    first.accept_client();
    first.expect(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
    drop(first);
    let mut second = server.accept(ProtocolVersion::V311);
    second.accept_client();
    let packet_id = second.expect(|packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!(publish.payload, b"only");
        publish.packet_id.unwrap()
    });
    second.send(&Packet::PubAck(PubAck::success(packet_id)));
    lines.close_input();
    second.expect(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    drop(second);
    let ended = lines.end();
    assert_eq!(ended.code, Some(0));
    let expected = "outpost pub: connection lost: the server closed it; trying again in 1 s\n";
    assert_eq!(ended.errors, expected);
}

#[test]
fn a_single_message_that_is_not_acknowledged_is_a_failure() {
    let server = Server::start();
    let single = start("pub", server.address(), "-t t -q 1 -m x", &[]);
    let mut connection = server.accept(ProtocolVersion::V311);
    connection.accept_client();
    connection.expect(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
    drop(connection);
    let ended = single.end();
    let expected = "outpost pub: connection lost: the server closed it; a message was not \
                    acknowledged\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(7), expected));
}

/// A full disk: what could not be written is not acknowledged.
#[test]
fn what_cannot_be_written_is_not_acknowledged() {
    let server = Server::start();
    let port = server.address().port().to_string();
    let line = format!("exec \"$0\" sub -h 127.0.0.1 -p {port} -t t -q 1 -c -i a > /dev/full");
    let outpost = outpost_tests::binary();
    let sub = Command::start("sh", &["-c", &line, outpost.to_str().unwrap()]);
    let mut connection = server.accept(ProtocolVersion::V311);
    connection.accept_client();
    let packet_id = connection.expect(|packet| match packet {
        Packet::Subscribe(packet) => packet.packet_id,
        other => panic!("{other:?}"),
    });
    let reasons = [ReasonCode::GrantedQoS1];
    connection.send(&Packet::SubAck(outpost_protocol::SubAck {
        packet_id,
        properties: Properties::EMPTY,
        reasons: outpost_protocol::ReasonCodes::List(&reasons),
    }));
    connection.send(&Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "t",
        packet_id: PacketId::new(1),
        properties: Properties::EMPTY,
        payload: b"x",
    }));
    assert_eq!(connection.next(), None, "neither PUBACK nor DISCONNECT");
    let ended = sub.end();
    let expected = "outpost sub: cannot write to standard output: No space left on device\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(1), expected));
}

/// As with `outpost sub | head -1`.
#[test]
fn an_output_that_nobody_reads_ends_it_quietly() {
    let broker = Broker::shared();
    let (topic, ready) = (unique("t"), unique("t"));
    publish(broker.address(), &format!("-t {ready} -m ready -r -q 1"), &[]);
    let address = broker.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut child = std::process::Command::new(outpost_tests::binary())
        .args(["sub", "-h", &host, "-p", &port, "-t", &topic, "-t", &ready])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    publish(broker.address(), &format!("-t {topic} -m x"), &[]);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
    publish(broker.address(), &format!("-t {ready} -n -r -q 1"), &[]);
}

#[test]
fn a_time_limit_is_27() {
    let broker = Broker::shared();
    let topic = unique("t");
    let ended = start("sub", broker.address(), &format!("-t {topic} -W 1"), &[]).end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(27), "outpost sub: timed out\n"));
    let ended = start("sub", broker.address(), &format!("-t {topic} -W 1 --quiet"), &[]).end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(27), ""));
}

#[test]
fn a_will_is_published_when_the_client_is_lost_and_only_then() {
    let broker = Broker::shared();
    let (topic, will) = (unique("t"), unique("t"));
    let mut watcher = subscribed(broker.address(), &format!("-t {will} -F %p|%q"), &["-q", "1"]);
    let line = format!("-t {topic} --will-topic {will} --will-qos 1 --will-payload");
    let ended = subscribed(broker.address(), &line, &["said-goodbye"]);
    ended.signal("TERM");
    assert_eq!(ended.end().code, Some(0));
    let lost = subscribed(broker.address(), &line, &["lost"]);
    lost.signal("KILL");
    assert_eq!(lost.end().code, None);
    assert_eq!(watcher.line(), "lost|1");
}
