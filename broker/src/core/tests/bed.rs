//! What the tests stand on: a broker, virtual time, a store in memory, and connections whose packets
//! pass through real bytes in both directions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outpost_bridge::peering::{Features, NodeId};
use outpost_protocol::{
    Connect, Disconnect, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp,
    PubRec, PubRel, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, Unsubscribe, UnsubscribeFilters, decode,
};

use super::check;
use crate::core::change::{
    Batch, Numbers, OriginRecord, QueuedMessage, Restore, Seq, SessionId, SessionRecord,
    StoredMessage, StoredTarget, SubscriptionRecord, Target, seq_mark, topic_hash,
};
use crate::core::limits::Limits;
use crate::core::message::{Message, Topic};
use crate::core::output::{ByteBuffer, Encoder, Output};
use crate::core::time::Instant;
use crate::core::{Broker, CommitPolicy, ConnId, Handled, Peer, Settings};

/// A store that is a handful of maps.
#[derive(Debug, Default, Clone)]
pub(super) struct MemoryStore {
    pub messages: BTreeMap<Seq, QueuedMessage>,
    pub sessions: BTreeMap<SessionId, SessionRecord>,
    pub subscriptions: BTreeMap<(SessionId, Arc<str>), SubscriptionRecord>,
    pub retained: BTreeMap<Topic, Arc<Message>>,
    pub origins: BTreeMap<NodeId, OriginRecord>,
    node: Option<NodeId>,
    seq_mark: Seq,
    next_session: u32,
}

impl MemoryStore {
    pub(super) fn apply(&mut self, batch: &Batch) {
        self.messages.retain(|seq, _| !batch.removed.contains(*seq));
        self.messages.extend(batch.messages.iter().map(|(seq, row)| (*seq, row.clone())));
        put_rows(&mut self.sessions, &batch.sessions);
        put_rows(&mut self.subscriptions, &batch.subscriptions);
        put_rows(&mut self.retained, &batch.retained);
        put_rows(&mut self.origins, &batch.origins);
        self.seq_mark = seq_mark(self.seq_mark, batch.next_seq);
        self.node = batch.node.or(self.node);
        self.next_session = batch.next_session;
    }

    pub(super) fn load(&self, into: &mut dyn Restore) -> Numbers {
        self.sessions.iter().for_each(|(id, session)| into.session(*id, session.clone()));
        for ((id, filter), record) in &self.subscriptions {
            into.subscription(*id, filter.clone(), *record);
        }
        self.retained.values().for_each(|message| into.retained(message.clone()));
        self.origins.iter().for_each(|(node, record)| into.origin(*node, record.clone()));
        for (seq, row) in &self.messages {
            let is_shared = |target: &Target| target.share.is_some();
            let target = |t: &Target| StoredTarget { session: t.session, is_shared: is_shared(t) };
            let targets: Vec<StoredTarget> = row.targets.iter().map(target).collect();
            let message = StoredMessage {
                bytes: u32::try_from(row.message.bytes()).expect("tests send little"),
                arrived_at: row.arrived_at,
                expires_at: row.message.expires_at,
                topic_hash: topic_hash(&row.message.topic),
                targets: &targets,
            };
            into.message(*seq, &message);
        }
        Numbers { next_seq: self.seq_mark, next_session: self.next_session, node: self.node }
    }

    fn read(&self, seqs: &[Seq]) -> Vec<(Seq, Option<QueuedMessage>)> {
        seqs.iter().map(|seq| (*seq, self.messages.get(seq).cloned())).collect()
    }

    pub(super) fn session(&self, client_id: &str) -> Option<&SessionRecord> {
        self.sessions.values().find(|s| &*s.client_id == client_id)
    }
}

fn put_rows<K: Ord + Clone, V: Clone>(table: &mut BTreeMap<K, V>, rows: &BTreeMap<K, Option<V>>) {
    for (key, row) in rows {
        match row {
            Some(row) => table.insert(key.clone(), row.clone()),
            None => table.remove(key),
        };
    }
}

/// A packet that a client got. Packet identifiers are plain numbers, 0: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    ConnAck { session_present: bool, reason: ReasonCode, properties: Vec<u8> },
    Publish(GotPublish),
    PubAck(u16, ReasonCode),
    PubRec(u16, ReasonCode),
    PubRel(u16, ReasonCode),
    PubComp(u16, ReasonCode),
    SubAck(u16, Vec<ReasonCode>),
    UnsubAck(u16, Vec<ReasonCode>),
    PingResp,
    Disconnect(ReasonCode),
    Closed,
}

/// A PUBLISH that a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GotPublish {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    pub packet_id: u16,
    pub properties: Vec<u8>,
}

impl GotPublish {
    pub(super) fn properties(&self) -> Properties<'_> {
        Properties::encoded(&self.properties)
    }
}

/// The client's end of a connection.
#[derive(Debug)]
struct Line {
    version: ProtocolVersion,
    encoder: Encoder,
    /// What was sent and is to be handed in again.
    held: VecDeque<Vec<u8>>,
}

/// A broker and everything around it.
#[derive(Debug)]
pub(super) struct Bed {
    pub broker: Broker,
    pub now: Instant,
    pub store: MemoryStore,
    /// What the core asks of the store is answered by [`Bed::answer_load`] alone.
    pub holds_loads: bool,
    /// The tables are not compared after every step: that takes too long with thousands of messages.
    pub is_unchecked: bool,
    settings: Settings,
    under_commit: Option<Arc<Batch>>,
    lines: BTreeMap<ConnId, Line>,
}

pub(super) const QOS_0: QoS = QoS::AtMostOnce;
pub(super) const QOS_1: QoS = QoS::AtLeastOnce;
pub(super) const QOS_2: QoS = QoS::ExactlyOnce;

/// The expiry interval of the sessions that [`Bed::durable`] opens.
pub(super) const EXPIRY_S: u32 = 1_000;

/// A 5.0 CONNECT: no clean start, no properties (the session ends with its connection).
pub(super) fn v5(client_id: &str) -> Connect<'_> {
    Connect {
        version: ProtocolVersion::V5,
        bridge: false,
        clean_start: false,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        user_name: None,
        password: None,
    }
}

/// A 3.1.1 CONNECT without clean session.
pub(super) fn v311(client_id: &str) -> Connect<'_> {
    Connect { version: ProtocolVersion::V311, ..v5(client_id) }
}

pub(super) fn packet_id(value: u16) -> PacketId {
    PacketId::new(value).expect("tests use identifiers above 0")
}

pub(super) fn settings(limits: Limits) -> Settings {
    Settings {
        limits,
        commit: CommitPolicy::default(),
        topic_classes: Vec::new(),
        queues: Vec::new(),
        sys_interval_s: 0,
        features: Features::default(),
        version: "test",
        seed: 7,
    }
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        Self::with_settings(settings(limits))
    }

    pub(super) fn with_settings(settings: Settings) -> Self {
        let now = Instant(1_700_000_000_000);
        Self {
            broker: Broker::new(now, settings.clone()),
            now,
            store: MemoryStore::default(),
            holds_loads: false,
            is_unchecked: false,
            settings,
            under_commit: None,
            lines: BTreeMap::new(),
        }
    }

    /// Hands in a CONNECT; what the client gets for it waits for [`Self::got`].
    pub(super) fn connect(&mut self, connect: &Connect<'_>) -> ConnId {
        let peer = Peer { address: "test".into(), user_name: None, is_internal: false };
        self.connect_as(peer, connect)
    }

    pub(super) fn connect_as(&mut self, peer: Peer, connect: &Connect<'_>) -> ConnId {
        let bytes = encode(&Packet::Connect(connect.clone()), connect.version);
        let packet = decode(&bytes, connect.version, u32::MAX).expect("tests send valid CONNECTs");
        let Some((Packet::Connect(connect), _)) = packet else { panic!("not a CONNECT") };
        let id = self.broker.handle_connect(self.now, peer, &connect, &[]);
        let options = self.broker.encoder_options(id).expect("it is there until it is closed");
        let encoder = Encoder::new(options);
        let line = Line { version: connect.version, encoder, held: VecDeque::new() };
        self.lines.insert(id, line);
        self.check();
        id
    }

    /// A 5.0 client whose session outlives its connection, its CONNACK taken.
    pub(super) fn durable(&mut self, client_id: &str) -> ConnId {
        let list = [Property::SessionExpiryInterval(EXPIRY_S)];
        self.accepted(&Connect { properties: Properties::list(&list), ..v5(client_id) })
    }

    /// A 5.0 client whose session ends with its connection, its CONNACK taken.
    pub(super) fn fleeting(&mut self, client_id: &str) -> ConnId {
        self.accepted(&v5(client_id))
    }

    /// A client of [`Self::durable`], with all that it gets when it comes back still to be taken.
    pub(super) fn back(&mut self, client_id: &str) -> ConnId {
        let list = [Property::SessionExpiryInterval(EXPIRY_S)];
        self.connect(&Connect { properties: Properties::list(&list), ..v5(client_id) })
    }

    /// A client of [`Self::durable`] that comes back to find messages waiting.
    pub(super) fn durable_with_messages(&mut self, client_id: &str, payloads: &[&str]) -> ConnId {
        let id = self.back(client_id);
        assert_eq!(self.payloads(id), payloads);
        id
    }

    /// Connects, commits where the CONNACK waits for it, and takes the CONNACK.
    pub(super) fn accepted(&mut self, connect: &Connect<'_>) -> ConnId {
        let id = self.connect(connect);
        let mut got = self.got(id);
        if got.is_empty() {
            self.commit();
            got = self.got(id);
        }
        assert!(
            matches!(got.first(), Some(Got::ConnAck { reason: ReasonCode::Success, .. })),
            "{got:?}"
        );
        assert_eq!(got.len(), 1, "more than a CONNACK: {got:?}");
        id
    }

    /// Sends a packet. One that has to wait is handed in again as soon as the core asks for it.
    pub(super) fn send(&mut self, id: ConnId, packet: &Packet<'_>) -> Handled {
        let Some(line) = self.lines.get_mut(&id) else { return Handled::Closed };
        let bytes = encode(packet, line.version);
        if !line.held.is_empty() {
            line.held.push_back(bytes);
            return Handled::Wait;
        }
        let handled = self.hand_in(id, &bytes);
        if handled == Handled::Wait {
            let line = self.lines.get_mut(&id).expect("it was there just now");
            line.held.push_back(bytes);
        }
        self.settle();
        handled
    }

    fn hand_in(&mut self, id: ConnId, bytes: &[u8]) -> Handled {
        let version = self.lines[&id].version;
        let packet = decode(bytes, version, u32::MAX).expect("tests send valid packets");
        let (packet, len) = packet.expect("it is whole");
        assert_eq!(len, bytes.len());
        let handled = self.broker.handle_packet(self.now, id, &packet);
        self.check();
        handled
    }

    /// What a shell does with wake-ups and loads, but for the outputs: those are taken by
    /// [`Self::got`].
    pub(super) fn settle(&mut self) {
        while !self.holds_loads && self.answer_load() {}
        while let Some(id) = self.broker.poll_wakeup() {
            while let Some(bytes) = self.lines.get_mut(&id).and_then(|l| l.held.pop_front()) {
                if self.hand_in(id, &bytes) == Handled::Wait {
                    let line = self.lines.get_mut(&id).expect("it was there just now");
                    line.held.push_front(bytes);
                    break;
                }
            }
        }
    }

    /// Reads for the core what it asks for. False: it asks for nothing.
    pub(super) fn answer_load(&mut self) -> bool {
        let Some(load) = self.broker.poll_load() else { return false };
        let rows = self.store.read(&load.seqs);
        self.broker.handle_loaded(self.now, load.session, rows);
        self.check();
        true
    }

    /// Takes what a client got, the end of its connection included.
    pub(super) fn got(&mut self, id: ConnId) -> Vec<Got> {
        let mut all = Vec::new();
        loop {
            while !self.holds_loads && self.answer_load() {}
            let outputs = self.broker.poll_output(self.now, id);
            if outputs.is_empty() {
                break;
            }
            let line = self.lines.get_mut(&id).expect("only open connections have outputs");
            let mut bytes = ByteBuffer::default();
            let is_open = outputs.iter().all(|o| line.encoder.encode(o, self.now, &mut bytes));
            all.extend(owned_packets(&bytes.0, line.version));
            if !is_open {
                all.push(Got::Closed);
                self.lose(id);
                break;
            }
        }
        self.settle();
        self.check();
        all
    }

    /// The sizes of the packets that a client got.
    pub(super) fn packet_sizes(&mut self, id: ConnId) -> Vec<usize> {
        let outputs = self.broker.poll_output(self.now, id);
        let line = self.lines.get_mut(&id).expect("it is open");
        let size = |output: &Output| {
            let mut bytes = ByteBuffer::default();
            line.encoder.encode(output, self.now, &mut bytes);
            bytes.0.len()
        };
        outputs.iter().map(size).collect()
    }

    /// The messages among what a client got.
    pub(super) fn messages(&mut self, id: ConnId) -> Vec<GotPublish> {
        let publish = |got| match got {
            Got::Publish(publish) => Some(publish),
            _ => None,
        };
        self.got(id).into_iter().filter_map(publish).collect()
    }

    /// Takes and acknowledges all messages there are for a client, of QoS 1 only.
    pub(super) fn drain(&mut self, id: ConnId) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let got = self.messages(id);
            if got.is_empty() {
                return all;
            }
            for message in got {
                self.puback(id, message.packet_id);
                all.push(message.payload);
            }
        }
    }

    pub(super) fn payloads(&mut self, id: ConnId) -> Vec<String> {
        self.messages(id).into_iter().map(|m| m.payload).collect()
    }

    pub(super) fn publish(
        &mut self,
        id: ConnId,
        topic: &str,
        qos: QoS,
        value: u16,
        payload: &str,
    ) -> Handled {
        self.send(id, &Packet::Publish(publish(topic, qos, value, payload)))
    }

    pub(super) fn retain(&mut self, id: ConnId, topic: &str, payload: &str) {
        let publish = Publish { retain: true, ..publish(topic, QOS_0, 0, payload) };
        self.send(id, &Packet::Publish(publish));
    }

    /// Subscribes and takes the SUBACK, and nothing else, from what the client got.
    pub(super) fn subscribe(&mut self, id: ConnId, filter: &str, qos: QoS) {
        self.subscribe_with(id, filter, SubscriptionOptions::new(qos), Properties::EMPTY);
        self.commit();
        let got = self.got(id);
        let granted = ReasonCode::try_from(u8::from(qos)).expect("a granted QoS is a code");
        assert_eq!(got, [Got::SubAck(60_000, vec![granted])]);
    }

    pub(super) fn subscribe_with(
        &mut self,
        id: ConnId,
        filter: &str,
        options: SubscriptionOptions,
        properties: Properties<'_>,
    ) {
        let list = [SubscribeFilter { filter, options }];
        let filters = SubscribeFilters::List(&list);
        let subscribe = Subscribe { packet_id: packet_id(60_000), properties, filters };
        self.send(id, &Packet::Subscribe(subscribe));
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, filter: &str) {
        let filters = UnsubscribeFilters::List(&[filter]);
        let properties = Properties::EMPTY;
        let unsubscribe = Unsubscribe { packet_id: packet_id(60_001), properties, filters };
        self.send(id, &Packet::Unsubscribe(unsubscribe));
    }

    pub(super) fn puback(&mut self, id: ConnId, value: u16) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        let puback = PubAck { packet_id: packet_id(value), reason, properties };
        self.send(id, &Packet::PubAck(puback));
    }

    pub(super) fn pubrec(&mut self, id: ConnId, value: u16, reason: ReasonCode) {
        let properties = Properties::EMPTY;
        let pubrec = PubRec { packet_id: packet_id(value), reason, properties };
        self.send(id, &Packet::PubRec(pubrec));
    }

    pub(super) fn pubrel(&mut self, id: ConnId, value: u16) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        let pubrel = PubRel { packet_id: packet_id(value), reason, properties };
        self.send(id, &Packet::PubRel(pubrel));
    }

    pub(super) fn pubcomp(&mut self, id: ConnId, value: u16) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        let pubcomp = PubComp { packet_id: packet_id(value), reason, properties };
        self.send(id, &Packet::PubComp(pubcomp));
    }

    /// DISCONNECT, then the end of the connection.
    pub(super) fn disconnect(&mut self, id: ConnId, reason: ReasonCode) {
        self.send(id, &Packet::Disconnect(Disconnect::new(reason)));
        self.lose(id);
    }

    /// As for the session of a part of this program, where there is one with this name.
    pub(super) fn set_live_percent(&mut self, client_id: &str, percent: u8) {
        if let Some(key) = self.broker.clients.get(client_id) {
            let session = &mut self.broker.sessions[*key as usize];
            session.queue.set_live_percent(percent, self.broker.next_seq);
        }
    }

    /// The network connection is gone.
    pub(super) fn lose(&mut self, id: ConnId) {
        self.broker.handle_closed(self.now, id);
        self.lines.remove(&id);
        self.settle();
        self.check();
    }

    /// The store takes what is open, if nothing is under commit. Whether it took anything.
    pub(super) fn begin_commit(&mut self) -> bool {
        if self.under_commit.is_none() {
            self.under_commit = self.broker.poll_batch(self.now);
        }
        self.under_commit.is_some()
    }

    /// The store has committed what it took.
    pub(super) fn end_commit(&mut self) {
        let Some(batch) = self.under_commit.take() else { return };
        self.store.apply(&batch);
        self.broker.handle_committed(self.now, batch.number, 0);
        self.settle();
        self.check();
    }

    /// Commits until there is nothing left to commit, and compares the store with the core.
    pub(super) fn commit(&mut self) {
        self.broker.commit_what_rides(self.now);
        while self.begin_commit() {
            self.end_commit();
        }
        check::store_is_memory(&self.broker, &self.store);
    }

    /// Time passes; everything due happens when it is due.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(at) = self.broker.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.broker.handle_timeout(self.now);
            self.settle();
            self.check();
        }
        self.now = until;
    }

    pub(super) fn pass_s(&mut self, s: u32) {
        self.pass_ms(u64::from(s) * 1000);
    }

    /// The power goes: all that is not committed is lost, and a new broker starts from the store.
    pub(super) fn crash(&mut self) {
        self.lines.clear();
        self.under_commit = None;
        let head_size = self.broker.head_size;
        self.broker = Broker::new(self.now, self.settings.clone());
        self.broker.head_size = head_size;
        let mut restoring = self.broker.restore(self.now);
        let numbers = self.store.load(&mut restoring);
        restoring.finish(numbers);
        self.check();
    }

    fn check(&self) {
        if self.is_unchecked {
            return;
        }
        check::memory_agrees(&self.broker);
    }
}

/// A PUBLISH; the identifier is of no meaning at QoS 0.
pub(super) fn publish<'a>(topic: &'a str, qos: QoS, value: u16, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: if qos == QOS_0 { None } else { Some(packet_id(value)) },
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    }
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = ByteBuffer::default();
    packet.encode(version, &mut bytes).expect("tests send packets that fit");
    bytes.0
}

fn owned_packets(mut bytes: &[u8], version: ProtocolVersion) -> Vec<Got> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let packet = decode(bytes, version, u32::MAX).expect("the broker sends valid packets");
        let (packet, len) = packet.expect("the broker sends whole packets");
        all.push(owned(&packet));
        bytes = &bytes[len..];
    }
    all
}

fn owned(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(p) => Got::ConnAck {
            session_present: p.session_present,
            reason: p.reason,
            properties: p.properties.as_encoded().to_vec(),
        },
        Packet::Publish(p) => Got::Publish(GotPublish {
            topic: p.topic.to_owned(),
            payload: String::from_utf8(p.payload.to_vec()).expect("tests send text"),
            qos: p.qos,
            dup: p.dup,
            retain: p.retain,
            packet_id: p.packet_id.map_or(0, PacketId::value),
            properties: p.properties.as_encoded().to_vec(),
        }),
        Packet::PubAck(p) => Got::PubAck(p.packet_id.value(), p.reason),
        Packet::PubRec(p) => Got::PubRec(p.packet_id.value(), p.reason),
        Packet::PubRel(p) => Got::PubRel(p.packet_id.value(), p.reason),
        Packet::PubComp(p) => Got::PubComp(p.packet_id.value(), p.reason),
        Packet::SubAck(p) => Got::SubAck(p.packet_id.value(), p.reasons.iter().collect()),
        Packet::UnsubAck(p) => Got::UnsubAck(p.packet_id.value(), p.reasons.iter().collect()),
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(p) => Got::Disconnect(p.reason),
        other => panic!("a server does not send {other:?}"),
    }
}
