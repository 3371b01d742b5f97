//! A store that cannot go on for want of space: the disk is full, or mounted read-only.
//!
//! The batch under commit waits for space, and with it every acknowledgement that it promises. What
//! needs no commit goes on: QoS 0, and messages that their receivers acknowledge in time. A message
//! that would have to wait for the store is refused once that lasts for more than a second, where
//! its publisher can be told (5.0); 3.1.1 publishers wait for their acknowledgement.

use outpost_protocol::{Publish, QoS};

use super::Broker;
use super::durability::Durability;
use super::event::Event;
use super::time::Instant;
use super::topics::{Matches, SessionKey};

/// From so long a stall on, publishers are refused what would have to wait for its end.
const REFUSE_AFTER_MS: u64 = 1_000;

/// How often a stall that lasts is told.
const TELL_EVERY_MS: u64 = 600_000;

/// A stall that has not ended.
#[derive(Debug)]
pub(super) struct Stall {
    why: Box<str>,
    since: Instant,
    told_at: Instant,
}

impl Broker {
    /// The store could not write for want of space, and will try again. To be called at every
    /// attempt; the next [`Self::handle_committed`] ends the stall.
    pub fn handle_store_stalled(&mut self, now: Instant, why: &str) {
        let is_new = self.stall.is_none();
        let stall =
            self.stall.get_or_insert_with(|| Stall { why: why.into(), since: now, told_at: now });
        if &*stall.why != why {
            stall.why = why.into();
        }
        if is_new || now.since_ms(stall.told_at) >= TELL_EVERY_MS {
            stall.told_at = now;
            let (why, lasts_ms) = (stall.why.clone(), now.since_ms(stall.since));
            self.push_event(Event::StoreStalled { why, lasts_ms });
        }
        // Publishers that wait may be due for a refusal now.
        self.wake_waiting();
        self.take_up_held(now);
    }

    /// The store has committed something: whatever kept it from that is over.
    pub(super) fn end_stall(&mut self, now: Instant) {
        if let Some(stall) = self.stall.take() {
            self.push_event(Event::StoreRecovered { lasted_ms: now.since_ms(stall.since) });
        }
    }

    /// What `$SYS/broker/store/state` says.
    pub(super) fn store_state(&self) -> String {
        match &self.stall {
            Some(stall) => format!("stalled: {}", stall.why),
            None => "ok".to_owned(),
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Whether a message is refused since the store has no space for it. `is_backlogged`: the changes
    /// that wait for the store have reached their bound.
    pub(super) fn is_refused_by_stall(
        &self,
        now: Instant,
        publish: &Publish<'_>,
        matches: &Matches,
        is_backlogged: bool,
    ) -> bool {
        let Some(stall) = &self.stall else { return false };
        now.since_ms(stall.since) >= REFUSE_AFTER_MS
            && (is_backlogged
                || matches.durability != Durability::Volatile
                    && publish.qos > QoS::AtMostOnce
                    && (publish.retain || self.has_absent_receiver(matches)))
    }

    /// Whether a durable session whose client is away gets the message, or a shared subscription
    /// whose members are all away: only the store can keep it.
    fn has_absent_receiver(&self, matches: &Matches) -> bool {
        let is_away = |session: SessionKey, qos: QoS| {
            let session = &self.sessions[session as usize];
            qos > QoS::AtMostOnce && session.is_durable() && session.connection.is_none()
        };
        matches.sessions.iter().any(|found| is_away(found.session, found.qos))
            || matches.groups.iter().any(|group| {
                self.groups.members(*group).all(|(session, qos)| is_away(session, qos))
            })
    }
}
