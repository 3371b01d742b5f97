//! What was promised, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use outpost_protocol::QoS;

use super::client::LOSSY;
use crate::core::tests::bed::{GotPublish, QOS_0, QOS_2};

/// A session: whose, and which in the row of those that this client had.
type SessionName = (usize, u32);

/// Who has to get a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// Each of these.
    pub sessions: BTreeSet<SessionName>,
    /// One of these, as members of the shared subscription.
    pub members: BTreeSet<SessionName>,
    /// Who subscribed, whether or not its queue may drop messages.
    pub subscribed: BTreeSet<SessionName>,
}

#[derive(Debug)]
struct Message {
    publisher: usize,
    topic: &'static str,
    qos: QoS,
    /// It may vanish with time.
    expires: bool,
    is_acknowledged: bool,
    /// Who was subscribed at every attempt to publish it, until it was acknowledged.
    expected: Option<Expected>,
    /// Who was subscribed at the first attempt. Others may have subscribed between it and the next
    /// one, and get what comes again after what came after it.
    first: BTreeSet<SessionName>,
    attempts: u32,
    /// How many sessions of members had ended at the first attempt.
    members_lost: u32,
}

/// All messages, and who got them.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    messages: Vec<Message>,
    delivered: BTreeMap<(SessionName, usize), u32>,
    /// Deliveries by way of the shared subscription at QoS 2, whoever got them.
    shared: BTreeMap<usize, u32>,
    /// The last message of each publisher, topic and QoS that each session got for the first time.
    newest: BTreeMap<(SessionName, usize, &'static str, QoS), usize>,
    members_lost: u32,
    /// Publishers are refused now and then.
    has_tight_queues: bool,
    /// Clients to which new messages overtake old ones.
    hurried: BTreeSet<usize>,
}

impl Oracle {
    pub(super) fn new(has_tight_queues: bool, hurried: BTreeSet<usize>) -> Self {
        Self { has_tight_queues, hurried, ..Self::default() }
    }

    pub(super) fn new_message(
        &mut self,
        publisher: usize,
        topic: &'static str,
        qos: QoS,
        expires: bool,
    ) -> usize {
        self.messages.push(Message {
            publisher,
            topic,
            qos,
            expires,
            is_acknowledged: false,
            expected: None,
            first: BTreeSet::new(),
            attempts: 0,
            members_lost: self.members_lost,
        });
        self.messages.len() - 1
    }

    pub(super) fn topic(&self, message: usize) -> &'static str {
        self.messages[message].topic
    }

    pub(super) fn qos(&self, message: usize) -> QoS {
        self.messages[message].qos
    }

    /// A message is published, once more perhaps. Only who is there each time must get it.
    pub(super) fn attempt(&mut self, message: usize, expected: Expected) {
        let message = &mut self.messages[message];
        message.attempts += 1;
        if message.is_acknowledged {
            return;
        }
        match &mut message.expected {
            None => {
                message.first = expected.subscribed.clone();
                message.expected = Some(expected);
            }
            Some(so_far) => {
                so_far.sessions.retain(|session| expected.sessions.contains(session));
                so_far.members.retain(|session| expected.members.contains(session));
            }
        }
    }

    /// PUBACK or PUBREC was given out: from now on the message is promised.
    pub(super) fn acknowledged(&mut self, message: usize, subscribed: Expected) {
        self.attempt(message, subscribed);
        let message = &mut self.messages[message];
        message.attempts -= 1;
        message.is_acknowledged = true;
    }

    /// What is acknowledged is in the store, or all those have it who need it. `clients`: which
    /// session each has, and the QoS of its subscriptions.
    pub(super) fn check_safe(&self, index: usize, is_stored: bool, clients: &[(u32, QoS)]) {
        let message = &self.messages[index];
        let Some(expected) = &message.expected else { return };
        if is_stored || message.expires {
            return;
        }
        for session in &expected.sessions {
            let (incarnation, qos) = clients[session.0];
            let is_kept = incarnation == session.1 && qos.min(message.qos) > QOS_0;
            let is_delivered = self.delivered.contains_key(&(*session, index));
            assert!(!is_kept || is_delivered, "{index} is acknowledged, and {session:?} lacks it");
        }
        if !expected.members.is_empty() && message.members_lost == self.members_lost {
            let is_delivered = self.delivered.keys().any(|(_, delivered)| *delivered == index);
            assert!(is_delivered, "{index} is acknowledged, and no member has it");
        }
    }

    /// A session that was a member of the shared subscription is over. What it had taken of QoS 2
    /// is over with it [MQTT-4.8.2-5].
    pub(super) fn member_is_lost(&mut self) {
        self.members_lost += 1;
    }

    /// A client got a message that it had not taken before, by its packet identifier.
    pub(super) fn delivered(&mut self, who: SessionName, publish: &GotPublish) {
        let index: usize = publish.payload.parse().expect("payloads are numbers");
        let message = &self.messages[index];
        assert_eq!(publish.topic, message.topic);
        assert!(publish.qos <= message.qos);
        let times = self.delivered.entry((who, index)).or_default();
        *times += 1;
        if message.topic.starts_with("t/") {
            let times = *times;
            assert!(times == 1 || publish.qos != QOS_2, "{index} reached {who:?} twice at QoS 2");
            self.check_order(who, index, publish.qos, times);
        } else if message.topic.starts_with("s/") && publish.qos == QOS_2 {
            let times = self.shared.entry(index).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{index} reached the members twice at QoS 2");
        }
    }

    /// Messages come in order when they come for the first time [MQTT-4.6.0-5].
    fn check_order(&mut self, who: SessionName, index: usize, qos: QoS, times: u32) {
        let message = &self.messages[index];
        // What was sent at QoS 0 may be lost, the first copy may have expired, or have been refused
        // without its publisher's knowledge; what that sends again then comes late.
        let may_be_late = message.expires
            || self.hurried.contains(&who.0)
            || qos == QOS_0 && message.qos > QOS_0
            || (self.has_tight_queues || who.0 == LOSSY) && message.attempts > 1;
        if may_be_late || !message.first.contains(&who) {
            return;
        }
        let key = (who, message.publisher, message.topic, message.qos);
        let newest = self.newest.entry(key).or_insert(index);
        assert!(
            times > 1 || *newest <= index,
            "{index} reached {who:?} after {newest} of the same topic, {qos:?}"
        );
        *newest = (*newest).max(index);
    }

    /// Everything is delivered that will be. `incarnations` tells which session each client has.
    pub(super) fn check_end(&self, incarnations: &[u32], subscription_qos: &[QoS]) {
        for (index, message) in self.messages.iter().enumerate() {
            if !message.is_acknowledged || message.expires {
                continue;
            }
            let Some(expected) = &message.expected else { continue };
            for session in &expected.sessions {
                let is_kept = subscription_qos[session.0].min(message.qos) > QOS_0;
                let is_over = incarnations[session.0] != session.1;
                let is_delivered = self.delivered.contains_key(&(*session, index));
                assert!(!is_kept || is_over || is_delivered, "{session:?} never got {index}");
            }
            let is_promised = !expected.members.is_empty() && message.qos > QOS_0;
            if is_promised && message.members_lost == self.members_lost {
                let is_delivered = self.delivered.keys().any(|(_, delivered)| *delivered == index);
                assert!(is_delivered, "no member got {index}");
            }
        }
    }

    /// What is retained is the last value acknowledged, or a later one.
    pub(super) fn check_retained(&self, topic: &str, value: Option<&str>) {
        let of_topic = |(_, message): &(usize, &Message)| message.topic == topic;
        let mut all = self.messages.iter().enumerate().filter(of_topic);
        let last =
            all.clone().filter(|(_, m)| m.is_acknowledged).map(|(index, _)| index).next_back();
        let value: Option<usize> = value.map(|text| text.parse().expect("payloads are numbers"));
        assert!(value >= last, "{topic} holds {value:?}, and {last:?} was acknowledged");
        assert!(value.is_none_or(|value| all.any(|(index, _)| index == value)));
    }
}
