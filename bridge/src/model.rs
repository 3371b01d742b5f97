//! A small model of an MQTT broker with one durable session, the bridge's: for tests only.
//!
//! It is strict: what a client may not send makes it panic. Everything in [`Session`] survives the
//! connection, as it does in a broker that keeps its promises. Identifiers are given out from the
//! lowest that is free, so that a leftover one is met soon.

use std::collections::{BTreeMap, VecDeque};

use outpost_protocol::{
    ConnAck, Connect, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp,
    PubRec, PubRel, Publish, QoS, ReasonCode, ReasonCodes, SubAck, Subscribe, SubscriptionOptions,
    TopicFilter, UnsubAck, Unsubscribe, decode,
};

use crate::output::Output;

/// An application message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn new(topic: &str, qos: QoS, payload: impl AsRef<[u8]>) -> Self {
        Self { topic: topic.into(), qos, retain: false, payload: payload.as_ref().to_vec() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Ack,
    Rec,
    Comp,
}

#[derive(Debug)]
struct InFlight {
    id: PacketId,
    message: Message,
    awaited: Awaited,
}

/// What survives a connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) filters: BTreeMap<String, SubscriptionOptions>,
    queue: VecDeque<Message>,
    in_flight: Vec<InFlight>,
    /// QoS 2 identifiers received and not released, with the message where it is delivered on
    /// release.
    received: BTreeMap<PacketId, Option<Message>>,
}

/// What CONNECT of the present connection said.
#[derive(Clone, Debug)]
struct Client {
    receive_maximum: usize,
    packet_bytes_max: usize,
}

/// The broker.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) version: ProtocolVersion,
    pub(crate) session: Option<Session>,
    /// What the bridge brought, in the order of its delivery to others.
    pub(crate) delivered: Vec<Message>,
    /// QoS 2 messages are delivered when PUBREL comes, not when PUBLISH comes.
    pub(crate) deliver_on_release: bool,
    /// The reason codes for the next PUBLISHes of QoS 1 and 2; Success where there is none.
    pub(crate) verdicts: VecDeque<ReasonCode>,
    /// What CONNACK grants (5.0).
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) maximum_qos: QoS,
    pub(crate) retain_available: bool,
    /// CONNECT is refused with this.
    pub(crate) refusal: Option<ReasonCode>,
    /// CONNECT with the bridge bit is refused as an unknown version.
    pub(crate) refuses_bridge_bit: bool,
    /// How many CONNECTs came, how many SUBSCRIBEs, and how many DISCONNECTs.
    pub(crate) connects: usize,
    pub(crate) subscribes: usize,
    pub(crate) disconnects: usize,
    pub(crate) pings: usize,
    client: Option<Client>,
}

impl Model {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            session: None,
            delivered: Vec::new(),
            deliver_on_release: false,
            verdicts: VecDeque::new(),
            receive_maximum: 10,
            packet_bytes_max: 1 << 20,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            refusal: None,
            refuses_bridge_bit: false,
            connects: 0,
            subscribes: 0,
            disconnects: 0,
            pings: 0,
            client: None,
        }
    }

    /// Someone publishes at this broker: it is queued for the bridge where it has subscribed.
    pub(crate) fn publish(&mut self, message: Message) {
        let Some(session) = &mut self.session else { return };
        let fits = |filter: &&String| {
            TopicFilter::new(filter).expect("checked at SUBSCRIBE").matches(&message.topic)
        };
        let Some(filter) = session.filters.keys().find(fits) else { return };
        let qos = message.qos.min(session.filters[filter].qos);
        session.queue.push_back(Message { qos, ..message });
    }

    /// Whether nothing is queued or under way between this broker and the bridge.
    pub(crate) fn is_idle(&self) -> bool {
        let idle = |session: &Session| {
            session.queue.is_empty() && session.in_flight.is_empty() && session.received.is_empty()
        };
        self.session.as_ref().is_none_or(idle)
    }

    /// Receive Maximum and Maximum Packet Size, as the client of the present connection said.
    pub(crate) fn client_limits(&self) -> Option<(usize, usize)> {
        self.client.as_ref().map(|client| (client.receive_maximum, client.packet_bytes_max))
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        let text = |message: &Message| String::from_utf8(message.payload.clone()).expect("text");
        self.delivered.iter().map(text).collect()
    }

    /// The connection is gone.
    pub(crate) fn close(&mut self) {
        self.client = None;
    }

    /// Takes all whole packets out of `input`; false: the connection is to be closed.
    pub(crate) fn handle_bytes(&mut self, input: &mut Vec<u8>, out: &mut Output) -> bool {
        let mut used = 0;
        let mut open = true;
        while open {
            let max = self.client.as_ref().map_or(u32::MAX, |_| self.packet_bytes_max);
            match decode(&input[used..], self.version, max).expect("the bridge sends good packets")
            {
                None => break,
                Some((packet, len)) => {
                    open = self.handle_packet(&packet, out);
                    used += len;
                }
            }
        }
        input.drain(..used);
        open
    }

    /// Takes one packet; false: the connection is to be closed.
    pub(crate) fn handle_packet(&mut self, packet: &Packet<'_>, out: &mut Output) -> bool {
        match packet {
            Packet::Connect(connect) => return self.handle_connect(connect, out),
            Packet::Publish(publish) => self.handle_publish(publish, out),
            Packet::PubAck(ack) => self.finish(ack.packet_id, Awaited::Ack),
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.finish(ack.packet_id, Awaited::Rec);
            }
            Packet::PubRec(ack) => self.handle_pub_rec(ack.packet_id, out),
            Packet::PubRel(ack) => self.handle_pub_rel(ack.packet_id, out),
            Packet::PubComp(ack) => self.finish(ack.packet_id, Awaited::Comp),
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(unsubscribe, out),
            Packet::PingReq => {
                self.pings += 1;
                self.put(Packet::PingResp, out);
            }
            Packet::Disconnect(_) => {
                self.disconnects += 1;
                return false;
            }
            other => panic!("the bridge has no reason to send {other:?}"),
        }
        true
    }

    /// Sends what is queued, as far as the client's Receive Maximum goes.
    pub(crate) fn send(&mut self, out: &mut Output) {
        let Some(client) = self.client.clone() else { return };
        while let Some(session) = &mut self.session
            && session.in_flight.len() < client.receive_maximum
            && let Some(message) = session.queue.pop_front()
        {
            let awaited = match message.qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(Awaited::Ack),
                QoS::ExactlyOnce => Some(Awaited::Rec),
            };
            let id = awaited.map(|awaited| {
                let id = session.free_id();
                session.in_flight.push(InFlight { id, message: message.clone(), awaited });
                id
            });
            self.put_publish(&message, id, false, out);
        }
    }

    fn handle_connect(&mut self, connect: &Connect<'_>, out: &mut Output) -> bool {
        self.connects += 1;
        assert!(!connect.clean_start, "a bridge keeps its session");
        let refusal = match self.refusal {
            None if connect.bridge && self.refuses_bridge_bit => {
                Some(ReasonCode::UnsupportedProtocolVersion)
            }
            refusal => refusal,
        };
        if let Some(reason) = refusal {
            let properties = Properties::EMPTY;
            self.put(Packet::ConnAck(ConnAck { session_present: false, reason, properties }), out);
            return false;
        }
        assert_eq!(connect.version, self.version);
        if self.version == ProtocolVersion::V5 {
            assert_eq!(connect.properties.session_expiry_interval_s(), Some(u32::MAX));
        }
        self.client = Some(Client {
            receive_maximum: connect.properties.receive_maximum().unwrap_or(10).into(),
            packet_bytes_max: connect.properties.maximum_packet_size().unwrap_or(u32::MAX) as usize,
        });
        let session_present = self.session.is_some();
        self.session.get_or_insert_default();
        self.put_conn_ack(session_present, out);
        self.resume(out);
        true
    }

    fn put_conn_ack(&self, session_present: bool, out: &mut Output) {
        let mut granted = vec![
            Property::ReceiveMaximum(self.receive_maximum),
            Property::MaximumPacketSize(self.packet_bytes_max),
            Property::RetainAvailable(self.retain_available.into()),
        ];
        if self.maximum_qos < QoS::ExactlyOnce {
            granted.push(Property::MaximumQoS(self.maximum_qos.into()));
        }
        let properties = Properties::list(&granted);
        let reason = ReasonCode::Success;
        self.put(Packet::ConnAck(ConnAck { session_present, reason, properties }), out);
    }

    /// [MQTT-4.4.0-1], in the original order [MQTT-4.6.0-1].
    fn resume(&mut self, out: &mut Output) {
        let session = self.session.as_ref().expect("CONNECT made it");
        for in_flight in &session.in_flight {
            match in_flight.awaited {
                Awaited::Comp => self.put(Packet::PubRel(PubRel::success(in_flight.id)), out),
                _ => self.put_publish(&in_flight.message, Some(in_flight.id), true, out),
            }
        }
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, out: &mut Output) {
        assert!(publish.qos <= self.maximum_qos, "a QoS that was not granted");
        assert!(self.retain_available || !publish.retain, "retained messages are not taken");
        assert_eq!(publish.properties.subscription_identifier(), None, "a client may not send it");
        let mut message = Message::new(publish.topic, publish.qos, publish.payload);
        message.retain = publish.retain;
        let Some(id) = publish.packet_id else { return self.delivered.push(message) };
        let session = self.session.as_mut().expect("connected");
        let repeated = session.received.contains_key(&id);
        let verdict = if repeated { None } else { self.verdicts.pop_front() };
        let reason = verdict.unwrap_or(ReasonCode::Success);
        let properties = Properties::EMPTY;
        if publish.qos == QoS::AtLeastOnce {
            self.put(Packet::PubAck(PubAck { packet_id: id, reason, properties }), out);
        } else {
            if !repeated && !reason.is_error() {
                let kept = self.deliver_on_release.then(|| message.clone());
                session.received.insert(id, kept);
                assert!(session.received.len() <= self.receive_maximum.into(), "window exceeded");
            }
            self.put(Packet::PubRec(PubRec { packet_id: id, reason, properties }), out);
        }
        let at_once = publish.qos == QoS::AtLeastOnce || !self.deliver_on_release;
        if !repeated && !reason.is_error() && at_once {
            self.delivered.push(message);
        }
    }

    fn handle_pub_rel(&mut self, packet_id: PacketId, out: &mut Output) {
        let session = self.session.as_mut().expect("connected");
        let reason = match session.received.remove(&packet_id) {
            None => ReasonCode::PacketIdentifierNotFound,
            Some(kept) => {
                self.delivered.extend(kept);
                ReasonCode::Success
            }
        };
        let properties = Properties::EMPTY;
        self.put(Packet::PubComp(PubComp { packet_id, reason, properties }), out);
    }

    fn handle_pub_rec(&mut self, id: PacketId, out: &mut Output) {
        let session = self.session.as_mut().expect("connected");
        let known = session.in_flight.iter_mut().find(|in_flight| in_flight.id == id);
        let in_flight = known.expect("PUBREC for an identifier in use");
        assert_ne!(in_flight.awaited, Awaited::Ack, "PUBREC for QoS 1");
        in_flight.awaited = Awaited::Comp;
        self.put(Packet::PubRel(PubRel::success(id)), out);
    }

    fn finish(&mut self, id: PacketId, awaited: Awaited) {
        let session = self.session.as_mut().expect("connected");
        let known = session.in_flight.iter().position(|in_flight| in_flight.id == id);
        let in_flight = session.in_flight.remove(known.expect("an identifier in use"));
        assert_eq!(in_flight.awaited, awaited, "an acknowledgement out of turn");
    }

    fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>, out: &mut Output) {
        self.subscribes += 1;
        let session = self.session.as_mut().expect("connected");
        let mut reasons = Vec::new();
        for asked in subscribe.filters.iter() {
            let mut options = asked.options;
            options.qos = options.qos.min(self.maximum_qos);
            reasons.push(ReasonCode::try_from(u8::from(options.qos)).expect("a granted QoS"));
            session.filters.insert(asked.filter.into(), options);
        }
        let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
        let reasons = ReasonCodes::List(&reasons);
        self.put(Packet::SubAck(SubAck { packet_id, properties, reasons }), out);
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, out: &mut Output) {
        let session = self.session.as_mut().expect("connected");
        let mut reasons = Vec::new();
        for filter in unsubscribe.filters.iter() {
            session.filters.remove(filter);
            reasons.push(ReasonCode::Success);
        }
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::EMPTY);
        let reasons = ReasonCodes::List(&reasons);
        self.put(Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }), out);
    }

    /// As if it had been asked for it.
    pub(crate) fn subscribe(&mut self, filter: &str) {
        let session = self.session.as_mut().expect("there is one");
        session.filters.insert(filter.into(), SubscriptionOptions::new(QoS::AtLeastOnce));
    }

    pub(crate) fn subscribed(&self) -> Vec<&str> {
        let session = self.session.as_ref().expect("there is one");
        session.filters.keys().map(|filter| &**filter).collect()
    }

    fn put_publish(&self, message: &Message, id: Option<PacketId>, dup: bool, out: &mut Output) {
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: &message.topic,
            packet_id: id,
            properties: Properties::EMPTY,
            payload: &message.payload,
        };
        let len = publish.encoded_len(self.version).expect("short");
        assert!(len <= self.client.as_ref().expect("connected").packet_bytes_max);
        self.put(Packet::Publish(publish), out);
    }

    fn put(&self, packet: Packet<'_>, out: &mut Output) {
        packet.encode(self.version, out).expect("it grows");
    }
}

impl Session {
    /// QoS 2 messages came with these identifiers, and their PUBREL did not.
    pub(crate) fn receive(&mut self, ids: impl Iterator<Item = PacketId>) {
        self.received.extend(ids.map(|id| (id, None)));
    }

    fn free_id(&self) -> PacketId {
        let used = |value: &u16| self.in_flight.iter().any(|other| other.id.value() == *value);
        let free = (1..=u16::MAX).find(|value| !used(value)).expect("few are in flight");
        PacketId::new(free).expect("not 0")
    }
}
