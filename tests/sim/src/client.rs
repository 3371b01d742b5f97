//! A client: it keeps its session state over lost connections, sends again what is unacknowledged,
//! and takes a QoS 2 message once. How it misbehaves stands in `manners`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outpost_broker::core::output::AckKind;
use outpost_broker::core::time::Instant;
use outpost_protocol::{
    Connect, Disconnect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, Unsubscribe,
    UnsubscribeFilters, Will,
};

use crate::oracle::{Message, Oracle};
use crate::packet::{Got, GotPublish, encode, encode_ack, payload_of, take_packet};
use crate::plan::Profile;
use crate::watch::UNKNOWN_IDS;
use crate::wire::{Line, LineId};

/// Unacknowledged messages at a time.
const FLOWS_MAX: usize = 6;

/// SUBSCRIBE and UNSUBSCRIBE have identifiers of their own.
const SUBSCRIBE_IDS: u16 = 1_000;

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Published,
    Released,
}

/// A message under way to the broker.
#[derive(Debug, Clone, Copy)]
struct Flow {
    packet_id: u16,
    message: usize,
    stage: Stage,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub profile: Profile,
    pub line: Option<LineId>,
    pub is_accepted: bool,
    /// What has arrived and is not read yet: bytes, then packets.
    bytes: VecDeque<u8>,
    inbox: VecDeque<Got>,
    /// It asks for a clean start until one is confirmed.
    pub(crate) wants_clean_start: bool,
    flows: VecDeque<Flow>,
    received: BTreeSet<u16>,
    aliases: BTreeMap<u16, String>,
    /// The broker's Receive Maximum. A 3.1.1 client is not told: its operator has to know that the
    /// broker reads nothing more from it while so many of its messages wait for room in queues.
    quota: usize,
    last_packet_id: u16,
    last_subscribe_id: u16,
    /// What it acknowledged last of what it was sent on this connection.
    pub last_acknowledged: Option<(AckKind, u16)>,
    /// Its session ended by another connection, which it does not know yet.
    forgets_when_lost: bool,
    /// It reads nothing for so many acts.
    pub deaf_for: u64,
}

impl Client {
    /// A client that was never connected.
    pub(crate) fn new(profile: Profile, quota: u16) -> Self {
        Self {
            profile,
            line: None,
            is_accepted: false,
            bytes: VecDeque::new(),
            inbox: VecDeque::new(),
            wants_clean_start: false,
            flows: VecDeque::new(),
            received: BTreeSet::new(),
            aliases: BTreeMap::new(),
            quota: usize::from(quota),
            last_packet_id: 0,
            last_subscribe_id: 0,
            last_acknowledged: None,
            forgets_when_lost: false,
            deaf_for: 0,
        }
    }

    /// The bytes of its CONNECT. `will`: the message that it leaves behind if it is lost.
    pub(crate) fn connect(
        &mut self,
        oracle: &Oracle,
        clean_start: bool,
        will: Option<usize>,
    ) -> Vec<u8> {
        self.lost();
        let profile = &self.profile;
        // A clean start that was not confirmed has to be asked for again. Before 5.0 a clean start
        // is a session that does not last.
        self.wants_clean_start |= if profile.is_v5() { clean_start } else { !profile.is_durable() };
        let delay_s = profile.will.map_or(0, |will| will.delay_s);
        let will_list = [Property::WillDelayInterval(delay_s)];
        let payload = will.map(|message| payload_of(message, 0)).unwrap_or_default();
        let will = will.map(|message| Will {
            qos: oracle.messages.of(message).qos,
            retain: false,
            properties: self.for_v5(&will_list),
            topic: oracle.messages.of(message).topic,
            payload: &payload,
        });
        let mut list = vec![Property::SessionExpiryInterval(profile.expiry_s)];
        list.extend(profile.receive_maximum.map(Property::ReceiveMaximum));
        list.extend(profile.maximum_packet_size.map(Property::MaximumPacketSize));
        if profile.topic_alias_maximum > 0 {
            list.push(Property::TopicAliasMaximum(profile.topic_alias_maximum));
        }
        let connect = Connect {
            version: profile.version,
            bridge: false,
            clean_start: self.wants_clean_start,
            keep_alive_s: profile.keep_alive_s,
            properties: self.for_v5(&list),
            client_id: profile.name,
            will,
            user_name: None,
            password: None,
        };
        let bytes = encode(&Packet::Connect(connect), profile.version);
        if self.wants_clean_start {
            self.forget_session();
        }
        bytes
    }

    fn for_v5<'a>(&self, list: &'a [Property<'a>]) -> Properties<'a> {
        if self.profile.is_v5() { Properties::list(list) } else { Properties::EMPTY }
    }

    /// Its connection is gone.
    pub(crate) fn lost(&mut self) {
        self.line = None;
        self.is_accepted = false;
        self.bytes.clear();
        self.inbox.clear();
        self.aliases.clear();
        self.deaf_for = 0;
        self.last_acknowledged = None;
        if !self.profile.is_durable() || self.forgets_when_lost {
            self.forget_session();
        }
    }

    /// CONNACK on `line` says that its session is a new one. Were it lost, the client would never
    /// know, and no broker can help it: here it always learns.
    pub(crate) fn session_is_new(&mut self, line: LineId) {
        if self.line == Some(line) || !self.is_accepted {
            self.forget_session();
        } else {
            self.forgets_when_lost = true;
        }
    }

    fn forget_session(&mut self) {
        self.forgets_when_lost = false;
        self.flows.clear();
        self.received.clear();
    }

    /// It may publish one more message.
    pub(crate) fn may_publish(&self) -> bool {
        self.is_accepted && self.flows.len() < FLOWS_MAX.min(self.quota)
    }

    /// Nothing is unacknowledged, nothing unread.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.flows.is_empty() && self.inbox.is_empty() && self.bytes.is_empty()
    }

    /// Bytes have arrived.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        while let Some(got) = take_packet(&mut self.bytes, self.profile.version) {
            self.inbox.push_back(got);
        }
    }

    /// Something has arrived that it has not handled.
    pub(crate) fn has_inbox(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Handles the next packet that has arrived, and says what it was.
    pub(crate) fn take_next(
        &mut self,
        now: Instant,
        line: &mut Line,
        oracle: &mut Oracle,
    ) -> String {
        let Some(got) = self.inbox.pop_front() else { return String::new() };
        let name = got.name();
        match got {
            Got::ConnAck { reason, receive_maximum, .. } => {
                assert_eq!(reason, ReasonCode::Success);
                self.is_accepted = true;
                self.wants_clean_start = false;
                if self.profile.is_v5() {
                    self.quota = usize::from(receive_maximum);
                }
                self.send_again(line, oracle);
            }
            Got::Publish(publish) => self.take_publish(now, line, oracle, publish),
            Got::PubRel(packet_id) => {
                self.received.remove(&packet_id);
                self.acknowledge(line, AckKind::PubComp, packet_id);
            }
            Got::PubAck(packet_id, _) => self.end_flow(packet_id, Stage::Published),
            Got::PubRec(packet_id, reason) if reason.is_error() => {
                self.end_flow(packet_id, Stage::Published);
            }
            Got::PubRec(packet_id, _) => {
                let flow = self.flows.iter_mut().find(|f| f.packet_id == packet_id);
                flow.expect("PUBREC of something under way").stage = Stage::Released;
                self.acknowledge(line, AckKind::PubRel, packet_id);
            }
            Got::PubComp(packet_id) if packet_id >= UNKNOWN_IDS => {}
            Got::PubComp(packet_id) => self.end_flow(packet_id, Stage::Released),
            Got::SubAck(..) | Got::UnsubAck(_) | Got::Disconnect(_) | Got::PingResp => {}
        }
        name
    }

    fn end_flow(&mut self, packet_id: u16, stage: Stage) {
        let at = self.flows.iter().position(|f| f.packet_id == packet_id && f.stage == stage);
        self.flows.remove(at.expect("an acknowledgement of something under way"));
    }

    fn acknowledge(&mut self, line: &mut Line, kind: AckKind, packet_id: u16) {
        line.up.send(&encode_ack(kind, packet_id, line.version));
        if kind != AckKind::PubRel {
            self.last_acknowledged = Some((kind, packet_id));
        }
    }

    /// What is unacknowledged is sent again, in order [MQTT-4.4.0-1].
    fn send_again(&mut self, line: &mut Line, oracle: &Oracle) {
        for flow in &self.flows {
            match flow.stage {
                Stage::Published => {
                    send_publish(line, oracle, flow.message, Some(flow.packet_id), true);
                }
                Stage::Released => {
                    line.up.send(&encode_ack(AckKind::PubRel, flow.packet_id, line.version));
                }
            }
        }
    }

    fn take_publish(
        &mut self,
        now: Instant,
        line: &mut Line,
        oracle: &mut Oracle,
        mut publish: GotPublish,
    ) {
        self.resolve_alias(&mut publish);
        let incarnation = line.incarnation.expect("CONNACK came before");
        let name = (self.profile.index, incarnation);
        let is_first = publish.qos < QoS::ExactlyOnce || self.received.insert(publish.packet_id);
        if is_first {
            oracle.taken(now, name, line.since, &publish);
        }
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(line, AckKind::PubAck, publish.packet_id),
            QoS::ExactlyOnce => self.acknowledge(line, AckKind::PubRec, publish.packet_id),
        }
    }

    fn resolve_alias(&mut self, publish: &mut GotPublish) {
        let Some(alias) = publish.alias else { return };
        assert!(alias <= self.profile.topic_alias_maximum, "a topic alias above the maximum");
        if publish.topic.is_empty() {
            publish.topic = self.aliases.get(&alias).expect("an alias that was set").clone();
        } else {
            self.aliases.insert(alias, publish.topic.clone());
        }
    }

    /// Publishes a message.
    pub(crate) fn publish(&mut self, line: &mut Line, oracle: &Oracle, message: usize) {
        let mut packet_id = None;
        if oracle.messages.of(message).qos > QoS::AtMostOnce {
            let free = self.free_packet_id();
            packet_id = Some(free);
            self.flows.push_back(Flow { packet_id: free, message, stage: Stage::Published });
        }
        send_publish(line, oracle, message, packet_id, false);
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 20 + 1;
            if self.flows.iter().all(|f| f.packet_id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    /// SUBSCRIBE.
    pub(crate) fn subscribe(&mut self, line: &mut Line, filter: &str) {
        let options = SubscriptionOptions::new(self.profile.qos);
        let filters = SubscribeFilters::List(&[SubscribeFilter { filter, options }]);
        let (packet_id, properties) = (self.next_subscribe_id(), Properties::EMPTY);
        let packet = Packet::Subscribe(Subscribe { packet_id, properties, filters });
        line.up.send(&encode(&packet, line.version));
    }

    /// UNSUBSCRIBE.
    pub(crate) fn unsubscribe(&mut self, line: &mut Line, filter: &str) {
        let filters = UnsubscribeFilters::List(&[filter]);
        let (packet_id, properties) = (self.next_subscribe_id(), Properties::EMPTY);
        let packet = Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters });
        line.up.send(&encode(&packet, line.version));
    }

    fn next_subscribe_id(&mut self) -> PacketId {
        self.last_subscribe_id = self.last_subscribe_id % 10_000 + 1;
        PacketId::new(SUBSCRIBE_IDS + self.last_subscribe_id).expect("it is above 0")
    }

    /// PINGREQ.
    pub(crate) fn ping(&self, line: &mut Line) {
        line.up.send(&encode(&Packet::PingReq, line.version));
    }

    /// DISCONNECT; `with_will`: the will is to be published all the same, which only 5.0 can say.
    pub(crate) fn disconnect(&self, line: &mut Line, with_will: bool) {
        let is_will = with_will && self.profile.is_v5();
        let reason =
            if is_will { ReasonCode::DisconnectWithWillMessage } else { ReasonCode::Success };
        line.up.send(&encode(&Packet::Disconnect(Disconnect::new(reason)), line.version));
    }
}

fn send_publish(line: &mut Line, oracle: &Oracle, index: usize, packet_id: Option<u16>, dup: bool) {
    let message: &Message = oracle.messages.of(index);
    let payload = if message.is_erasing { Vec::new() } else { payload_of(index, message.bytes) };
    if message.is_erasing {
        line.erasing.push_back(index);
    }
    let list: Vec<_> = message.expiry_s.map(Property::MessageExpiryInterval).into_iter().collect();
    let is_v5 = line.version == ProtocolVersion::V5;
    let packet = Publish {
        dup,
        qos: message.qos,
        retain: message.topic.starts_with("r/"),
        topic: message.topic,
        packet_id: packet_id.and_then(PacketId::new),
        properties: if is_v5 { Properties::list(&list) } else { Properties::EMPTY },
        payload: &payload,
    };
    line.up.send(&encode(&Packet::Publish(packet), line.version));
}
