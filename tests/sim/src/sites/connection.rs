//! Connections between clients and sites: two pipes and what is at their ends.

use std::collections::{BTreeMap, VecDeque};

use outpost_bridge::side::Side;
use outpost_broker::core::ConnId;
use outpost_broker::core::output::Encoder;

use crate::wire::Pipe;

/// Names a connection for as long as the run lasts.
pub(super) type ConnNumber = u64;

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Publisher(usize),
    Subscriber(usize),
    /// One end of the bridge of this number.
    Link(usize, Side),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub owner: Owner,
    pub site: usize,
    /// The process of the site that it was made to.
    pub process: u64,
    /// From the client to the broker.
    pub up: Pipe,
    /// From the broker to the client.
    pub down: Pipe,
    pub broker: BrokerEnd,
    /// What the client has read and not taken.
    pub input: VecDeque<u8>,
    /// The client uses it still.
    pub is_open: bool,
    /// Whatever is sent either way is lost, and nobody is told.
    pub is_silent: bool,
    pub delay_ms: u64,
}

/// The broker's end of a connection.
#[derive(Debug)]
pub(super) enum BrokerEnd {
    /// CONNECT has not come whole.
    New(Vec<u8>),
    /// The core knows it.
    Open(Box<OpenEnd>),
    /// It is closed, or its broker is no more.
    Gone,
}

/// What the broker's connection task holds.
#[derive(Debug)]
pub(super) struct OpenEnd {
    pub conn: ConnId,
    pub encoder: Encoder,
    /// Part of a packet, or what waits for room.
    pub unread: Vec<u8>,
    /// A packet had to wait.
    pub waits: bool,
    /// Messages by the packet identifier of the last PUBLISH that had it.
    pub published: BTreeMap<u16, usize>,
}

impl Conn {
    pub(super) fn new(
        owner: Owner,
        (site, process): (usize, u64),
        delay_ms: u64,
        hello: &[u8],
    ) -> Self {
        let mut up = Pipe::default();
        up.send(hello);
        Self {
            owner,
            site,
            process,
            up,
            down: Pipe::default(),
            broker: BrokerEnd::New(Vec::new()),
            input: VecDeque::new(),
            is_open: true,
            is_silent: false,
            delay_ms,
        }
    }

    /// The core's connection, if it has one.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match &self.broker {
            BrokerEnd::Open(end) => Some(end.conn),
            _ => None,
        }
    }
}
