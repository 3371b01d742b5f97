//! From one message to everyone who is to get it.

use std::collections::BTreeMap;
use std::sync::Arc;

use outpost_bridge::origin::Origin as BridgeOrigin;
use outpost_bridge::peering::NodeId;
use outpost_protocol::{QoS, TopicFilter};
use slab::Slab;

use super::Broker;
use super::bug::Bug;
use super::change::{Seq, SubscriptionRecord, Target};
use super::limits::QueueFull;
use super::message::Message;
use super::queue::Queued;
use super::time::Instant;
use super::topics::{GroupKey, Match, Matches, SessionKey, Subscriber, gather};

/// The shared subscriptions: `$share/name/filter` and its members.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<Group>,
    keys: BTreeMap<Arc<str>, GroupKey>,
}

#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: Vec<Member>,
    next: usize,
}

/// A member of a shared subscription.
#[derive(Debug, Clone, Copy)]
struct Member {
    session: SessionKey,
    subscription: SubscriptionRecord,
}

impl Groups {
    /// The members of a shared subscription, and the QoS of each.
    pub(super) fn members(&self, group: GroupKey) -> impl Iterator<Item = (SessionKey, QoS)> {
        self.groups[group as usize].members.iter().map(|m| (m.session, m.subscription.qos))
    }
}

/// Takes `$share/name/filter` apart; the name is empty for an ordinary filter.
pub(super) fn split_share(filter: &str) -> (&str, &str) {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).unwrap_or(("", filter))
}

/// Who gets a message, and how.
struct Receiver {
    session: SessionKey,
    qos: QoS,
    retain: bool,
    subscription_ids: Option<Arc<[u32]>>,
    share: Option<Arc<str>>,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// A client that was asked to wait, or told, where a queue was full.
    Client(SessionKey),
    /// The will of a session.
    Will(SessionKey),
    /// The broker itself.
    Broker,
}

impl Origin {
    fn publisher(self) -> Option<SessionKey> {
        match self {
            Self::Client(key) | Self::Will(key) => Some(key),
            Self::Broker => None,
        }
    }
}

impl Receiver {
    /// The message as it waits for this receiver, not stored yet.
    fn queued(self, message: &Arc<Message>) -> Queued {
        Queued {
            message: message.clone(),
            seq: None,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids,
            share: self.share,
        }
    }
}

/// How well a member of a shared subscription can take a message, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is sent to at once.
    Ready,
    Connected,
    /// Its session keeps the message for it.
    Away,
    FullDurable,
    /// It loses the message.
    Full,
    /// Its client takes no packet so large: it is as if it had been sent [MQTT-3.1.2-25].
    TooLarge,
}

/// What a PUBLISH may have beside topic, properties and payload; where it decides, another member
/// is asked first.
const PUBLISH_OVERHEAD: u64 = 32;

/// What became of a message.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Routed {
    pub receivers: usize,
    /// A durable session needs it: it stands in the open batch.
    pub is_stored: bool,
}

impl Broker {
    /// Brings a message to all its receivers.
    pub(super) fn route(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        matches: &Matches,
        origin: Origin,
    ) -> Routed {
        let mut routed = Routed::default();
        let mut stored: Vec<(SessionKey, Queued)> = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        let mut copies: Vec<(SessionKey, Queued)> = Vec::new();
        let mut number = None;
        let from_node =
            if matches.bridges > 0 { BridgeOrigin::of(&message.properties()) } else { None };
        let from_node = from_node.map(|origin| origin.node);
        for found in &matches.sessions {
            if self.would_go_back(found, from_node) {
                continue;
            }
            let receiver = if found.no_local && origin.publisher() == Some(found.session) {
                let Some(own) = self.match_own(found.session, &message.topic) else { continue };
                receiver(message, &own)
            } else {
                receiver(message, found)
            };
            routed.receivers += 1;
            if receiver.qos == QoS::AtMostOnce {
                self.send_numbered(now, message, receiver, &mut number);
            } else {
                self.hand_over(now, message, origin, receiver, &mut stored, &mut targets);
            }
        }
        for group in &matches.groups {
            let Some(receiver) = self.choose_member(*group, message) else { continue };
            routed.receivers += 1;
            let id = self.sessions[receiver.session as usize].id;
            if targets.iter().any(|target| target.session == id) {
                // It gets one copy already. The store tells the copies of a session apart by their
                // numbers: this one gets its own.
                copies.push((receiver.session, receiver.queued(message)));
                continue;
            }
            self.hand_over(now, message, origin, receiver, &mut stored, &mut targets);
        }
        if !targets.is_empty() {
            routed.is_stored = true;
            let seq = number.unwrap_or_else(|| self.next_number());
            self.store_message_as(now, seq, message, targets);
            for (key, mut queued) in stored {
                queued.seq = Some(seq);
                self.enqueue(now, key, queued);
            }
        }
        for (key, queued) in copies {
            self.enqueue_stored(now, key, queued);
        }
        routed
    }

    /// What a session gets of its own messages: what it subscribed to without No Local
    /// [MQTT-3.8.3-3].
    fn match_own(&self, key: SessionKey, topic: &str) -> Option<Match> {
        let takes = |filter: &str, record: &SubscriptionRecord| {
            let checked = TopicFilter::new(filter);
            !record.no_local && checked.is_ok_and(|f| f.share_name().is_none() && f.matches(topic))
        };
        let subscriptions = self.sessions[key as usize].subscriptions.iter();
        gather(key, subscriptions.filter(|(f, r)| takes(f, r)).map(|(_, record)| *record))
    }

    /// The broker where a message was taken in is at the other end of this bridge, and would drop it.
    fn would_go_back(&self, found: &Match, from_node: Option<NodeId>) -> bool {
        from_node.is_some() && self.sessions[found.session as usize].far_node == from_node
    }

    /// A durable session among the receivers whose full queue refuses the message, which another broker
    /// took in, perhaps.
    pub(super) fn refused_by(
        &self,
        message_qos: QoS,
        bytes: u64,
        from_node: Option<NodeId>,
        matches: &Matches,
    ) -> Option<SessionKey> {
        if message_qos == QoS::AtMostOnce {
            return None;
        }
        let is_refusing = |found: &&Match| {
            let session = &self.sessions[found.session as usize];
            found.qos > QoS::AtMostOnce
                && !self.would_go_back(found, from_node)
                && session.is_durable()
                && session.policy.full == QueueFull::Reject
                && self.is_full(found.session, bytes)
        };
        let single = matches.sessions.iter().find(is_refusing);
        single.map(|m| m.session).or_else(|| {
            // A shared subscription refuses when no member has room.
            matches.groups.iter().find_map(|group| {
                let (rank, at) = self.next_member(*group, message_qos, bytes)?;
                let member = self.groups.groups[*group as usize].members[at];
                let full = self.sessions[member.session as usize].policy.full;
                (rank == Rank::FullDurable && full == QueueFull::Reject).then_some(member.session)
            })
        })
    }

    /// Enters a subscription: into the trie, or into its shared subscription.
    pub(super) fn add_route(
        &mut self,
        key: SessionKey,
        filter: &Arc<str>,
        subscription: SubscriptionRecord,
    ) {
        let (share, topic_filter) = split_share(filter);
        if share.is_empty() {
            self.topics.insert(topic_filter, Subscriber::Session(key, subscription));
            return;
        }
        let groups = &mut self.groups;
        let group = match groups.keys.get(filter) {
            Some(group) => *group,
            None => {
                let group = Group { name: filter.clone(), members: Vec::new(), next: 0 };
                let group = groups.groups.insert(group);
                let group = GroupKey::try_from(group).expect("fewer groups than subscriptions");
                groups.keys.insert(filter.clone(), group);
                self.topics.insert(topic_filter, Subscriber::Group(group));
                group
            }
        };
        let members = &mut groups.groups[group as usize].members;
        let member = Member { session: key, subscription };
        match members.iter_mut().find(|m| m.session == key) {
            Some(old) => *old = member,
            None => members.push(member),
        }
    }

    /// Takes a subscription out.
    pub(super) fn remove_route(
        &mut self,
        key: SessionKey,
        filter: &Arc<str>,
        subscription: SubscriptionRecord,
    ) {
        let (share, topic_filter) = split_share(filter);
        if share.is_empty() {
            self.topics.remove(topic_filter, Subscriber::Session(key, subscription));
            return;
        }
        let Some(group) = self.groups.keys.get(filter).copied() else { return };
        let members = &mut self.groups.groups[group as usize].members;
        members.retain(|m| m.session != key);
        if members.is_empty() {
            self.groups.keys.remove(filter);
            self.groups.groups.remove(group as usize);
            self.topics.remove(topic_filter, Subscriber::Group(group));
        }
    }

    /// Whether a filter is a shared subscription that has members.
    pub(super) fn has_members(&self, filter: &Arc<str>) -> bool {
        self.groups.keys.contains_key(filter)
    }

    /// Whether a shared subscription has a member that is connected, other than this one.
    pub(super) fn has_other_member(&self, filter: &Arc<str>, key: SessionKey) -> bool {
        self.groups.keys.get(filter).is_some_and(|group| {
            let members = &self.groups.groups[*group as usize].members;
            members
                .iter()
                .any(|m| m.session != key && self.sessions[m.session as usize].connection.is_some())
        })
    }

    /// Gives messages that a member of a shared subscription left behind to another one. What
    /// nobody can take is dropped and counted.
    pub(super) fn redistribute(&mut self, now: Instant, left: Vec<Queued>) {
        for queued in left {
            if self.has_bug(Bug::DroppedShare) {
                continue;
            }
            let group = queued.share.as_ref().and_then(|share| self.groups.keys.get(share));
            let receiver = group.copied().and_then(|g| self.choose_member(g, &queued.message));
            let Some(receiver) = receiver else {
                self.counters.dropped_session_ended += 1;
                continue;
            };
            if receiver.qos == QoS::AtMostOnce {
                let ids = receiver.subscription_ids;
                let retain = receiver.retain;
                self.send_at_most_once(receiver.session, &queued.message, retain, ids, None);
                continue;
            }
            self.enqueue_stored(now, receiver.session, receiver.queued(&queued.message));
        }
    }

    /// To one receiver with QoS 0. A bridge gets it with a number, the same as other bridges.
    fn send_numbered(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        receiver: Receiver,
        number: &mut Option<Seq>,
    ) {
        let key = receiver.session;
        let connection = self.sessions[key as usize].connection;
        let told = connection.filter(|id| self.connection(*id).is_some_and(|c| c.bridge.is_some()));
        let told = told.and_then(|id| {
            let seq = *number.get_or_insert_with(|| self.next_number());
            self.told_number(now, id, seq)
        });
        let ids = receiver.subscription_ids;
        self.send_at_most_once(key, message, receiver.retain, ids, told);
    }

    /// To one receiver: at once with QoS 0, or where nothing is stored for it; else into `stored`.
    fn hand_over(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        origin: Origin,
        receiver: Receiver,
        stored: &mut Vec<(SessionKey, Queued)>,
        targets: &mut Vec<Target>,
    ) {
        let key = receiver.session;
        if receiver.qos == QoS::AtMostOnce {
            let ids = receiver.subscription_ids;
            self.send_at_most_once(key, message, receiver.retain, ids, None);
            return;
        }
        let queued = receiver.queued(message);
        let session = &self.sessions[key as usize];
        if !session.is_durable() {
            self.enqueue(now, key, queued);
        } else if self.make_room(now, key, origin, message) {
            targets.push(queued.target(self.sessions[key as usize].id));
            stored.push((key, queued));
        }
    }

    /// The member whose turn it is among those that can take a message best, and takes the turn.
    fn choose_member(&mut self, group: GroupKey, message: &Message) -> Option<Receiver> {
        let (_, at) = self.next_member(group, message.qos, message.bytes())?;
        let group = self.groups.groups.get_mut(group as usize)?;
        group.next = (at + 1) % group.members.len();
        let member = group.members[at];
        Some(Receiver {
            session: member.session,
            qos: member.subscription.qos.min(message.qos),
            retain: member.subscription.retain_as_published && message.retain,
            subscription_ids: member.subscription.subscription_id.map(|id| [id].into()),
            share: Some(group.name.clone()),
        })
    }

    fn next_member(&self, group: GroupKey, message_qos: QoS, bytes: u64) -> Option<(Rank, usize)> {
        let group = self.groups.groups.get(group as usize)?;
        let count = group.members.len();
        (0..count)
            .map(|turn| (group.next + turn) % count)
            .filter_map(|at| Some((self.rank(&group.members[at], message_qos, bytes)?, at)))
            // The first of the best.
            .min_by_key(|(rank, _)| *rank)
    }

    fn rank(&self, member: &Member, message_qos: QoS, bytes: u64) -> Option<Rank> {
        let session = &self.sessions[member.session as usize];
        let is_kept = member.subscription.qos.min(message_qos) > QoS::AtMostOnce;
        if session.connection.is_none() && !(is_kept && session.is_durable()) {
            return None;
        }
        let connection = session.connection.and_then(|id| self.connections.get(id.index()));
        if connection.is_some_and(|c| bytes + PUBLISH_OVERHEAD > u64::from(c.maximum_packet_size)) {
            return Some(Rank::TooLarge);
        }
        if is_kept && self.is_full(member.session, bytes) {
            return Some(if session.is_durable() { Rank::FullDurable } else { Rank::Full });
        }
        Some(match session.connection {
            Some(_) if session.has_window() && session.queue.is_empty() => Rank::Ready,
            Some(_) => Rank::Connected,
            None => Rank::Away,
        })
    }
}

/// The QoS that a message is delivered with.
fn qos_of(granted: QoS, keeps_retained: bool, message: &Message) -> QoS {
    let is_kept = keeps_retained && message.retain;
    granted.min(if is_kept { message.qos.max(QoS::AtLeastOnce) } else { message.qos })
}

impl SubscriptionRecord {
    /// The QoS that a retained message is delivered with.
    pub(super) fn qos_of(&self, message: &Message) -> QoS {
        qos_of(self.qos, self.keeps_retained, message)
    }
}

fn receiver(message: &Message, found: &Match) -> Receiver {
    Receiver {
        session: found.session,
        qos: qos_of(found.qos, found.keeps_retained, message),
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        retain: found.retain_as_published && message.retain,
        subscription_ids: found.subscription_ids.clone(),
        share: None,
    }
}
