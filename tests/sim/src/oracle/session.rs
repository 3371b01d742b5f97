//! A client's session as the broker must have it.

use std::collections::BTreeMap;

use outpost_broker::core::time::Instant;
use outpost_protocol::{TopicFilter, TopicName};

use super::SessionName;
use super::messages::Message;
use crate::plan::Profile;
use crate::wire::LineId;

/// Whether the broker has a session for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
    Unknown,
}

/// What a client may rely on of a filter that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// By the SUBSCRIBE with this identifier.
    Asked(u16),
    Confirmed,
    /// UNSUBSCRIBE was handled, or it is not known what became of SUBSCRIBE.
    Left,
}

#[derive(Debug)]
struct Subscription {
    state: State,
    /// UNSUBACK left at this moment: no later message may come.
    gone_at: Option<u64>,
}

/// The model of one client's sessions.
#[derive(Debug)]
pub(crate) struct Session {
    who: usize,
    pub profile: Profile,
    expiry_s: u32,
    /// Which of its client's sessions this is.
    pub incarnation: u32,
    /// Its connection, for as long as the broker knows it.
    pub line: Option<LineId>,
    /// It began with its connection, and CONNACK has said so or will.
    pub is_new: bool,
    /// CONNACK has left on its connection.
    pub(super) is_told: bool,
    /// Its end may not have been stored: a crash may bring it back.
    may_come_back: bool,
    presence: Presence,
    /// What the next CONNACK has to say.
    expected_presence: Presence,
    /// Its time may count from here on, at the earliest and at the latest.
    away_since: Option<(Instant, Instant)>,
    subscriptions: BTreeMap<&'static str, Subscription>,
    /// SUBSCRIBE and UNSUBSCRIBE whose answers are awaited on this connection.
    asked: BTreeMap<u16, &'static str>,
}

impl Session {
    pub(super) fn new(profile: &Profile, limit_s: u32) -> Self {
        let expiry_s = if profile.is_v5() { profile.expiry_s } else { u32::MAX };
        Self {
            who: profile.index,
            expiry_s: if profile.is_durable() { expiry_s.min(limit_s) } else { 0 },
            profile: profile.clone(),
            incarnation: 0,
            line: None,
            is_new: false,
            is_told: false,
            may_come_back: false,
            presence: Presence::Absent,
            expected_presence: Presence::Absent,
            away_since: None,
            subscriptions: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> SessionName {
        (self.who, self.incarnation)
    }

    pub(super) fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }

    pub(super) fn expiry_s(&self) -> u32 {
        self.expiry_s
    }

    /// Its time is up for certain.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.away_since.is_some_and(|(_, latest)| latest.plus_s(self.expiry_s) <= now)
    }

    /// Its time may be up.
    pub(super) fn may_be_over(&self, now: Instant) -> bool {
        self.away_since.is_some_and(|(earliest, _)| earliest.plus_s(self.expiry_s) <= now)
    }

    /// It exists for certain: it is not just now that a new one may have taken its place.
    pub(super) fn is_there(&self, now: Instant) -> bool {
        match self.line {
            Some(_) => self.is_told || self.expected_presence == Presence::Present,
            None => self.is_durable() && !self.may_be_over(now),
        }
    }

    pub(super) fn connected(&mut self, now: Instant, line: LineId, clean_start: bool) {
        self.expected_presence = match self.presence {
            _ if clean_start || self.is_over(now) => Presence::Absent,
            Presence::Present if self.may_be_over(now) => Presence::Unknown,
            presence => presence,
        };
        self.line = Some(line);
        self.is_told = false;
        self.is_new = self.expected_presence == Presence::Absent;
        if self.is_new {
            self.away_since = None;
        }
        if self.is_durable() && self.is_new {
            self.presence = Presence::Unknown;
        }
        self.asked.clear();
    }

    pub(super) fn connack_leaves(&mut self, session_present: bool) {
        self.is_told = true;
        self.may_come_back &= session_present;
        let who = self.profile.name;
        match self.expected_presence {
            Presence::Present => assert!(session_present, "{who} lost its session"),
            Presence::Absent => assert!(!session_present, "{who} has a ghost's session"),
            Presence::Unknown => {}
        }
    }

    pub(super) fn detached(&mut self, now: Instant) {
        self.line = None;
        self.forget_asked();
        // What was there before may be what the store knows.
        let earliest = self.away_since.map_or(now, |(earliest, _)| earliest);
        self.away_since = Some((earliest, now));
    }

    pub(super) fn crashed(&mut self, now: Instant) {
        if self.line.is_some() {
            self.detached(now);
        }
        self.forget_asked();
        if self.may_come_back && self.presence == Presence::Absent {
            self.presence = Presence::Unknown;
        }
    }

    /// Whether the client was there when the broker ended may not have been stored: its time may
    /// count anew.
    pub(super) fn restarted(&mut self, now: Instant) {
        if let Some((_, latest)) = &mut self.away_since {
            *latest = now;
        }
    }

    /// It is over; its client's next one has nothing of it.
    pub(super) fn ended(&mut self) {
        self.incarnation += 1;
        self.may_come_back = self.is_durable();
        self.presence = if self.is_durable() && self.line.is_some() {
            Presence::Unknown
        } else {
            Presence::Absent
        };
        self.away_since = None;
        self.subscriptions.clear();
        self.asked.clear();
    }

    pub(super) fn subscribe_handled(&mut self, packet_id: u16, filter: &'static str) {
        let new = Subscription { state: State::Left, gone_at: None };
        let subscription = self.subscriptions.entry(filter).or_insert(new);
        subscription.gone_at = None;
        if subscription.state != State::Confirmed {
            subscription.state = State::Asked(packet_id);
        }
        self.asked.insert(packet_id, filter);
    }

    pub(super) fn unsubscribe_handled(&mut self, packet_id: u16, filter: &'static str) {
        if let Some(subscription) = self.subscriptions.get_mut(filter) {
            subscription.state = State::Left;
        }
        self.asked.insert(packet_id, filter);
    }

    pub(super) fn suback_leaves(&mut self, packet_id: u16) {
        if self.is_durable() {
            self.presence = Presence::Present;
            self.is_new = false;
            // Its row was written, and says that the client is there.
            self.away_since = None;
        }
        let filter = self.asked.remove(&packet_id).expect("SUBACK of a SUBSCRIBE");
        if let Some(subscription) = self.subscriptions.get_mut(filter)
            && subscription.state == State::Asked(packet_id)
        {
            subscription.state = State::Confirmed;
        }
    }

    pub(super) fn unsuback_leaves(&mut self, packet_id: u16, stamp: u64) {
        let filter = self.asked.remove(&packet_id).expect("UNSUBACK of an UNSUBSCRIBE");
        if let Some(subscription) = self.subscriptions.get_mut(filter)
            && subscription.state == State::Left
        {
            subscription.gone_at = Some(stamp);
        }
    }

    /// The client may rely on messages of this topic: as itself, or as a member.
    pub(super) fn is_entitled(&self, topic: &str) -> bool {
        (self.is_durable() || self.line.is_some())
            && self.subscriptions.iter().any(|(filter, subscription)| {
                subscription.state == State::Confirmed && matches(filter, topic)
            })
    }

    /// It asked for messages of this topic at some time.
    pub(super) fn has_asked_for(&self, topic: &str) -> bool {
        self.subscriptions.keys().any(|filter| matches(filter, topic))
    }

    /// It asked for this message at some time, and was not told that it would not get it.
    pub(super) fn check_asked(&self, message: &Message) {
        let is_asked = self.subscriptions.iter().any(|(filter, subscription)| {
            let is_gone = subscription.gone_at.is_some_and(|at| at < message.first_at);
            matches(filter, message.topic) && !is_gone
        });
        assert!(is_asked, "{} has not asked for {message:?}", self.profile.name);
    }

    fn forget_asked(&mut self) {
        self.asked.clear();
        for subscription in self.subscriptions.values_mut() {
            if matches!(subscription.state, State::Asked(_)) {
                subscription.state = State::Left;
            }
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (TopicFilter::new(filter), TopicName::new(topic));
    filter.expect("filters here are valid").matches(topic.expect("topics here are valid").as_str())
}
