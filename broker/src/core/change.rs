//! What the core asks of the store: batches of changes, and the state it starts from.
//!
//! A batch is taken whole, committed whole, and answered by its number. Later changes of the same
//! row replace earlier ones while the batch is open, so that a row is written once a commit.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use outpost_protocol::{QoS, RetainHandling};
use siphasher::sip::SipHasher13;

use super::message::{Message, Topic};
use super::seq_set::SeqSet;
use super::time::Instant;

/// The number of a session in the store. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// The place of a stored message in the order of arrival. Never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// All that changed since the last batch. `Some`: the row as it is now; `None`: the row goes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its number: one more than the batch before it, from 1 in each run.
    pub number: u64,
    /// Messages that wait for sessions, and were not there before.
    pub messages: BTreeMap<Seq, QueuedMessage>,
    /// Messages that nobody needs any more. By themselves, as a queue that drains removes hundreds of
    /// thousands between two commits.
    pub removed: SeqSet,
    /// Sessions.
    pub sessions: BTreeMap<SessionId, Option<SessionRecord>>,
    /// Subscriptions, by session and filter (the whole filter, `$share/…` included).
    pub subscriptions: BTreeMap<(SessionId, Arc<str>), Option<SubscriptionRecord>>,
    /// Retained messages.
    pub retained: BTreeMap<Topic, Option<Arc<Message>>>,
    /// The messages of other brokers that came here, by broker.
    pub origins: BTreeMap<NodeId, Option<OriginRecord>>,
    /// The name of this broker, where the store has none yet.
    pub node: Option<NodeId>,
    /// The lowest sequence number not yet given away.
    pub next_seq: Seq,
    /// The lowest session number not yet given away.
    pub next_session: u32,
}

/// How many message numbers the store keeps ahead of those that are in use: a restart skips at most as
/// many.
pub const SEQ_STEP: u64 = 1 << 20;

/// Where the mark of the store stands once `next_seq` is stored: a restart gives away no number below
/// it. It stays half a step ahead, because numbers leave the broker over bridges before a row has them,
/// or without there ever being one: none of them may come again.
pub fn seq_mark(mark: Seq, next_seq: Seq) -> Seq {
    if next_seq.0.saturating_add(SEQ_STEP / 2) > mark.0 {
        Seq(next_seq.0.saturating_add(SEQ_STEP))
    } else {
        mark
    }
}

impl Batch {
    /// Rows that are written or removed.
    pub fn rows(&self) -> usize {
        self.messages.len()
            + self.removed.len()
            + self.sessions.len()
            + self.subscriptions.len()
            + self.retained.len()
            + self.origins.len()
    }
}

/// A message with the sessions that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// The message.
    pub message: Arc<Message>,
    /// When the broker took it in; none: it was stored by a version that did not record it.
    pub arrived_at: Option<Instant>,
    /// Who is to get it. Those that are done with it are told by their session's `SessionRecord`.
    pub targets: Vec<Target>,
}

/// One session that a message waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The session.
    pub session: SessionId,
    /// The QoS it is delivered with.
    pub qos: QoS,
    /// The RETAIN flag it is delivered with.
    pub retain: bool,
    /// The subscription identifiers that it carries.
    pub subscription_ids: Vec<u32>,
    /// The shared subscription it came by (`$share/name/filter`): another member may take it over.
    pub share: Option<Arc<str>>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The client identifier.
    pub client_id: Box<str>,
    /// Session Expiry Interval in seconds; `u32::MAX`: never (MQTT 5.0, 3.1.2.11.2).
    pub expiry_interval_s: u32,
    /// When the session ends; none while its client is connected.
    pub expires_at: Option<Instant>,
    /// The will that is still to be published if the client does not come back in order.
    pub will: Option<WillRecord>,
    /// All messages below this number are done for this session, or were never for it.
    pub cursor: Seq,
    /// What is done at or above the cursor: ranges, first and last included, ascending.
    pub done: Vec<(Seq, Seq)>,
    /// What is in flight towards the client.
    pub inflight: Vec<InflightRecord>,
    /// Packet identifiers of QoS 2 messages received and not yet released, ascending.
    pub received: Vec<u16>,
}

/// A packet identifier in use towards a client, in the order of first sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightRecord {
    /// The packet identifier.
    pub packet_id: u16,
    /// The message; none once PUBREC has come and only PUBREL and PUBCOMP are left.
    pub seq: Option<Seq>,
}

/// The messages of another broker that came here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRecord {
    /// Their numbers there: first and last of each range, ascending, with a gap between any two.
    pub numbers: Vec<(u64, u64)>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillRecord {
    /// What is published. `expires_at` is not set: a will's expiry counts from its publication.
    pub message: Arc<Message>,
    /// Its Message Expiry Interval in seconds.
    pub message_expiry_interval_s: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay_interval_s: u32,
    /// When it is due; none while the client is connected.
    pub due_at: Option<Instant>,
}

/// The options of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// It is that of a bridge: what is retained is kept for it whatever its QoS, so that both ends
    /// come to have the same, deletions included.
    pub keeps_retained: bool,
    /// What is retained on its topics is still to be sent, or some of it.
    pub owes_retained: bool,
}

/// Takes what a store holds at the start, in this order: sessions, subscriptions, retained messages,
/// origins, messages; each by its key, ascending.
pub trait Restore {
    /// A session.
    fn session(&mut self, id: SessionId, record: SessionRecord);

    /// A subscription, by its whole filter (`$share/…` included). Its session may be gone.
    fn subscription(&mut self, id: SessionId, filter: Arc<str>, record: SubscriptionRecord);

    /// A retained message.
    fn retained(&mut self, message: Arc<Message>);

    /// The messages of another broker that came here.
    fn origin(&mut self, node: NodeId, record: OriginRecord);

    /// A message that waits, or waited: its sessions may be gone or done with it, and the message may
    /// have been removed besides. Its payload is read when it is needed, through a `StoreReader`.
    fn message(&mut self, seq: Seq, message: &StoredMessage<'_>);
}

/// What has to be known of a stored message to queue it, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    /// [`Message::bytes`].
    pub bytes: u32,
    /// As in [`QueuedMessage`].
    pub arrived_at: Option<Instant>,
    /// As in [`Message`].
    pub expires_at: Option<Instant>,
    /// [`topic_hash`] of its topic.
    pub topic_hash: u64,
    /// Who is to get it, as in [`QueuedMessage`].
    pub targets: &'a [StoredTarget],
}

/// One session that a stored message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTarget {
    /// The session.
    pub session: SessionId,
    /// Whether it came by a shared subscription.
    pub is_shared: bool,
}

/// The numbers that a store has never seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The lowest sequence number not yet given away.
    pub next_seq: Seq,
    /// The lowest session number not yet given away.
    pub next_session: u32,
    /// The name of this broker; none: the store has none yet.
    pub node: Option<NodeId>,
}

/// A hash of a topic that is the same in every run and version, for it is stored: SipHash-1-3 with a
/// key of zeros. Whoever chooses topics can make two collide, which costs at most a message of his
/// own in a queue that keeps the last one of each topic; compare the topics where that matters.
pub fn topic_hash(topic: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(topic.as_bytes());
    hasher.finish()
}
