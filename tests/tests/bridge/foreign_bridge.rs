//! Mosquitto's own bridge into an Outpost, with what a `mosquitto.conf` usually says.

use std::net::SocketAddr;

use outpost_protocol::{ProtocolVersion, Publish, QoS};
use outpost_tests::{Broker, Command, RawClient, message, unique, v5, v311};
use tempfile::TempDir;

use crate::control::port;
use crate::traffic::{self, Arrived, Stream};

const STATE: &str = "$SYS/broker/connection/far.up/state";

/// An Outpost, and a Mosquitto with a bridge to it.
struct Pair {
    centre: Broker,
    here: RawClient,
    there: RawClient,
    mosquitto: Command,
    address: SocketAddr,
    _dir: TempDir,
}

impl Pair {
    fn start(version: &str) -> Self {
        let (centre, address) = (Broker::start(), port());
        let dir = TempDir::new().expect("a temporary folder");
        let file = dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
             connection up\naddress {}\nbridge_protocol_version {version}\n\
             remote_clientid far.up\ncleansession false\nnotifications true\ntry_private true\n\
             restart_timeout 1\ntopic shared/# both 2\ntopic ready in 1\n",
            address.port(),
            centre.address(),
        );
        std::fs::write(&file, text).expect("write mosquitto.conf");
        let mosquitto = Command::start("mosquitto", &["-c", file.to_str().expect("UTF-8")]);
        let mut watch = centre.connect(&v5(&unique("watch")));
        watch.subscribe(STATE, QoS::AtLeastOnce);
        assert_eq!(watch.take().text(), "1", "it is told when it is connected");
        // It listens before it connects, and tells its state before it subscribes.
        let connect = |name: &str| {
            let mut client = RawClient::open(address, ProtocolVersion::V311);
            client.connect(&v311(&unique(name)));
            client
        };
        let (mut waiting, there) = (connect("waiting"), connect("there"));
        let mut here = centre.connect(&v5(&unique("here")));
        let (qos, retain) = (QoS::AtLeastOnce, true);
        here.publish(&Publish { qos, retain, ..message("ready", b"now") });
        // It may come twice, as new and as retained, where it is published while Mosquitto subscribes.
        waiting.subscribe("ready", qos);
        assert_eq!(waiting.take().text(), "now");
        Self { centre, here, there, mosquitto, address, _dir: dir }
    }
}

impl Pair {
    /// The Outpost is killed in the middle of it.
    fn a_stream_comes_in(&mut self) -> Arrived {
        let stream = Stream { prefix: "shared/inward", count: 500 };
        let filter = ["shared/inward/#"];
        let came = traffic::subscribe(self.centre.address(), ProtocolVersion::V5, &filter);
        let mut client = RawClient::open(self.address, ProtocolVersion::V311);
        client.connect(&v311(&unique("inward")));
        let publisher = stream.publish(client);
        let arrived = stream.receive(&came, |count| {
            if count == 100 {
                self.centre.kill();
                self.centre.restart();
            }
        });
        publisher.join().expect("all is acknowledged");
        arrived
    }
}

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv50"];

/// Each message comes once at each end: a loop would bring it again before the one behind it.
#[test]
fn messages_go_both_ways_and_not_round() {
    for version in VERSIONS {
        let mut pair = Pair::start(version);
        let (here, there) = (&mut pair.here, &mut pair.there);
        here.subscribe("shared/#", QoS::ExactlyOnce);
        there.subscribe("shared/#", QoS::ExactlyOnce);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let payload = vec![b'x'; 100 * 1024];
            for (topic, payload) in [("shared/small", b"".as_slice()), ("shared/large", &payload)] {
                for turn in 0..2 {
                    let (from, to) = if turn == 0 {
                        (&mut *here, &mut *there)
                    } else {
                        (&mut *there, &mut *here)
                    };
                    let payload = &[turn.to_string().as_bytes(), payload].concat()[..];
                    from.publish(&Publish { qos, ..message(topic, payload) });
                    for end in [to, from] {
                        let came = end.take();
                        assert_eq!((came.topic.as_str(), came.qos), (topic, qos), "{version}");
                        assert!(came.payload == payload, "{version}: {:?}", came.payload.len());
                    }
                }
            }
        }
    }
}

/// A message is retained at the other end, and there shows it to who comes later.
#[test]
fn retain_is_kept() {
    for version in VERSIONS {
        let mut pair = Pair::start(version);
        let (qos, retain) = (QoS::AtLeastOnce, true);
        pair.here.subscribe("shared/#", qos);
        pair.there.subscribe("shared/#", qos);
        pair.here.publish(&Publish { qos, retain, ..message("shared/out", b"kept") });
        pair.there.publish(&Publish { qos, retain, ..message("shared/in", b"kept") });
        for end in [&mut pair.here, &mut pair.there] {
            for _ in 0..2 {
                assert!(!end.take().retain, "{version}: it is new");
            }
        }
        let mut here = pair.centre.connect(&v5(&unique("later")));
        let mut there = RawClient::open(pair.address, ProtocolVersion::V311);
        there.connect(&v311(&unique("later")));
        for (later, topic) in [(&mut here, "shared/in"), (&mut there, "shared/out")] {
            later.subscribe(topic, qos);
            let came = later.take();
            assert_eq!((came.text(), came.retain), ("kept", true), "{version}");
        }
    }
}

/// The Outpost is killed in the middle of a stream that comes in, with another that has yet to go out.
#[test]
fn nothing_is_lost_when_the_outpost_is_killed() {
    let mut pair = Pair::start("mqttv311");
    let outward = Stream { prefix: "shared/outward", count: 100 };
    let came_out = traffic::subscribe(pair.address, ProtocolVersion::V311, &["shared/outward/#"]);
    let here = pair.centre.connect(&v5(&unique("outward")));
    outward.publish(here).join().expect("all is acknowledged");
    pair.a_stream_comes_in().check(&[QoS::ExactlyOnce]);
    outward.receive(&came_out, |_| ()).check(&[QoS::ExactlyOnce]);
}

/// With 5.0 Mosquitto 2.0 asks for no Session Expiry Interval: its session at the Outpost ends with the
/// connection, and with it what would tell that a QoS 2 message came before.
#[test]
fn nothing_that_comes_in_with_5_0_is_lost_when_the_outpost_is_killed() {
    Pair::start("mqttv50").a_stream_comes_in().check(&[]);
}

/// Its will.
#[test]
fn its_end_is_told() {
    for version in VERSIONS {
        let pair = Pair::start(version);
        let mut watch = pair.centre.connect(&v5(&unique("watch")));
        watch.subscribe(STATE, QoS::AtLeastOnce);
        assert_eq!(watch.take().text(), "1");
        pair.mosquitto.signal("KILL");
        assert_eq!(watch.take().text(), "0");
    }
}
