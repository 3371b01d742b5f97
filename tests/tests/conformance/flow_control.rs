//! Receive Maximum, Maximum Packet Size, full queues and slow clients (5.0 sections 3.1.2.11.3,
//! 3.1.2.11.4, 4.9).

use std::time::Instant;

use crate::prelude::*;

fn qos1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { qos: AtLeastOnce, ..message(topic, payload) }
}

fn with<'a>(name: &'a str, properties: &'a [Property<'a>]) -> Connect<'a> {
    Connect { properties: list(properties), ..v5(name) }
}

/// [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.9.0-1] to [MQTT-4.9.0-3]: no more than Receive Maximum
/// unacknowledged, and all else goes on.
#[test]
fn receive_maximum_of_a_client_is_kept() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = broker.connect(&with(&name, &[Property::ReceiveMaximum(2)]));
    receiver.subscribe(&topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    for number in 0..6 {
        let qos = if number % 2 == 0 { AtLeastOnce } else { ExactlyOnce };
        sender.publish(&Message { qos, ..message(&topic, &[number]) });
    }
    let zero = receiver.expect::<Publish>();
    let one = receiver.expect::<Publish>();
    assert_eq!((&zero.payload[..], &one.payload[..]), (&[0][..], &[1][..]));
    // The window is closed: PINGRESP, SUBACK, QoS 0 and acknowledgements come all the same.
    receiver.expect_nothing();
    receiver.subscribe(&unique("t"), AtMostOnce);
    receiver.publish(&Message { qos: ExactlyOnce, ..message("other", b"") });
    sender.publish(&message(&topic, b"now"));
    assert_eq!(receiver.take().text(), "now");

    // PUBREC does not open it for a QoS 2 flow, PUBCOMP does.
    receiver.pubrec(one.id());
    receiver.expect::<PubRel>();
    receiver.expect_nothing();
    receiver.pubcomp(one.id());
    let two = receiver.expect::<Publish>();
    assert_eq!(two.payload, [2]);
    receiver.expect_nothing();
    receiver.puback(zero.id());
    let three = receiver.expect::<Publish>();
    assert_eq!(three.payload, [3]);
    // An error in PUBREC opens it at once.
    receiver.pubrec_with(three.id(), ReasonCode::UnspecifiedError);
    assert_eq!(receiver.take().payload, [4]);
    assert_eq!(receiver.take().payload, [5]);
    receiver.puback(two.id());
    receiver.expect_nothing();
}

/// [MQTT-3.3.4-9] in a resumed session: the new connection's Receive Maximum counts for what is
/// resent as well.
#[test]
fn receive_maximum_holds_for_resent_messages() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = broker.connect(&keep(&name));
    receiver.subscribe(&topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    for number in 0..5 {
        sender.publish(&qos1(&topic, &[number]));
    }
    for _ in 0..5 {
        receiver.expect::<Publish>();
    }
    receiver.cut();
    let narrow = [Property::ReceiveMaximum(1), Property::SessionExpiryInterval(60)];
    let connect = Connect { clean_start: false, ..with(&name, &narrow) };
    let mut receiver = broker.connect(&connect);
    for number in 0..5 {
        let got = receiver.expect::<Publish>();
        assert_eq!((&got.payload[..], got.dup), (&[number][..], true));
        receiver.expect_nothing();
        receiver.puback(got.id());
    }
    receiver.expect_nothing();
}

/// 3.3.4: a client that has more unacknowledged than the broker's Receive Maximum gets 0x93.
#[test]
fn receive_maximum_of_the_broker_is_enforced() {
    let broker = Broker::shared();
    let mut sender = publisher(&broker);
    let maximum = sender.connack().props().receive_maximum().unwrap_or(65_535);
    let publishes: Vec<_> = (1..=maximum)
        .map(|n| Message { qos: ExactlyOnce, packet_id: Some(id(n)), ..message("never", b"") })
        .map(Packet::Publish)
        .collect();
    sender.send_all(&publishes);
    for number in 1..=maximum {
        assert_eq!(sender.expect::<PubRec>().packet_id, id(number));
    }
    // One more message is too many; one of those again, and QoS 0, are not.
    let Packet::Publish(first) = &publishes[0] else { unreachable!("they are PUBLISH packets") };
    sender.send(&Packet::Publish(Message { dup: true, ..first.clone() }));
    assert_eq!(sender.expect::<PubRec>().packet_id, id(1));
    sender.publish(&message("never", b""));
    let publish = Message { packet_id: Some(id(maximum + 1)), ..qos1("never", b"") };
    sender.send(&Packet::Publish(publish));
    sender.expect_disconnect(ReasonCode::ReceiveMaximumExceeded);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: too large for this client is as if it had been sent; the next
/// ones come, at every QoS, online and from the queue.
#[test]
fn maximum_packet_size_of_a_client_is_kept() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let properties = [Property::MaximumPacketSize(128), Property::SessionExpiryInterval(60)];
    let connect = Connect { clean_start: false, ..with(&name, &properties) };
    let mut receiver = broker.connect(&connect);
    receiver.subscribe(&topic, ExactlyOnce);
    let mut sender = publisher(&broker);
    let large = [b'x'; 200];
    let mut send_all = || {
        for qos in [AtLeastOnce, ExactlyOnce] {
            sender.publish(&Message { qos, ..message(&topic, &large) });
            sender.publish(&Message { qos, ..message(&topic, b"small") });
        }
    };
    send_all();
    for qos in [AtLeastOnce, ExactlyOnce] {
        let got = receiver.take();
        assert_eq!((got.text(), got.qos), ("small", qos));
    }
    receiver.expect_nothing();
    receiver.disconnect_with(ReasonCode::Success, Properties::EMPTY);
    send_all();
    let mut receiver = broker.connect(&connect);
    for qos in [AtLeastOnce, ExactlyOnce] {
        let got = receiver.take();
        assert_eq!((got.text(), got.qos), ("small", qos));
    }
    receiver.expect_nothing();
    receiver.cut();
    // They are not waiting for a roomier connection either.
    broker.connect(&resume(&name)).expect_nothing();
}

/// [MQTT-3.1.2-24] to the byte.
#[test]
fn packet_of_exactly_the_maximum_is_sent() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut receiver = broker.connect(&with(&name, &[Property::MaximumPacketSize(100)]));
    receiver.subscribe(&topic, AtMostOnce);
    let mut sender = publisher(&broker);
    // Header 2, topic length 2, property length 1.
    let payload = vec![b'x'; 100 - 5 - topic.len()];
    sender.publish(&message(&topic, &payload));
    assert_eq!(receiver.expect_bytes().len(), 100);
    let payload = vec![b'x'; 101 - 5 - topic.len()];
    sender.publish(&message(&topic, &payload));
    receiver.expect_nothing();
}

/// [MQTT-3.1.2-25] for a shared subscription: another member takes what is too large for one (the
/// non-normative remark at 3.1.2.11.4).
#[test]
fn too_large_for_one_member_goes_to_another() {
    let broker = Broker::shared();
    let topic = unique("t");
    let share = format!("$share/g/{topic}");
    let name = unique("sub");
    let mut small = broker.connect(&with(&name, &[Property::MaximumPacketSize(128)]));
    small.subscribe(&share, AtLeastOnce);
    let mut large = subscriber(&broker, &share);
    let mut sender = publisher(&broker);
    for _ in 0..4 {
        sender.publish(&qos1(&topic, &[b'x'; 200]));
        assert_eq!(large.take().payload.len(), 200);
    }
    small.expect_nothing();
}

/// The broker's own limit is announced; a packet above it is refused by its header alone, with
/// 0x95 (3.2.2.3.6).
#[test]
fn packets_above_the_brokers_limit_are_refused() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    let maximum = client.connack().props().maximum_packet_size().expect("a limit is announced");
    let mut header = vec![0x30];
    outpost_protocol::wire::put_var_int(maximum, &mut Header(&mut header)).expect("it fits");
    client.send_bytes(&header);
    client.expect_disconnect(ReasonCode::PacketTooLarge);
}

struct Header<'a>(&'a mut Vec<u8>);

impl outpost_protocol::Buffer for Header<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), outpost_protocol::BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// And one of exactly that size is taken.
#[test]
fn packet_of_exactly_the_brokers_limit_is_taken() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut receiver = subscriber(&broker, &topic);
    let mut sender = publisher(&broker);
    let maximum = sender.connack().props().maximum_packet_size().expect("a limit is announced");
    let maximum = usize::try_from(maximum).expect("it fits into memory");
    let overhead = 1 + 3 + 2 + topic.len() + 1; // 3 bytes of Remaining Length below 2 MiB.
    let payload = vec![7; maximum - overhead];
    sender.publish(&message(&topic, &payload));
    assert_eq!(receiver.take().payload.len(), payload.len());
}

/// A subscriber that reads nothing delays nobody, loses only QoS 0, and the broker's memory for it
/// is bounded.
#[test]
fn slow_subscriber_does_not_delay_others() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\noutput_bytes_max = 65536\n");
    let mut slow = broker.connect(&v5("slow"));
    slow.subscribe("t", AtMostOnce);
    let mut quick = broker.connect(&v5("quick"));
    quick.subscribe("t", AtMostOnce);
    let mut sender = publisher(&broker);
    // More than the sockets of a connection can hold.
    let payload = vec![b'x'; 64 * 1024];
    let count = 400;
    for _ in 0..count {
        sender.publish(&message("t", &payload));
        assert_eq!(quick.take().payload.len(), payload.len());
    }
    let begin = Instant::now();
    slow.ping();
    let mut got = 0;
    while let Some(Received::Publish(publish)) = slow.stashed() {
        assert_eq!(publish.payload.len(), payload.len(), "whole messages or none");
        got += 1;
    }
    assert!(got > 0, "nothing came in {:?}", begin.elapsed());
    assert!(got < count, "nothing was dropped: {got} of {count}");
}

/// The same subscriber at QoS 1: what does not fit waits, and all of it comes.
#[test]
fn slow_subscriber_gets_every_qos1_message() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\noutput_bytes_max = 65536\n");
    let mut slow = broker.connect(&v5("slow"));
    slow.subscribe("t", AtLeastOnce);
    let mut sender = publisher(&broker);
    let count = 200_u32;
    for number in 0..count {
        let mut payload = vec![b'x'; 64 * 1024];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        sender.publish(&qos1("t", &payload));
    }
    for number in 0..count {
        assert_eq!(slow.take().payload[..4], number.to_be_bytes());
    }
    slow.expect_nothing();
}

/// 3.1.1 has no Receive Maximum to go by: whoever sends more at once is slowed down, not closed.
#[test]
fn eager_3_1_1_publisher_is_slowed_down() {
    let broker = Broker::shared();
    let (name, topic) = (unique("sub"), unique("t"));
    let mut away = broker.connect(&keep(&name));
    away.subscribe(&topic, AtLeastOnce);
    away.disconnect();
    let mut sender = broker.connect(&v311(&unique("pub")));
    let publishes: Vec<_> = (1..=3000)
        .map(|n| Message { packet_id: Some(id(n)), ..qos1(&topic, b"x") })
        .map(Packet::Publish)
        .collect();
    let mut writer = sender.second_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send_all(&publishes));
        for number in 1..=3000 {
            assert_eq!(sender.expect::<PubAck>().packet_id, id(number));
        }
    });
    let mut away = broker.connect(&resume(&name));
    for _ in 0..3000 {
        away.take();
    }
    away.expect_nothing();
}
