//! A gateway and a centre with a bad link between them.

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use outpost_protocol::{ProtocolVersion, QoS};
use outpost_tests::{Broker, ForeignBroker, Make, Proxy, Quality, unique, v5};

use crate::control::wait_for;
use crate::traffic::{self, Came, Stream};

const SATELLITE: Quality =
    Quality { delay: Duration::from_millis(300), bytes_per_s: Some(256_000 / 8) };

const PERFECT: Quality = Quality { delay: Duration::ZERO, bytes_per_s: None };

const ONCE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A gateway with a bridge over a link.
struct Site {
    link: Proxy,
    gateway: Broker,
}

impl Site {
    /// With a window that is less than a stream, so that there is a middle to cut.
    fn start(centre: SocketAddr, version: &str, quality: Quality) -> Self {
        let link = Proxy::start(centre, quality);
        let gateway = Broker::with_config(&format!(
            "[[bridge]]\nname = \"up\"\naddress = \"{}\"\nversion = \"{version}\"\n\
             reconnect_min_ms = 50\nreconnect_max_ms = 200\nkeep_alive_s = 2\nack_timeout_s = 3\n\
             inflight_max = 100\n\
             [[bridge.topic]]\nfilter = \"up/#\"\ndirection = \"out\"\nqos = 2\n",
            link.address()
        ));
        wait_for(&gateway, |status| status["state"] == "connected");
        Self { link, gateway }
    }

    fn publish(&self, stream: Stream) -> JoinHandle<()> {
        stream.publish(self.gateway.connect(&v5(&unique("stream"))))
    }
}

fn subscriber(centre: SocketAddr) -> Receiver<Came> {
    traffic::subscribe(centre, ProtocolVersion::V311, &["up/#"])
}

/// The link is cut five times, each time in the middle of something.
fn cut_again_and_again(centre: SocketAddr, version: &str, count: usize, once: &[QoS]) {
    let stream = Stream { prefix: "up", count };
    let site = Site::start(centre, version, SATELLITE);
    let came = subscriber(centre);
    let publisher = site.publish(stream);
    let arrived = stream.receive(&came, |arrived| {
        if arrived % (count / 5) == 1 {
            site.link.cut_after(99);
        }
    });
    publisher.join().expect("all is acknowledged");
    arrived.check(once);
    assert!(site.link.connections() > 4, "{} connections", site.link.connections());
    wait_for(&site.gateway, |status| status["backlog"]["messages"] == 0);
}

#[test]
fn cuts_on_a_slow_link_between_two_outposts() {
    let centre = Broker::start();
    cut_again_and_again(centre.address(), "5", 500, &ONCE);
}

/// It takes 20 messages in a round trip.
#[test]
fn cuts_on_a_slow_link_to_mosquitto() {
    let centre = ForeignBroker::start(Make::Mosquitto);
    cut_again_and_again(centre.address(), "5", 150, &[QoS::ExactlyOnce]);
}

#[test]
fn cuts_on_a_slow_link_with_3_1_1() {
    let centre = ForeignBroker::start(Make::Mosquitto);
    cut_again_and_again(centre.address(), "3.1.1", 150, &[QoS::ExactlyOnce]);
}

/// No RST and no answer: the gateway finds out by itself, within twice its keep-alive and a little.
#[test]
fn a_half_open_link_is_found() {
    let centre = Broker::start();
    let site = Site::start(centre.address(), "5", PERFECT);
    let came = subscriber(centre.address());
    site.link.half_open();
    let stream = Stream { prefix: "up", count: 200 };
    let publisher = site.publish(stream);
    let status = wait_for(&site.gateway, |status| status["last_error"]["kind"] == "timeout");
    assert!(status["backlog"]["messages"].as_u64() > Some(0), "{status:#}");
    stream.receive(&came, |_| ()).check(&ONCE);
    publisher.join().expect("all is acknowledged");
}

/// Idle, it is found by PINGREQ.
#[test]
fn an_idle_half_open_link_is_found() {
    let centre = Broker::start();
    let site = Site::start(centre.address(), "5", PERFECT);
    site.link.half_open();
    let status = wait_for(&site.gateway, |status| status["last_error"]["kind"] == "timeout");
    let what = "remote broker did not answer PINGREQ";
    assert_eq!(status["last_error"]["what"], what, "{status:#}");
    wait_for(&site.gateway, |status| status["state"] == "connected");
}

/// A link that stands still for less than is waited for goes on, and is not made anew.
#[test]
fn a_stall_is_outlived() {
    let centre = Broker::start();
    let site = Site::start(centre.address(), "5", PERFECT);
    let came = subscriber(centre.address());
    let stream = Stream { prefix: "up", count: 500 };
    let publisher = site.publish(stream);
    let arrived = stream.receive(&came, |count| {
        if count == 100 {
            site.link.stall(true);
            std::thread::sleep(Duration::from_millis(500));
            site.link.stall(false);
        }
    });
    publisher.join().expect("all is acknowledged");
    arrived.check(&ONCE);
    assert_eq!(site.link.connections(), 1);
}

/// The bytes of a lost connection come after the next one was made.
#[test]
fn what_a_lost_connection_held_comes_late() {
    let centre = Broker::start();
    let site = Site::start(centre.address(), "5", PERFECT);
    let came = subscriber(centre.address());
    let stream = Stream { prefix: "up", count: 500 };
    let publisher = site.publish(stream);
    let mut held_at = 0;
    let arrived = stream.receive(&came, |count| {
        if count % 100 == 50 {
            site.link.hold();
            held_at = count;
        }
        if count == held_at + 1 {
            site.link.release();
        }
    });
    publisher.join().expect("all is acknowledged");
    arrived.check(&ONCE);
    assert!(site.link.connections() > 4, "{} connections", site.link.connections());
}
