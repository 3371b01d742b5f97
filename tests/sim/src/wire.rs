//! Connections: two streams of bytes that arrive late, in pieces of any size, and end when they like.

use std::collections::{BTreeMap, VecDeque};

use outpost_broker::core::ConnId;
use outpost_broker::core::output::Encoder;
use outpost_broker::core::time::Instant;
use outpost_protocol::ProtocolVersion;

use crate::draw::Draw;
use crate::watch::Watch;

/// Names a connection for as long as the run lasts.
pub(crate) type LineId = u64;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// The arrival of its next bytes stands in the agenda.
    pub is_scheduled: bool,
    /// The end follows what is under way.
    has_end: bool,
}

impl Pipe {
    /// Puts bytes on their way.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.has_end {
            self.bytes.extend(bytes);
        }
    }

    /// Nothing follows.
    pub(crate) fn end(&mut self) {
        self.has_end = true;
    }

    /// What is under way is lost.
    pub(crate) fn lose(&mut self) {
        self.bytes.clear();
    }

    /// Takes what arrives next: all that is under way, or the first part of it.
    pub(crate) fn arrive(&mut self, draw: &mut Draw) -> Vec<u8> {
        let all = self.bytes.len();
        let part =
            if all > 1 && draw.one_in(3) { draw.between(1, all as u64) as usize } else { all };
        self.bytes.drain(..part).collect()
    }

    /// Bytes under way.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing is under way, and nothing follows.
    pub(crate) fn is_at_end(&self) -> bool {
        self.has_end && self.bytes.is_empty()
    }

    /// Something is to arrive: bytes, or the end.
    pub(crate) fn has_something(&self) -> bool {
        self.has_end || !self.bytes.is_empty()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    /// Whose.
    pub who: usize,
    pub version: ProtocolVersion,
    /// From the client to the broker.
    pub up: Pipe,
    /// From the broker to the client.
    pub down: Pipe,
    pub broker: BrokerEnd,
    /// Which session of its client it serves, once CONNACK has left.
    pub incarnation: Option<u32>,
    pub since: Instant,
    /// The client uses it still.
    pub is_open: bool,
    /// How long bytes take at most, in milliseconds.
    pub delay_ms: u64,
    /// Bytes under way to the client before the broker has to wait.
    pub room: usize,
    /// Messages without payload that the client sent on it and the broker has not handled.
    pub erasing: VecDeque<usize>,
}

/// The broker's end of a connection.
#[derive(Debug)]
pub(crate) enum BrokerEnd {
    /// CONNECT has not come whole.
    New(Vec<u8>),
    /// The core knows it.
    Open(Box<OpenEnd>),
    /// It is closed, or its broker is no more.
    Gone,
}

/// What the broker's connection task holds.
#[derive(Debug)]
pub(crate) struct OpenEnd {
    pub conn: ConnId,
    pub encoder: Encoder,
    /// Part of a packet, or what waits for room.
    pub unread: Vec<u8>,
    /// A packet had to wait: nothing is read before the core has woken the task.
    pub waits: bool,
    /// The core has given up on the client.
    pub is_detached: bool,
    pub watch: Watch,
    /// Messages by the packet identifier of the last PUBLISH that had it.
    pub published: BTreeMap<u16, usize>,
}

impl Line {
    /// A connection that begins with these bytes of its client.
    pub(crate) fn new(who: usize, version: ProtocolVersion, since: Instant, hello: &[u8]) -> Self {
        let mut up = Pipe::default();
        up.send(hello);
        Self {
            who,
            version,
            up,
            down: Pipe::default(),
            broker: BrokerEnd::New(Vec::new()),
            incarnation: None,
            since,
            is_open: true,
            delay_ms: 0,
            room: usize::MAX,
            erasing: VecDeque::new(),
        }
    }

    /// The core's connection, if it has one.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match &self.broker {
            BrokerEnd::Open(end) => Some(end.conn),
            _ => None,
        }
    }
}
