//! All messages: who has to get them, and who got them.

use std::collections::{BTreeMap, BTreeSet};

use outpost_broker::core::Durability;
use outpost_broker::core::limits::Limits;
use outpost_broker::core::time::Instant;
use outpost_protocol::{QoS, ReasonCode};

use super::session::Session;
use super::{SessionName, effective_qos};
use crate::coverage::Coverage;
use crate::packet::GotPublish;
use crate::plan::{CLASS_TOPIC, drops};

/// A message that a client published, or that is to be published as its will.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub publisher: usize,
    pub topic: &'static str,
    pub qos: QoS,
    pub bytes: usize,
    pub expiry_s: Option<u32>,
    pub is_will: bool,
    /// Its payload is empty: it ends what is retained.
    pub is_erasing: bool,
    /// A crash may have made two of it, or none: a will of which it is not known what was stored.
    pub is_uncertain: bool,
    /// How often the broker handled it.
    pub attempts: u32,
    /// When it did so first, in the order of all that it handled.
    pub first_at: u64,
    /// How often the broker had been started again by then.
    restarts: u64,
    /// When its copies expire, the first and the last one.
    pub earliest_expiry: Option<Instant>,
    pub latest_expiry: Option<Instant>,
    pub is_acknowledged: bool,
    is_refused: bool,
    /// Its class allows that a restart has lost it.
    may_be_lost: bool,
    last_at: Instant,
    /// Who was subscribed at every attempt, until it was acknowledged.
    expected: Option<BTreeSet<SessionName>>,
    /// Likewise the members of the shared subscription: one of them has to get it.
    members: BTreeSet<SessionName>,
    /// The session of a member ended that may have had it in a QoS 2 flow [MQTT-4.8.2-5].
    is_lost_with_member: bool,
    /// Who was subscribed at the first attempt. Others may have subscribed between it and the next
    /// one, and get what comes again after what came after it.
    first: BTreeSet<SessionName>,
}

impl Message {
    /// One that was not published yet.
    pub(crate) fn new(publisher: usize, topic: &'static str, qos: QoS, bytes: usize) -> Self {
        Self {
            publisher,
            topic,
            qos,
            bytes,
            expiry_s: None,
            is_will: false,
            is_erasing: false,
            is_uncertain: false,
            attempts: 0,
            first_at: 0,
            restarts: 0,
            earliest_expiry: None,
            latest_expiry: None,
            is_acknowledged: false,
            is_refused: false,
            may_be_lost: false,
            last_at: Instant::default(),
            expected: None,
            members: BTreeSet::new(),
            is_lost_with_member: false,
            first: BTreeSet::new(),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Messages {
    all: Vec<Message>,
    taken: BTreeMap<(SessionName, usize), u32>,
    /// Takings at QoS 2 by way of the shared subscription, whoever got them.
    shared: BTreeMap<usize, u32>,
    /// The last message of each publisher, topic and QoS that each session got for the first time.
    newest: BTreeMap<(SessionName, usize, &'static str, QoS), usize>,
    stamp: u64,
    /// How often the broker was started again.
    restarts: u64,
    /// Publishers are refused now and then.
    has_tight_queues: bool,
    drops: bool,
}

impl Messages {
    pub(super) fn new(limits: &Limits) -> Self {
        let has_tight_queues = limits.queue_messages_max < 1_000
            || limits.queue_bytes_max < 1 << 20
            || limits.queue_total_bytes_max < 1 << 20;
        Self {
            all: Vec::new(),
            taken: BTreeMap::new(),
            shared: BTreeMap::new(),
            newest: BTreeMap::new(),
            stamp: 0,
            restarts: 0,
            has_tight_queues,
            drops: drops(limits),
        }
    }

    /// A new message. Its number.
    pub(crate) fn add(&mut self, message: Message) -> usize {
        self.all.push(message);
        self.all.len() - 1
    }

    /// The message of this number.
    pub(crate) fn of(&self, index: usize) -> &Message {
        &self.all[index]
    }

    /// The last moment in the order of all that was handled.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// A message was handled, once more perhaps. Only who is there each time must get it.
    pub(super) fn attempted(&mut self, now: Instant, index: usize, sessions: &[Session]) {
        self.stamp += 1;
        let stamp = self.stamp;
        let message = &mut self.all[index];
        message.attempts += 1;
        message.last_at = now;
        if message.attempts == 1 {
            message.first_at = stamp;
            message.restarts = self.restarts;
        }
        if let Some(expiry_s) = message.expiry_s {
            let at = now.plus_s(expiry_s);
            message.earliest_expiry.get_or_insert(at);
            message.latest_expiry = Some(at);
        }
        if message.is_acknowledged {
            return;
        }
        let fits = |session: &Session| {
            let maximum = session.profile.maximum_packet_size.unwrap_or(u32::MAX) as usize;
            message.bytes + PUBLISH_OVERHEAD <= maximum
        };
        let entitled = sessions.iter().filter(|s| s.is_entitled(message.topic) && s.is_there(now));
        // What has no payload does not say which message it is.
        let entitled = entitled.filter(|session| !message.is_erasing && fits(session));
        let entitled: BTreeSet<SessionName> = entitled.map(Session::name).collect();
        let is_shared = message.topic.starts_with("s/");
        // A member whose client takes no packet so large may have it nevertheless (5.0, 4.8.2).
        let entitled =
            if is_shared && !sessions.iter().all(fits) { BTreeSet::new() } else { entitled };
        let (sessions, members) =
            if is_shared { (BTreeSet::new(), entitled) } else { (entitled, BTreeSet::new()) };
        match &mut message.expected {
            None => {
                message.first = sessions.clone();
                message.expected = Some(sessions);
                message.members = members;
            }
            Some(so_far) => {
                so_far.retain(|session| sessions.contains(session));
                message.members.retain(|session| members.contains(session));
            }
        }
    }

    /// The last attempt was refused: what is taken later comes later.
    pub(crate) fn not_taken(&mut self, index: usize) {
        self.all[index].first.clear();
    }

    /// A positive PUBACK or PUBREC was given out: from now on the message is promised.
    pub(super) fn acknowledged(&mut self, index: usize, reason: ReasonCode) {
        let message = &mut self.all[index];
        if reason == ReasonCode::NoMatchingSubscribers && message.attempts == 1 {
            let is_for_nobody = message.expected.as_ref().is_none_or(BTreeSet::is_empty);
            assert!(
                is_for_nobody && message.members.is_empty(),
                "a route is forgotten: {message:?}"
            );
        }
        message.is_acknowledged = true;
    }

    /// The broker has ended: what the class of a topic does not promise may be gone.
    pub(super) fn broker_ended(&mut self, now: Instant, class: Durability, in_order: bool) {
        let is_of_class = |m: &&mut Message| m.topic == CLASS_TOPIC && m.attempts > 0;
        for message in self.all.iter_mut().filter(is_of_class) {
            message.may_be_lost |= match class {
                Durability::Durable => false,
                Durability::Volatile => true,
                Durability::Interval { window_ms } => {
                    let stored_by = message.last_at.plus_ms(u64::from(window_ms) + COMMIT_MS_MAX);
                    !in_order && now <= stored_by
                }
            };
        }
    }

    /// The broker was started again.
    pub(super) fn broker_started(&mut self) {
        self.restarts += 1;
    }

    /// It was refused with a reason code.
    pub(super) fn refused(&mut self, index: usize) {
        self.all[index].is_refused = true;
    }

    /// What became of a will is not known.
    pub(super) fn is_uncertain(&mut self, index: usize) {
        let message = &mut self.all[index];
        message.is_uncertain = true;
        message.is_acknowledged = false;
        message.expected = Some(BTreeSet::new());
    }

    /// A session may rely on fewer messages than before: those that were not promised yet are not
    /// for it.
    pub(super) fn left(&mut self, session: &Session) {
        let name = session.name();
        for message in self.all.iter_mut().filter(|m| !m.is_acknowledged) {
            if !session.is_entitled(message.topic) {
                message.members.remove(&name);
                message.expected.as_mut().map(|expected| expected.remove(&name));
            }
        }
    }

    /// A session is over. What it had of shared subscriptions is for the other members, but for what
    /// it may have had in QoS 2 flows.
    pub(super) fn session_ended(&mut self, session: &Session) {
        let name = session.name();
        for (index, message) in self.all.iter_mut().enumerate() {
            message.expected.as_mut().map(|expected| expected.remove(&name));
            message.members.remove(&name);
            // Who has asked to be a member gets messages before SUBACK has left.
            if session.has_asked_for(message.topic) && message.topic.starts_with("s/") {
                let is_taken = self.shared.contains_key(&index);
                let qos = effective_qos(&session.profile, message.qos);
                message.is_lost_with_member |= qos == QoS::ExactlyOnce && !is_taken;
            }
        }
    }

    /// A client got a message that it had not taken before, by its packet identifier.
    pub(super) fn taken(
        &mut self,
        now: Instant,
        name: SessionName,
        index: usize,
        got: &GotPublish,
    ) {
        let message = &self.all[index];
        assert_eq!(got.topic, message.topic, "{index} came with another topic");
        assert!(got.qos <= message.qos, "{index} came with a higher QoS");
        assert!(
            message.attempts > 0 || message.is_uncertain,
            "{index} was never published, at {now:?}"
        );
        let is_untold = message.is_refused && message.attempts == 1;
        assert!(!is_untold, "{index} was refused, and reached {name:?}");
        let times = self.taken.entry((name, index)).or_default();
        *times += 1;
        let times = *times;
        let is_plain = !message.topic.starts_with("r/") && !message.is_uncertain;
        if message.topic.starts_with("s/") {
            if got.qos == QoS::ExactlyOnce {
                let times = self.shared.entry(index).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{index} reached the members twice at QoS 2");
            }
        } else if is_plain && got.qos == QoS::ExactlyOnce {
            assert_eq!(times, 1, "{index} reached {name:?} twice at QoS 2");
        } else if is_plain && got.qos == QoS::AtMostOnce {
            assert!(times <= message.attempts, "{index} reached {name:?} {times} times at QoS 0");
        }
        if message.topic.starts_with("t/") {
            self.check_order(name, index, got.qos, times);
        }
    }

    /// Messages come in order when they come for the first time [MQTT-4.6.0-5].
    fn check_order(&mut self, name: SessionName, index: usize, qos: QoS, times: u32) {
        let message = &self.all[index];
        // What was sent at QoS 0 may be lost, the first copy may have expired, or have been refused
        // without its publisher's knowledge, or dropped, for its age perhaps; what is sent again then
        // comes late. One that was
        // dropped to make room is back if the power goes before that is stored.
        let may_be_back = self.drops && qos < QoS::ExactlyOnce && message.restarts < self.restarts;
        let may_be_late = message.expiry_s.is_some()
            || qos == QoS::AtMostOnce && message.qos > QoS::AtMostOnce
            || (self.has_tight_queues || self.drops) && message.attempts > 1
            || may_be_back;
        if may_be_late || !message.first.contains(&name) {
            return;
        }
        let key = (name, message.publisher, message.topic, message.qos);
        let newest = self.newest.entry(key).or_insert(index);
        assert!(
            times > 1 || *newest <= index,
            "{index} reached {name:?} after {newest} of the same topic, {qos:?}"
        );
        *newest = (*newest).max(index);
    }

    /// Counts what was taken.
    pub(super) fn report(&self, coverage: &mut Coverage) {
        for ((_, index), times) in &self.taken {
            if self.all[*index].is_will {
                coverage.hit("wills taken");
            }
            if *times > 1 {
                coverage.hit("double deliveries at QoS 1");
            }
        }
    }

    /// Promised messages that did not come, and to whom.
    pub(super) fn missing(&self, now: Instant, sessions: &[Session]) -> Vec<(SessionName, usize)> {
        let mut missing = Vec::new();
        for (index, message) in self.all.iter().enumerate() {
            let may_be_expired = message.earliest_expiry.is_some_and(|at| at <= now);
            if !message.is_acknowledged || may_be_expired || message.may_be_lost {
                continue;
            }
            let expected = message.expected.iter().flatten().filter(|(who, incarnation)| {
                let session = &sessions[*who];
                let is_kept = effective_qos(&session.profile, message.qos) > QoS::AtMostOnce;
                let is_taken = self.taken.contains_key(&((*who, *incarnation), index));
                session.incarnation == *incarnation && is_kept && !is_taken
            });
            missing.extend(expected.map(|name| (*name, index)));
            if let Some(member) = message.members.first()
                && message.qos > QoS::AtMostOnce
                && !message.is_lost_with_member
                && !self.taken.keys().any(|(_, taken)| *taken == index)
            {
                missing.push((*member, index));
            }
        }
        missing
    }
}

/// How long the store may take for a batch: other batches before it, a full disk.
const COMMIT_MS_MAX: u64 = 60_000;

/// What a PUBLISH may have beside topic, properties and payload.
const PUBLISH_OVERHEAD: usize = 64;
