//! What a full queue does, and what waits for too long: room is made or refused by the policy of the
//! session, and every message that is dropped is counted by session and reason.

use std::sync::Arc;

use outpost_protocol::QoS;

use super::Broker;
use super::change::{Seq, SessionId};
use super::connect::RESERVED_CLIENT_ID_PREFIX;
use super::event::Event;
use super::limits::{QueueFull, QueuePolicy};
use super::message::Message;
use super::route::Origin;
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;

/// So many messages of one session are dropped for their age at once; the rest follows.
const AGED_AT_ONCE: usize = 4096;

/// How long the rest waits for the next turn.
const AGED_REST_MS: u64 = 100;

/// Why a message was dropped for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// Its queue was full.
    Full,
    /// A newer message of the same topic took its place in a full queue.
    Replaced,
    /// It waited longer than the queue allows.
    Aged,
    /// Its Message Expiry Interval was over.
    Expired,
    /// It was larger than the client takes.
    TooLarge,
    /// QoS 0, and the connection was too slow.
    Slow,
    /// It should have been in the store and was not.
    Damaged,
}

/// How many messages were dropped for one session, by reason. Counted since the broker started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drops {
    counts: [u32; Drop::ALL.len()],
}

impl Drop {
    pub(super) const ALL: [Self; 7] = [
        Self::Full,
        Self::Replaced,
        Self::Aged,
        Self::Expired,
        Self::TooLarge,
        Self::Slow,
        Self::Damaged,
    ];

    /// Its name in `$SYS`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Replaced => "replaced",
            Self::Aged => "aged",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::Damaged => "damaged",
        }
    }
}

impl Drops {
    /// What was dropped, by reason; nothing for a reason that did not occur.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Drop, u32)> {
        Drop::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    fn count(&mut self, drop: Drop) {
        let count = &mut self.counts[drop as usize];
        *count = count.saturating_add(1);
    }
}

impl Broker {
    /// The bounds of the queue of a client. A bridge counts by the identifier that its configuration
    /// names.
    pub fn queue_policy(&self, client_id: &str) -> Arc<QueuePolicy> {
        let client_id = client_id.strip_prefix(RESERVED_CLIENT_ID_PREFIX).unwrap_or(client_id);
        let class = self.settings.queues.iter().position(|class| class.fits(client_id));
        class.map_or(&self.default_queue, |class| &self.queue_classes[class]).clone()
    }

    /// Bytes of what waits in memory only.
    pub(super) fn memory_queue_bytes(&self) -> u64 {
        self.memory_bytes + self.resident_bytes
    }

    /// Counts a message that a session does not get.
    pub(super) fn count_drop(&mut self, key: SessionKey, drop: Drop) {
        let counters = &mut self.counters;
        let count = match drop {
            Drop::Full => &mut counters.dropped_full,
            Drop::Replaced => &mut counters.dropped_replaced,
            Drop::Aged => &mut counters.dropped_aged,
            Drop::Expired => &mut counters.dropped_expired,
            Drop::TooLarge => &mut counters.dropped_too_large,
            Drop::Slow => &mut counters.dropped_slow,
            Drop::Damaged => &mut counters.dropped_damaged,
        };
        *count += 1;
        self.sessions[key as usize].drops.count(drop);
    }

    /// Tells of a full queue in the log, now and then.
    pub(super) fn push_full_event(&mut self, now: Instant, key: SessionKey, done: &'static str) {
        let session = &mut self.sessions[key as usize];
        if let Some(times) = session.full.tell(now) {
            let what = format!("queue of {}", session.client_id).into();
            self.push_event(Event::Full { what, done, times });
        }
    }

    /// What the policy says of a durable session with a full queue. False: the message is not for it.
    pub(super) fn make_room(
        &mut self,
        now: Instant,
        key: SessionKey,
        origin: Origin,
        message: &Message,
    ) -> bool {
        let bytes = message.bytes();
        let memory_max = self.settings.limits.memory_queue_bytes_max;
        if message.is_volatile() && self.memory_queue_bytes() + bytes > memory_max {
            self.count_drop(key, Drop::Full);
            self.push_full_event(now, key, "a volatile message was dropped");
            return false;
        }
        if !self.is_full(key, bytes) || self.drop_expired(now, key) && !self.is_full(key, bytes) {
            return true;
        }
        let is_kept = match (self.sessions[key as usize].policy.full, origin) {
            // Its publisher was asked, and there was room.
            (QueueFull::Reject, Origin::Client(_)) if message.qos > QoS::AtMostOnce => return true,
            (QueueFull::Reject | QueueFull::DropNewest, _) => false,
            (QueueFull::DropOldest | QueueFull::KeepLastPerTopic, _) => {
                self.drop_waiting(now, key, bytes)
            }
        };
        if !is_kept {
            self.count_drop(key, Drop::Full);
            self.push_full_event(now, key, "the newest message was dropped");
        }
        is_kept
    }

    /// Drops what waits until there is room: what a later message of its topic has replaced, then
    /// what waits longest. Where all queues together are full, the session gives up as many bytes as
    /// it is to get, and thereby its part in it. False: that is not enough.
    fn drop_waiting(&mut self, now: Instant, key: SessionKey, bytes: u64) -> bool {
        let mut freed = 0;
        while self.is_full(key, bytes) && (freed < bytes || self.is_full_by_itself(key, bytes)) {
            if let Some(bytes) = self.drop_replaced(now, key) {
                freed += bytes;
                self.count_drop(key, Drop::Replaced);
                self.push_full_event(now, key, "an older message of its topic was dropped");
            } else if let Some(bytes) = self.drop_front(now, key) {
                freed += bytes;
                self.count_drop(key, Drop::Full);
                self.push_full_event(now, key, "the oldest message was dropped");
            } else {
                return false;
            }
        }
        true
    }

    /// Drops what has expired at the front of a queue. True: there was something.
    pub(super) fn drop_expired(&mut self, now: Instant, key: SessionKey) -> bool {
        let mut has_dropped = false;
        while self.is_front_expired(now, key) && self.drop_front(now, key).is_some() {
            self.count_drop(key, Drop::Expired);
            has_dropped = true;
        }
        has_dropped
    }

    /// Has the age of what waits for a session looked at when the oldest is due.
    pub(super) fn watch_age(&mut self, key: SessionKey) {
        let session = &self.sessions[key as usize];
        if session.policy.age_max_s == 0 || session.is_age_watched {
            return;
        }
        let Some(at) = self.front_aged_at(key) else { return };
        let session = &mut self.sessions[key as usize];
        session.is_age_watched = true;
        self.timers.set(at, Timer::QueueAge(session.id));
    }

    /// Drops what has waited for longer than its queue allows.
    pub(super) fn check_queue_age(&mut self, now: Instant, id: SessionId) {
        let Some(key) = self.session_keys.get(&id).copied() else { return };
        let mut dropped = 0;
        while dropped < AGED_AT_ONCE && self.front_aged_at(key).is_some_and(|at| at <= now) {
            self.drop_front(now, key);
            self.count_drop(key, Drop::Aged);
            dropped += 1;
        }
        if dropped > 0 {
            self.push_full_event(now, key, "messages were dropped for their age");
            self.announce_room(key);
        }
        if dropped == AGED_AT_ONCE {
            self.timers.set(now.plus_ms(AGED_REST_MS), Timer::QueueAge(id));
        } else {
            self.sessions[key as usize].is_age_watched = false;
            self.watch_age(key);
        }
    }

    /// When the first of a queue has waited for too long, to the second.
    fn front_aged_at(&self, key: SessionKey) -> Option<Instant> {
        let session = &self.sessions[key as usize];
        let arrived_at = self.ledger.find(session.queue.lowest()?)?.arrived_at;
        // Its arrival is known in whole seconds, rounded down.
        Some(arrived_at.plus_s(session.policy.age_max_s).plus_ms(1000))
    }

    fn is_front_expired(&self, now: Instant, key: SessionKey) -> bool {
        let queue = &self.sessions[key as usize].queue;
        match (queue.oldest(), queue.first_number()) {
            (Some(queued), _) => queued.message.is_expired(now),
            (None, Some(seq)) => {
                let expires_at = self.ledger.find(seq).and_then(|entry| entry.expires_at);
                expires_at.is_some_and(|at| at <= now)
            }
            (None, None) => false,
        }
    }

    /// Takes what waits longest out of a queue. Its bytes.
    fn drop_front(&mut self, now: Instant, key: SessionKey) -> Option<u64> {
        let queue = &mut self.sessions[key as usize].queue;
        let number = queue.first_number();
        match (queue.pop_oldest(), number) {
            (None, Some(seq)) => self.drop_number(now, key, seq),
            (oldest, _) => {
                let queued = oldest?;
                self.finish(now, key, &queued);
                Some(queued.message.bytes())
            }
        }
    }

    /// Takes out of a queue what a later message of its topic has replaced. Its bytes.
    fn drop_replaced(&mut self, now: Instant, key: SessionKey) -> Option<u64> {
        loop {
            let session = &mut self.sessions[key as usize];
            let seq = session.last_per_topic.as_mut()?.pop_replaced()?;
            if let Some(queued) = session.queue.remove_of_head(seq) {
                self.finish(now, key, &queued);
                return Some(queued.message.bytes());
            }
            if session.queue.has_number(seq) {
                return self.drop_number(now, key, seq);
            }
            // It was sent meanwhile.
        }
    }

    fn drop_number(&mut self, now: Instant, key: SessionKey, seq: Seq) -> Option<u64> {
        let bytes = self.ledger.find(seq).map_or(0, |entry| entry.bytes);
        let session = &mut self.sessions[key as usize];
        session.queue.remove_number(seq, bytes);
        session.shared.remove(seq);
        self.finish_number(now, key, seq);
        Some(bytes)
    }
}
