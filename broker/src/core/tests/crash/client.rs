//! A client as the specification wants it: it keeps its session state over lost connections, sends
//! again what is unacknowledged, and takes a QoS 2 message once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outpost_protocol::{
    Connect, Packet, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscriptionOptions, TopicFilter, TopicName,
};

use super::oracle::Oracle;
use super::{Draw, SHARED_FILTER};
use crate::core::ConnId;
use crate::core::tests::bed::{Bed, Got, GotPublish, QOS_0, QOS_1, QOS_2, packet_id, publish, v5};
use crate::core::time::Instant;

const NAMES: [&str; 6] = ["ada", "bob", "cyd", "dot", "eve", "fay"];

/// The client whose queue drops what it has no room for.
pub(super) const LOSSY: usize = 2;
pub(super) const LOSSY_NAME: &str = NAMES[LOSSY];

/// Unacknowledged messages at a time.
const FLOWS_MAX: usize = 6;

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Published,
    Released,
}

/// A message under way to the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    packet_id: u16,
    message: usize,
    expiry_s: Option<u32>,
    stage: Stage,
}

/// What a client knows of a filter that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    /// By the SUBSCRIBE with this identifier.
    Asked(u16),
    Confirmed,
    Left,
}

/// Whether the broker has a session for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
    Unknown,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub name: &'static str,
    index: usize,
    version: ProtocolVersion,
    expiry_s: u32,
    receive_maximum: Option<u16>,
    pub subscription_qos: QoS,
    /// Of a hundred messages to it, how many are new ones while old ones wait.
    pub live_percent: u8,
    pub connection: Option<ConnId>,
    pub is_accepted: bool,
    inbox: VecDeque<Got>,
    /// Which of its sessions this is.
    pub incarnation: u32,
    presence: Presence,
    /// What the next CONNACK has to say.
    expected_presence: Presence,
    /// When its connection was lost, if the broker has run ever since.
    lost_at: Option<Instant>,
    may_be_over: bool,
    wants_clean_start: bool,
    flows: VecDeque<Flow>,
    resent: Vec<usize>,
    received: BTreeSet<u16>,
    /// What the broker has in flight towards it on this connection.
    in_flight: BTreeSet<u16>,
    subscriptions: BTreeMap<&'static str, Subscription>,
    /// SUBSCRIBE and UNSUBSCRIBE on their way.
    asked: BTreeMap<u16, &'static str>,
    last_packet_id: u16,
    last_subscribe_id: u16,
}

impl Client {
    pub(super) fn drawn(index: usize, draw: &mut Draw) -> Self {
        let version = draw.of(&[ProtocolVersion::V5, ProtocolVersion::V5, ProtocolVersion::V311]);
        let receive_maximum = match version {
            ProtocolVersion::V5 => draw.of(&[None, Some(1), Some(2), Some(5)]),
            _ => None,
        };
        Self {
            name: NAMES[index],
            index,
            version,
            expiry_s: draw.of(&[0, 40, 100_000, 100_000]),
            receive_maximum,
            subscription_qos: draw.of(&[QOS_0, QOS_1, QOS_2, QOS_2]),
            live_percent: 0,
            connection: None,
            is_accepted: false,
            inbox: VecDeque::new(),
            incarnation: 0,
            presence: Presence::Absent,
            expected_presence: Presence::Absent,
            lost_at: None,
            may_be_over: false,
            wants_clean_start: false,
            flows: VecDeque::new(),
            resent: Vec::new(),
            received: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_packet_id: 0,
            last_subscribe_id: 0,
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }

    pub(super) fn may_publish(&self) -> bool {
        self.is_accepted && self.flows.len() < FLOWS_MAX
    }

    /// Its queue drops messages.
    pub(super) fn is_lossy(&self) -> bool {
        self.index == LOSSY
    }

    /// A member that loses nothing: QoS 1 at least, and a session that is kept.
    pub(super) fn may_share(&self) -> bool {
        let is_kept = self.is_durable() && self.subscription_qos > QOS_0;
        // No part of this program shares a subscription, and others are not hurried.
        !self.is_lossy() && is_kept && self.live_percent == 0
    }

    pub(super) fn has_inbox(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter()
    }

    /// It may rely on messages of this topic.
    pub(super) fn has_confirmed(&self, topic: &str) -> bool {
        self.is_durable()
            && self.subscriptions.iter().any(|(filter, subscription)| {
                *subscription == Subscription::Confirmed && matches(filter, topic)
            })
    }

    pub(super) fn connect(&mut self, bed: &mut Bed, oracle: &mut Oracle, clean_start: bool) {
        let old = self.connection;
        self.detach(oracle, bed.now);
        // A clean start that was not confirmed has to be asked for again.
        // Before 5.0 a clean start is a session that does not last.
        self.wants_clean_start |= if self.is_v311() { !self.is_durable() } else { clean_start };
        if self.wants_clean_start {
            self.forget_session(oracle);
            self.presence = Presence::Absent;
        }
        self.expected_presence = self.presence_at(bed);
        if self.live_percent > 0 {
            bed.set_live_percent(self.name, self.live_percent);
        }
        let mut list = vec![Property::SessionExpiryInterval(self.expiry_s)];
        list.extend(self.receive_maximum.map(Property::ReceiveMaximum));
        let id = bed.connect(&Connect {
            version: self.version,
            clean_start: self.wants_clean_start,
            properties: if self.is_v311() { Properties::EMPTY } else { Properties::list(&list) },
            ..v5(self.name)
        });
        if let Some(old) = old {
            assert_eq!(bed.got(old).last(), Some(&Got::Closed), "it was taken over");
        }
        self.connection = Some(id);
        if self.is_durable() && self.presence == Presence::Absent {
            self.presence = Presence::Unknown;
        }
    }

    /// Whether the broker has its session now, with time considered.
    fn presence_at(&self, bed: &Bed) -> Presence {
        let limit_s = bed.broker.limits().session_expiry_max_s;
        let expiry_s = if self.is_v311() { limit_s } else { self.expiry_s };
        let is_over = self.lost_at.is_some_and(|at| at.plus_s(expiry_s) <= bed.now);
        match self.presence {
            _ if is_over => Presence::Absent,
            Presence::Present if self.may_be_over => Presence::Unknown,
            presence => presence,
        }
    }

    fn is_v311(&self) -> bool {
        self.version == ProtocolVersion::V311
    }

    /// Ends its connection.
    pub(super) fn part(&mut self, bed: &mut Bed, oracle: &mut Oracle, in_order: bool) {
        let id = self.connection.expect("it is connected");
        if in_order && self.is_accepted {
            bed.disconnect(id, ReasonCode::Success);
        } else {
            bed.lose(id);
        }
        self.detach(oracle, bed.now);
    }

    pub(super) fn crashed(&mut self, oracle: &mut Oracle, now: Instant) {
        // Its time may count anew from here, unless it is over. Whether a client that came back was
        // away for too long depends on whether its coming back was committed.
        self.may_be_over |= self.connection.is_none() || self.expiry_s < 100;
        self.detach(oracle, now);
        self.lost_at = None;
    }

    fn detach(&mut self, oracle: &mut Oracle, now: Instant) {
        if self.connection.take().is_some() {
            self.lost_at = Some(now);
        }
        self.is_accepted = false;
        self.inbox.clear();
        self.in_flight.clear();
        self.asked.clear();
        for subscription in self.subscriptions.values_mut() {
            if matches!(subscription, Subscription::Asked(_)) {
                *subscription = Subscription::Left;
            }
        }
        if !self.is_durable() {
            self.forget_session(oracle);
            self.presence = Presence::Absent;
        }
    }

    /// Its session is over.
    fn forget_session(&mut self, oracle: &mut Oracle) {
        if self.subscriptions.contains_key(SHARED_FILTER) {
            oracle.member_is_lost();
        }
        self.incarnation += 1;
        self.subscriptions.clear();
        self.flows.clear();
        self.received.clear();
    }

    pub(super) fn publish(
        &mut self,
        bed: &mut Bed,
        oracle: &Oracle,
        message: usize,
        expiry_s: Option<u32>,
    ) {
        let packet_id = self.free_packet_id();
        let flow = Flow { packet_id, message, expiry_s, stage: Stage::Published };
        if oracle.qos(message) > QOS_0 {
            self.flows.push_back(flow);
        }
        self.send_publish(bed, oracle, flow, false);
    }

    fn send_publish(&self, bed: &mut Bed, oracle: &Oracle, flow: Flow, dup: bool) {
        let Some(id) = self.connection else { return };
        let topic = oracle.topic(flow.message);
        let list: Vec<_> = flow.expiry_s.map(Property::MessageExpiryInterval).into_iter().collect();
        let payload = flow.message.to_string();
        let properties = if self.is_v311() { Properties::EMPTY } else { Properties::list(&list) };
        let base = publish(topic, oracle.qos(flow.message), flow.packet_id, &payload);
        let packet = Publish { dup, retain: topic.starts_with("r/"), properties, ..base };
        bed.send(id, &Packet::Publish(packet));
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 20 + 1;
            if self.flows.iter().all(|f| f.packet_id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    pub(super) fn subscribe(&mut self, bed: &mut Bed, filter: &'static str) {
        let Some(id) = self.connection else { return };
        self.last_subscribe_id = self.last_subscribe_id % 10_000 + 1;
        let value = 1_000 + self.last_subscribe_id;
        let subscription = self.subscriptions.entry(filter).or_insert(Subscription::Left);
        if *subscription == Subscription::Left {
            *subscription = Subscription::Asked(value);
        }
        self.asked.insert(value, filter);
        let options = SubscriptionOptions::new(self.subscription_qos);
        let filters = SubscribeFilters::List(&[SubscribeFilter { filter, options }]);
        let (packet_id, properties) = (packet_id(value), Properties::EMPTY);
        bed.send(id, &Packet::Subscribe(Subscribe { packet_id, properties, filters }));
    }

    pub(super) fn unsubscribe(&mut self, bed: &mut Bed, filter: &'static str) {
        let Some(id) = self.connection else { return };
        if self.subscriptions.contains_key(filter) {
            self.subscriptions.insert(filter, Subscription::Left);
            bed.unsubscribe(id, filter);
        }
    }

    /// The message that a packet identifier stands for.
    pub(super) fn message_in_flight(&self, packet_id: u16) -> usize {
        let flow = self.flows.iter().find(|f| f.packet_id == packet_id);
        flow.unwrap_or_else(|| panic!("{} is acknowledged, and is not under way", packet_id))
            .message
    }

    /// Something has left the broker.
    pub(super) fn take(&mut self, oracle: &mut Oracle, now: Instant, got: Got) {
        match &got {
            Got::Publish(publish) if publish.qos > QOS_0 => {
                let is_new = self.in_flight.insert(publish.packet_id);
                assert!(is_new, "{} is in flight already", publish.packet_id);
            }
            Got::PubRel(packet_id, _) => drop(self.in_flight.insert(*packet_id)),
            // A CONNACK counts when it is given out: were one lost that says that the session is a
            // new one, the client would never know.
            Got::ConnAck { session_present, .. } => self.confirm_session(oracle, *session_present),
            Got::SubAck(packet_id, reasons) => self.confirm(*packet_id, reasons),
            Got::Disconnect(reason) => {
                assert_eq!(*reason, ReasonCode::QuotaExceeded, "the only fault it can be told of");
            }
            Got::Closed => return self.detach(oracle, now),
            _ => {}
        }
        let window = usize::from(self.receive_maximum.unwrap_or(u16::MAX));
        assert!(self.in_flight.len() <= window, "the Receive Maximum is exceeded");
        self.inbox.push_back(got);
    }

    fn confirm_session(&mut self, oracle: &mut Oracle, session_present: bool) {
        match self.expected_presence {
            Presence::Present => assert!(session_present, "{} lost its session", self.name),
            Presence::Absent => assert!(!session_present, "{} has a ghost's session", self.name),
            Presence::Unknown => {}
        }
        self.wants_clean_start = false;
        self.lost_at = None;
        self.may_be_over = false;
        if !session_present {
            self.forget_session(oracle);
            self.presence = Presence::Unknown;
        }
    }

    fn confirm(&mut self, packet_id: u16, reasons: &[ReasonCode]) {
        assert!(reasons.iter().all(|r| !r.is_error()), "{reasons:?}");
        if self.is_durable() {
            self.presence = Presence::Present;
        }
        let filter = self.asked.remove(&packet_id).expect("SUBACK of a SUBSCRIBE");
        if let Some(subscription) = self.subscriptions.get_mut(filter)
            && *subscription == Subscription::Asked(packet_id)
        {
            *subscription = Subscription::Confirmed;
        }
    }

    pub(super) fn resent(&self) -> usize {
        self.resent.len()
    }

    /// Messages that were published again since.
    pub(super) fn resent_since(&self, before: usize) -> Vec<usize> {
        self.resent[before..].to_vec()
    }

    /// Handles the next packet that has arrived. False: there is none.
    pub(super) fn process(&mut self, bed: &mut Bed, oracle: &mut Oracle) -> bool {
        let (Some(got), Some(id)) = (self.inbox.pop_front(), self.connection) else { return false };
        match got {
            Got::ConnAck { reason, .. } => {
                assert_eq!(reason, ReasonCode::Success);
                self.is_accepted = true;
                self.send_again(bed, oracle);
            }
            Got::Publish(publish) => self.take_publish(bed, oracle, id, &publish),
            Got::PubRel(packet_id, _) => {
                self.received.remove(&packet_id);
                self.in_flight.remove(&packet_id);
                bed.pubcomp(id, packet_id);
            }
            Got::PubAck(packet_id, _) => self.end_flow(packet_id, Stage::Published),
            Got::PubRec(packet_id, reason) if reason.is_error() => {
                self.end_flow(packet_id, Stage::Published);
            }
            Got::PubRec(packet_id, _) => {
                let flow = self.flows.iter_mut().find(|f| f.packet_id == packet_id);
                flow.expect("PUBREC of something under way").stage = Stage::Released;
                bed.pubrel(id, packet_id);
            }
            Got::PubComp(packet_id, _) => self.end_flow(packet_id, Stage::Released),
            Got::SubAck(..) | Got::UnsubAck(..) | Got::Disconnect(_) => {}
            Got::PingResp | Got::Closed => unreachable!("nobody pings, and ends are not kept"),
        }
        true
    }

    fn end_flow(&mut self, packet_id: u16, stage: Stage) {
        let at = self.flows.iter().position(|f| f.packet_id == packet_id && f.stage == stage);
        self.flows.remove(at.expect("an acknowledgement of something under way"));
    }

    /// What is unacknowledged is sent again, in order [MQTT-4.4.0-1].
    fn send_again(&mut self, bed: &mut Bed, oracle: &mut Oracle) {
        for flow in self.flows.clone() {
            match flow.stage {
                Stage::Published => {
                    self.resent.push(flow.message);
                    self.send_publish(bed, oracle, flow, true);
                }
                Stage::Released => {
                    if let Some(id) = self.connection {
                        bed.pubrel(id, flow.packet_id);
                    }
                }
            }
        }
    }

    fn take_publish(
        &mut self,
        bed: &mut Bed,
        oracle: &mut Oracle,
        id: ConnId,
        publish: &GotPublish,
    ) {
        let is_asked = self.subscriptions.keys().any(|filter| matches(filter, &publish.topic));
        assert!(is_asked, "{} never asked for {}", self.name, publish.topic);
        let session = (self.index, self.incarnation);
        match publish.qos {
            QOS_0 => oracle.delivered(session, publish),
            QOS_1 => {
                oracle.delivered(session, publish);
                self.in_flight.remove(&publish.packet_id);
                bed.puback(id, publish.packet_id);
            }
            QOS_2 => {
                if self.received.insert(publish.packet_id) {
                    oracle.delivered(session, publish);
                }
                bed.pubrec(id, publish.packet_id, ReasonCode::Success);
            }
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (TopicFilter::new(filter), TopicName::new(topic));
    filter.expect("filters here are valid").matches(topic.expect("topics here are valid").as_str())
}
