//! What arrives: latency, losses, duplicates and order, judged by what the payloads say.
//!
//! A payload starts with the time it was published (ns since the start of the run), its publisher
//! and its number; the rest is filling.

use crate::histogram::Histogram;

/// Bytes at the start of a payload.
pub(crate) const HEAD_BYTES: usize = 16;

/// A message number above this is not one of ours: it bounds the memory of the bitmaps.
const NUMBER_MAX: u32 = 100_000_000;

/// The head of a payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) published_ns: u64,
    pub(crate) publisher: u32,
    pub(crate) number: u32,
}

impl Head {
    #[inline]
    pub(crate) fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.published_ns.to_le_bytes());
        payload[8..12].copy_from_slice(&self.publisher.to_le_bytes());
        payload[12..16].copy_from_slice(&self.number.to_le_bytes());
    }

    #[inline]
    fn read(payload: &[u8]) -> Option<Self> {
        let (head, _) = payload.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
        Some(Self {
            published_ns: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            publisher: u32::from_le_bytes([i, j, k, l]),
            number: u32::from_le_bytes([m, n, o, p]),
        })
    }
}

/// A connection that receives.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Receivers of one group share their messages: each is meant for one of them.
    group: usize,
    /// For each publisher one more than the highest number seen.
    next: Vec<u32>,
}

impl Receiver {
    pub(crate) fn new(group: u32) -> Self {
        Self { group: group as usize, next: Vec::new() }
    }
}

/// What all receivers have got.
pub(crate) struct Receipts {
    publishers: usize,
    /// For each group and publisher the numbers seen, a bit each.
    seen: Vec<Vec<u64>>,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    /// Messages that no publisher of this run can have sent.
    pub(crate) foreign: u64,
    pub(crate) latency: Histogram,
}

impl Receipts {
    pub(crate) fn new(publishers: u32, groups: u32) -> Self {
        Self {
            publishers: publishers as usize,
            seen: vec![Vec::new(); publishers as usize * groups as usize],
            delivered: 0,
            duplicates: 0,
            out_of_order: 0,
            foreign: 0,
            latency: Histogram::new(),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, receiver: &mut Receiver, payload: &[u8], now_ns: u64) {
        let Some(head) = Head::read(payload) else {
            self.foreign += 1;
            return;
        };
        let publisher = head.publisher as usize;
        if publisher >= self.publishers || head.number >= NUMBER_MAX {
            self.foreign += 1;
            return;
        }
        self.latency.record(now_ns.saturating_sub(head.published_ns));
        if self.is_duplicate(receiver.group * self.publishers + publisher, head.number) {
            self.duplicates += 1;
            return;
        }
        self.delivered += 1;
        if receiver.next.len() <= publisher {
            receiver.next.resize(self.publishers, 0);
        }
        let next = &mut receiver.next[publisher];
        if head.number < *next {
            self.out_of_order += 1;
        } else {
            *next = head.number + 1;
        }
    }

    #[inline]
    fn is_duplicate(&mut self, stream: usize, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        let seen = &mut self.seen[stream];
        if seen.len() <= word {
            seen.resize(word + 1, 0);
        }
        let before = seen[word];
        seen[word] = before | bit;
        before & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(receipts: &mut Receipts, receiver: &mut Receiver, publisher: u32, number: u32) {
        let mut payload = [0; 20];
        Head { published_ns: 5, publisher, number }.write(&mut payload);
        receipts.record(receiver, &payload, 1_005);
    }

    #[test]
    fn duplicates_and_order_are_counted_for_each_publisher() {
        let mut receipts = Receipts::new(2, 1);
        let mut receiver = Receiver::new(0);
        for (publisher, number) in [(0, 0), (1, 0), (0, 2), (0, 1), (1, 1), (0, 2), (0, 3)] {
            receive(&mut receipts, &mut receiver, publisher, number);
        }
        assert_eq!((receipts.delivered, receipts.duplicates, receipts.out_of_order), (6, 1, 1));
        receive(&mut receipts, &mut receiver, 2, 0);
        receipts.record(&mut receiver, b"short", 0);
        assert_eq!((receipts.delivered, receipts.foreign), (6, 2));
    }

    #[test]
    fn a_group_shares_its_messages_and_each_member_has_its_own_order() {
        let mut receipts = Receipts::new(1, 2);
        let (mut one, mut two) = (Receiver::new(0), Receiver::new(0));
        let mut other = Receiver::new(1);
        receive(&mut receipts, &mut one, 0, 5);
        receive(&mut receipts, &mut two, 0, 4);
        receive(&mut receipts, &mut other, 0, 4);
        assert_eq!((receipts.delivered, receipts.duplicates, receipts.out_of_order), (3, 0, 0));
        receive(&mut receipts, &mut two, 0, 5);
        assert_eq!(receipts.duplicates, 1);
    }
}
