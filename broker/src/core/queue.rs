//! What waits for a session and is not in flight: the next few messages in memory, of all others
//! only their numbers. A queue of a million messages takes as little memory as one of a thousand.

use std::collections::VecDeque;
use std::sync::Arc;

use outpost_protocol::QoS;

use super::change::{QueuedMessage, Seq, SessionId, Target};
use super::message::Message;
use super::output::Delivery;
use super::seq_set::SeqSet;
use outpost_protocol::PacketId;

/// How much of a queue is kept in memory for a session that is connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadSize {
    pub messages: usize,
    /// But for the last message.
    pub bytes: u64,
}

impl Default for HeadSize {
    /// Enough for what is under way to a client while the next ones are read.
    fn default() -> Self {
        Self { messages: 512, bytes: 128 << 10 }
    }
}

/// A QoS 1 or 2 message for one session.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub message: Arc<Message>,
    /// Its number; none where the session ends with its connection.
    pub seq: Option<Seq>,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The shared subscription that it came by, with `$share/name/`.
    pub share: Option<Arc<str>>,
}

/// Messages in the order of their arrival: first the head, then the rest.
#[derive(Debug, Default)]
pub(super) struct Queue {
    head: VecDeque<Queued>,
    head_bytes: u64,
    /// The numbers of those that are not in memory. All above those of the head.
    rest: SeqSet,
    bytes: u64,
}

impl Queued {
    /// As it stands in a row of the store.
    pub(super) fn of_row(row: &QueuedMessage, seq: Seq, session: SessionId) -> Option<Self> {
        let target = row.targets.iter().find(|target| target.session == session)?;
        let ids = target.subscription_ids.as_slice();
        Some(Self {
            message: row.message.clone(),
            seq: Some(seq),
            qos: target.qos,
            retain: target.retain,
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            share: target.share.clone(),
        })
    }

    /// It lives in memory only, and its receiver remembers that it came.
    pub(super) fn is_lost_by_restart_halfway(&self) -> bool {
        self.message.is_volatile() && self.qos == QoS::ExactlyOnce
    }

    /// What the store has to know of it beside the message.
    pub(super) fn target(&self, session: SessionId) -> Target {
        Target {
            session,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids.as_deref().unwrap_or_default().to_vec(),
            share: self.share.clone(),
        }
    }

    /// Its PUBLISH with this packet identifier.
    pub(super) fn delivery(&self, packet_id: PacketId, dup: bool) -> Delivery {
        Delivery {
            message: self.message.clone(),
            packet_id: Some(packet_id),
            qos: self.qos,
            dup,
            retain: self.retain,
            subscription_ids: self.subscription_ids.clone(),
            number: self.seq,
        }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.rest.is_empty()
    }

    /// Bytes of all its messages, in memory or not.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all of it is in memory.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn has_head_room(&self, size: HeadSize) -> bool {
        self.head.len() < size.messages && self.head_bytes < size.bytes
    }

    /// Whether it is time to read on.
    pub(super) fn is_head_low(&self, size: HeadSize) -> bool {
        self.head.len() < size.messages / 2 && self.head_bytes < size.bytes / 2
    }

    /// Whether a message is in it.
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.find_in_head(seq).is_some() || self.rest.contains(seq)
    }

    /// Takes a message out that is in memory.
    pub(super) fn remove_of_head(&mut self, seq: Seq) -> Option<Queued> {
        let queued = self.head.remove(self.find_in_head(seq)?)?;
        self.bytes -= queued.message.bytes();
        self.head_bytes -= queued.message.bytes();
        Some(queued)
    }

    fn find_in_head(&self, seq: Seq) -> Option<usize> {
        self.head.binary_search_by_key(&Some(seq), |queued| queued.seq).ok()
    }

    /// Puts a message at the end, into memory.
    pub(super) fn push(&mut self, queued: Queued) {
        debug_assert!(self.is_whole());
        let bytes = queued.message.bytes();
        self.bytes += bytes;
        self.head_bytes += bytes;
        self.head.push_back(queued);
    }

    /// Puts a message at the end that is found by its number when its turn comes.
    pub(super) fn push_number(&mut self, seq: Seq, bytes: u64) {
        if self.rest.insert(seq) {
            self.bytes += bytes;
        }
    }

    /// The first of those that are not in memory.
    pub(super) fn first_number(&self) -> Option<Seq> {
        self.rest.first()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = Seq> {
        self.rest.iter()
    }

    pub(super) fn has_number(&self, seq: Seq) -> bool {
        self.rest.contains(seq)
    }

    /// Takes the first of the rest over into the head.
    pub(super) fn fill(&mut self, queued: Queued) {
        debug_assert_eq!(self.rest.first(), queued.seq);
        self.rest.pop_first();
        self.head_bytes += queued.message.bytes();
        self.head.push_back(queued);
    }

    /// Takes a message out that is not in memory. False: it is not there.
    pub(super) fn remove_number(&mut self, seq: Seq, bytes: u64) -> bool {
        let is_there = self.rest.remove(seq);
        if is_there {
            self.bytes -= bytes;
        }
        is_there
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.head.front()
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.head.pop_front()?;
        self.bytes -= queued.message.bytes();
        self.head_bytes -= queued.message.bytes();
        if self.head.is_empty() && self.head.capacity() > 64 {
            self.head = VecDeque::new();
        }
        Some(queued)
    }

    /// Lets go of the messages that can be found by their numbers; `gone` is told of each.
    pub(super) fn stow(&mut self, mut gone: impl FnMut(&Queued)) {
        let head = std::mem::take(&mut self.head);
        self.head_bytes = 0;
        for queued in head {
            match queued.seq {
                Some(seq) => {
                    gone(&queued);
                    self.rest.insert(seq);
                }
                None => {
                    self.head_bytes += queued.message.bytes();
                    self.head.push_back(queued);
                }
            }
        }
    }

    /// Takes those out of the head that `is_wanted` names.
    pub(super) fn take_of_head(&mut self, is_wanted: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        let head = std::mem::take(&mut self.head);
        let (taken, kept): (Vec<_>, Vec<_>) = head.into_iter().partition(is_wanted);
        self.head = kept.into();
        let bytes: u64 = taken.iter().map(|queued| queued.message.bytes()).sum();
        self.bytes -= bytes;
        self.head_bytes -= bytes;
        taken
    }

    /// The lowest number in it.
    pub(super) fn lowest(&self) -> Option<Seq> {
        self.head.iter().find_map(|queued| queued.seq).or_else(|| self.rest.first())
    }

    /// How many with a number below `end` are in it.
    pub(super) fn count_below(&self, end: Seq) -> usize {
        self.head.partition_point(|queued| queued.seq < Some(end)) + self.rest.count_below(end)
    }

    /// Whether a message with a number above `from` and below `to` is in it.
    pub(super) fn has_between(&self, from: Seq, to: Seq) -> bool {
        let behind = self.head.partition_point(|queued| queued.seq <= Some(from));
        self.head.get(behind).is_some_and(|queued| queued.seq < Some(to))
            || self.rest.iter_from(Seq(from.0 + 1)).next().is_some_and(|seq| seq < to)
    }

    /// All of it, in order: what is in memory, and the numbers of the others.
    pub(super) fn take_all(&mut self) -> (VecDeque<Queued>, SeqSet) {
        let all = std::mem::take(self);
        (all.head, all.rest)
    }

    #[cfg(test)]
    pub(super) fn head(&self) -> impl Iterator<Item = &Queued> {
        self.head.iter()
    }
}
