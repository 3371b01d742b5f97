//! A publisher with its session state: it sends again what was not acknowledged.

use std::collections::VecDeque;

use outpost_protocol::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, PubRel, Publish, QoS,
    ReasonCode,
};
use outpost_tests::{Ack, Link, Received, message, v5};

use crate::draw::Draw;
use crate::stage::Stage;
use crate::stream::{Numbers, Stream};

/// Sessions of this test outlive their connections.
pub const KEEP: [Property<'static>; 1] = [Property::SessionExpiryInterval(3600)];

/// Publishes to topics of its own as fast as its window allows.
pub struct Publisher {
    name: u8,
    client_id: String,
    version: ProtocolVersion,
    window: usize,
    draw: Draw,
    /// For each stream the number of its next message.
    pub numbers: Numbers,
    flights: VecDeque<Flight>,
    last_packet_id: u16,
    /// Something was acknowledged: then the session was as well.
    is_known: bool,
}

struct Flight {
    packet_id: PacketId,
    stream: Stream,
    number: u32,
    /// PUBREC has come: PUBREL is what is sent again [MQTT-4.4.0-1].
    is_received: bool,
}

impl Publisher {
    pub fn new(name: u8, version: ProtocolVersion, window: usize, draw: Draw) -> Self {
        Self {
            name,
            client_id: format!("publisher-{name}"),
            version,
            window,
            draw,
            numbers: Numbers::new(),
            flights: VecDeque::new(),
            last_packet_id: 0,
            is_known: false,
        }
    }

    /// Publishes until the last life, and then until all is acknowledged.
    pub fn run(&mut self, stage: &Stage) {
        while let Some(life) = stage.wait_for_life(|_| true) {
            if self.live(stage).is_some() {
                return stage.publisher_is_done();
            }
            stage.expect_killed(life);
        }
    }

    /// One connection; nothing when it is lost.
    fn live(&mut self, stage: &Stage) -> Option<()> {
        let (clean_start, properties) = (false, Properties::list(&KEEP));
        let properties =
            if self.version == ProtocolVersion::V5 { properties } else { Properties::EMPTY };
        let connect =
            Connect { version: self.version, clean_start, properties, ..v5(&self.client_id) };
        let (mut link, connack) = Link::connect(stage.address, &connect)?;
        assert!(connack.session_present || !self.is_known, "{}: session lost", self.client_id);
        for flight in &self.flights {
            flight.send(&mut link, true);
        }
        loop {
            let is_last = stage.is_last();
            while self.flights.len() < self.window && !is_last {
                self.publish(&mut link);
            }
            if self.flights.is_empty() {
                return Some(());
            }
            let received = link.next_packet()?;
            self.handle(&mut link, stage, &received);
        }
    }

    fn publish(&mut self, link: &mut Link) {
        let stream = self.next_stream();
        let next = self.numbers.entry(stream.clone()).or_default();
        let number = *next;
        *next += 1;
        self.last_packet_id = self.last_packet_id % 60_000 + 1;
        let packet_id = PacketId::new(self.last_packet_id).expect("not zero");
        let flight = Flight { packet_id, stream, number, is_received: false };
        flight.send(link, false);
        self.flights.push_back(flight);
    }

    fn next_stream(&mut self) -> Stream {
        let is_qos_2 = self.draw.below(5) < 2;
        let (kind, is_qos_2) = match self.draw.below(12) {
            0..4 => ("on", is_qos_2),
            4..8 => ("all", is_qos_2),
            8..11 => ("s", is_qos_2),
            // A retained topic has one QoS, so that its numbers tell what is later.
            _ => ("r", self.name.is_multiple_of(2)),
        };
        let qos = if is_qos_2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        Stream { topic: format!("{kind}/{}", self.name), qos }
    }

    fn handle(&mut self, link: &mut Link, stage: &Stage, received: &Received) {
        self.is_known = true;
        match received {
            Received::PubAck(ack) => self.done(stage, ack, QoS::AtLeastOnce),
            Received::PubComp(ack) => self.done(stage, ack, QoS::ExactlyOnce),
            Received::PubRec(ack) => self.release(link, stage, ack),
            other => panic!("{}: {other:?}", self.client_id),
        }
    }

    fn release(&mut self, link: &mut Link, stage: &Stage, ack: &Ack) {
        assert!(!ack.reason.is_error(), "{}: {ack:?}", self.client_id);
        let position = self.position(ack);
        let flight = &mut self.flights[position];
        if !flight.is_received {
            flight.is_received = true;
            flight.acknowledged(stage);
        }
        flight.send(link, true);
    }

    /// The end of a flow. A PUBREL that was repeated may find its flow over.
    fn done(&mut self, stage: &Stage, ack: &Ack, qos: QoS) {
        let flight = self.flights.remove(self.position(ack)).expect("it is there");
        assert_eq!((flight.stream.qos, flight.is_received), (qos, qos == QoS::ExactlyOnce));
        let is_over = ack.reason == ReasonCode::PacketIdentifierNotFound && flight.is_received;
        assert!(!ack.reason.is_error() || is_over, "{}: {ack:?}", self.client_id);
        if !flight.is_received {
            flight.acknowledged(stage);
        }
    }

    fn position(&self, ack: &Ack) -> usize {
        let position = self.flights.iter().position(|flight| flight.packet_id == ack.packet_id);
        position.unwrap_or_else(|| panic!("{}: {ack:?} is for nothing in flight", self.client_id))
    }

    /// How many messages each of its streams has, and whose name they bear.
    pub fn streams(&self, kind: &str) -> impl Iterator<Item = (&Stream, u32)> {
        let topic = format!("{kind}/{}", self.name);
        let of_kind = self.numbers.iter().filter(move |(stream, _)| stream.topic == topic);
        of_kind.map(|(stream, count)| (stream, *count))
    }
}

impl Flight {
    /// What is due for it: PUBLISH, or PUBREL once PUBREC has come.
    fn send(&self, link: &mut Link, dup: bool) {
        let packet_id = self.packet_id;
        if self.is_received {
            return link.put(&Packet::PubRel(PubRel::success(packet_id)));
        }
        let payload = self.stream.payload(self.number);
        let (qos, retain) = (self.stream.qos, self.is_retained());
        let message = message(&self.stream.topic, &payload);
        let packet_id = Some(packet_id);
        link.put(&Packet::Publish(Publish { qos, retain, dup, packet_id, ..message }));
    }

    /// The broker has taken it over.
    fn acknowledged(&self, stage: &Stage) {
        stage.acknowledged(1);
        if self.is_retained() {
            stage.retained(&self.stream.topic, self.number);
        }
    }

    fn is_retained(&self) -> bool {
        self.stream.topic.starts_with("r/")
    }
}
