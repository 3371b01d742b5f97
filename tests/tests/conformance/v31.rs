//! MQTT 3.1 (`MQIsdp`, level 3): old sensors that are still in the field. Its text is not among our
//! references; what is tested is what 3.1.1 lists as changed, and that the flows work.

use crate::prelude::*;

fn subscriber31(broker: &Broker, filter: &str) -> RawClient {
    let mut client = broker.connect(&v31(&unique("sub")));
    client.subscribe(filter, ExactlyOnce);
    client
}

/// CONNACK has no session present in 3.1: its first byte is reserved.
#[test]
fn connack_bytes() {
    let broker = Broker::shared();
    let name = unique("c");
    for clean_start in [false, false, true] {
        let mut client = broker.open(V31);
        client.send(&Packet::Connect(Connect { clean_start, ..v31(&name) }));
        assert_eq!(client.expect_bytes(), [0x20, 2, 0, 0]);
        client.disconnect();
    }
}

/// A client identifier has 1 to 23 characters in 3.1: none is refused with return code 2.
#[test]
fn empty_client_id_is_refused() {
    let broker = Broker::shared();
    let mut client = broker.open(V31);
    client.send(&Packet::Connect(v31("")));
    assert_eq!(client.rest(), [0x20, 2, 0, 2]);
}

/// The name and the level belong together.
#[test]
fn name_and_level_of_31() {
    let broker = Broker::shared();
    let mut client = broker.open(V31);
    client.send_bytes(b"\x10\x0F\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01x");
    let answer = client.rest();
    assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "{answer:02x?}");
}

/// All QoS in both directions, also to and from the newer versions.
#[test]
fn every_qos_with_every_version() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receivers = [subscriber31(&broker, &topic), subscriber(&broker, &topic), {
        let mut client = broker.connect(&v311(&unique("sub")));
        client.subscribe(&topic, ExactlyOnce);
        client
    }];
    let names = [unique("pub"), unique("pub"), unique("pub")];
    for connect in [v31(&names[0]), v311(&names[1]), v5(&names[2])] {
        let mut sender = broker.connect(&connect);
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            sender.publish(&Message { qos, ..message(&topic, b"x") });
            for receiver in &mut receivers {
                let got = receiver.take();
                assert_eq!((got.qos, got.text()), (qos, "x"));
            }
        }
    }
}

/// PUBREL, SUBSCRIBE and UNSUBSCRIBE may be repeated with DUP in 3.1.
#[test]
fn dup_of_other_packets() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v31(&unique("c")));
    client.send_bytes(&[0x8A, 6, 0, 1, 0, 1, b'a', 1]);
    assert_eq!(client.expect_bytes(), [0x90, 3, 0, 1, 1]);
    client.send_bytes(&[0xAA, 5, 0, 2, 0, 1, b'a']);
    assert_eq!(client.expect_bytes(), [0xB0, 2, 0, 2]);
    client.send(&Packet::Publish(Message {
        qos: ExactlyOnce,
        packet_id: Some(id(3)),
        ..message("a", b"")
    }));
    assert_eq!(client.expect_bytes(), [0x50, 2, 0, 3]);
    client.send_bytes(&[0x6A, 2, 0, 3]);
    assert_eq!(client.expect_bytes(), [0x70, 2, 0, 3]);
}

/// The session is kept and resumed although CONNACK cannot say so.
#[test]
fn session_is_resumed() {
    let broker = Broker::shared();
    let (name, topic) = (unique("c"), unique("t"));
    let persistent = Connect { clean_start: false, ..v31(&name) };
    let mut client = broker.connect(&persistent);
    client.subscribe(&topic, ExactlyOnce);
    client.disconnect();
    let mut sender = publisher(&broker);
    sender.publish(&Message { qos: ExactlyOnce, ..message(&topic, b"waits") });
    let mut client = broker.connect(&persistent);
    let first = client.expect::<Publish>();
    client.cut();
    let mut client = broker.connect(&persistent);
    let again = client.take();
    assert_eq!((again.id(), again.dup, again.text()), (first.id(), true, "waits"));
}

/// Will, retained message and PINGREQ.
#[test]
fn will_and_retained_message() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber31(&broker, &topic);
    let name = unique("c");
    let last = Will { retain: true, qos: AtLeastOnce, ..will(&topic, b"last") };
    let mut client = broker.connect(&Connect { will: Some(last), ..v31(&name) });
    client.expect_nothing();
    client.cut();
    let got = watcher.take();
    assert_eq!((got.text(), got.qos, got.retain), ("last", AtLeastOnce, false));
    let got = subscriber31(&broker, &topic).take();
    assert_eq!((got.text(), got.retain), ("last", true));
    publisher(&broker).publish(&Message { retain: true, ..message(&topic, b"") });
}

/// Malformed packets close the connection.
#[test]
fn malformed_packets_close() {
    let broker = Broker::shared();
    for packet in [&[0x36, 5, 0, 1, b'a', 0, 1][..], &[0x82, 6, 0, 1, 0, 1, b'a', 3], &[0x00, 0]] {
        let mut client = broker.connect(&v31(&unique("c")));
        client.send_bytes(packet);
        client.expect_closed();
    }
}
