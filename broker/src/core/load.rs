//! Messages that come back into memory: those that are next for a session whose client is there, and
//! those of shared subscriptions that go to another member.
//!
//! A message is found by its number in the open batch or the batch under commit, among those that
//! live in memory only, and else in the store. What is in the store is asked for by
//! [`Broker::poll_load`], for each session one range at a time, and may have become void when it
//! comes.

use std::sync::Arc;

use outpost_protocol::QoS;

use super::Broker;
use super::change::{QueuedMessage, Seq, SessionId};
use super::event::Event;
use super::overflow::Drop;
use super::queue::Queued;
use super::session::Sweep;
use super::time::Instant;
use super::topics::SessionKey;

/// Messages of a session that are to be read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// For whom.
    pub session: SessionId,
    /// Their numbers, ascending: at most 512, and but for the last at most 128 KiB of messages.
    pub seqs: Vec<Seq>,
}

impl Broker {
    /// What is to be read from the store; answered by [`Self::handle_loaded`]. All of it was
    /// committed before.
    pub fn poll_load(&mut self) -> Option<Load> {
        self.loads.pop_front()
    }

    /// The rows that [`Self::poll_load`] asked for; none where there is no such row.
    pub fn handle_loaded(
        &mut self,
        now: Instant,
        session: SessionId,
        rows: Vec<(Seq, Option<QueuedMessage>)>,
    ) {
        let Some(key) = self.session_keys.get(&session).copied() else { return };
        self.sessions[key as usize].is_loading = false;
        for (seq, row) in rows {
            if !self.sessions[key as usize].needs(seq) {
                continue; // It was dropped, or given away, meanwhile.
            }
            match row.and_then(|row| Queued::of_row(&row, seq, session)) {
                Some(queued) if self.sessions[key as usize].sweep.is_some() => {
                    self.sweep_one(now, key, seq, queued);
                }
                Some(queued) => self.fill_one(key, seq, queued),
                None => self.miss(now, key, seq),
            }
        }
        if self.sessions[key as usize].sweep.is_some() {
            self.go_on_sweeping(now, key);
        } else {
            self.pump(now, key);
        }
        self.take_up_held(now);
    }

    /// Brings into the head of a queue what comes next and need not be read.
    pub(super) fn fill_head(&mut self, key: SessionKey) {
        while self.sessions[key as usize].queue.has_head_room(self.head_size)
            && let Some(seq) = self.sessions[key as usize].queue.first_number()
            && let Some(queued) = self.find_in_memory(key, seq)
        {
            self.fill_one(key, seq, queued);
        }
    }

    /// Likewise what is to be sent again next.
    pub(super) fn fill_resend(&mut self, key: SessionKey) {
        if let Some(seq) = self.sessions[key as usize].next_number_to_resend()
            && let Some(queued) = self.find_in_memory(key, seq)
        {
            self.fill_one(key, seq, queued);
        }
    }

    /// Asks for what comes next and is not in memory, early enough that it is there when the window
    /// opens.
    pub(super) fn request_load(&mut self, key: SessionKey) {
        let session = &self.sessions[key as usize];
        // What is to be sent again goes first, however much stands in the head behind it.
        let is_awaited = session.next_number_to_resend().is_some();
        let is_due = is_awaited || session.queue.is_head_low(self.head_size);
        if session.is_loading || !is_due || session.has_all_in_memory() {
            return;
        }
        let numbers = session.numbers_to_resend().chain(session.queue.numbers());
        let seqs = self.readable(numbers);
        self.push_load(key, seqs);
    }

    /// Gives the messages of these shared subscriptions (none: of all) to other members. To be called
    /// while the client is away.
    pub(super) fn sweep(&mut self, now: Instant, key: SessionKey, shares: Vec<Arc<str>>) {
        self.sessions[key as usize].sweep =
            Some(Sweep { shares, from: Seq(0), until: self.next_seq });
        self.go_on_sweeping(now, key);
    }

    fn go_on_sweeping(&mut self, now: Instant, key: SessionKey) {
        while let Some(sweep) = &self.sessions[key as usize].sweep {
            let session = &self.sessions[key as usize];
            let Some(seq) = sweep.ahead(&session.shared).next() else { break };
            let Some(queued) = self.find_in_memory(key, seq) else {
                if !session.is_loading {
                    let seqs = self.readable(sweep.ahead(&session.shared));
                    self.push_load(key, seqs);
                }
                return;
            };
            self.sweep_one(now, key, seq, queued);
        }
        self.sessions[key as usize].sweep = None;
        if self.sessions[key as usize].has_ended {
            self.remove_session(now, key);
        }
    }

    fn sweep_one(&mut self, now: Instant, key: SessionKey, seq: Seq, queued: Queued) {
        let session = &mut self.sessions[key as usize];
        let Some(sweep) = &mut session.sweep else { return };
        if sweep.ahead(&session.shared).next() != Some(seq) {
            return; // It was read for another reason.
        }
        sweep.from = Seq(seq.0 + 1);
        let Some(share) = &queued.share else { return };
        if !sweep.shares.is_empty() && !sweep.shares.contains(share) {
            return;
        }
        let is_taken = session.queue.remove_number(seq, queued.message.bytes())
            // A QoS 2 flow that began is completed with this client [MQTT-4.8.2-4].
            || queued.qos == QoS::AtLeastOnce && session.remove_resend(seq);
        if is_taken {
            session.shared.remove(seq);
            self.hold_to_commit(now, seq);
            self.finish_number(now, key, seq);
            self.redistribute(now, vec![queued]);
        }
    }

    /// Puts a message in its place in memory.
    fn fill_one(&mut self, key: SessionKey, seq: Seq, queued: Queued) {
        let session = &mut self.sessions[key as usize];
        if session.connection.is_none() {
            return;
        }
        if session.queue.first_number() == Some(seq) {
            session.shared.remove(seq);
            session.queue.fill(queued);
        } else {
            session.fill_resend(seq, queued);
        }
    }

    /// A message is not in the store. One of a former run was done before that ended: the index of the
    /// store tells of some that are gone, and the row of a session is not written for each message
    /// that it has. One of this run should be there: the file was damaged. Either way the session goes
    /// on without it.
    fn miss(&mut self, now: Instant, key: SessionKey, seq: Seq) {
        let bytes = self.ledger.find(seq).map_or(0, |entry| entry.bytes);
        let session = &mut self.sessions[key as usize];
        if !session.queue.remove_number(seq, bytes) && !session.remove_resend(seq) {
            return;
        }
        session.shared.remove(seq);
        let client_id = (*session.client_id).into();
        self.finish_number(now, key, seq);
        if seq >= self.first_seq {
            self.count_drop(key, Drop::Damaged);
            self.push_event(Event::Damaged { client_id, number: seq.0 });
        }
    }

    fn find_in_memory(&self, key: SessionKey, seq: Seq) -> Option<Queued> {
        let row = self.find_row(seq)?;
        Queued::of_row(row, seq, self.sessions[key as usize].id)
    }

    fn find_row(&self, seq: Seq) -> Option<&QueuedMessage> {
        self.pending.find_message(seq).or_else(|| self.resident.get(&seq))
    }

    /// As many of these as are read at a time, up to the first one that need not be.
    fn readable(&self, numbers: impl Iterator<Item = Seq>) -> Vec<Seq> {
        let mut bytes = 0;
        let is_within = |seq: &Seq| {
            let is_within = bytes < self.head_size.bytes;
            bytes += self.ledger.find(*seq).map_or(0, |entry| entry.bytes);
            is_within && self.find_row(*seq).is_none()
        };
        numbers.take(self.head_size.messages).take_while(is_within).collect()
    }

    fn push_load(&mut self, key: SessionKey, mut seqs: Vec<Seq>) {
        if seqs.is_empty() {
            return;
        }
        seqs.sort_unstable();
        let session = &mut self.sessions[key as usize];
        session.is_loading = true;
        self.loads.push_back(Load { session: session.id, seqs });
    }
}
