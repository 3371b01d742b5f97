//! What must hold on every single connection, seen from the broker's side of it: identifiers are
//! unique while they are in flight, and the client's limits are kept.

use std::collections::BTreeSet;

use outpost_protocol::{Packet, QoS};

use crate::packet::Got;

/// From here on no identifier is ever in use: what rude clients acknowledge though nobody sent it.
pub(crate) const UNKNOWN_IDS: u16 = 60_000;

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    receive_maximum: usize,
    maximum_packet_size: usize,
    /// PUBLISH packets above QoS 0 without their PUBACK or PUBREC.
    published: BTreeSet<u16>,
    /// QoS 2 messages between PUBREC and PUBCOMP.
    released: BTreeSet<u16>,
    has_begun: bool,
}

impl Watch {
    /// Of a client with these limits.
    pub(crate) fn new(receive_maximum: u16, maximum_packet_size: u32) -> Self {
        Self {
            receive_maximum: usize::from(receive_maximum),
            maximum_packet_size: maximum_packet_size as usize,
            published: BTreeSet::new(),
            released: BTreeSet::new(),
            has_begun: false,
        }
    }

    /// A packet leaves the broker.
    pub(crate) fn leaves(&mut self, got: &Got, len: usize) {
        assert!(len <= self.maximum_packet_size, "{len} bytes are more than the client takes");
        let is_connack = matches!(got, Got::ConnAck { .. });
        assert_eq!(is_connack, !self.has_begun, "CONNACK is first, and comes once: {got:?}");
        self.has_begun = true;
        match got {
            Got::Publish(publish) if publish.qos > QoS::AtMostOnce => {
                let id = publish.packet_id;
                let is_new = self.published.insert(id) && !self.released.contains(&id);
                assert!(is_new, "packet identifier {id} is in flight already");
            }
            Got::Publish(publish) => assert!(!publish.dup, "DUP at QoS 0"),
            // One that is sent again, or answers what nobody asked, counts towards no limit.
            Got::PubRel(id) if self.published.remove(id) => drop(self.released.insert(*id)),
            _ => {}
        }
        let in_flight = self.published.len() + self.released.len();
        assert!(in_flight <= self.receive_maximum, "{in_flight} are above the Receive Maximum");
    }

    /// A packet of the client was taken by the broker.
    pub(crate) fn handled(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::PubAck(ack) => drop(self.published.remove(&ack.packet_id.value())),
            Packet::PubRec(ack) => {
                let was_published = self.published.remove(&ack.packet_id.value());
                if was_published && !ack.reason.is_error() {
                    self.released.insert(ack.packet_id.value());
                }
            }
            Packet::PubComp(ack) => drop(self.released.remove(&ack.packet_id.value())),
            _ => {}
        }
    }
}
