//! A gateway bridged to brokers of other makes. docs/BRIDGING.md tells what each of them can do.

use outpost_protocol::{ProtocolVersion, Publish, QoS};
use outpost_tests::{Broker, ForeignBroker, Make, RawClient, message, unique, v5, v311};
use serde_json::{Value, json};

use crate::control::wait_for;
use crate::traffic::{self, Stream};

/// Large enough for any buffer on the way.
const LARGE_BYTES: usize = 100 * 1024;

/// What a remote broker makes of it.
struct Expected {
    /// The highest QoS that it takes.
    maximum_qos: QoS,
    /// It knows who is a bridge: it leaves RETAIN as it is, and does not send a bridge its own messages.
    knows_bridges: bool,
    /// What the status says where it gets QoS 2 all the same.
    error_at_qos_2: Option<&'static str>,
    problems: Vec<&'static str>,
}

const LOWERED: &str = "remote broker granted QoS 1, not 2, for \"down/#\"";

#[test]
fn mosquitto() {
    let maximum_qos = QoS::ExactlyOnce;
    let (knows_bridges, error_at_qos_2, problems) = (true, None, Vec::new());
    let expected = Expected { maximum_qos, knows_bridges, error_at_qos_2, problems };
    for version in ["3.1.1", "5"] {
        everything(Make::Mosquitto, version, &expected);
    }
}

#[test]
fn rabbitmq() {
    let maximum_qos = QoS::AtLeastOnce;
    let (knows_bridges, problems) = (false, vec![LOWERED]);
    let error_at_qos_2 = Some("PUBACK for a message with QoS 2");
    let expected = Expected { maximum_qos, knows_bridges, error_at_qos_2, problems };
    everything(Make::RabbitMq, "3.1.1", &expected);
}

#[test]
fn nats() {
    let maximum_qos = QoS::AtLeastOnce;
    let (knows_bridges, problems) = (false, vec![LOWERED]);
    let error_at_qos_2 = Some("remote broker closed the connection");
    let expected = Expected { maximum_qos, knows_bridges, error_at_qos_2, problems };
    everything(Make::Nats, "3.1.1", &expected);
}

/// A gateway and a remote broker of another make.
struct Pair {
    gateway: Broker,
    remote: ForeignBroker,
    /// A client of each.
    here: RawClient,
    there: RawClient,
}

fn everything(make: Make, version: &str, expected: &Expected) {
    let mut pair = Pair::start(make, version, expected.maximum_qos);
    let status = wait_for(&pair.gateway, |status| status["state"] == "connected");
    assert_eq!(status["problems"], json!(expected.problems), "{status:#}");
    pair.every_qos_goes_out(expected.maximum_qos);
    pair.every_qos_comes_in(expected.maximum_qos);
    pair.retained_goes_both_ways(expected.knows_bridges);
    pair.what_goes_both_ways_does_not_go_round(expected.knows_bridges);
    pair.a_stream_outlives_the_remote(expected.maximum_qos);
    if let Some(error) = expected.error_at_qos_2 {
        qos_2_waits(&pair.remote, version, error);
    }
}

/// Without `maximum_qos = 1` the message stays where it is, and the status says why.
fn qos_2_waits(remote: &ForeignBroker, version: &str, error: &str) {
    let gateway = gateway(remote, "not-told", version, QoS::ExactlyOnce);
    let mut client = gateway.connect(&v5("publisher"));
    client.publish(&Publish { qos: QoS::ExactlyOnce, ..message("up/qos2", b"x") });
    let says = |status: &Value| status["last_error"]["what"].as_str().unwrap_or("").to_owned();
    let status = wait_for(&gateway, |status| says(status).contains(error));
    assert_eq!(status["backlog"]["messages"], 1, "{status:#}");
}

fn gateway(remote: &ForeignBroker, client_id: &str, version: &str, maximum_qos: QoS) -> Broker {
    Broker::with_config(&format!(
        "[[bridge]]\nname = \"up\"\naddress = \"{}\"\nversion = \"{version}\"\n\
         client_id = \"{client_id}\"\nmaximum_qos = {}\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n\
         [[bridge.topic]]\nfilter = \"up/#\"\ndirection = \"out\"\nqos = 2\n\
         [[bridge.topic]]\nfilter = \"down/#\"\ndirection = \"in\"\nqos = 2\n\
         [[bridge.topic]]\nfilter = \"both/#\"\ndirection = \"both\"\nqos = 1\n",
        remote.address(),
        maximum_qos as u8,
    ))
}

impl Pair {
    fn start(make: Make, version: &str, maximum_qos: QoS) -> Self {
        let remote = ForeignBroker::start(make);
        let gateway = gateway(&remote, "gateway", version, maximum_qos);
        let here = gateway.connect(&v5(&unique("here")));
        let there = client(&remote);
        Self { gateway, remote, here, there }
    }

    fn every_qos_goes_out(&mut self, maximum: QoS) {
        self.there.subscribe("up/#", maximum);
        let large = vec![b'x'; LARGE_BYTES];
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for payload in [b"small", &large[..]] {
                self.here.publish(&Publish { qos, ..message("up/x", payload) });
                let came = self.there.take();
                assert_eq!((came.topic.as_str(), came.qos), ("up/x", qos.min(maximum)));
                assert!(came.payload == payload, "{} bytes came", came.payload.len());
            }
        }
    }

    fn every_qos_comes_in(&mut self, maximum: QoS) {
        self.here.subscribe("down/#", QoS::ExactlyOnce);
        let large = vec![b'x'; LARGE_BYTES];
        let each = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for qos in each.into_iter().filter(|qos| *qos <= maximum) {
            for payload in [b"small", &large[..]] {
                self.there.publish(&Publish { qos, ..message("down/x", payload) });
                let came = self.here.take();
                assert_eq!((came.topic.as_str(), came.qos), ("down/x", qos));
                assert!(came.payload == payload, "{} bytes came", came.payload.len());
            }
        }
    }

    fn retained_goes_both_ways(&mut self, knows_bridges: bool) {
        let (qos, retain) = (QoS::AtLeastOnce, true);
        self.here.publish(&Publish { qos, retain, ..message("up/kept", b"out") });
        assert_eq!(self.there.take().text(), "out");
        let mut later = client(&self.remote);
        later.subscribe("up/kept", qos);
        let came = later.take();
        assert_eq!((came.text(), came.retain), ("out", true));

        self.there.publish(&Publish { qos, retain, ..message("down/kept", b"in") });
        assert_eq!(self.here.take().text(), "in");
        let mut later = self.gateway.connect(&v5(&unique("later")));
        later.subscribe("down/kept", qos);
        if knows_bridges {
            let came = later.take();
            assert_eq!((came.text(), came.retain), ("in", true));
        } else {
            later.expect_nothing();
        }
    }

    /// Where the remote broker does not know who is a bridge, what goes out comes back once, and no
    /// further. Each end is told by a message that takes the way of the others behind them.
    fn what_goes_both_ways_does_not_go_round(&mut self, knows_bridges: bool) {
        let qos = QoS::AtLeastOnce;
        self.here.subscribe("both/#", qos);
        self.there.subscribe("both/#", qos);
        let mut own = self.gateway.connect(&v5(&unique("own")));
        own.publish(&Publish { qos, ..message("both/x", b"from here") });
        let mut there = texts_until(&mut self.there, "from here");
        self.there.publish(&Publish { qos, ..message("both/x", b"from there") });
        let here = texts_until(&mut self.here, "from there");
        own.publish(&Publish { qos, ..message("both/x", b"end") });
        there.extend(texts_until(&mut self.there, "end"));
        assert_eq!(there, ["from here", "from there", "end"]);
        let times = if knows_bridges { 1 } else { 2 };
        assert_eq!(here, [&vec!["from here"; times][..], &["from there"]].concat());
    }

    /// It is ended and started again while messages go to it, and nothing that the gateway has
    /// acknowledged is missing there.
    fn a_stream_outlives_the_remote(&mut self, maximum: QoS) {
        let stream = Stream { prefix: "up/stream", count: 500 };
        let came =
            traffic::subscribe(self.remote.address(), ProtocolVersion::V311, &["up/stream/#"]);
        let publisher = stream.publish(self.gateway.connect(&v5(&unique("stream"))));
        let arrived = stream.receive(&came, |count| {
            if count == 100 {
                self.remote.kill();
                self.remote.restart();
            }
        });
        publisher.join().expect("all is acknowledged");
        let once: &[QoS] = if maximum == QoS::ExactlyOnce { &[QoS::ExactlyOnce] } else { &[] };
        arrived.check(once);
        wait_for(&self.gateway, |status| status["backlog"]["messages"] == 0);
    }
}

fn client(remote: &ForeignBroker) -> RawClient {
    let mut client = RawClient::open(remote.address(), ProtocolVersion::V311);
    client.connect(&v311(&unique("there")));
    client
}

/// What comes until this text has come.
fn texts_until(client: &mut RawClient, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(client.take().text().to_owned());
    }
    texts
}
