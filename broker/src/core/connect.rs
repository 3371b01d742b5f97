//! CONNECT: from an authenticated client to a session.

use std::sync::Arc;

use outpost_bridge::peering::{self, Features, Peering};
use outpost_protocol::{
    ConnAck, Connect, KeepAliveWatch, Properties, Property, ProtocolVersion, QoS, ReasonCode,
    SubscribeFilter,
};

use super::Broker;
use super::change::SessionId;
use super::connection::{ConnId, Connection, Peer};
use super::disconnect::End;
use super::event::Event;
use super::output::{ByteBuffer, Output};
use super::session::{RetainedAhead, Session};
use super::time::Instant;
use super::timers::Timer;
use super::topics::{SessionKey, Takes};
use super::will;

/// What the client identifiers of this program's own parts begin with: no client from outside may
/// use one, so that none can take over the session of a bridge.
pub(super) const RESERVED_CLIENT_ID_PREFIX: &str = "$outpost/";

/// The client identifier under which the session of a part of this program is kept.
pub(super) fn internal_client_id(client_id: &str) -> String {
    format!("{RESERVED_CLIENT_ID_PREFIX}{client_id}")
}

/// Whether a topic is the one by which a bridge with this client identifier tells whether it is
/// connected, as Mosquitto's bridges do.
pub(super) fn is_state_of(topic: &str, client_id: &str) -> bool {
    let rest = topic.strip_prefix(STATES);
    rest.and_then(|rest| rest.strip_suffix("/state")) == Some(client_id)
}

/// That topic.
pub(super) fn state_topic(client_id: &str) -> String {
    let client_id = client_id.strip_prefix(RESERVED_CLIENT_ID_PREFIX).unwrap_or(client_id);
    format!("{STATES}{client_id}/state")
}

const STATES: &str = "$SYS/broker/connection/";

/// Whether a 5.0 client is a bridge of Mosquitto's: with 5.0 it does not say so, and shows it by its will.
fn leaves_state(connect: &Connect<'_>) -> bool {
    let will = connect.will.as_ref().filter(|will| will.retain);
    connect.version == ProtocolVersion::V5
        && will.is_some_and(|will| is_state_of(will.topic, connect.client_id))
}

/// What a CONNACK grants that the client did not know.
struct Granted {
    session_present: bool,
    assigned_client_id: Option<Arc<str>>,
    session_expiry_interval_s: Option<u32>,
    server_keep_alive_s: Option<u16>,
    response_information: Option<String>,
}

impl Broker {
    /// A client whose credentials were found good. `authentication` goes into CONNACK: what an
    /// authentication method has to say at its end.
    ///
    /// The connection may be refused all the same: then its outputs are a CONNACK that says so, and
    /// [`Output::Close`].
    pub fn handle_connect(
        &mut self,
        now: Instant,
        peer: Peer,
        connect: &Connect<'_>,
        authentication: &[Property<'_>],
    ) -> ConnId {
        self.counters.packets_received += 1;
        let id = self.new_connection(now, peer, connect);
        if let Err((reason, why)) = self.check_connect(id, connect) {
            self.refuse_connect(id, connect, reason, why);
            return id;
        }
        let (client_id, assigned) = match connect.client_id {
            "" => {
                let assigned = self.new_client_id();
                (assigned.clone(), Some(assigned))
            }
            given if self.connections[id.index()].peer.is_internal => {
                (internal_client_id(given).into(), None)
            }
            given => (Arc::from(given), None),
        };
        let resumed = self.find_session(now, &client_id, connect.clean_start);
        let session_present = resumed.is_some();
        if !session_present && self.sessions.len() >= self.settings.limits.sessions_max as usize {
            let why = "as many sessions as the limit allows";
            self.refuse_connect(id, connect, ReasonCode::QuotaExceeded, why);
            return id;
        }
        let key = resumed.unwrap_or_else(|| self.new_session(client_id.clone()));
        let granted = self.attach(now, id, key, connect, session_present, assigned);
        self.touch_session(now, key);
        // What the CONNACK says of the session has to be true after a crash as well.
        let mut after = self.pending.gone_after(now, &client_id);
        if self.connections[id.index()].bridge.is_some() {
            after = after.max(self.origins_known_after(now));
        }
        self.send_connack(id, after, &granted, authentication);
        self.push_connected_event(id, &client_id, session_present);
        if self.connections[id.index()].parked.is_empty() {
            self.accept(now, id, key);
        }
        self.take_up_held(now);
        id
    }

    /// The CONNACK is on its way: what waits for the client may follow.
    pub(super) fn accept(&mut self, now: Instant, id: ConnId, key: SessionKey) {
        self.connections[id.index()].is_accepted = true;
        if let Some(granted) = self.connections[id.index()].bridge {
            self.tell_bridge_state(now, key, true);
            if granted.interest {
                self.watch_interest(now, id);
            }
        }
        self.touch_session(now, key);
        self.pump(now, key);
        self.send_retained_ahead(now, key);
    }

    /// Makes the session of a part of this program, where there is none yet, and sees to it that it
    /// has these subscriptions and no others: what is acknowledged before a bridge's next link waits
    /// in it like what comes after.
    pub fn prepare_internal_session(
        &mut self,
        now: Instant,
        client_id: &str,
        subscriptions: &[SubscribeFilter<'_>],
    ) {
        let client_id = internal_client_id(client_id);
        let known = self.clients.get(&*client_id).copied();
        let key = known.unwrap_or_else(|| self.new_session(client_id.into()));
        let is_there = self.sessions[key as usize].connection.is_some();
        self.tell_bridge_state(now, key, is_there);
        let session = &mut self.sessions[key as usize];
        session.expiry_interval_s = u32::MAX;
        let is_wanted = |filter: &str| subscriptions.iter().any(|wanted| wanted.filter == filter);
        let filters = session.subscriptions.keys();
        let retired: Vec<Arc<str>> = filters.filter(|f| !is_wanted(f)).cloned().collect();
        let is_new = |wanted: &&SubscribeFilter<'_>| {
            let held = session.subscriptions.get(wanted.filter);
            held.is_none_or(|held| held.qos != wanted.options.qos)
        };
        let added: Vec<SubscribeFilter<'_>> =
            subscriptions.iter().filter(is_new).copied().collect();
        if known.is_some() && retired.is_empty() && added.is_empty() {
            return;
        }
        for filter in &retired {
            self.unsubscribe(key, filter);
        }
        for wanted in &added {
            self.subscribe(key, wanted, None, true);
        }
        self.touch_session(now, key);
        self.pending.urgent(now);
    }

    /// Has the session of a part of this program take only some of what its subscriptions match; none:
    /// all of it. To be told anew at each start.
    pub fn narrow_internal_session(&mut self, client_id: &str, takes: Option<Takes>) {
        if let Some(key) = self.clients.get(&*internal_client_id(client_id)) {
            self.topics.narrow(*key, takes);
        }
    }

    /// Sends a part of this program what is retained on the topics of its subscriptions that `wanted`
    /// names, as for new subscriptions.
    pub fn renew_internal_retained(&mut self, now: Instant, client_id: &str, wanted: Takes) {
        let Some(key) = self.clients.get(&*internal_client_id(client_id)).copied() else { return };
        let session = &mut self.sessions[key as usize];
        for (filter, subscription) in &session.subscriptions {
            let mut ahead = session.retained_ahead.iter_mut().filter(|a| a.filter == *filter);
            match ahead.next() {
                // Which of them it has got already is not worth knowing.
                Some(ahead) => (ahead.after, ahead.only) = (None, None),
                None => session.retained_ahead.push_back(RetainedAhead {
                    filter: filter.clone(),
                    subscription: *subscription,
                    after: None,
                    only: Some(wanted.clone()),
                }),
            }
        }
        self.send_retained_ahead(now, key);
    }

    /// How the messages of a part of this program go: the share of new ones while older ones wait, in
    /// percent, and whether they are told when they came. To be told anew at each start.
    pub fn set_internal_delivery(
        &mut self,
        now: Instant,
        client_id: &str,
        live_percent: u8,
        stamps: bool,
    ) {
        let Some(key) = self.clients.get(&*internal_client_id(client_id)) else { return };
        let session = &mut self.sessions[*key as usize];
        session.queue.set_live_percent(live_percent, self.next_seq);
        session.stamps_since = stamps.then_some(now);
    }

    /// Ends the sessions of parts of this program that are no more: a bridge that was taken out of
    /// the configuration would gather messages for ever. `client_ids` are those that remain.
    pub fn end_internal_sessions_except(&mut self, now: Instant, client_ids: &[String]) {
        let kept: Vec<String> = client_ids.iter().map(|id| internal_client_id(id)).collect();
        let gone: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, s)| !s.has_ended && s.client_id.starts_with(RESERVED_CLIENT_ID_PREFIX))
            .filter(|(_, s)| !kept.iter().any(|id| **id == *s.client_id))
            .filter_map(|(key, _)| SessionKey::try_from(key).ok())
            .collect();
        for key in gone {
            // Its link has ended, but perhaps nobody has heard that yet.
            if let Some(id) = self.sessions[key as usize].connection {
                self.close(id, ReasonCode::AdministrativeAction, "this bridge is no more");
                self.detach(now, id, End::Normal);
            }
            // The end of its connection may have been its own end.
            if self.sessions.get(key as usize).is_some_and(|session| !session.has_ended) {
                self.end_session(now, key);
            }
        }
    }

    fn new_connection(&mut self, now: Instant, peer: Peer, connect: &Connect<'_>) -> ConnId {
        let bridge = Peering::of(&connect.properties);
        let possible = bridge.map(|_| self.possible_features(&peer)).unwrap_or_default();
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let index = u32::try_from(entry.key()).expect("fewer connections than file descriptors");
        let id = ConnId { index, generation: self.generation };
        let properties = &connect.properties;
        let limits = &self.settings.limits;
        let alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
        let bridge = bridge.map(|peering| peering.features.common(possible));
        entry.insert(Connection {
            id,
            peer,
            version: connect.version,
            session: None,
            keep_alive: KeepAliveWatch::new(0, now.0),
            maximum_packet_size: properties.maximum_packet_size().unwrap_or(u32::MAX),
            // Absent: 1, [MQTT-3.1.2-29].
            wants_reasons: connect.version == ProtocolVersion::V5
                && properties.request_problem_information() != Some(0),
            bridge,
            is_any_bridge: connect.bridge
                || Peering::of(properties).is_some()
                || leaves_state(connect),
            topic_alias_maximum_out: alias_maximum.min(limits.topic_alias_maximum_out),
            topic_aliases: Vec::new(),
            outputs: Vec::new(),
            output_bytes: 0,
            parked: Default::default(),
            held: Default::default(),
            publishes_held_up: 0,
            answer_bytes: 0,
            unacknowledged: 0,
            received_before: 0,
            is_accepted: false,
            has_new_session: false,
            is_woken: false,
            waits_since: None,
        });
        id
    }

    /// What a bridge can be granted now. What goes on within this program is not worth compressing.
    fn possible_features(&self, peer: &Peer) -> Features {
        let is_compressed = |connection: &Connection| connection.bridge.is_some_and(|b| b.zstd);
        let compressed = self.connections.iter().filter(|(_, c)| is_compressed(c)).count();
        let has_room = compressed < self.settings.limits.compressed_connections_max as usize;
        let zstd = self.settings.features.zstd && has_room && !peer.is_internal;
        let interest = self.settings.features.interest && !peer.is_internal;
        Features { zstd, interest }
    }

    fn check_connect(
        &self,
        id: ConnId,
        connect: &Connect<'_>,
    ) -> Result<(), (ReasonCode, &'static str)> {
        let limits = &self.settings.limits;
        let client_id = connect.client_id;
        if client_id.is_empty() {
            let is_fine = match connect.version {
                ProtocolVersion::V31 => false,
                ProtocolVersion::V311 => connect.clean_start, // [MQTT-3.1.3-8]
                ProtocolVersion::V5 => true,
            };
            if !is_fine {
                let why = "an empty client identifier with a session to keep";
                return Err((ReasonCode::ClientIdentifierNotValid, why));
            }
        }
        if client_id.len() > usize::from(limits.client_id_bytes_max) {
            return Err((ReasonCode::ClientIdentifierNotValid, "client identifier too long"));
        }
        let is_internal = self.connections[id.index()].peer.is_internal;
        if client_id.starts_with(RESERVED_CLIENT_ID_PREFIX) && !is_internal {
            return Err((ReasonCode::ClientIdentifierNotValid, "client identifier is reserved"));
        }
        if let Some(will) = &connect.will {
            if will.qos > limits.maximum_qos {
                return Err((ReasonCode::QoSNotSupported, "will above the Maximum QoS"));
            }
            if super::publish::levels(will.topic) > usize::from(limits.topic_levels_max) {
                return Err((ReasonCode::TopicNameInvalid, "will topic of too many levels"));
            }
            let tells_state =
                self.connections[id.index()].is_any_bridge && is_state_of(will.topic, client_id);
            if will.topic.starts_with("$SYS/") && !is_internal && !tells_state {
                return Err((ReasonCode::NotAuthorized, "will to $SYS"));
            }
        }
        Ok(())
    }

    fn refuse_connect(
        &mut self,
        id: ConnId,
        connect: &Connect<'_>,
        reason: ReasonCode,
        why: &'static str,
    ) {
        let address = self.connections[id.index()].peer.address.clone();
        let client_id = connect.client_id.into();
        self.push_event(Event::Refused { client_id, address, reason, why });
        let bytes = refusal(connect, reason, why);
        self.push_output(id, Output::Encoded(bytes.into_boxed_slice()));
        self.push_output(id, Output::Close);
    }

    fn new_client_id(&mut self) -> Arc<str> {
        loop {
            let id: Arc<str> = format!("auto-{:016x}", self.draw()).into();
            if !self.clients.contains_key(&id) {
                return id;
            }
        }
    }

    /// The session to resume, if there is one: a connected client is taken over, a session that is
    /// to begin anew is ended.
    fn find_session(
        &mut self,
        now: Instant,
        client_id: &Arc<str>,
        clean_start: bool,
    ) -> Option<SessionKey> {
        let key = *self.clients.get(client_id)?;
        if let Some(old) = self.sessions[key as usize].connection {
            let why = "another connection with this client identifier";
            self.close(old, ReasonCode::SessionTakenOver, why); // [MQTT-3.1.4-3]
            self.detach(now, old, End::TakenOver { clean_start });
        }
        // The end of its connection may have been its own end.
        let key = *self.clients.get(client_id)?;
        let is_over = self.sessions[key as usize].expires_at.is_some_and(|at| at <= now);
        if clean_start || is_over {
            self.end_session(now, key); // [MQTT-3.1.2-4]
            return None;
        }
        Some(key)
    }

    pub(super) fn new_session(&mut self, client_id: Arc<str>) -> SessionKey {
        // After four billion sessions the numbers begin again, past those that are still in use.
        let id = loop {
            let id = SessionId(self.next_session);
            self.next_session = self.next_session.checked_add(1).unwrap_or(1);
            if !self.session_keys.contains_key(&id) {
                break id;
            }
        };
        let policy = self.queue_policy(&client_id);
        self.insert_session(Session::new(id, client_id, policy))
    }

    pub(super) fn insert_session(&mut self, session: Session) -> SessionKey {
        let (id, client_id) = (session.id, session.client_id.clone());
        let has_name = !session.has_ended;
        let key = self.sessions.insert(session);
        let key = SessionKey::try_from(key).expect("fewer sessions than sessions_max");
        if has_name {
            self.clients.insert(client_id, key);
        }
        self.session_keys.insert(id, key);
        key
    }

    fn attach(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        connect: &Connect<'_>,
        session_present: bool,
        assigned_client_id: Option<Arc<str>>,
    ) -> Granted {
        let limits = self.settings.limits.clone();
        let wanted_s = match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval_s().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let connection = &self.connections[id.index()];
        let (is_internal, is_bridge) = (connection.peer.is_internal, connection.bridge.is_some());
        let expiry_s =
            if is_internal { wanted_s } else { wanted_s.min(limits.session_expiry_max_s) };
        let keep_alive_s = match limits.keep_alive_max_s {
            0 => connect.keep_alive_s,
            // Before 5.0 a client cannot be told of another than its own.
            _ if connect.version < ProtocolVersion::V5 => connect.keep_alive_s,
            max if connect.keep_alive_s == 0 => max,
            max => connect.keep_alive_s.min(max),
        };
        let receive_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX);
        let session = &mut self.sessions[key as usize];
        session.connection = Some(id);
        session.queue.begin_live(self.next_seq);
        session.stamps_since = session.stamps_since.map(|_| now);
        session.far_node = Peering::of(&connect.properties).and_then(|peering| peering.node);
        session.sweep = None;
        session.expiry_interval_s = expiry_s;
        session.expires_at = None;
        // A bridge knows what both brokers take, and may be far away.
        let inflight_max = if is_bridge { u16::MAX } else { limits.inflight_max };
        session.window = receive_maximum.min(inflight_max).max(1);
        session.will = connect.will.as_ref().map(|w| Box::new(will::record(w)));
        let received_before = session.received.len();
        let client_id = session.client_id.clone();
        if expiry_s == 0 && session.is_stored {
            // It was to be kept, and is no more: its row goes with the next batch.
            for filter in session.subscriptions.keys() {
                self.pending.put_subscription(session.id, filter.clone(), None);
            }
            if session.is_stored_durable {
                self.pending.leave(client_id.clone());
            }
        }

        let connection = &mut self.connections[id.index()];
        connection.session = Some(key);
        connection.has_new_session = !session_present;
        connection.received_before = received_before;
        connection.keep_alive = KeepAliveWatch::new(keep_alive_s, now.0);
        if let Some(deadline_ms) = connection.keep_alive.deadline_ms() {
            self.timers.set(Instant(deadline_ms), Timer::KeepAlive(id));
        }
        let wants_response_information =
            connect.properties.request_response_information() == Some(1);
        Granted {
            session_present,
            assigned_client_id,
            session_expiry_interval_s: (expiry_s != wanted_s).then_some(expiry_s),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            response_information: wants_response_information
                .then(|| format!("response/{client_id}"))
                .filter(|information| information.len() <= usize::from(u16::MAX)),
        }
    }

    fn send_connack(
        &mut self,
        id: ConnId,
        after: u64,
        granted: &Granted,
        authentication: &[Property<'_>],
    ) {
        let limits = &self.settings.limits;
        let mut list: Vec<Property<'_>> = Vec::new();
        list.extend(granted.session_expiry_interval_s.map(Property::SessionExpiryInterval));
        list.push(Property::ReceiveMaximum(limits.receive_maximum));
        if limits.maximum_qos < QoS::ExactlyOnce {
            list.push(Property::MaximumQoS(limits.maximum_qos.into()));
        }
        list.push(Property::MaximumPacketSize(limits.packet_bytes_max));
        let assigned = granted.assigned_client_id.as_deref();
        list.extend(assigned.map(Property::AssignedClientIdentifier)); // [MQTT-3.2.2-16]
        list.push(Property::TopicAliasMaximum(limits.topic_alias_maximum));
        list.extend(granted.server_keep_alive_s.map(Property::ServerKeepAlive));
        list.extend(granted.response_information.as_deref().map(Property::ResponseInformation));
        list.extend_from_slice(authentication);
        let connection = &self.connections[id.index()];
        let peering = connection.bridge.map(|features| {
            let node = Some(self.node);
            Peering { node, features }.to_string()
        });
        list.extend(peering.as_deref().map(|words| Property::UserProperty(peering::KEY, words)));
        let connack = ConnAck {
            session_present: granted.session_present,
            reason: ReasonCode::Success,
            properties: Properties::list(&list),
        };
        let mut bytes = ByteBuffer::default();
        connack.encode(connection.version, &mut bytes).expect("a client identifier fits");
        self.push_after(id, after, Output::Encoded(bytes.0.into_boxed_slice()));
    }

    fn push_connected_event(&mut self, id: ConnId, client_id: &str, session_present: bool) {
        let connection = &self.connections[id.index()];
        let event = Event::Connected {
            client_id: client_id.into(),
            address: connection.peer.address.clone(),
            user_name: connection.peer.user_name.clone(),
            level: connection.version.level(),
            session_present,
            is_compressed: connection.bridge.is_some_and(|features| features.zstd),
        };
        self.push_event(event);
    }
}

/// A CONNACK that refuses, in words as well where the client takes so large a packet
/// [MQTT-3.2.2-19]. Empty where it takes none at all.
pub fn refusal(connect: &Connect<'_>, reason: ReasonCode, why: &str) -> Vec<u8> {
    let maximum = connect.properties.maximum_packet_size().unwrap_or(u32::MAX) as usize;
    let mut bytes = refusal_of(connect.version, reason, Some(why));
    if bytes.len() > maximum {
        bytes = refusal_of(connect.version, reason, None);
    }
    if bytes.len() > maximum { Vec::new() } else { bytes }
}

/// The same for a CONNECT that cannot be read: what its client takes is not known.
pub fn refusal_of(version: ProtocolVersion, reason: ReasonCode, why: Option<&str>) -> Vec<u8> {
    let list = why.map(Property::ReasonString);
    let properties = Properties::list(list.as_slice());
    let connack = ConnAck { session_present: false, reason, properties };
    let mut bytes = ByteBuffer::default();
    connack.encode(version, &mut bytes).expect("a short text fits");
    bytes.0
}
