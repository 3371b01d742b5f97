//! The broker as one plain value that knows no clock, socket, file or random source.
//!
//! What happens outside comes in by `handle_*`, with the time as an argument; what is to be done
//! outside is asked for by `poll_*`. The same calls give the same answers, byte for byte: the
//! simulation depends on it.
//!
//! | file | what it owns |
//! |---|---|
//! | `connect`, `disconnect` | CONNECT, taking over, the end of a connection and of a session |
//! | `publish` | PUBLISH from a client: checks, retained, room, the acknowledgement |
//! | `held` | messages of clients that cannot be told of a full queue, until there is room |
//! | `route` | from one message to all its receivers; shared subscriptions |
//! | `delivery` | a session's window, its queue, and what goes to its connection |
//! | `overflow`, `last_per_topic` | full queues, messages that wait for too long, what is dropped |
//! | `load` | messages of long queues, back from the store when their turn comes |
//! | `origins` | messages that came over bridges: loops, and what came before |
//! | `live`, `stamp` | of bridges: new messages beside a backlog, and when messages came |
//! | `interest` | what bridges of other Outposts are told that there are subscribers for |
//! | `acknowledge` | PUBACK, PUBREC, PUBREL, PUBCOMP of both halves |
//! | `subscribe` | SUBSCRIBE, UNSUBSCRIBE, retained messages for new subscriptions |
//! | `pending`, `policy` | the open batch, when it is due, and what that may cost |
//! | `parked` | the acknowledgements that wait for it, or for the receivers of a message |
//! | `restore` | from what the store held back to sessions, routes and queues |
//! | `stall` | a store that waits for space: what goes on, what is refused |
//! | `bug` | mistakes that the simulation plants, absent from every broker that is used |
//! | `will`, `sys`, `timers` | wills, `$SYS`, what is due when |
//! | `topics`, `retained`, `session`, `queue`, `ledger`, `connection` | the tables |
//! | `output` | what a connection gets, and its way into bytes |
//!
//! Invariants: a QoS 1 or 2 message that a durable session needs is in the open batch, in the batch
//! under commit, or in the store, until that session has acknowledged it; no acknowledgement leaves
//! before the batch that it promises is committed; a session key in the trie is a live session.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod acknowledge;
mod backlog;
mod bug;
pub mod change;
mod connect;
mod connection;
mod delivery;
mod disconnect;
mod durability;
mod event;
mod held;
mod interest;
mod last_per_topic;
mod ledger;
pub mod limits;
mod live;
mod load;
pub mod message;
pub mod origins;
pub mod output;
mod overflow;
mod parked;
mod pending;
mod policy;
mod publish;
mod queue;
mod restore;
mod retained;
mod route;
pub mod seq_set;
mod session;
mod stall;
mod stamp;
mod subscribe;
mod sys;
pub mod time;
mod timers;
mod topics;
mod will;

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // A test may be told its seed by the environment.
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;
use outpost_bridge::peering::{Features, NodeId};
use outpost_protocol::{Ack, DecodeError, Packet, ProtocolVersion, ReasonCode};
use siphasher::sip::SipHasher13;
use slab::Slab;

pub use backlog::Backlog;
pub use bug::Bug;
pub use connect::{refusal, refusal_of};
pub use connection::{ConnId, Peer};
pub use durability::{Durability, TopicClass};
pub use event::Event;
pub(crate) use event::Throttle;
pub use load::Load;
pub use policy::CommitPolicy;
pub use sys::Counters;
pub use topics::Takes;

use change::{QueuedMessage, Seq, SessionId};
use connection::Connection;
use interest::Interested;
use ledger::Ledger;
use limits::{Limits, QueueClass, QueuePolicy};
use origins::Origins;
use output::{EncoderOptions, Output};
use pending::Pending;
use queue::HeadSize;
use retained::Retained;
use route::Groups;
use seq_set::SeqSet;
use session::Session;
use stall::Stall;
use time::Instant;
use timers::{Timer, Timers};
use topics::{SessionKey, Topics};

/// Events that wait to be logged. More are dropped: a log is not worth the broker's memory.
const EVENTS_MAX: usize = 1_000;

/// How a broker is to behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its bounds.
    pub limits: Limits,
    /// Queues with bounds of their own. The first whose pattern fits a client identifier counts.
    pub queues: Vec<QueueClass>,
    /// When changes are committed.
    pub commit: CommitPolicy,
    /// What is promised of the messages of which topics: the first class that takes a topic decides;
    /// all others are durable.
    pub topic_classes: Vec<TopicClass>,
    /// What bridges of other Outposts may be granted.
    pub features: Features,
    /// How often `$SYS` is published, in seconds; 0: never.
    pub sys_interval_s: u32,
    /// What `$SYS/broker/version` says.
    pub version: &'static str,
    /// Keys the hash maps and the client identifiers that the broker assigns.
    pub seed: u64,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It was taken.
    Done,
    /// There is no room for it yet. Nothing happened: the same packet, and all behind it, are to be
    /// handed in again when the connection is woken.
    Wait,
    /// The connection is at its end; what was read behind this packet is void.
    Closed,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    /// The name of this broker among those that bridges join.
    node: NodeId,
    origins: Origins,
    loops: Throttle,
    connections: Slab<Connection>,
    sessions: Slab<Session>,
    clients: HashMap<Arc<str>, SessionKey, SeedableRandomState>,
    session_keys: HashMap<SessionId, SessionKey, SeedableRandomState>,
    topics: Topics,
    groups: Groups,
    retained: Retained,
    retained_full: Throttle,
    /// All messages with a number that sessions wait for.
    ledger: Ledger,
    /// Those among them that are in no store: they live as long as this broker.
    resident: BTreeMap<Seq, QueuedMessage>,
    resident_bytes: u64,
    /// Bytes of those without a number.
    memory_bytes: u64,
    /// The bounds of a queue that is of no class, and those of each class.
    default_queue: Arc<QueuePolicy>,
    queue_classes: Vec<Arc<QueuePolicy>>,
    head_size: HeadSize,
    /// Messages that nobody waits for, whose rows are still to be removed.
    stale: SeqSet,
    loads: VecDeque<Load>,
    /// Somebody waits for room, perhaps for room in all queues together.
    is_total_awaited: bool,
    pending: Pending,
    stall: Option<Stall>,
    next_seq: Seq,
    /// The first message of this run.
    first_seq: Seq,
    next_session: u32,
    generation: u32,
    timers: Timers,
    /// Bridges that are told which filters there are.
    interested: Vec<Interested>,
    wakeups: VecDeque<ConnId>,
    /// Connections with a packet that waits for room.
    waiting_connections: BTreeSet<ConnId>,
    /// Connections among them that may find room now.
    room_for: BTreeSet<ConnId>,
    events: VecDeque<Event>,
    counters: Counters,
    /// Rows of a damaged store that were lost at the start; none: nobody knows how many.
    store_lost: Option<u64>,
    store_file_bytes: u64,
    started_at: Instant,
    draws: u64,
    #[cfg(feature = "seeded-bugs")]
    bug: Option<Bug>,
}

impl Broker {
    /// An empty broker.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let state = SeedableRandomState::with_seed(settings.seed, SharedSeed::global_fixed());
        let mut timers = Timers::default();
        if settings.sys_interval_s > 0 {
            timers.set(now, Timer::Sys);
        }
        let mut topics = Topics::new(settings.seed);
        topics.set_classes(settings.topic_classes.clone());
        Self {
            topics,
            groups: Groups::default(),
            connections: Slab::new(),
            sessions: Slab::new(),
            clients: HashMap::with_hasher(state.clone()),
            session_keys: HashMap::with_hasher(state),
            retained: Retained::default(),
            retained_full: Throttle::default(),
            ledger: Ledger::default(),
            resident: BTreeMap::new(),
            resident_bytes: 0,
            memory_bytes: 0,
            default_queue: Arc::new(settings.limits.queue_policy()),
            queue_classes: settings.queues.iter().map(|c| Arc::new(c.policy.clone())).collect(),
            head_size: HeadSize::default(),
            stale: SeqSet::default(),
            loads: VecDeque::new(),
            is_total_awaited: false,
            pending: Pending::new(settings.commit),
            stall: None,
            next_seq: Seq(1),
            first_seq: Seq(1),
            next_session: 1,
            generation: 0,
            timers,
            interested: Vec::new(),
            wakeups: VecDeque::new(),
            waiting_connections: BTreeSet::new(),
            room_for: BTreeSet::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            store_lost: Some(0),
            store_file_bytes: 0,
            node: node_of(settings.seed),
            origins: Origins::default(),
            loops: Throttle::default(),
            started_at: now,
            draws: 0,
            #[cfg(feature = "seeded-bugs")]
            bug: None,
            settings,
        }
    }

    /// A packet of a connected client. CONNECT goes to [`Self::handle_connect`].
    pub fn handle_packet(&mut self, now: Instant, id: ConnId, packet: &Packet<'_>) -> Handled {
        let Some(connection) = self.connection_mut(id) else { return Handled::Closed };
        let Some(session) = connection.session else { return Handled::Closed };
        connection.keep_alive.handle_received(now.0);
        if !connection.is_accepted {
            return Handled::Wait;
        }
        let handled = match packet {
            Packet::Publish(publish) => self.handle_publish(now, id, session, publish),
            Packet::PubAck(ack) => {
                self.handle_ack(now, id, session, Ack::PubAck, ack.packet_id, ack.reason)
            }
            Packet::PubRec(ack) => self.handle_pubrec(now, id, session, ack),
            Packet::PubRel(ack) => self.handle_pubrel(now, id, session, ack),
            Packet::PubComp(ack) => {
                self.handle_ack(now, id, session, Ack::PubComp, ack.packet_id, ack.reason)
            }
            Packet::Subscribe(subscribe) => self.handle_subscribe(now, id, session, subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                self.handle_unsubscribe(now, id, session, unsubscribe)
            }
            Packet::PingReq => {
                self.push_output(id, Output::PingResp);
                Handled::Done
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(now, id, disconnect),
            Packet::Connect(_) => self.fail(now, id, ReasonCode::ProtocolError, "second CONNECT"),
            Packet::Auth(_) => {
                self.fail(now, id, ReasonCode::ProtocolError, "AUTH without a method in CONNECT")
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.fail(now, id, ReasonCode::ProtocolError, "a packet that only servers send")
            }
        };
        if handled == Handled::Done {
            self.counters.packets_received += 1;
            if matches!(packet, Packet::Publish(_))
                && let Some(connection) = self.connection_mut(id)
                && connection.held.is_empty()
            {
                connection.waits_since = None;
            }
        }
        self.take_up_held(now);
        handled
    }

    /// Bytes that are no packet.
    pub fn handle_malformed(&mut self, now: Instant, id: ConnId, error: DecodeError) {
        self.fail(now, id, error.reason, error.what);
        self.take_up_held(now);
    }

    /// The network connection is gone, or was closed as [`Output::Close`] asked.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId) {
        self.detach(
            now,
            id,
            disconnect::End::Lost(ReasonCode::UnspecifiedError, "connection lost"),
        );
        if self.connection_mut(id).is_some() {
            self.waiting_connections.remove(&id);
            self.timers.cancel(Timer::KeepAlive(id));
            self.timers.cancel(Timer::QueueFullWait(id));
            self.connections.remove(id.index());
        }
        self.take_up_held(now);
    }

    /// Whatever is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::KeepAlive(id) => self.check_keep_alive(now, id),
                Timer::QueueFullWait(id) => self.check_queue_full_wait(now, id),
                Timer::WillDelay(session) => self.check_will_delay(now, session),
                Timer::SessionExpiry(session) => self.check_session_expiry(now, session),
                Timer::QueueAge(session) => self.check_queue_age(now, session),
                Timer::RetainedExpiry(topic) => self.check_retained_expiry(now, &topic),
                Timer::Interest => self.tell_interest(now),
                Timer::Sys => self.publish_sys(now),
            }
        }
        self.take_up_held(now);
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next connection that has something to send, or may go on where it had to wait.
    pub fn poll_wakeup(&mut self) -> Option<ConnId> {
        while let Some(id) = self.wakeups.pop_front() {
            if let Some(connection) = self.connection_mut(id) {
                connection.is_woken = false;
                return Some(id);
            }
        }
        None
    }

    /// Takes what a connection is to send. To be called when all before it has been written.
    pub fn poll_output(&mut self, now: Instant, id: ConnId) -> Vec<Output> {
        let Some(connection) = self.connection_mut(id) else { return Vec::new() };
        let outputs = std::mem::take(&mut connection.outputs);
        connection.output_bytes = 0;
        connection.answer_bytes = 0;
        let session = connection.session;
        self.counters.packets_sent += outputs.len() as u64;
        if let Some(session) = session {
            self.send_retained_ahead(now, session);
        }
        self.take_up_held(now);
        outputs
    }

    /// Whether a client sends faster than it can be answered: more than `output_bytes_max` of answers
    /// wait, for [`Self::poll_output`] or for a commit. Nothing is to be read from it until they have
    /// been taken, or its task is woken.
    pub fn is_flooded(&self, id: ConnId) -> bool {
        let answers_max = u64::from(self.settings.limits.output_bytes_max);
        self.connection(id).is_some_and(|c| c.answer_bytes.max(c.parked_bytes()) > answers_max)
    }

    /// Whether [`Self::poll_output`] would give something.
    pub fn has_output(&self, id: ConnId) -> bool {
        self.connection(id).is_some_and(|c| !c.outputs.is_empty())
    }

    /// Whether a connection is at its end: nothing that it sends is heard any more, and what
    /// [`Self::poll_output`] still has for it ends with [`Output::Close`].
    pub fn is_closed(&self, id: ConnId) -> bool {
        self.connection(id).is_none_or(|c| c.session.is_none())
    }

    /// Something to log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How the packets of a connection are to be encoded.
    pub fn encoder_options(&self, id: ConnId) -> Option<EncoderOptions> {
        let connection = self.connection(id)?;
        let session = connection.session;
        Some(EncoderOptions {
            version: connection.version,
            wants_reasons: connection.wants_reasons,
            maximum_packet_size: connection.maximum_packet_size,
            topic_alias_maximum: connection.topic_alias_maximum_out,
            bridge: connection.bridge.map(|features| (self.node, features)),
            stamps_since: session.and_then(|key| self.sessions[key as usize].stamps_since),
        })
    }

    /// The name of this broker among those that bridges join.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// How many sessions there are, messages that wait in the store for any of them, and retained
    /// messages.
    pub fn totals(&self) -> (usize, usize, usize) {
        (self.sessions.len(), self.ledger.len(), self.retained.len())
    }

    /// Counts bytes that the shell read and wrote.
    pub fn count_bytes(&mut self, received: u64, sent: u64) {
        self.counters.bytes_received += received;
        self.counters.bytes_sent += sent;
    }

    /// The program ends: all 5.0 clients are told 0x8B, all connections end. Sessions stay as they
    /// are; their wills are kept for the next start.
    pub fn handle_shutdown(&mut self, now: Instant) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(_, c)| c.id).collect();
        for id in ids {
            self.close(id, ReasonCode::ServerShuttingDown, "the broker is shutting down");
            self.detach(now, id, disconnect::End::Shutdown);
        }
        self.commit_what_rides(now);
    }

    fn connection(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index()).filter(|c| c.id == id)
    }

    fn connection_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index()).filter(|c| c.id == id)
    }

    fn wake(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id.index()).filter(|c| c.id == id) {
            connection.wake(&mut self.wakeups);
        }
    }

    fn push_output(&mut self, id: ConnId, output: Output) {
        if let Some(connection) = self.connections.get_mut(id.index()).filter(|c| c.id == id) {
            connection.push(output);
            connection.wake(&mut self.wakeups);
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// A number that nobody outside can guess from those before; the seed decides it.
    fn draw(&mut self) -> u64 {
        // splitmix64 (Steele, Lea, Flood 2014).
        self.draws = self.draws.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.settings.seed ^ self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn is_v5(&self, id: ConnId) -> bool {
        self.connections.get(id.index()).is_some_and(|c| c.version == ProtocolVersion::V5)
    }
}

/// The name of a broker that has none yet. Others are told of it, and must not learn the seed by it.
fn node_of(seed: u64) -> NodeId {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    hasher.write(b"node");
    NodeId(hasher.finish())
}
