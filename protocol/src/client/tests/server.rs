//! A model of a server: takes and gives bytes, keeps its session over connections, and notes every
//! message that it has taken over. It checks what a server may rely on.

use std::collections::{BTreeSet, VecDeque};
use std::vec::Vec;

use super::encoded;
use crate::{
    ConnAck, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec,
    PubRel, Publish, QoS, ReasonCode, decode,
};

pub(super) struct Server {
    version: ProtocolVersion,
    /// 5.0: how many messages it takes at once.
    receive_maximum: u16,
    has_session: bool,
    /// QoS 2 messages that are taken over and not yet released.
    unreleased: BTreeSet<PacketId>,
    /// QoS 1 and 2 of this connection that are not yet acknowledged; for the check of the quota.
    open: BTreeSet<PacketId>,
    /// Messages that it has taken over, by their payload.
    pub(super) taken_over: Vec<Vec<u8>>,
    /// Messages for the client that are not yet acknowledged, in order.
    outgoing: VecDeque<Outgoing>,
    next_packet_id: PacketId,
    input: Vec<u8>,
    pub(super) output: Vec<u8>,
}

struct Outgoing {
    packet_id: PacketId,
    qos: QoS,
    payload: Vec<u8>,
    is_sent: bool,
    is_released: bool,
}

impl Server {
    pub(super) fn new(version: ProtocolVersion, receive_maximum: u16) -> Self {
        Self {
            version,
            receive_maximum,
            has_session: false,
            unreleased: BTreeSet::new(),
            open: BTreeSet::new(),
            taken_over: Vec::new(),
            outgoing: VecDeque::new(),
            next_packet_id: PacketId::MIN,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Sends a message to the client: now, or on the next connection.
    pub(super) fn send(&mut self, payload: &[u8], qos: QoS) {
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.next();
        let payload = payload.to_vec();
        self.outgoing.push_back(Outgoing {
            packet_id,
            qos,
            payload,
            is_sent: false,
            is_released: false,
        });
    }

    pub(super) fn cut(&mut self) {
        self.input.clear();
        self.output.clear();
        self.open.clear();
    }

    /// Forgets the session, but not what it has taken over, and not what it has yet to send.
    pub(super) fn lose_session(&mut self) {
        self.has_session = false;
        self.unreleased.clear();
        self.outgoing.retain(|message| !message.is_sent);
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((packet, used)) = decode(rest, self.version, u32::MAX).unwrap() {
            rest = &rest[used..];
            self.handle(packet);
        }
        self.input = rest.to_vec();
    }

    fn handle(&mut self, packet: Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                assert_eq!(connect.version, self.version);
                self.handle_connect(connect.clean_start);
            }
            Packet::Publish(publish) => self.handle_publish(&publish),
            Packet::PubRel(packet) => {
                self.unreleased.remove(&packet.packet_id);
                self.open.remove(&packet.packet_id);
                self.answer(Packet::PubComp(PubComp::success(packet.packet_id)));
            }
            Packet::PubAck(packet) => self.finish(packet.packet_id, QoS::AtLeastOnce),
            Packet::PubRec(packet) => self.handle_pub_rec(packet.packet_id),
            Packet::PubComp(packet) => self.finish(packet.packet_id, QoS::ExactlyOnce),
            Packet::PingReq => self.answer(Packet::PingResp),
            other => panic!("the client sent {other:?}"),
        }
    }

    fn handle_connect(&mut self, clean_start: bool) {
        if clean_start {
            self.lose_session();
        }
        let session_present = self.has_session;
        self.has_session = true;
        let properties = [Property::ReceiveMaximum(self.receive_maximum)];
        self.answer(Packet::ConnAck(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: Properties::list(&properties),
        }));
        self.send_again();
    }

    fn send_again(&mut self) {
        let outgoing = std::mem::take(&mut self.outgoing);
        for message in outgoing.iter().filter(|message| message.is_sent) {
            self.answer(if message.is_released {
                Packet::PubRel(PubRel::success(message.packet_id))
            } else {
                publish(message, true)
            });
        }
        self.outgoing = outgoing;
    }

    /// Sends what has not been sent yet, after CONNACK only.
    pub(super) fn send_new(&mut self) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for message in outgoing.iter_mut().filter(|message| !message.is_sent) {
            self.answer(publish(message, false));
            message.is_sent = true;
        }
        self.outgoing = outgoing;
    }

    fn handle_publish(&mut self, publish: &Publish<'_>) {
        let payload = publish.payload.to_vec();
        let Some(packet_id) = publish.packet_id else {
            self.taken_over.push(payload);
            return;
        };
        self.open.insert(packet_id);
        assert!(
            self.open.len() <= usize::from(self.receive_maximum)
                || self.version != ProtocolVersion::V5,
            "more messages at once than the Receive Maximum"
        );
        if publish.qos == QoS::AtLeastOnce {
            self.taken_over.push(payload);
            self.open.remove(&packet_id);
            self.answer(Packet::PubAck(PubAck::success(packet_id)));
            return;
        }
        if self.unreleased.insert(packet_id) {
            self.taken_over.push(payload);
        } else {
            assert!(publish.dup, "a packet id in use for another message");
        }
        self.answer(Packet::PubRec(PubRec::success(packet_id)));
    }

    fn handle_pub_rec(&mut self, packet_id: PacketId) {
        if let Some(message) = self.outgoing.iter_mut().find(|m| m.packet_id == packet_id) {
            assert_eq!(message.qos, QoS::ExactlyOnce);
            message.is_released = true;
        }
        self.answer(Packet::PubRel(PubRel::success(packet_id)));
    }

    fn finish(&mut self, packet_id: PacketId, qos: QoS) {
        self.outgoing.retain(|message| message.packet_id != packet_id || message.qos != qos);
    }

    /// How many messages the client has not acknowledged.
    pub(super) fn outstanding(&self) -> usize {
        self.outgoing.len()
    }

    fn answer(&mut self, packet: Packet<'_>) {
        self.output.extend(encoded(self.version, &[packet]));
    }
}

fn publish(message: &Outgoing, dup: bool) -> Packet<'_> {
    Packet::Publish(Publish {
        dup,
        qos: message.qos,
        retain: false,
        topic: "in",
        packet_id: Some(message.packet_id),
        properties: Properties::EMPTY,
        payload: &message.payload,
    })
}
