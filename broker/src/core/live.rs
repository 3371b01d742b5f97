//! New messages beside a backlog: for sessions that ask for it, what comes while older messages still
//! wait gets a share of what is sent, so that a link that was down for a day shows the present at once.

use std::collections::VecDeque;

use super::change::Seq;
use super::queue::{HeadSize, Queued};

/// The messages of a queue that came since the client is there and overtake older ones. All of them
/// are in memory; where there is no more room, messages go behind the others as usual.
#[derive(Debug)]
pub(super) struct Live {
    /// Of a hundred messages sent, how many are of these, while others wait.
    percent: u8,
    /// What these have not had of their share, in hundredths of a message.
    credit: u8,
    /// Messages below this number are old.
    since: Seq,
    messages: VecDeque<Queued>,
    bytes: u64,
}

impl Live {
    /// `percent` is 1 to 99.
    pub(super) fn new(percent: u8, since: Seq) -> Self {
        Self { percent, credit: 0, since, messages: VecDeque::new(), bytes: 0 }
    }

    /// The client is there from now on. What was new is old.
    pub(super) fn begin(&mut self, since: Seq) {
        self.since = since;
    }

    pub(super) fn is_old(&self, seq: Seq) -> bool {
        seq < self.since
    }

    pub(super) fn has_room(&self, size: HeadSize) -> bool {
        self.messages.len() < size.messages && self.bytes < size.bytes
    }

    /// Whether the next message is to be one of these. Asked once for each message.
    pub(super) fn takes_turn(&mut self) -> bool {
        if self.messages.is_empty() {
            return false;
        }
        self.credit += self.percent;
        let takes = self.credit >= 100;
        if takes {
            self.credit -= 100;
        }
        takes
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.bytes += queued.message.bytes();
        self.messages.push_back(queued);
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= queued.message.bytes();
        Some(queued)
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Queued> {
        let queued = self.messages.remove(self.find(seq)?)?;
        self.bytes -= queued.message.bytes();
        Some(queued)
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.find(seq).is_some()
    }

    fn find(&self, seq: Seq) -> Option<usize> {
        self.messages.binary_search_by_key(&Some(seq), |queued| queued.seq).ok()
    }

    pub(super) fn take_all(&mut self) -> VecDeque<Queued> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    /// In the order of their numbers.
    pub(super) fn messages(&self) -> &VecDeque<Queued> {
        &self.messages
    }
}
