//! 10,000 messages with QoS 1 and 1,000 with QoS 2 cross the gateway to the centre while one or the
//! other is killed: what was acknowledged arrives, each topic in order, QoS 2 exactly once.

use std::thread::JoinHandle;

use outpost_tests::{Broker, ForeignClient, Kind, Library, unique};
use serde_json::json;

use crate::site::Site;
use crate::traffic::{Received, Stream, Tally, receive};

/// Clients, and how many messages each of them has unacknowledged at the most. MQTT.js sends again
/// one by one after a reconnection.
const PAHO: (Kind, u64) = (Kind::new(Library::Paho, "5"), 400);
const PAHO_V311: (Kind, u64) = (Kind::new(Library::Paho, "3.1.1"), 400);
const MQTTJS: (Kind, u64) = (Kind::new(Library::MqttJs, "5"), 50);

const READINGS: Stream = Stream { name: "readings", topics: 20, count: 10_000, qos: 1 };
const EVENTS: Stream = Stream { name: "events", topics: 5, count: 1_000, qos: 2 };
const ALL: u64 = 11_000;
/// QoS 1 messages that may come more than once: what a publisher and a bridge have in flight, for
/// each of five kills.
const REPEATED_MAX: usize = 5 * (400 + 100);

/// The traffic of one test.
struct Run {
    site: Site,
    tally: Tally,
    publishers: Vec<(Stream, JoinHandle<ForeignClient>)>,
    receiver: Option<JoinHandle<(ForeignClient, Received)>>,
}

impl Run {
    /// Both brokers, a receiver at the centre; nothing is published yet.
    fn start() -> Self {
        let site = Site::start();
        let tally = Tally::default();
        let receiver = receive(site.receiver(), &[READINGS, EVENTS], tally.clone());
        Self { site, tally, publishers: Vec::new(), receiver: Some(receiver) }
    }

    /// Has the readings and the events published by clients of these kinds, which reconnect and
    /// resend as their libraries do.
    fn publish(&mut self, readings: (Kind, u64), events: (Kind, u64)) {
        for (stream, (kind, inflight)) in [(READINGS, readings), (EVENTS, events)] {
            let options =
                json!({"clean": false, "expiry_s": 3600, "reconnect": true, "inflight": inflight});
            let client = kind.connect_with(&self.site.gateway, &unique(stream.name), &options);
            self.publishers.push((stream, stream.publish(client, self.tally.clone())));
        }
    }

    /// Waits until all is acknowledged, and for what has not come yet; checks all.
    fn finish(mut self) {
        let mut publishers = Vec::new();
        for (stream, publisher) in self.publishers {
            publishers.push((stream, publisher.join().expect("all is acknowledged")));
        }
        for (stream, client) in &mut publishers {
            stream.publish_last(client);
        }
        let receiver = self.receiver.take().expect("it is joined only here");
        let (_, received) = receiver.join().expect("all is received");
        for (stream, _) in &publishers {
            stream.check(&received);
        }
        for broker in [&self.site.gateway, &self.site.central] {
            let log = broker.log();
            for odd in ["ERROR", "panicked", "https://", "Unspecified error"] {
                assert!(!log.contains(odd), "an operator reads {odd} in\n{log}");
            }
        }
        // Only what was in flight when a connection was lost may come again.
        assert!(received.repeated <= REPEATED_MAX, "{} came again", received.repeated);
    }
}

/// kill -9, and again at once.
fn kill(broker: &mut Broker) {
    broker.kill();
    broker.restart();
}

/// The centre is away, and the gateway is killed in the middle of it all.
#[test]
fn the_gateway_is_killed_while_the_centre_is_away() {
    let mut run = Run::start();
    run.site.central.terminate();
    assert!(run.site.central.wait().success());
    run.publish(PAHO, PAHO);
    run.tally.wait_for_acknowledged(5_000);
    kill(&mut run.site.gateway);
    run.tally.wait_for_acknowledged(ALL);
    run.site.central.restart();
    run.finish();
}

/// At several moments: while nothing can be sent on, while the bridge sends on what has gathered and
/// more comes in, and while it sends on the rest.
#[test]
fn the_gateway_is_killed_again_and_again() {
    let mut run = Run::start();
    run.site.central.kill();
    run.publish(PAHO_V311, MQTTJS);
    for count in [500, 3_000] {
        run.tally.wait_for_acknowledged(count);
        kill(&mut run.site.gateway);
    }
    run.site.central.restart();
    for count in [1_000, 4_000, 8_000] {
        run.tally.wait_for_received(count);
        kill(&mut run.site.gateway);
    }
    run.finish();
}

/// The centre is killed while it receives, and once both are.
#[test]
fn the_centre_is_killed_while_it_receives() {
    let mut run = Run::start();
    run.publish(MQTTJS, PAHO);
    for count in [500, 4_000] {
        run.tally.wait_for_received(count);
        kill(&mut run.site.central);
    }
    run.tally.wait_for_received(7_000);
    run.site.central.kill();
    kill(&mut run.site.gateway);
    run.site.central.restart();
    run.finish();
}

/// The gateway is killed before it has ever reached its centre: what it had acknowledged was for a
/// session of the bridge that no link had made yet.
#[test]
fn a_gateway_that_never_reached_its_centre_is_killed() {
    let mut site = Site::start_without_centre();
    let options = json!({"clean": false, "expiry_s": 3600, "reconnect": true, "inflight": 400});
    let tally = Tally::default();
    let publisher = PAHO.0.connect_with(&site.gateway, &unique(READINGS.name), &options);
    let mut publisher =
        READINGS.publish(publisher, tally.clone()).join().expect("all is acknowledged");
    site.gateway.kill();
    assert!(!site.gateway.log().contains("link up"), "it did reach its centre");
    site.central.restart();
    let receiver = receive(site.receiver(), &[READINGS], tally);
    site.gateway.restart();
    READINGS.publish_last(&mut publisher);
    let (_, received) = receiver.join().expect("all is received");
    READINGS.check(&received);
    assert!(received.repeated <= REPEATED_MAX, "{} came again", received.repeated);
}
