//! The end of a connection, and the end of a session.

use std::sync::Arc;

use outpost_protocol::{Disconnect, Properties, Property, ProtocolVersion, ReasonCode};

use super::change::SessionId;
use super::connect::state_topic;
use super::connection::ConnId;
use super::event::Event;
use super::output::{ByteBuffer, Output};
use super::queue::Queued;
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;
use super::{Broker, Handled};

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// DISCONNECT 0x00: the will is void [MQTT-3.14.4-3].
    Normal,
    /// DISCONNECT with another reason, a fault, or silence.
    Lost(ReasonCode, &'static str),
    /// Another connection has the client identifier now.
    TakenOver { clean_start: bool },
    /// The broker ends; the session stays as it is.
    Shutdown,
}

impl Broker {
    pub(super) fn handle_disconnect(
        &mut self,
        now: Instant,
        id: ConnId,
        disconnect: &Disconnect<'_>,
    ) -> Handled {
        let Some(key) = self.connections[id.index()].session else { return Handled::Closed };
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval_s() {
            let limit_s = self.settings.limits.session_expiry_max_s;
            let session = &mut self.sessions[key as usize];
            if session.expiry_interval_s == 0 && expiry_s > 0 {
                // MQTT 5.0, 3.14.2.2.2: a session that was to end cannot be kept.
                let why = "DISCONNECT with a Session Expiry Interval where CONNECT had none";
                return self.fail(now, id, ReasonCode::ProtocolError, why);
            }
            session.expiry_interval_s = expiry_s.min(limit_s);
        }
        let end = match disconnect.reason {
            ReasonCode::Success => End::Normal,
            reason => End::Lost(reason, "the client gave up"),
        };
        self.detach(now, id, end);
        self.push_output(id, Output::Close);
        Handled::Closed
    }

    /// The client broke a rule, or a limit was reached: it is told and closed.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        id: ConnId,
        reason: ReasonCode,
        why: &'static str,
    ) -> Handled {
        self.close(id, reason, why);
        self.detach(now, id, End::Lost(reason, why));
        Handled::Closed
    }

    /// Tells a client why (5.0) and closes its connection.
    pub(super) fn close(&mut self, id: ConnId, reason: ReasonCode, why: &'static str) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.session.is_none() {
            return;
        }
        if connection.version == ProtocolVersion::V5 && connection.is_accepted {
            let list = [Property::ReasonString(why)];
            let properties =
                if connection.wants_reasons { Properties::list(&list) } else { Properties::EMPTY };
            let mut packet = Disconnect { properties, ..Disconnect::for_error(reason) };
            let len = packet.encoded_len(connection.version).unwrap_or(usize::MAX);
            if len > connection.maximum_packet_size as usize {
                packet.properties = Properties::EMPTY; // [MQTT-3.14.2-3]
            }
            let mut bytes = ByteBuffer::default();
            packet.encode(ProtocolVersion::V5, &mut bytes).expect("a short text fits");
            connection.push(Output::Encoded(bytes.0.into_boxed_slice()));
        }
        self.push_output(id, Output::Close);
    }

    pub(super) fn check_keep_alive(&mut self, now: Instant, id: ConnId) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.session.is_none() {
            return;
        }
        if connection.waits_since.is_some() {
            // Who has to wait for room is not read from, and cannot be heard.
            connection.keep_alive.handle_received(now.0);
        }
        if connection.keep_alive.is_expired(now.0) {
            self.fail(now, id, ReasonCode::KeepAliveTimeout, "keep alive timeout");
        } else if let Some(deadline_ms) = connection.keep_alive.deadline_ms() {
            self.timers.set(Instant(deadline_ms), Timer::KeepAlive(id));
        }
    }

    pub(super) fn check_session_expiry(&mut self, now: Instant, id: SessionId) {
        let Some(key) = self.session_keys.get(&id).copied() else { return };
        let session = &self.sessions[key as usize];
        if session.connection.is_none() && session.expires_at.is_some_and(|at| at <= now) {
            self.end_session(now, key);
        }
    }

    /// Parts a connection from its session. Nothing happens where that was done before.
    pub(super) fn detach(&mut self, now: Instant, id: ConnId, end: End) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(key) = connection.session.take() else { return };
        connection.parked.clear();
        connection.publishes_held_up = 0;
        connection.held.clear();
        // A client that was never told of its new session takes the next one for its old one.
        let is_untold = connection.has_new_session && !connection.is_accepted;
        self.waiting_connections.remove(&id);
        if self.sessions[key as usize].tells_state && !matches!(end, End::Shutdown) {
            self.tell_bridge_state(now, key, false);
        }
        self.push_disconnected_event(id, key, end);
        let session = &mut self.sessions[key as usize];
        session.connection = None;
        session.ground();
        match end {
            End::Shutdown => return,
            End::Normal => session.will = None,
            // A client that is back before the delay is over was never lost [MQTT-3.1.3-9].
            End::TakenOver { clean_start: false }
                if session.will.as_ref().is_some_and(|w| w.delay_interval_s > 0) =>
            {
                session.will = None;
            }
            End::TakenOver { .. } | End::Lost(..) => self.start_will_delay(now, key),
        }
        let session = &mut self.sessions[key as usize];
        if !session.is_durable() || is_untold {
            self.end_session(now, key);
            return;
        }
        if session.expiry_interval_s != u32::MAX {
            let expires_at = now.plus_s(session.expiry_interval_s);
            session.expires_at = Some(expires_at);
            let session_id = session.id;
            self.timers.set(expires_at, Timer::SessionExpiry(session_id));
        }
        self.touch_session(now, key);
        self.give_away_shared(now, key);
    }

    /// A session is over: its subscriptions, its messages, its row.
    pub(super) fn end_session(&mut self, now: Instant, key: SessionKey) {
        if self.sessions[key as usize].will.is_some() {
            self.publish_will(now, key);
        }
        // A QoS 2 flow that began dies with its session [MQTT-4.8.2-5]; whatever else came by
        // shared subscriptions goes to their other members.
        self.sessions[key as usize].ground();
        let left = self.take_all_shared(now, key);
        let session = &mut self.sessions[key as usize];
        let id = session.id;
        // One that was never committed may have rows in the open batch.
        let has_rows = session.is_stored || session.is_dirty || session.is_durable();
        let mut has_heirs = false;
        for (filter, record) in std::mem::take(&mut session.subscriptions) {
            self.remove_route(key, &filter, record);
            has_heirs |= self.has_members(&filter);
            if has_rows {
                self.pending.put_subscription(id, filter, None);
            }
        }
        self.topics.narrow(key, None);
        self.push_session_ended_event(key);
        let session = &mut self.sessions[key as usize];
        let client_id = session.client_id.clone();
        let is_awaited = std::mem::take(&mut session.is_awaited);
        let tells_state = session.tells_state;
        session.has_ended = true;
        session.expires_at = Some(Instant::default());
        session.stow();
        if session.is_stored_durable {
            self.pending.leave(client_id.clone());
        }
        self.clients.remove(&client_id);
        if tells_state {
            self.tell(now, &state_topic(&client_id), b"");
        }
        self.timers.cancel(Timer::SessionExpiry(id));
        self.timers.cancel(Timer::QueueAge(id));
        self.timers.cancel(Timer::WillDelay(id));
        self.redistribute(now, left);
        if has_heirs && !self.sessions[key as usize].shared.is_empty() {
            // It stays, for a restart as well, until they have been read and given away.
            self.touch_session(now, key);
            self.sweep(now, key, Vec::new());
        } else {
            self.remove_session(now, key);
        }
        if is_awaited {
            self.wake_waiting();
        }
        self.announce_room_in_all();
    }

    /// Forgets a session that is over, with all that waits for it.
    pub(super) fn remove_session(&mut self, now: Instant, key: SessionKey) {
        let (messages, mut numbers) = self.sessions[key as usize].take_all();
        self.counters.dropped_session_ended += (messages.len() + numbers.len()) as u64;
        for queued in &messages {
            match queued.seq {
                Some(seq) => numbers.push(seq),
                None => self.memory_bytes -= queued.message.bytes(),
            }
        }
        self.release_many(now, numbers);
        let session = self.sessions.remove(key as usize);
        self.session_keys.remove(&session.id);
        self.forget_drops(now, &session.client_id, &session.drops);
        if session.is_stored || session.is_dirty || session.is_durable() {
            self.pending.remove_session(session.id);
            self.pending.lazy(now);
        }
    }

    fn take_all_shared(&mut self, now: Instant, key: SessionKey) -> Vec<Queued> {
        let filters = self.sessions[key as usize].subscriptions.keys();
        let shares: Vec<_> = filters.filter(|f| f.starts_with("$share/")).cloned().collect();
        shares.iter().flat_map(|share| self.take_shared(now, key, share)).collect()
    }

    fn take_shared(&mut self, now: Instant, key: SessionKey, share: &Arc<str>) -> Vec<Queued> {
        let left = self.sessions[key as usize].take_shared(share);
        for queued in &left {
            queued.seq.into_iter().for_each(|seq| self.hold_to_commit(now, seq));
            self.finish(now, key, queued);
        }
        left
    }

    /// What a member of shared subscriptions leaves unacknowledged goes to members that are there;
    /// all else that waits for a client that is away leaves the memory.
    fn give_away_shared(&mut self, now: Instant, key: SessionKey) {
        let shares: Vec<_> = self.sessions[key as usize]
            .subscriptions
            .keys()
            .filter(|filter| filter.starts_with("$share/"))
            .filter(|filter| self.has_other_member(filter, key))
            .cloned()
            .collect();
        for share in &shares {
            let left = self.take_shared(now, key, share);
            self.redistribute(now, left);
        }
        self.sessions[key as usize].stow();
        if !shares.is_empty() {
            self.sweep(now, key, shares);
        }
    }

    fn push_session_ended_event(&mut self, key: SessionKey) {
        let session = &self.sessions[key as usize];
        if session.is_durable() {
            let (client_id, dropped) = ((*session.client_id).into(), session.messages());
            self.push_event(Event::SessionEnded { client_id, dropped });
        }
    }

    fn push_disconnected_event(&mut self, id: ConnId, key: SessionKey, end: End) {
        let (reason, why) = match end {
            End::Normal => (ReasonCode::Success, "disconnected"),
            End::Lost(reason, why) => (reason, why),
            End::TakenOver { .. } => (ReasonCode::SessionTakenOver, "taken over"),
            End::Shutdown => (ReasonCode::ServerShuttingDown, "the broker is shutting down"),
        };
        let event = Event::Disconnected {
            client_id: (*self.sessions[key as usize].client_id).into(),
            address: self.connections[id.index()].peer.address.clone(),
            reason,
            why,
        };
        self.push_event(event);
    }
}
