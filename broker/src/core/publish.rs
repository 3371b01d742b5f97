//! PUBLISH from a client.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use outpost_bridge::origin::is_origin;
use outpost_bridge::peering::NodeId;
use outpost_protocol::{PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode};

use super::bug::Bug;
use super::change::Seq;
use super::connect::is_state_of;
use super::connection::ConnId;
use super::durability::Durability;
use super::event::Event;
use super::message::{Message, Topic};
use super::origins::Arrival;
use super::output::{AckKind, ByteBuffer, Output};
use super::route::{Origin, Routed};
use super::time::Instant;
use super::timers::Timer;
use super::topics::{Matches, SessionKey};
use super::{Broker, Handled};

/// What became of a PUBLISH.
enum Taken {
    Handled(Handled),
    /// A full queue has no room for it, and its publisher cannot be told.
    NoRoom,
}

/// What the acknowledgement of a PUBLISH promises.
struct Promised {
    /// Messages for durable sessions; they may be done already.
    messages: Range<Seq>,
    is_retained_stored: bool,
    is_origin_noted: bool,
    durability: Durability,
}

impl Broker {
    pub(super) fn handle_publish(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
    ) -> Handled {
        let is_held_up = !self.connections[id.index()].held.is_empty();
        if is_held_up && publish.qos > QoS::AtMostOnce {
            return self.hold(now, id, publish); // Behind those before it, as order wants.
        }
        match self.handle_publish_now(now, id, session, publish) {
            Taken::Handled(handled) => handled,
            Taken::NoRoom => self.hold(now, id, publish),
        }
    }

    /// A PUBLISH that was held, once more.
    pub(super) fn handle_held(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
    ) -> Handled {
        match self.handle_publish_now(now, id, session, publish) {
            Taken::Handled(handled) => handled,
            Taken::NoRoom => self.wait(now, id),
        }
    }

    fn handle_publish_now(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
    ) -> Taken {
        if let Err((reason, why)) = self.check_publish(id, publish) {
            return Taken::Handled(self.fail(now, id, reason, why));
        }
        let topic = match self.resolve_topic(id, publish) {
            Ok(topic) => topic,
            Err((reason, why)) => return Taken::Handled(self.fail(now, id, reason, why)),
        };
        if let Some(packet_id) = publish.packet_id
            && let Some(handled) = self.check_flow(now, id, session, publish.qos, packet_id)
        {
            return Taken::Handled(handled);
        }
        let origin = match self.check_origin(now, id, session, publish) {
            Arrival::New(origin) => origin,
            Arrival::Handled(handled) => return Taken::Handled(handled),
        };
        let name = topic.as_deref().unwrap_or(publish.topic);
        if levels(name) > usize::from(self.settings.limits.topic_levels_max) {
            return Taken::Handled(match publish.packet_id {
                Some(_) if self.is_v5(id) => {
                    self.refuse(now, id, publish, ReasonCode::TopicNameInvalid)
                }
                _ => self.fail(now, id, ReasonCode::TopicNameInvalid, "a topic of too many levels"),
            });
        }
        let (topic, matches) = self.topics.matches(name);
        let from_node = origin.map(|origin| origin.node);
        if (publish.qos > QoS::AtMostOnce || publish.retain || topic.starts_with('$'))
            && let Some(taken) = self.check_room(now, id, publish, from_node, &topic, &matches)
        {
            return taken;
        }
        let is_bridge = self.connections[id.index()].bridge.is_some();
        let retain = publish.retain && !self.retains_later(&topic, origin);
        let publish = &Publish { retain, ..publish.clone() };
        let message = message(now, topic, publish, is_bridge).with(matches.durability);
        let message = Arc::new(message);
        self.counters.messages_received += 1;
        let is_retained_stored = message.retain && self.retain(now, &message);
        let first = self.next_seq;
        let routed = self.route(now, &message, &matches, Origin::Client(session));
        let (messages, durability) = (first..self.next_seq, matches.durability);
        let is_origin_noted = self.note_origin(origin);
        let promised = Promised { messages, is_retained_stored, is_origin_noted, durability };
        self.acknowledge_publish(now, id, session, publish, routed, promised);
        Taken::Handled(Handled::Done)
    }

    /// Retains a message, or forgets one. True: an acknowledgement has to wait for the store.
    pub(super) fn retain(&mut self, now: Instant, message: &Arc<Message>) -> bool {
        let topic = &message.topic;
        if message.payload().is_empty() {
            // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
            let existed = self.retained.remove(topic);
            self.timers.cancel(Timer::RetainedExpiry(topic.clone()));
            // One that is sent again promises what the first one did: it may not be stored yet.
            let is_needed = existed || self.pending.has_retained(topic);
            return is_needed && self.store_retained(now, message, None);
        }
        match message.expires_at {
            Some(at) => self.timers.set(at, Timer::RetainedExpiry(topic.clone())),
            None => self.timers.cancel(Timer::RetainedExpiry(topic.clone())),
        }
        self.retained.insert(message.clone());
        self.store_retained(now, message, Some(message.clone()))
    }

    /// Puts the row of a retained message, or its end, into the open batch, as far as its topic is
    /// stored. True: an acknowledgement has to wait for it.
    fn store_retained(
        &mut self,
        now: Instant,
        message: &Message,
        row: Option<Arc<Message>>,
    ) -> bool {
        if message.topic.starts_with("$SYS/") || message.is_volatile() {
            return false;
        }
        self.pending.put_retained(message.topic.clone(), row);
        match message.durability {
            Durability::Interval { window_ms } => {
                self.pending.promise_by(now.plus_ms(window_ms.into()));
                false
            }
            _ => {
                self.pending.lazy(now);
                true
            }
        }
    }

    pub(super) fn check_retained_expiry(&mut self, now: Instant, topic: &Topic) {
        let Some(message) = self.retained.find(topic).filter(|m| m.is_expired(now)).cloned() else {
            return;
        };
        self.retained.remove(topic);
        self.store_retained(now, &message, None);
    }

    pub(super) fn check_queue_full_wait(&mut self, now: Instant, id: ConnId) {
        let wait_ms = self.settings.limits.queue_full_wait_ms;
        let backlog_max = self.settings.limits.store_backlog_bytes_max;
        let waits_for_store = self.is_stalled() || self.pending.backlog_bytes() > backlog_max;
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.waits_since.is_some_and(|since| now.since_ms(since) >= wait_ms) {
            if waits_for_store || !connection.parked.is_empty() {
                // It is not for want of room in a queue: the client would only come back.
                self.timers.set(now.plus_ms(wait_ms), Timer::QueueFullWait(id));
                return;
            }
            let why = "a full queue of a subscriber had no room for too long";
            self.fail(now, id, ReasonCode::QuotaExceeded, why);
        }
    }

    /// What no PUBLISH may be.
    fn check_publish(
        &mut self,
        id: ConnId,
        publish: &Publish<'_>,
    ) -> Result<(), (ReasonCode, &'static str)> {
        if publish.qos > self.settings.limits.maximum_qos {
            return Err((ReasonCode::QoSNotSupported, "PUBLISH above the Maximum QoS"));
        }
        let is_v5 = self.connections[id.index()].version == ProtocolVersion::V5;
        if is_v5
            && !publish.properties.is_empty()
            && publish.properties.subscription_identifier().is_some()
        {
            // [MQTT-3.3.4-6]
            return Err((ReasonCode::ProtocolError, "PUBLISH with a Subscription Identifier"));
        }
        Ok(())
    }

    /// The topic that an alias stands for. None: the packet names it itself.
    fn resolve_topic(
        &mut self,
        id: ConnId,
        publish: &Publish<'_>,
    ) -> Result<Option<Topic>, (ReasonCode, &'static str)> {
        if publish.properties.is_empty() {
            return Ok(None);
        }
        let Some(alias) = publish.properties.topic_alias() else { return Ok(None) };
        let maximum = self.settings.limits.topic_alias_maximum;
        if alias == 0 || alias > maximum {
            return Err((ReasonCode::TopicAliasInvalid, "topic alias above the maximum"));
        }
        let aliases = &mut self.connections[id.index()].topic_aliases;
        let at = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            return match aliases.get(at) {
                Some(Some(topic)) => Ok(Some(topic.clone())),
                _ => Err((ReasonCode::ProtocolError, "topic alias without a topic")),
            };
        }
        if aliases.len() <= at {
            aliases.resize(at + 1, None);
        }
        aliases[at] = Some(Topic::from(publish.topic));
        Ok(None)
    }

    /// Repeated packets, and more of them than the Receive Maximum allows.
    fn check_flow(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        qos: QoS,
        packet_id: PacketId,
    ) -> Option<Handled> {
        let received = &self.sessions[session as usize].received;
        if qos == QoS::ExactlyOnce && received.contains(&packet_id) {
            // It was taken before [MQTT-4.3.3-10]; perhaps it is not durable yet.
            let after = self.all_durable_after();
            let pubrec = Output::Ack(AckKind::PubRec, packet_id, ReasonCode::Success);
            self.push_after(id, after, pubrec);
            return Some(Handled::Done);
        }
        let connection = &self.connections[id.index()];
        let maximum = usize::from(self.settings.limits.receive_maximum);
        let unacknowledged = connection.unacknowledged as usize;
        let unreleased = if connection.version < ProtocolVersion::V5 {
            0
        } else {
            received.len().saturating_sub(connection.received_before)
        };
        if unreleased >= maximum {
            let why = "more unreleased QoS 2 messages than the Receive Maximum";
            return Some(self.fail(now, id, ReasonCode::ReceiveMaximumExceeded, why));
        }
        // PUBACKs wait for the store, which no client can know, and many do not look at the Receive
        // Maximum: sent away, they would come back and send the same again. Their TCP window slows
        // them down until those PUBACKs are out.
        (unacknowledged + unreleased >= maximum).then(|| self.wait(now, id))
    }

    /// Whether the message, which the broker `from_node` took in, perhaps, finds room in queues, tables
    /// and the store. Some: it does not, and this
    /// has been done about it.
    fn check_room(
        &mut self,
        now: Instant,
        id: ConnId,
        publish: &Publish<'_>,
        from_node: Option<NodeId>,
        topic: &Topic,
        matches: &Matches,
    ) -> Option<Taken> {
        if topic.starts_with("$SYS/") && !self.may_publish_to_sys(id, topic) {
            return Some(Taken::Handled(self.refuse(now, id, publish, ReasonCode::NotAuthorized)));
        }
        let backlog_bytes_max = self.settings.limits.store_backlog_bytes_max;
        let is_backlogged = self.pending.backlog_bytes() > backlog_bytes_max;
        if (publish.qos == QoS::AtMostOnce || self.is_v5(id))
            && self.is_refused_by_stall(now, publish, matches, is_backlogged)
        {
            return Some(Taken::Handled(self.refuse(now, id, publish, ReasonCode::QuotaExceeded)));
        }
        if is_backlogged {
            self.pending.is_room_awaited = true;
            // The store cannot keep up: the publisher's own TCP window slows it down.
            return Some(Taken::Handled(self.wait(now, id)));
        }
        // Not less than the message will have: some properties are not kept.
        let bytes = (topic.len() + publish.properties.len() + publish.payload.len()) as u64;
        if publish.retain
            && !publish.payload.is_empty()
            && !self.has_retained_room(now, topic, bytes)
        {
            return Some(Taken::Handled(self.refuse(now, id, publish, ReasonCode::QuotaExceeded)));
        }
        let session = loop {
            let session = self.refused_by(publish.qos, bytes, from_node, matches)?;
            if !self.drop_expired(now, session) {
                break session;
            }
        };
        self.push_full_event(now, session, "publishers are refused or have to wait");
        if self.is_v5(id) {
            return Some(Taken::Handled(self.refuse(now, id, publish, ReasonCode::QuotaExceeded)));
        }
        self.sessions[session as usize].is_awaited = true;
        self.is_total_awaited |= self.is_full_in_all(bytes);
        Some(Taken::NoRoom)
    }

    /// A bridge of any make tells its own state there.
    fn may_publish_to_sys(&self, id: ConnId, topic: &str) -> bool {
        let connection = &self.connections[id.index()];
        let client_id = connection.session.map(|key| &*self.sessions[key as usize].client_id);
        let tells_state = connection.is_any_bridge
            && client_id.is_some_and(|client_id| is_state_of(topic, client_id));
        connection.peer.is_internal || tells_state
    }

    /// Whether a message of so many bytes may be retained. Where not, that is counted and told.
    pub(super) fn has_retained_room(&mut self, now: Instant, topic: &Topic, bytes: u64) -> bool {
        let limits = &self.settings.limits;
        let old = self.retained.find(topic);
        let messages = self.retained.len() + usize::from(old.is_none());
        let bytes = self.retained.bytes() - old.map_or(0, |m| m.bytes()) + bytes;
        if messages <= limits.retained_messages_max as usize && bytes <= limits.retained_bytes_max {
            return true;
        }
        self.counters.dropped_retained_full += 1;
        if let Some(times) = self.retained_full.tell(now) {
            let what = "the table of retained messages".into();
            self.push_event(Event::Full { what, done: "a message was refused", times });
        }
        false
    }

    /// The message is not taken, and its publisher is told where there is a way to.
    fn refuse(
        &mut self,
        now: Instant,
        id: ConnId,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Handled {
        self.counters.refused += 1;
        match publish.packet_id {
            None => Handled::Done,
            Some(packet_id) if self.is_v5(id) || reason == ReasonCode::NotAuthorized => {
                // 3.1.1 knows no refusal: MQTT-3.3.5-2 leaves the positive acknowledgement.
                let kind = ack_kind(publish.qos);
                if kind == AckKind::PubRec && !self.is_v5(id) {
                    // The flow has to run to its end.
                    let session = self.connections[id.index()].session;
                    if let Some(session) = session {
                        self.sessions[session as usize].received.insert(packet_id);
                    }
                }
                let ack = self.new_ack(id, kind, packet_id, reason);
                self.push_after(id, 0, ack);
                Handled::Done
            }
            Some(_) => self.fail(now, id, reason, "a table of the broker is full"),
        }
    }

    /// Has a connection woken when there may be room; not for ever.
    pub(super) fn wait(&mut self, now: Instant, id: ConnId) -> Handled {
        let wait_ms = self.settings.limits.queue_full_wait_ms;
        self.waiting_connections.insert(id);
        let connection = &mut self.connections[id.index()];
        if connection.waits_since.is_none() {
            connection.waits_since = Some(now);
            self.timers.set(now.plus_ms(wait_ms), Timer::QueueFullWait(id));
        }
        Handled::Wait
    }

    fn acknowledge_publish(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
        routed: Routed,
        promised: Promised,
    ) {
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        // What came over a bridge is not to come again, and its bridge forgets it now.
        let is_once = promised.is_origin_noted && promised.durability == Durability::Durable;
        let mut needs_commit = promised.is_retained_stored || is_once;
        if publish.qos == QoS::ExactlyOnce {
            self.sessions[session as usize].received.insert(packet_id);
            if self.sessions[session as usize].is_durable() {
                self.touch_session(now, session);
                needs_commit = true;
            }
        }
        let reason = if routed.receivers == 0 && self.is_v5(id) {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        };
        let ack = self.new_ack(id, ack_kind(publish.qos), packet_id, reason);
        if self.has_bug(Bug::AckBeforeCommit) {
            return self.push_output(id, ack);
        }
        if matches!(promised.durability, Durability::Interval { .. }) {
            self.pending.promise(promised.messages.clone());
        }
        if needs_commit {
            let after = self.pending.urgent(now);
            self.push_after(id, after, ack);
        } else {
            match promised.durability {
                Durability::Durable => self.push_after_messages(now, id, promised.messages, ack),
                Durability::Interval { .. } | Durability::Volatile => self.push_after(id, 0, ack),
            }
        }
    }

    /// Acknowledges a message that is not taken, and was perhaps `taken_before`: as if it had no
    /// receivers.
    pub(super) fn acknowledge_dropped(
        &mut self,
        now: Instant,
        id: ConnId,
        session: SessionKey,
        publish: &Publish<'_>,
        taken_before: bool,
    ) {
        let promised = Promised {
            messages: self.next_seq..self.next_seq,
            is_retained_stored: false,
            is_origin_noted: taken_before,
            durability: Durability::Durable,
        };
        self.acknowledge_publish(now, id, session, publish, Routed::default(), promised);
    }

    fn new_ack(
        &mut self,
        id: ConnId,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> Output {
        if kind == AckKind::PubAck {
            self.connections[id.index()].unacknowledged += 1;
        }
        Output::Ack(kind, packet_id, reason)
    }
}

/// Levels of a topic name or filter.
pub(super) fn levels(topic: &str) -> usize {
    topic.bytes().filter(|b| *b == b'/').count() + 1
}

fn ack_kind(qos: QoS) -> AckKind {
    if qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck }
}

fn message(now: Instant, topic: Topic, publish: &Publish<'_>, is_bridge: bool) -> Message {
    if publish.properties.is_empty() {
        return Message::new(topic, publish.qos, publish.retain, None, b"", publish.payload);
    }
    let expiry_s = publish.properties.message_expiry_interval_s();
    Message::new(
        topic,
        publish.qos,
        publish.retain,
        expiry_s.map(|s| now.plus_s(s)),
        &forwarded(&publish.properties, is_bridge),
        publish.payload,
    )
}

/// The properties that are passed on unaltered and in order: Payload Format Indicator, Response
/// Topic, Correlation Data, Content Type, User Property [MQTT-3.3.2-4], [MQTT-3.3.2-15 to -20]. Where a
/// message comes from is told by bridges; from any other client, who could have messages of others taken
/// for repetitions by it, that property is not passed on.
pub(super) fn forwarded<'a>(properties: &Properties<'a>, is_bridge: bool) -> Cow<'a, [u8]> {
    let is_forwarded = |property: &Property<'_>| {
        matches!(
            property,
            Property::PayloadFormatIndicator(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::ContentType(_)
                | Property::UserProperty(..)
        ) && (is_bridge || !is_origin(property))
    };
    if properties.iter().all(|p| is_forwarded(&p)) {
        return Cow::Borrowed(properties.as_encoded());
    }
    let mut bytes = ByteBuffer::default();
    for property in properties.iter().filter(is_forwarded) {
        property.encode(&mut bytes).expect("a property that was decoded can be encoded");
    }
    Cow::Owned(bytes.0)
}
