//! From what the store held back to sessions, routes and queues. It is done before any client can
//! connect, so that nothing is ever routed past a session that is not back yet.
//!
//! Messages stay where they are: of each, only what the [ledger](super::ledger) and the queues need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use outpost_protocol::PacketId;

use super::Broker;
use super::bug::Bug;
use super::change::{
    Numbers, OriginRecord, Restore, Seq, SessionId, SessionRecord, StoredMessage,
    SubscriptionRecord,
};
use super::durability::Durability;
use super::ledger::Entry;
use super::message::Message;
use super::session::{RetainedAhead, Session};
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;

/// Takes over the state of a former run, row by row.
///
/// A session whose client was connected when that run ended has lost it now: its will and its
/// expiry begin to count.
#[derive(Debug)]
pub struct Restoring<'a> {
    broker: &'a mut Broker,
    now: Instant,
    records: BTreeMap<SessionId, Restored>,
}

#[derive(Debug)]
struct Restored {
    key: SessionKey,
    record: SessionRecord,
    /// What its record has in flight, and which of that is there.
    flying: BTreeMap<Seq, bool>,
}

impl Broker {
    /// Begins to take over the state of a former run, on an empty broker. It ends with
    /// `Restoring::finish`.
    pub fn restore(&mut self, now: Instant) -> Restoring<'_> {
        Restoring { broker: self, now, records: BTreeMap::new() }
    }
}

impl Restore for Restoring<'_> {
    fn session(&mut self, id: SessionId, record: SessionRecord) {
        let policy = self.broker.queue_policy(&record.client_id);
        let mut session = Session::new(id, Arc::from(&*record.client_id), policy);
        session.expiry_interval_s = record.expiry_interval_s;
        session.expires_at = record.expires_at;
        session.has_ended = record.expires_at == Some(Instant::default());
        session.will = record.will.clone().map(Box::new);
        session.received = record.received.iter().filter_map(|id| PacketId::new(*id)).collect();
        session.is_stored = true;
        session.is_stored_durable = session.is_durable() && !session.has_ended;
        let key = self.broker.insert_session(session);
        let flying = record.inflight.iter().filter_map(|i| Some((i.seq?, false))).collect();
        self.records.insert(id, Restored { key, record, flying });
    }

    fn subscription(&mut self, id: SessionId, filter: Arc<str>, record: SubscriptionRecord) {
        let Some(Restored { key, .. }) = self.records.get(&id) else { return };
        let session = &mut self.broker.sessions[*key as usize];
        session.subscriptions.insert(filter.clone(), record);
        if record.owes_retained {
            let ahead = RetainedAhead {
                filter: filter.clone(),
                subscription: record,
                after: None,
                only: None,
            };
            session.retained_ahead.push_back(ahead);
        }
        if !self.broker.has_bug(Bug::ForgottenRoute) {
            self.broker.add_route(*key, &filter, record);
        }
    }

    fn retained(&mut self, message: Arc<Message>) {
        if let Some(at) = message.expires_at {
            self.broker.timers.set(at, Timer::RetainedExpiry(message.topic.clone()));
        }
        let classes = &self.broker.settings.topic_classes;
        if Durability::of(&message.topic, classes) == Durability::Volatile {
            // It was not when that was stored. What follows is in memory only.
            self.broker.pending.put_retained(message.topic.clone(), None);
            self.broker.pending.lazy(self.now);
        }
        self.broker.retained.insert(message);
    }

    fn origin(&mut self, node: NodeId, record: OriginRecord) {
        self.broker.origins.restore(node, record);
    }

    fn message(&mut self, seq: Seq, message: &StoredMessage<'_>) {
        let mut sessions = 0;
        for target in message.targets {
            let Some(restored) = self.records.get_mut(&target.session) else { continue };
            if is_done(&restored.record, seq) {
                continue;
            }
            sessions += 1;
            let session = &mut self.broker.sessions[restored.key as usize];
            if target.is_shared {
                session.shared.insert(seq);
            }
            match restored.flying.get_mut(&seq) {
                Some(is_there) => *is_there = true,
                None => {
                    if let Some(topics) = &mut session.last_per_topic {
                        topics.note(message.topic_hash, seq, &session.queue);
                    }
                    session.queue.push_number(seq, u64::from(message.bytes));
                }
            }
        }
        if sessions == 0 {
            self.broker.stale.insert(seq);
            return;
        }
        let entry = Entry {
            bytes: u64::from(message.bytes),
            arrived_at: message.arrived_at.unwrap_or(self.now),
            expires_at: message.expires_at,
            sessions,
        };
        self.broker.ledger.insert(seq, entry);
    }
}

impl Restoring<'_> {
    /// All has been read.
    pub fn finish(self, numbers: Numbers) {
        let Self { broker, now, records } = self;
        broker.next_seq = numbers.next_seq.max(Seq(1));
        broker.first_seq = broker.next_seq;
        broker.next_session = numbers.next_session.max(1);
        broker.node = numbers.node.unwrap_or(broker.node);
        let new_node = numbers.node.is_none().then_some(broker.node);
        broker.pending.begin(broker.next_seq, new_node);
        if !broker.stale.is_empty() {
            broker.pending.lazy(now);
        }
        for restored in records.values() {
            restored.restore_flows(&mut broker.sessions[restored.key as usize]);
        }
        // A will may be due: all sessions are complete before it is routed to them.
        let mut ended = BTreeSet::new();
        for Restored { key, record, .. } in records.values() {
            if broker.sessions[*key as usize].has_ended {
                ended.insert(*key);
            } else {
                broker.watch_age(*key);
                broker.restart_session(now, *key, record);
            }
        }
        for key in ended {
            broker.sweep(now, key, Vec::new());
        }
    }
}

impl Restored {
    fn restore_flows(&self, session: &mut Session) {
        for flight in &self.record.inflight {
            let Some(packet_id) = PacketId::new(flight.packet_id) else { continue };
            let is_there = |seq| self.flying.get(&seq).copied().unwrap_or(false);
            if flight.seq.is_none_or(is_there) {
                session.restore_inflight(packet_id, flight.seq);
            }
        }
        session.restore_done(self.record.done.clone());
    }
}

impl Broker {
    fn restart_session(&mut self, now: Instant, key: SessionKey, record: &SessionRecord) {
        let session = &mut self.sessions[key as usize];
        let id = session.id;
        let expiry_s = session.expiry_interval_s;
        let expires_at = match record.expires_at {
            Some(at) => Some(at),
            None if expiry_s == u32::MAX => None,
            None => Some(now.plus_s(expiry_s)),
        };
        session.expires_at = expires_at;
        match record.will.as_ref().map(|w| w.due_at) {
            Some(Some(due_at)) => self.timers.set(due_at, Timer::WillDelay(id)),
            Some(None) => self.start_will_delay(now, key),
            None => {}
        }
        if let Some(at) = expires_at {
            self.timers.set(at, Timer::SessionExpiry(id));
            self.touch_session(now, key);
        }
    }
}

fn is_done(record: &SessionRecord, seq: Seq) -> bool {
    let at = record.done.partition_point(|(_, last)| *last < seq);
    seq < record.cursor || record.done.get(at).is_some_and(|(first, _)| *first <= seq)
}
