//! A publisher at each site: it remembers what is not acknowledged, and sends it again.

use std::collections::VecDeque;

use outpost_broker::core::output::AckKind;
use outpost_protocol::{Packet, PacketId, Properties, ProtocolVersion, Publish, QoS};

use super::connection::{ConnNumber, Owner};
use super::{Event, World};
use crate::packet::{Got, encode, encode_ack, payload_of};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// Messages that it sends before any is acknowledged.
const WINDOW: usize = 8;

/// A publisher; it is never out of power.
#[derive(Debug)]
pub(super) struct Publisher {
    site: usize,
    pub conn: Option<ConnNumber>,
    is_accepted: bool,
    /// In the order of sending.
    unacknowledged: VecDeque<Flight>,
    next_id: u16,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    packet_id: u16,
    message: usize,
    /// PUBREC has come: PUBREL is next.
    is_received: bool,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub topic: &'static str,
    pub qos: QoS,
    pub retain: bool,
}

/// Topics by site: two of telemetry, one of state.
const TOPICS: [[&str; 3]; 4] = [
    ["t/0/a", "t/0/b", "r/0"],
    ["t/1/a", "t/1/b", "r/1"],
    ["t/2/a", "t/2/b", "r/2"],
    ["t/3/a", "t/3/b", "r/3"],
];

impl Publisher {
    pub(super) fn new(site: usize) -> Self {
        let unacknowledged = VecDeque::new();
        Self { site, conn: None, is_accepted: false, unacknowledged, next_id: 0 }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    fn new_id(&mut self) -> u16 {
        self.next_id = self.next_id % 1000 + 1;
        self.next_id
    }
}

impl World {
    /// The publisher of a site does something, and will again.
    pub(super) fn publish(&mut self, who: usize) {
        let pause_ms = self.draw.below(200);
        self.plan_in(pause_ms, Event::Publish(who));
        if self.has_faults {
            self.let_things_go_wrong();
        }
        let Some(number) = self.publishers[who].conn else {
            let opened = self.open_client(Owner::Publisher(who), self.publishers[who].site);
            self.publishers[who].conn = opened;
            self.publishers[who].is_accepted = false;
            return;
        };
        let is_full = self.publishers[who].unacknowledged.len() >= WINDOW;
        if !self.publishers[who].is_accepted || is_full || !self.has_faults {
            return;
        }
        if self.draw.one_in(40) {
            self.drop_conn(number);
            self.publishers[who].conn = None;
            return;
        }
        self.published += 1;
        let topic = TOPICS[self.publishers[who].site][self.draw.below(3) as usize];
        let retain = topic.starts_with("r/");
        // What is retained keeps its order: always the same QoS.
        let qos = self.draw.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let qos = if retain { QoS::AtLeastOnce } else { qos };
        let message = self.oracle.add(who, Published { topic, qos, retain });
        let publisher = &mut self.publishers[who];
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { publisher.new_id() };
        let flight = Flight { packet_id, message, is_received: false };
        if packet_id > 0 {
            publisher.unacknowledged.push_back(flight);
        }
        self.put(number, flight, false);
    }

    fn put(&mut self, number: ConnNumber, flight: Flight, dup: bool) {
        let Published { topic, qos, retain } = self.oracle.published(flight.message);
        self.oracle.attempted(flight.message);
        self.tell(format_args!("publishes {} to {topic}, {qos:?}", flight.message));
        let publish = Publish {
            dup,
            qos,
            retain,
            topic,
            packet_id: PacketId::new(flight.packet_id),
            properties: Properties::EMPTY,
            payload: &payload_of(flight.message, 20),
        };
        self.send(number, &encode(&Packet::Publish(publish), V5));
    }

    pub(super) fn publisher_takes(&mut self, who: usize, number: ConnNumber, got: &Got) {
        let publisher = &mut self.publishers[who];
        match got {
            Got::ConnAck { session_present, .. } => {
                publisher.is_accepted = true;
                if !session_present {
                    // A session that never was stored: what the broker has taken over is its own.
                    publisher.unacknowledged.retain(|flight| !flight.is_received);
                }
                let again: Vec<Flight> = publisher.unacknowledged.iter().copied().collect();
                for flight in again {
                    if flight.is_received {
                        self.send(number, &encode_ack(AckKind::PubRel, flight.packet_id, V5));
                    } else {
                        self.put(number, flight, *session_present);
                    }
                }
            }
            Got::PubAck(id, reason) => {
                assert!(!reason.is_error(), "{reason:?}");
                publisher.unacknowledged.retain(|flight| flight.packet_id != *id);
            }
            Got::PubRec(id, reason) => {
                assert!(!reason.is_error(), "{reason:?}");
                let flight = publisher.unacknowledged.iter_mut().find(|f| f.packet_id == *id);
                flight.into_iter().for_each(|flight| flight.is_received = true);
                self.send(number, &encode_ack(AckKind::PubRel, *id, V5));
            }
            Got::PubComp(id) => {
                publisher.unacknowledged.retain(|flight| flight.packet_id != *id);
            }
            other => panic!("a publisher gets no {other:?}"),
        }
    }
}
