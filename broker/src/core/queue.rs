//! What waits for a session and is not in flight: the next few messages in memory, of all others
//! only their numbers. A queue of a million messages takes as little memory as one of a thousand.

use std::collections::VecDeque;
use std::sync::Arc;

use outpost_protocol::QoS;

use super::change::{QueuedMessage, Seq, SessionId, Target};
use super::live::Live;
use super::message::Message;
use super::output::Delivery;
use super::seq_set::SeqSet;
use super::time::Instant;
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
    /// New messages that overtake the others, for sessions that ask for it.
    live: Option<Box<Live>>,
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
            came_at: Instant::default(),
        }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.len() + self.live_messages().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on, new messages have this share of what is sent while older ones wait; 0: none.
    pub(super) fn set_live_percent(&mut self, percent: u8, since: Seq) {
        // In one order again.
        self.stow(|_| {});
        self.live = (percent > 0).then(|| Box::new(Live::new(percent, since)));
    }

    /// The client is there: what comes from now on is new.
    pub(super) fn begin_live(&mut self, since: Seq) {
        if let Some(live) = &mut self.live {
            live.begin(since);
        }
    }

    /// Whether a message that comes now overtakes others. One that is retained does not: the last value
    /// of a topic has to come last.
    pub(super) fn takes_live(&self, queued: &Queued, size: HeadSize) -> bool {
        let has_room = self.live.as_ref().is_some_and(|live| live.has_room(size));
        has_room && !queued.retain && self.has_old()
    }

    /// Puts in a message that overtakes others.
    pub(super) fn push_live(&mut self, queued: Queued) {
        let Some(live) = &mut self.live else { return self.push(queued) };
        self.bytes += queued.message.bytes();
        live.push(queued);
    }

    fn live_messages(&self) -> impl ExactSizeIterator<Item = &Queued> {
        static NONE: VecDeque<Queued> = VecDeque::new();
        self.live.as_ref().map_or(&NONE, |live| live.messages()).iter()
    }

    fn has_old(&self) -> bool {
        let Some(live) = &self.live else { return false };
        let first = self.head.front().and_then(|queued| queued.seq).or_else(|| self.rest.first());
        first.is_some_and(|seq| live.is_old(seq))
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
        let is_live = self.live.as_ref().is_some_and(|live| live.contains(seq));
        is_live || self.find_in_head(seq).is_some() || self.rest.contains(seq)
    }

    /// Takes a message out that is in memory.
    pub(super) fn remove_of_head(&mut self, seq: Seq) -> Option<Queued> {
        if let Some(queued) = self.live.as_mut().and_then(|live| live.remove(seq)) {
            self.bytes -= queued.message.bytes();
            return Some(queued);
        }
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

    /// The next to be sent of what is in memory.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        let has_old = self.has_old();
        let is_turn = self.live.as_mut().is_some_and(|live| !has_old || live.takes_turn());
        if is_turn && let Some(queued) = self.pop_live() {
            return Some(queued);
        }
        self.pop_oldest().or_else(|| self.pop_live())
    }

    fn pop_live(&mut self) -> Option<Queued> {
        let queued = self.live.as_mut()?.pop()?;
        self.bytes -= queued.message.bytes();
        Some(queued)
    }

    /// What has waited longest, if that is in memory.
    pub(super) fn oldest(&self) -> Option<&Queued> {
        if self.is_live_oldest() { self.live_messages().next() } else { self.head.front() }
    }

    /// Where there was no room for more to overtake the others, new messages went behind them, and may
    /// be all that is left of those.
    fn is_live_oldest(&self) -> bool {
        let live = self.live_messages().next().and_then(|queued| queued.seq);
        let first = self.head.front().map_or(self.rest.first(), |queued| queued.seq);
        let is_empty = self.head.is_empty() && self.rest.is_empty();
        live.is_some_and(|live| is_empty || first.is_some_and(|first| live < first))
    }

    /// Takes it.
    pub(super) fn pop_oldest(&mut self) -> Option<Queued> {
        if self.is_live_oldest() {
            return self.pop_live();
        }
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
        // They all have numbers.
        for queued in self.live.iter_mut().flat_map(|live| live.take_all()) {
            gone(&queued);
            self.rest.extend(queued.seq);
        }
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
        let oldest = self.head.iter().find_map(|queued| queued.seq).or_else(|| self.rest.first());
        let live = self.live_messages().next().and_then(|queued| queued.seq);
        oldest.into_iter().chain(live).min()
    }

    /// How many with a number below `end` are in it.
    pub(super) fn count_below(&self, end: Seq) -> usize {
        let live = self.live_messages().take_while(|queued| queued.seq < Some(end)).count();
        let head = self.head.partition_point(|queued| queued.seq < Some(end));
        head + self.rest.count_below(end) + live
    }

    /// Whether a message with a number above `from` and below `to` is in it.
    pub(super) fn has_between(&self, from: Seq, to: Seq) -> bool {
        let behind = self.head.partition_point(|queued| queued.seq <= Some(from));
        let is_between = |queued: &Queued| queued.seq > Some(from) && queued.seq < Some(to);
        self.head.get(behind).is_some_and(|queued| queued.seq < Some(to))
            || self.live_messages().any(is_between)
            || self.rest.iter_from(Seq(from.0 + 1)).next().is_some_and(|seq| seq < to)
    }

    /// All of it, in order: what is in memory, and the numbers of the others.
    pub(super) fn take_all(&mut self) -> (VecDeque<Queued>, SeqSet) {
        let mut all = std::mem::take(self);
        all.head.extend(all.live.iter_mut().flat_map(|live| live.take_all()));
        (all.head, all.rest)
    }

    #[cfg(test)]
    pub(super) fn head(&self) -> impl Iterator<Item = &Queued> {
        self.head.iter().chain(self.live_messages())
    }
}
