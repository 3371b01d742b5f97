//! Keep Alive (5.0 section 3.1.2.10).

use std::thread;
use std::time::{Duration, Instant};

use crate::prelude::*;

/// One and a half times the shortest keep-alive.
const GRACE: Duration = Duration::from_millis(1_500);

fn one_second(connect: Connect<'_>) -> Connect<'_> {
    Connect { keep_alive_s: 1, ..connect }
}

/// [MQTT-3.1.2-22], [MQTT-3.2.2-22]: not before one and a half times the interval, soon after it;
/// 5.0 clients are told 0x8D, and the will is published: as if the network had failed.
#[test]
fn silent_client_is_closed() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = subscriber(&broker, &topic);
    let name = unique("c");
    let last = Some(will(&topic, b"last"));
    let begin = Instant::now();
    let mut client = broker.connect(&one_second(Connect { will: last, ..v5(&name) }));
    client.expect_disconnect(ReasonCode::KeepAliveTimeout);
    assert!(begin.elapsed() >= GRACE, "closed after {:?}", begin.elapsed());
    assert_eq!(watcher.take().text(), "last");
}

/// The same for 3.1.1 and 3.1, without a word.
#[test]
fn silent_client_of_older_versions_is_closed() {
    let broker = Broker::shared();
    let names = [unique("c"), unique("c")];
    let connects = [one_second(v311(&names[0])), one_second(v31(&names[1]))];
    let begin = Instant::now();
    let mut clients = connects.map(|connect| broker.connect(&connect));
    for client in &mut clients {
        client.expect_closed();
        assert!(begin.elapsed() >= GRACE, "closed after {:?}", begin.elapsed());
    }
}

/// [MQTT-3.1.2-22]: any packet counts, PINGREQ and acknowledgements as well; what the broker sends
/// does not.
#[test]
fn any_packet_keeps_the_connection() {
    let broker = Broker::shared();
    let topic = unique("t");
    let name = unique("c");
    let mut client = broker.connect(&one_second(v5(&name)));
    client.subscribe(&topic, AtLeastOnce);
    let mut sender = publisher(&broker);
    for round in 0..6 {
        thread::sleep(Duration::from_millis(500));
        sender.publish(&Message { qos: AtLeastOnce, ..message(&topic, b"") });
        let got = client.wait_for::<Publish>();
        match round % 3 {
            0 => client.send(&Packet::PingReq),
            1 => client.send(&Packet::Publish(message("other", b""))),
            _ => {}
        }
        client.puback(got.id());
        if round % 3 == 0 {
            client.expect::<PingResp>();
        }
    }
    client.expect_nothing();
    // Now it only receives.
    let begin = Instant::now();
    let told = loop {
        send_qos0(&mut sender, &topic, b"still there?");
        match client.next_packet().expect("a packet") {
            Received::Publish(_) => thread::sleep(Duration::from_millis(50)),
            Received::Disconnect(disconnect) => break disconnect,
            other => panic!("{other:?}"),
        }
        assert!(begin.elapsed() < outpost_tests::DEADLINE, "it was never closed");
    };
    assert_eq!(told.reason, ReasonCode::KeepAliveTimeout);
}

/// Half a packet does not count: the connection is closed although bytes come in.
#[test]
fn half_a_packet_does_not_count() {
    let broker = Broker::shared();
    let name = unique("c");
    let mut client = broker.connect(&one_second(v5(&name)));
    client.send_bytes(&[0x30, 100, 0, 1, b'a', 0]);
    let begin = Instant::now();
    thread::scope(|scope| {
        let mut trickle = client.second_handle();
        scope.spawn(move || {
            // At most one byte every 100 ms for 5 s: fewer than the packet has.
            for _ in 0..50 {
                thread::sleep(Duration::from_millis(100));
                trickle.send_if_open(b"x");
            }
        });
        client.expect_disconnect(ReasonCode::KeepAliveTimeout);
        assert!(begin.elapsed() < Duration::from_secs(5), "closed after {:?}", begin.elapsed());
    });
}

/// Keep Alive 0: never closed for silence.
#[test]
fn no_keep_alive_no_timeout() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("c")));
    thread::sleep(GRACE + GRACE);
    client.expect_nothing();
}

/// The session is kept as the interval of the client says: the network has failed, that is all.
#[test]
fn session_outlives_the_timeout() {
    let broker = Broker::shared();
    let (name, topic) = (unique("c"), unique("t"));
    let mut client = broker.connect(&one_second(keep(&name)));
    client.subscribe(&topic, AtLeastOnce);
    client.expect_disconnect(ReasonCode::KeepAliveTimeout);
    publisher(&broker).publish(&Message { qos: AtLeastOnce, ..message(&topic, b"kept") });
    assert_eq!(broker.connect(&resume(&name)).take().text(), "kept");
}

/// Server Keep Alive: a broker told to grant at most one second says so and goes by it, also for
/// clients that asked for none; 3.1.1 clients cannot be told and are not held to it.
#[test]
fn server_keep_alive_is_told_and_kept() {
    needs_own_broker!();
    let broker = Broker::with_config("[limits]\nkeep_alive_max_s = 1\n");
    let asked = |keep_alive_s, name| Connect { keep_alive_s, ..v5(name) };
    let mut long = broker.connect(&asked(60, "long"));
    let mut none = broker.connect(&asked(0, "none"));
    let short = broker.connect(&asked(1, "short"));
    assert_eq!(long.connack().props().server_keep_alive_s(), Some(1));
    assert_eq!(none.connack().props().server_keep_alive_s(), Some(1));
    assert_eq!(short.connack().props().server_keep_alive_s(), None);
    long.expect_disconnect(ReasonCode::KeepAliveTimeout);
    none.expect_disconnect(ReasonCode::KeepAliveTimeout);
}
