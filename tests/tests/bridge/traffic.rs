//! A stream of numbered messages of mixed QoS, and a subscriber that stays subscribed whatever becomes
//! of its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use outpost_protocol::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec,
    PubRel, Publish, QoS, ReasonCode, Subscribe, SubscribeFilters,
};
use outpost_tests::{Link, RawClient, Received, filter, message, unique, v5};

/// How long nothing may come, and a broker may be away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages that a publisher has unacknowledged.
const WINDOW: usize = 20;

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    pub payload: Vec<u8>,
}

/// Subscribes with QoS 2 and a session that outlives its connections. The thread behind it ends when
/// the receiver is dropped and the next message comes.
pub fn subscribe(
    address: SocketAddr,
    version: ProtocolVersion,
    filters: &[&str],
) -> Receiver<Came> {
    let (sender, came) = mpsc::channel();
    let id = unique("sub");
    let mut link = connect(address, version, &id, true);
    let filters: Vec<_> = filters.iter().map(|name| filter(name, QoS::ExactlyOnce)).collect();
    link.put(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).expect("not 0"),
        properties: Properties::EMPTY,
        filters: SubscribeFilters::List(&filters),
    }));
    let Some(Received::SubAck(ack)) = link.next_packet() else { panic!("no SUBACK") };
    assert!(ack.reasons.iter().all(|reason| !reason.is_error()), "{ack:?}");
    thread::spawn(move || {
        let mut unreleased = BTreeSet::new();
        loop {
            while let Some(packet) = link.next_packet_within(PATIENCE) {
                if let Some(came) = take(&mut link, &packet, &mut unreleased)
                    && sender.send(came).is_err()
                {
                    return;
                }
            }
            link = connect(address, version, &id, false);
        }
    });
    came
}

/// Until it is let in.
fn connect(address: SocketAddr, version: ProtocolVersion, id: &str, is_new: bool) -> Link {
    let properties = [Property::SessionExpiryInterval(3600)];
    let properties = match version {
        ProtocolVersion::V5 => Properties::list(&properties),
        _ => Properties::EMPTY,
    };
    let connect = Connect { version, clean_start: false, properties, ..v5(id) };
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((link, connack)) = Link::connect(address, &connect) {
            assert!(is_new || connack.session_present, "the session of a subscriber was lost");
            return link;
        }
        assert!(Instant::now() < deadline, "nobody listens at {address}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Acknowledges a packet; the message that it brings, where it is new (4.3.3, method B).
fn take(link: &mut Link, packet: &Received, unreleased: &mut BTreeSet<PacketId>) -> Option<Came> {
    let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
    match packet {
        Received::Publish(publish) => {
            match publish.qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => {
                    let packet_id = publish.id();
                    link.put(&Packet::PubAck(PubAck { packet_id, reason, properties }));
                }
                QoS::ExactlyOnce => {
                    let packet_id = publish.id();
                    link.put(&Packet::PubRec(PubRec { packet_id, reason, properties }));
                    if !unreleased.insert(packet_id) {
                        return None;
                    }
                }
            }
            let (topic, payload) = (publish.topic.clone(), publish.payload.clone());
            Some(Came { topic, qos: publish.qos, retain: publish.retain, payload })
        }
        Received::PubRel(release) => {
            let packet_id = release.packet_id;
            unreleased.remove(&packet_id);
            link.put(&Packet::PubComp(PubComp { packet_id, reason, properties }));
            None
        }
        other => panic!("{other:?} came to a subscriber"),
    }
}

/// `count` messages, the numbers from 0, in turn to five topics below `prefix`, three with QoS 1 and two
/// with QoS 2.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub prefix: &'static str,
    pub count: usize,
}

impl Stream {
    fn topic(&self, number: usize) -> String {
        format!("{}/{}", self.prefix, number % 5)
    }

    fn qos(number: usize) -> QoS {
        if number % 5 < 3 { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
    }

    /// Publishes all on a thread of its own, which ends when all are acknowledged.
    pub fn publish(self, mut client: RawClient) -> JoinHandle<()> {
        thread::spawn(move || {
            for first in (0..self.count).step_by(WINDOW) {
                self.publish_some(&mut client, first..self.count.min(first + WINDOW));
            }
        })
    }

    fn publish_some(&self, client: &mut RawClient, numbers: std::ops::Range<usize>) {
        let mut unacknowledged = numbers.len();
        for number in numbers {
            let (topic, payload) = (self.topic(number), number.to_string());
            let (qos, packet_id) = (Self::qos(number), Some(client.next_packet_id()));
            let publish = Publish { qos, packet_id, ..message(&topic, payload.as_bytes()) };
            client.send(&Packet::Publish(publish));
        }
        while unacknowledged > 0 {
            match client.next_packet().expect("the gateway stays") {
                Received::PubRec(ack) => {
                    let (packet_id, reason) = (ack.packet_id, ReasonCode::Success);
                    let properties = Properties::EMPTY;
                    client.send(&Packet::PubRel(PubRel { packet_id, reason, properties }));
                }
                Received::PubAck(_) | Received::PubComp(_) => unacknowledged -= 1,
                other => panic!("{other:?} came to a publisher"),
            }
        }
    }

    /// Takes what comes until nothing is missing; `after` is told how many different messages came.
    #[track_caller]
    pub fn receive(&self, came: &Receiver<Came>, mut after: impl FnMut(usize)) -> Arrived {
        let mut arrived = Arrived::default();
        let mut seen = BTreeSet::new();
        while seen.len() < self.count {
            let came = came.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                let all = 0..self.count;
                let missing: Vec<usize> = all.filter(|number| !seen.contains(number)).collect();
                panic!("acknowledged and missing: {missing:?}")
            });
            let number = String::from_utf8(came.payload).expect("a number");
            let number = number.parse().expect("a number");
            arrived.0.entry(came.topic).or_default().push(number);
            if seen.insert(number) {
                after(seen.len());
            }
        }
        arrived
    }
}

/// What came, by topic and in order.
#[derive(Debug, Default)]
pub struct Arrived(BTreeMap<String, Vec<usize>>);

impl Arrived {
    /// First deliveries are in the order of publishing within each topic. No message that was published
    /// with a QoS of `once` came more than once.
    #[track_caller]
    pub fn check(&self, once: &[QoS]) {
        for (topic, numbers) in &self.0 {
            let mut seen = BTreeSet::new();
            let firsts: Vec<usize> = numbers.iter().copied().filter(|n| seen.insert(*n)).collect();
            assert!(firsts.is_sorted(), "{topic}: out of order: {firsts:?}");
            let qos = Stream::qos(numbers[0]);
            let is_once = firsts.len() == numbers.len();
            assert!(is_once || !once.contains(&qos), "{topic}: more than once: {numbers:?}");
        }
    }
}
