//! A set of sequence numbers that costs next to no memory: a word for every 64 numbers of which it
//! has one. A million messages of one session take 256 KiB, not a million entries.

use std::collections::VecDeque;

use super::change::Seq;

/// Sequence numbers, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqSet {
    /// Blocks that are not empty, ascending.
    blocks: VecDeque<Block>,
    len: usize,
}

/// The numbers from 64 times `number` on that are in the set, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    number: u64,
    bits: u64,
}

impl Block {
    fn first(&self) -> Seq {
        Seq(self.number * 64 + u64::from(self.bits.trailing_zeros()))
    }
}

fn place(seq: Seq) -> (u64, u64) {
    (seq.0 / 64, 1 << (seq.0 % 64))
}

impl SeqSet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// False: it was there already. Cheap at the end, where nearly all come.
    pub fn insert(&mut self, seq: Seq) -> bool {
        let (number, bit) = place(seq);
        match self.find(number) {
            Ok(at) if self.blocks[at].bits & bit != 0 => return false,
            Ok(at) => self.blocks[at].bits |= bit,
            Err(at) => self.blocks.insert(at, Block { number, bits: bit }),
        }
        self.len += 1;
        true
    }

    /// False: it was not there.
    pub fn remove(&mut self, seq: Seq) -> bool {
        let (number, bit) = place(seq);
        let Ok(at) = self.find(number) else { return false };
        let block = &mut self.blocks[at];
        if block.bits & bit == 0 {
            return false;
        }
        block.bits &= !bit;
        if block.bits == 0 {
            self.blocks.remove(at);
        }
        self.len -= 1;
        if self.is_empty() {
            self.blocks = VecDeque::new();
        }
        true
    }

    /// Whether this is one of them.
    pub fn contains(&self, seq: Seq) -> bool {
        let (number, bit) = place(seq);
        self.find(number).is_ok_and(|at| self.blocks[at].bits & bit != 0)
    }

    /// The lowest.
    pub fn first(&self) -> Option<Seq> {
        self.blocks.front().map(Block::first)
    }

    /// Takes the lowest out.
    pub fn pop_first(&mut self) -> Option<Seq> {
        let seq = self.first()?;
        self.remove(seq);
        Some(seq)
    }

    /// How many are below `end`. It looks at a word for each 64 of them.
    pub fn count_below(&self, end: Seq) -> usize {
        let (number, bit) = place(end);
        let at = self.find(number).unwrap_or_else(|at| at);
        let whole: u32 = self.blocks.range(..at).map(|block| block.bits.count_ones()).sum();
        let part = self.blocks.get(at).filter(|block| block.number == number);
        (whole + part.map_or(0, |block| (block.bits & (bit - 1)).count_ones())) as usize
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Seq> {
        self.iter_from(Seq(0))
    }

    /// Those at or above `from`, ascending.
    pub fn iter_from(&self, from: Seq) -> impl Iterator<Item = Seq> {
        let (number, bit) = place(from);
        let at = self.find(number).unwrap_or_else(|at| at);
        self.blocks.range(at..).flat_map(move |block| {
            let mut rest = *block;
            if rest.number == number {
                rest.bits &= !(bit - 1);
            }
            std::iter::from_fn(move || {
                let seq = (rest.bits != 0).then(|| rest.first())?;
                rest.bits &= rest.bits - 1;
                Some(seq)
            })
        })
    }

    /// Where a block stands, or would stand.
    fn find(&self, number: u64) -> Result<usize, usize> {
        match (self.blocks.front(), self.blocks.back()) {
            (_, Some(last)) if last.number < number => Err(self.blocks.len()),
            (_, Some(last)) if last.number == number => Ok(self.blocks.len() - 1),
            (Some(first), _) if first.number == number => Ok(0),
            _ => self.blocks.binary_search_by_key(&number, |block| block.number),
        }
    }
}

impl Extend<Seq> for SeqSet {
    fn extend<I: IntoIterator<Item = Seq>>(&mut self, seqs: I) {
        for seq in seqs {
            self.insert(seq);
        }
    }
}

impl FromIterator<Seq> for SeqSet {
    fn from_iter<I: IntoIterator<Item = Seq>>(seqs: I) -> Self {
        let mut set = Self::default();
        set.extend(seqs);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0u8..4, 0u64..400), 0..300)) {
            let mut set = SeqSet::default();
            let mut model = BTreeSet::new();
            for (step, number) in steps {
                let seq = Seq(number);
                match step {
                    0 | 1 => prop_assert_eq!(set.insert(seq), model.insert(seq)),
                    2 => prop_assert_eq!(set.remove(seq), model.remove(&seq)),
                    _ => prop_assert_eq!(set.pop_first(), model.pop_first()),
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.contains(seq), model.contains(&seq));
                prop_assert_eq!(set.first(), model.first().copied());
                prop_assert!(set.iter_from(seq).eq(model.range(seq..).copied()));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(set.clone().iter().collect::<SeqSet>().len(), set.len());
        }
    }

    #[test]
    fn a_million_numbers_take_a_quarter_of_a_megabyte() {
        let set: SeqSet = (7..1_000_007).map(Seq).collect();
        assert_eq!(set.len(), 1_000_000);
        assert!(set.blocks.len() * size_of::<Block>() <= 256 << 10);
    }
}
