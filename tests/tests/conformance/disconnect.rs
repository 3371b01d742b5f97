//! DISCONNECT in both directions (5.0 section 3.14), and PINGREQ (3.12).

use std::time::{Duration, Instant};

use crate::prelude::*;

/// [MQTT-3.14.4-1] and -2 for the client: the broker closes after DISCONNECT and does nothing with
/// what comes behind it.
#[test]
fn nothing_behind_disconnect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut watcher = subscriber(&broker, &topic);
    let mut client = publisher(&broker);
    let normal =
        outpost_protocol::Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
    client.send_all(&[
        Packet::Publish(message(&topic, b"before")),
        Packet::Disconnect(normal),
        Packet::Publish(message(&topic, b"behind")),
        Packet::PingReq,
    ]);
    client.expect_closed();
    assert_eq!(watcher.take().text(), "before");
    watcher.expect_nothing();
}

/// Every form of a normal DISCONNECT: no reason code, a reason code, empty properties.
#[test]
fn short_forms_are_taken() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]] {
        let name = unique("c");
        let last = will(&topic, b"last");
        let mut client = broker.connect(&Connect { will: Some(last), ..v5(&name) });
        client.send_bytes(bytes);
        client.expect_closed();
    }
    watcher.expect_nothing();
}

/// All reason codes that a client may send.
#[test]
fn reason_codes_of_a_client() {
    let broker = Broker::shared();
    let codes =
        [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for code in codes {
        let mut client = publisher(&broker);
        client.send_bytes(&[0xE0, 1, code]);
        client.expect_closed();
    }
}

/// [MQTT-3.14.1-1], [MQTT-3.14.2-1] for the receiver, [MQTT-3.14.4-2]: the answer, then the end.
#[test]
fn malformed_disconnect_is_answered() {
    let broker = Broker::shared();
    // Reserved bits; a code of no packet; a code of PUBACK.
    for bytes in [&[0xE1, 0][..], &[0xE0, 1, 0x05], &[0xE0, 1, 0x10]] {
        let mut client = publisher(&broker);
        client.send_bytes(bytes);
        client.expect_disconnect(ReasonCode::MalformedPacket);
    }
}

/// [MQTT-3.14.2-2], [MQTT-4.13.1-1], [MQTT-4.13.2-1]: the broker's own DISCONNECT never carries a
/// session expiry interval, and nothing comes after it.
#[test]
fn disconnect_from_the_broker() {
    let broker = Broker::shared();
    let name = unique("c");
    let mut client = broker.connect(&keep(&name));
    client.send(&Packet::Connect(v5(&name)));
    let disconnect = client.expect::<Disconnect>();
    assert_eq!(disconnect.reason, ReasonCode::ProtocolError);
    assert_eq!(disconnect.props().session_expiry_interval_s(), None);
    client.expect_closed();
    // The session is kept all the same.
    assert!(broker.connect(&resume(&name)).connack().session_present);
}

/// SIGTERM: 5.0 clients are told 0x8B, 3.1.1 clients are closed, and the process ends in order
/// within two seconds.
#[test]
fn shutting_down_is_told() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut five = broker.connect(&v5("five"));
    let mut three = broker.connect(&v311("three"));
    let begin = Instant::now();
    broker.terminate();
    five.expect_disconnect(ReasonCode::ServerShuttingDown);
    three.expect_closed();
    assert!(broker.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
}

/// The will of a client that is told 0x8B: the network connection is closed without a DISCONNECT of
/// the client, so it is published, at the latest after the restart.
#[test]
fn shutting_down_keeps_wills() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut watcher = broker.connect(&keep("watcher"));
    watcher.subscribe("will", AtLeastOnce);
    let last = Will { qos: AtLeastOnce, ..will("will", b"last") };
    let mut dying = broker.connect(&Connect { will: Some(last), ..keep("dying") });
    broker.terminate();
    let (mut published, mut told) = (0, false);
    while let Some(received) = watcher.next_packet() {
        match received {
            Received::Publish(_) => published += 1,
            Received::Disconnect(_) => told = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(told);
    while dying.next_packet().is_some() {}
    broker.wait();
    broker.restart();
    // Not acknowledged: it comes again if it had come.
    let again = broker.connect(&resume("watcher")).take();
    assert_eq!((again.text(), again.dup), ("last", published == 1));
}

/// [MQTT-3.12.4-1]
#[test]
fn pingreq_is_answered() {
    let broker = Broker::shared();
    for connect in [v5(&unique("c")), v311(&unique("c")), v31(&unique("c"))] {
        let mut client = broker.connect(&connect);
        for _ in 0..3 {
            client.send(&Packet::PingReq);
            assert_eq!(client.expect_bytes(), [0xD0, 0]);
        }
    }
}
