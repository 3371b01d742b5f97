//! What the core knows of every message that durable sessions wait for, wherever the message itself
//! is: 8 bytes each, 16 where it expires or several sessions wait for it.

use std::collections::BTreeMap;

use slab::Slab;

use super::change::Seq;
use super::time::Instant;

const BLOCK: usize = 64;

/// An empty ledger keeps the memory of so many blocks at the most.
const SPARE_BLOCKS: usize = 64;

/// Messages that wait, by number. Numbers are given in ascending order and mostly leave in it, so
/// they are kept in blocks of 64.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    numbers: BTreeMap<u64, usize>,
    /// In one piece: blocks that live long, each by itself between messages that come and go, would
    /// keep the memory of those from being given back (measured: 17 of 40 MB with a million).
    blocks: Slab<Block>,
    len: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Block {
    /// Which of its numbers wait, one bit each.
    waiting: u64,
    bytes: [u32; BLOCK],
    /// Seconds since the epoch, rounded down.
    arrived_s: [u32; BLOCK],
    /// Of those for which more than one session waits.
    sessions: Option<Box<[u32; BLOCK]>>,
    /// Seconds since the epoch, rounded up; 0: it does not expire.
    expires_s: Option<Box<[u32; BLOCK]>>,
}

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// As `Message::bytes`.
    pub bytes: u64,
    pub arrived_at: Instant,
    /// Not before its true moment, less than a second after it.
    pub expires_at: Option<Instant>,
    /// How many sessions wait for it.
    pub sessions: u32,
}

impl Ledger {
    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Their bytes, each message counted once.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, seq: Seq, entry: Entry) {
        let (number, at) = place(seq);
        let index = self.numbers.entry(number).or_insert_with(|| self.blocks.insert(Block::new()));
        let block = &mut self.blocks[*index];
        block.waiting |= 1 << at;
        // No packet is larger than 256 MiB.
        block.bytes[at] = u32::try_from(entry.bytes).unwrap_or(u32::MAX);
        block.arrived_s[at] = seconds(entry.arrived_at);
        if entry.sessions != 1 || block.sessions.is_some() {
            block.sessions.get_or_insert_with(|| Box::new([1; BLOCK]))[at] = entry.sessions;
        }
        let expires_s = entry.expires_at.map_or(0, |at| seconds(at.plus_ms(999)).max(1));
        if expires_s != 0 || block.expires_s.is_some() {
            block.expires_s.get_or_insert_with(|| Box::new([0; BLOCK]))[at] = expires_s;
        }
        self.len += 1;
        self.bytes += u64::from(block.bytes[at]);
    }

    pub(super) fn find(&self, seq: Seq) -> Option<Entry> {
        let (number, at) = place(seq);
        let block = &self.blocks[*self.numbers.get(&number)?];
        (block.waiting >> at & 1 == 1).then(|| block.entry(at))
    }

    /// One session fewer waits for a message. True: it was the last, and the message is forgotten.
    pub(super) fn release(&mut self, seq: Seq) -> bool {
        let (number, at) = place(seq);
        let Some(index) = self.numbers.get(&number).copied() else { return false };
        let block = &mut self.blocks[index];
        if block.waiting >> at & 1 == 0 {
            return false;
        }
        if let Some(sessions) = &mut block.sessions
            && sessions[at] > 1
        {
            sessions[at] -= 1;
            return false;
        }
        block.waiting &= !(1 << at);
        self.len -= 1;
        self.bytes -= u64::from(block.bytes[at]);
        if block.waiting == 0 {
            self.numbers.remove(&number);
            self.blocks.remove(index);
        }
        if self.len == 0 && self.blocks.capacity() > SPARE_BLOCKS {
            self.blocks = Slab::new();
        }
        true
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, Entry)> {
        self.numbers.iter().flat_map(|(number, index)| {
            let (number, block) = (*number, &self.blocks[*index]);
            let waits = move |at: &usize| block.waiting >> *at & 1 == 1;
            let seq = move |at: usize| Seq(number * BLOCK as u64 + at as u64);
            (0..BLOCK).filter(waits).map(move |at| (seq(at), block.entry(at)))
        })
    }
}

impl Block {
    fn new() -> Self {
        let (bytes, arrived_s) = ([0; BLOCK], [0; BLOCK]);
        Self { waiting: 0, bytes, arrived_s, sessions: None, expires_s: None }
    }

    fn entry(&self, at: usize) -> Entry {
        let moment = |seconds: u32| Instant(u64::from(seconds) * 1000);
        let expires_s = self.expires_s.as_ref().map_or(0, |expires_s| expires_s[at]);
        Entry {
            bytes: u64::from(self.bytes[at]),
            arrived_at: moment(self.arrived_s[at]),
            expires_at: (expires_s != 0).then(|| moment(expires_s)),
            sessions: self.sessions.as_ref().map_or(1, |sessions| sessions[at]),
        }
    }
}

fn place(seq: Seq) -> (u64, usize) {
    (seq.0 / BLOCK as u64, (seq.0 % BLOCK as u64) as usize)
}

/// Enough until the year 2106.
fn seconds(at: Instant) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sessions: u32, expires_at: Option<u64>) -> Entry {
        let expires_at = expires_at.map(Instant);
        Entry { bytes: 10, arrived_at: Instant(5_000), expires_at, sessions }
    }

    #[test]
    fn gives_back_what_was_entered() {
        let mut ledger = Ledger::default();
        ledger.insert(Seq(1), entry(1, None));
        ledger.insert(Seq(2), entry(3, Some(8_000)));
        ledger.insert(Seq(64), entry(1, Some(8_001)));
        assert_eq!(ledger.find(Seq(1)), Some(entry(1, None)));
        assert_eq!(ledger.find(Seq(2)), Some(entry(3, Some(8_000))));
        assert_eq!(ledger.find(Seq(64)), Some(entry(1, Some(9_000))), "seconds, rounded up");
        assert_eq!(ledger.find(Seq(3)), None);
        assert_eq!(ledger.find(Seq(700)), None);
        assert_eq!((ledger.len(), ledger.bytes()), (3, 30));
    }

    #[test]
    fn a_message_goes_with_the_last_session_that_waits() {
        let mut ledger = Ledger::default();
        ledger.insert(Seq(7), entry(2, None));
        ledger.insert(Seq(8), entry(1, None));
        assert!(!ledger.release(Seq(7)));
        assert!(ledger.release(Seq(8)));
        assert!(ledger.release(Seq(7)));
        assert!(!ledger.release(Seq(7)), "it is gone");
        assert_eq!((ledger.len(), ledger.bytes()), (0, 0));
        assert!(ledger.blocks.is_empty() && ledger.numbers.is_empty());
    }
}
