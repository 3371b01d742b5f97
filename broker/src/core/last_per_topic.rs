//! Which of the messages in a queue are the last of their topics, for queues that keep those.

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;

use super::change::Seq;
use super::queue::Queue;
use super::seq_set::SeqSet;

/// The last message of each topic in a queue, and those that a later one has replaced. It may name
/// messages that have left the queue. About 32 bytes for each topic.
#[derive(Debug)]
pub(super) struct LastPerTopic {
    /// By the hash of the topic. Should two topics have the same, a message of one may count as
    /// replaced by one of the other.
    last: HashMap<u64, Seq, SeedableRandomState>,
    replaced: SeqSet,
}

impl LastPerTopic {
    pub(super) fn new(seed: u64) -> Self {
        let state = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self { last: HashMap::with_hasher(state), replaced: SeqSet::default() }
    }

    /// A message came to the end of the queue.
    pub(super) fn note(&mut self, topic_hash: u64, seq: Seq, queue: &Queue) {
        if let Some(old) = self.last.insert(topic_hash, seq)
            && queue.contains(old)
        {
            self.replaced.insert(old);
        }
        if self.last.len() > 2 * queue.len() + 64 {
            self.last.retain(|_, seq| queue.contains(*seq));
        }
        if self.replaced.len() > 2 * queue.len() + 64 {
            self.replaced = self.replaced.iter().filter(|seq| queue.contains(*seq)).collect();
        }
    }

    /// The oldest message that was replaced.
    pub(super) fn pop_replaced(&mut self) -> Option<Seq> {
        self.replaced.pop_first()
    }
}
