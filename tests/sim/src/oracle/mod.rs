//! What was promised, and whether it was kept.
//!
//! The oracle is told of everything that passes between the broker and its clients, at three points:
//! when the broker has *handled* a packet, when a packet *leaves* it, and when a client *takes* one.
//! A promise begins when its acknowledgement leaves: from then on no fault may break it.

mod messages;
mod retained;
mod session;
mod wills;

use outpost_broker::core::time::Instant;
use outpost_broker::core::{Counters, Durability};
use outpost_protocol::{QoS, ReasonCode};

pub(crate) use messages::{Message, Messages};
use retained::Retained;
use session::Session;
use wills::Wills;

use crate::coverage::Coverage;
use crate::packet::{Got, GotPublish};
use crate::plan::{Plan, Profile};
use crate::wire::LineId;

/// A session: whose, and which in the row of those that this client had.
pub(crate) type SessionName = (usize, u32);

/// How a connection came to its end, as the broker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// DISCONNECT, normal.
    Normal,
    /// DISCONNECT with another reason, a fault, silence, or the network.
    Lost,
    /// Another connection of the client.
    TakenOver { clean_start: bool },
    /// The broker ends in order.
    Shutdown,
}

/// The model of everything that the broker owes its clients.
#[derive(Debug)]
pub(crate) struct Oracle {
    sessions: Vec<Session>,
    pub messages: Messages,
    retained: Retained,
    wills: Wills,
    /// What brokers of this run counted before they ended.
    dropped: u64,
    drops: bool,
    /// What is promised of the topic that has a class of its own.
    class: Durability,
}

impl Oracle {
    /// Of a run that is to begin.
    pub(crate) fn new(plan: &Plan) -> Self {
        let limit_s = plan.settings.limits.session_expiry_max_s;
        Self {
            sessions: plan.profiles.iter().map(|p| Session::new(p, limit_s)).collect(),
            messages: Messages::new(&plan.settings.limits),
            retained: Retained::default(),
            wills: Wills::default(),
            dropped: 0,
            drops: plan.drops(),
            class: plan.settings.topic_classes[0].durability,
        }
    }

    /// The session of a client.
    pub(crate) fn session(&self, who: usize) -> &Session {
        &self.sessions[who]
    }

    /// CONNECT was handled.
    pub(crate) fn connect_handled(
        &mut self,
        now: Instant,
        who: usize,
        line: LineId,
        clean_start: bool,
        will: Option<(usize, u32)>,
    ) {
        if self.sessions[who].line.is_some() {
            self.detached(now, who, End::TakenOver { clean_start });
        }
        let session = &mut self.sessions[who];
        let (was_over, may_be_over) = (session.is_over(now), session.may_be_over(now));
        if clean_start || was_over {
            self.session_ended(now, who);
        } else {
            self.wills.session_resumed(now, who, may_be_over);
            self.note_uncertain_wills(who);
        }
        let session = &mut self.sessions[who];
        session.connected(now, line, clean_start);
        if let Some((message, delay_s)) = will {
            self.wills.armed(who, message, delay_s);
        }
    }

    /// A connection is at its end for the broker.
    pub(crate) fn detached(&mut self, now: Instant, who: usize, end: End) {
        let session = &mut self.sessions[who];
        session.detached(now);
        let (is_durable, expiry_s) = (session.is_durable(), session.expiry_s());
        let published = self.wills.detached(now, who, end, expiry_s);
        published.into_iter().for_each(|will| self.publish_will(will, now));
        let has_untold_session = !self.sessions[who].is_told;
        if end == End::Shutdown {
            return;
        }
        if has_untold_session && !self.sessions[who].is_new {
            self.wills.are_uncertain(who);
            self.note_uncertain_wills(who);
        }
        // A session that its client was never told of ends with the connection.
        if !is_durable || has_untold_session && self.sessions[who].is_new {
            self.session_ended(now, who);
        }
    }

    /// PUBLISH was handled.
    pub(crate) fn publish_handled(&mut self, now: Instant, message: usize) {
        let topic = self.messages.of(message).topic;
        if topic.starts_with("r/") {
            self.retained.handled(topic, message);
        }
        self.messages.attempted(now, message, &self.sessions);
    }

    /// SUBSCRIBE was handled.
    pub(crate) fn subscribe_handled(&mut self, who: usize, packet_id: u16, filter: &'static str) {
        self.sessions[who].subscribe_handled(packet_id, filter);
    }

    /// UNSUBSCRIBE was handled.
    pub(crate) fn unsubscribe_handled(&mut self, who: usize, packet_id: u16, filter: &'static str) {
        self.sessions[who].unsubscribe_handled(packet_id, filter);
        self.messages.left(&self.sessions[who]);
    }

    /// CONNACK leaves: it says of the session what is true.
    pub(crate) fn connack_leaves(&mut self, who: usize, session_present: bool) {
        self.sessions[who].connack_leaves(session_present);
        self.wills.connack_leaves(who);
    }

    /// CONNACK leaves and says that the session is a new one.
    pub(crate) fn session_is_new(&mut self, now: Instant, who: usize) {
        if !self.sessions[who].is_new {
            self.session_ended(now, who);
            self.sessions[who].is_new = true;
        }
    }

    /// PUBACK or PUBREC leaves.
    pub(crate) fn ack_leaves(&mut self, message: usize, reason: ReasonCode) {
        if reason.is_error() {
            return self.messages.refused(message);
        }
        self.messages.acknowledged(message, reason);
        let topic = self.messages.of(message).topic;
        if topic.starts_with("r/") {
            self.retained.acknowledged(topic, message);
        }
    }

    /// SUBACK or UNSUBACK leaves.
    pub(crate) fn answer_leaves(&mut self, who: usize, got: &Got) {
        let stamp = self.messages.stamp();
        match got {
            Got::SubAck(packet_id, _) => self.sessions[who].suback_leaves(*packet_id),
            Got::UnsubAck(packet_id) => self.sessions[who].unsuback_leaves(*packet_id, stamp),
            _ => {}
        }
    }

    /// A client takes a message that it had not taken before, by its packet identifier.
    pub(crate) fn taken(
        &mut self,
        now: Instant,
        name: SessionName,
        line_since: Instant,
        got: &GotPublish,
    ) {
        let Some(index) = got.message else { return };
        let message = self.messages.of(index);
        if name.1 == self.sessions[name.0].incarnation {
            self.sessions[name.0].check_asked(message);
        }
        if message.is_will {
            self.wills.check_taken(index);
        }
        let started_late = message.latest_expiry.is_some_and(|at| at < line_since);
        assert!(got.dup || !started_late, "{index} had expired before {name:?} was there");
        self.messages.taken(now, name, index, got);
    }

    /// Time has come to `now`, and all timers of the broker have been served.
    pub(crate) fn pass(&mut self, now: Instant) {
        while let Some(will) = self.wills.pop_due(now) {
            self.publish_will(will, now);
        }
    }

    /// A batch was taken from the core.
    pub(crate) fn batch_taken(&mut self) {
        self.wills.batch_taken();
    }

    /// What was taken is committed.
    pub(crate) fn committed(&mut self) {
        self.wills.committed();
    }

    /// The broker's process is gone; `counters`: what it had counted.
    pub(crate) fn broker_ended(&mut self, now: Instant, counters: Counters, in_order: bool) {
        self.dropped += dropped(counters);
        for who in 0..self.sessions.len() {
            if in_order && self.sessions[who].line.is_some() {
                self.detached(now, who, End::Shutdown);
            }
        }
        self.messages.broker_ended(now, self.class, in_order);
        for message in self.wills.broker_ended(in_order) {
            self.messages.is_uncertain(message);
        }
        for who in 0..self.sessions.len() {
            self.sessions[who].crashed(now);
            if !self.sessions[who].is_durable() {
                self.forget_session(who);
            }
            self.messages.left(&self.sessions[who]);
        }
    }

    /// A new process has loaded the store.
    pub(crate) fn broker_started(&mut self, now: Instant) {
        let expiries: Vec<u32> = self.sessions.iter().map(Session::expiry_s).collect();
        self.messages.broker_started();
        self.wills.broker_started(now, &expiries);
        for session in &mut self.sessions {
            session.restarted(now);
        }
        self.pass(now);
    }

    /// What the store holds for a retained topic when a broker starts, and what a new subscriber gets.
    pub(crate) fn check_retained(&self, now: Instant, topic: &str, value: Option<usize>) {
        self.retained.check(now, topic, value, &self.messages);
    }

    /// Everything is delivered that will be. `counters` are those of the last broker.
    pub(crate) fn check_end(&self, now: Instant, counters: Counters) {
        let missing = self.messages.missing(now, &self.sessions);
        let dropped = self.dropped + dropped(counters);
        let may_drop = |session: SessionName, message: &Message| {
            self.drops || message.is_will || !self.sessions[session.0].is_durable()
        };
        for (session, index) in &missing {
            let is_allowed = may_drop(*session, self.messages.of(*index));
            assert!(is_allowed, "{session:?} never got {index}, which was acknowledged");
        }
        let count = missing.len() as u64;
        assert!(
            count <= dropped,
            "{count} messages are missing, {dropped} were counted as dropped: {missing:?}"
        );
    }

    /// A will that is due later.
    pub(crate) fn pending_will(&self) -> Option<usize> {
        self.wills.pending()
    }

    /// Counts what it saw.
    pub(crate) fn report(&self, coverage: &mut Coverage) {
        self.messages.report(coverage);
    }

    /// Wills of which nobody knows whether they were published may reach subscribers.
    fn note_uncertain_wills(&mut self, who: usize) {
        for message in self.wills.uncertain(who) {
            self.messages.is_uncertain(message);
        }
    }

    fn publish_will(&mut self, message: usize, now: Instant) {
        self.messages.attempted(now, message, &self.sessions);
        self.messages.acknowledged(message, ReasonCode::Success);
    }

    /// The session of a client is over.
    fn session_ended(&mut self, now: Instant, who: usize) {
        for will in self.wills.session_ended(now, who) {
            self.publish_will(will, now);
        }
        self.forget_session(who);
    }

    fn forget_session(&mut self, who: usize) {
        self.messages.session_ended(&self.sessions[who]);
        self.sessions[who].ended();
    }
}

/// Messages that a broker dropped by its queues' policies.
fn dropped(counters: Counters) -> u64 {
    counters.dropped_full + counters.dropped_replaced + counters.dropped_aged
}

/// A client of this kind gets messages of this QoS at that QoS.
fn effective_qos(profile: &Profile, qos: QoS) -> QoS {
    profile.qos.min(qos)
}
