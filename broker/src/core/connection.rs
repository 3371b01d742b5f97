//! What the core knows of a connection whose CONNECT it has seen.

use std::collections::VecDeque;

use outpost_bridge::peering::Features;
use outpost_protocol::{KeepAliveWatch, ProtocolVersion};

use super::message::Topic;
use super::output::{AckKind, Output};
use super::parked::Parked;
use super::time::Instant;
use super::topics::SessionKey;

/// Names a connection for as long as the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnId {
    /// Its place in tables that are as long as there were ever connections at one time. A place is
    /// used again after its connection has gone.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Who connected, as the shell knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address, for logs.
    pub address: Box<str>,
    /// The user name that was authenticated.
    pub user_name: Option<Box<str>>,
    /// A part of this program, such as a bridge: it may use reserved client identifiers.
    pub is_internal: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnId,
    pub peer: Peer,
    pub version: ProtocolVersion,
    /// None before a session is found for it, and after it was detached from its session.
    pub session: Option<SessionKey>,
    pub keep_alive: KeepAliveWatch,
    pub maximum_packet_size: u32,
    pub wants_reasons: bool,
    /// It is the bridge of an Outpost, and was granted this.
    pub bridge: Option<Features>,
    /// It is a bridge of any make: by the bit of 3.1.1, by its will with 5.0, or as one of an
    /// Outpost.
    pub is_any_bridge: bool,
    pub topic_alias_maximum_out: u16,
    /// Topics by alias, as the client set them. Empty until the first.
    pub topic_aliases: Vec<Option<Topic>>,
    pub outputs: Vec<Output>,
    pub output_bytes: u64,
    /// The part of it that are no messages: answers to what the client sent.
    pub answer_bytes: u64,
    /// What waits for a commit, in the order in which it leaves.
    pub parked: VecDeque<Parked>,
    /// PUBLISH packets among it that later ones do not overtake.
    pub publishes_held_up: u32,
    /// QoS 1 messages taken and not yet acknowledged.
    pub unacknowledged: u32,
    /// QoS 2 messages of former connections that were not released when this one began: its quota
    /// began anew (MQTT 5.0, 4.9).
    pub received_before: usize,
    /// Its CONNACK has gone out; nothing else may before [MQTT-3.2.0-1].
    pub is_accepted: bool,
    /// Its session began with it.
    pub has_new_session: bool,
    /// PUBLISH packets that wait for room in a queue.
    pub held: VecDeque<Box<[u8]>>,
    /// It is to be woken already.
    pub is_woken: bool,
    /// Since when a packet of it waits for room.
    pub waits_since: Option<Instant>,
}

impl Connection {
    /// What an output counts towards the limit of a slow connection.
    pub(super) fn push(&mut self, output: Output) {
        let bytes = match &output {
            Output::Publish(delivery) => delivery.message.bytes() + PACKET_OVERHEAD,
            Output::Encoded(bytes) => bytes.len() as u64 + PACKET_OVERHEAD,
            _ => PACKET_OVERHEAD,
        };
        self.output_bytes += bytes;
        if !matches!(output, Output::Publish(_)) {
            self.answer_bytes += bytes;
        }
        if matches!(output, Output::Ack(AckKind::PubAck, ..)) {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
        }
        self.outputs.push(output);
    }

    /// Enters it among those to be woken, where it stands once at the most.
    pub(super) fn wake(&mut self, wakeups: &mut VecDeque<ConnId>) {
        if !self.is_woken {
            self.is_woken = true;
            wakeups.push_back(self.id);
        }
    }
}

impl Connection {
    /// What the answers count that wait for a commit.
    pub(super) fn parked_bytes(&self) -> u64 {
        self.parked.len() as u64 * PACKET_OVERHEAD
    }
}

/// Header, packet identifier and the entry in the queue of outputs.
const PACKET_OVERHEAD: u64 = 32;
