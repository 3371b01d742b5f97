//! What waits for one session: for the status of bridges, and to wait until it has gone.

use super::Broker;
use super::change::Seq;
use super::connect::internal_client_id;
use super::session::Session;
use super::time::Instant;

/// What waits for a session: in flight without an acknowledgement that ends it, or in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds since the oldest of them came; none where nothing waits.
    pub oldest_ms: Option<u64>,
    /// Messages that the session lost to its bounds, by reason.
    pub dropped: Vec<(&'static str, u32)>,
}

impl Broker {
    /// What waits for a part of this program; none: there is no such session. It takes as long as
    /// there are messages in flight.
    pub fn backlog(&self, now: Instant, client_id: &str) -> Option<Backlog> {
        let session = self.internal_session(client_id)?;
        let flying_bytes: u64 =
            session.flying().filter_map(|seq| self.ledger.find(seq)).map(|entry| entry.bytes).sum();
        let oldest = session.lowest_pending().and_then(|seq| self.ledger.find(seq));
        Some(Backlog {
            messages: session.flying().count() + session.queue.len(),
            bytes: flying_bytes + session.queue.bytes(),
            oldest_ms: oldest.map(|entry| now.since_ms(entry.arrived_at)),
            dropped: session.drops.iter().map(|(drop, count)| (drop.name(), count)).collect(),
        })
    }

    /// The number that the next message gets: what waits now has a lower one.
    pub fn message_mark(&self) -> u64 {
        self.next_seq.0
    }

    /// How many messages below this number wait for a part of this program.
    pub fn backlog_below(&self, client_id: &str, number: u64) -> Option<usize> {
        let session = self.internal_session(client_id)?;
        let end = Seq(number);
        Some(session.flying().filter(|seq| *seq < end).count() + session.queue.count_below(end))
    }

    fn internal_session(&self, client_id: &str) -> Option<&Session> {
        let key = self.clients.get(internal_client_id(client_id).as_str())?;
        self.sessions.get(*key as usize)
    }
}
