//! The bridges: the real relay and handshake, driven as `bridge/src/driver.rs` drives them.

use std::sync::Arc;

use outpost_bridge::handshake::{Peer, Request};
use outpost_bridge::mapping::Mapping;
use outpost_bridge::output::{Output, Outputs};
use outpost_bridge::relay::{Notice, Plan as RelayPlan, Relay, sweep_needed};
use outpost_bridge::side::{PerSide, Side};
use outpost_protocol::{Packet, ProtocolVersion, decode};

use super::connection::{ConnNumber, Owner};
use super::plan::{Plan, rules};
use super::{Event, World};

const PACKET_BYTES_MAX: u32 = 1 << 20;
const ACK_TIMEOUT_MS: u64 = 60_000;
const KEEP_ALIVE_S: u16 = 30;
const CONNACK_LIMIT_MS: u64 = 30_000;

/// The client identifier of a bridge.
pub(super) fn client_id(link: usize) -> String {
    format!("bridge-{link}")
}

/// A bridge of the gateway `from` to the site `to`.
pub(super) struct Link {
    pub from: usize,
    to: usize,
    mapping: Arc<Mapping>,
    inflight_max: u16,
    state: State,
    subscribed: PerSide<bool>,
    /// What the process of the gateway remembers of a sweep that did not finish.
    sweep_left: Option<Side>,
    /// The next look at its time limits stands in the agenda for then.
    look_at_ms: Option<u64>,
}

enum State {
    Idle,
    /// CONNECT is sent at the remote end, or at the local end after that.
    Connecting {
        conns: PerSide<Option<ConnNumber>>,
        remote: Option<Peer>,
        until_ms: u64,
    },
    Up(Box<Up>),
}

struct Up {
    conns: PerSide<ConnNumber>,
    relay: Relay,
    outputs: Outputs,
}

impl Link {
    pub(super) fn new((from, to): (usize, usize), plan: &Plan) -> Self {
        Self {
            from,
            to,
            mapping: Arc::new(Mapping::new(&rules())),
            inflight_max: plan.inflight_max,
            state: State::Idle,
            subscribed: PerSide::default(),
            sweep_left: None,
            look_at_ms: None,
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.subscribed.local && self.subscribed.remote
    }

    pub(super) fn words(&self) -> String {
        let state = match &self.state {
            State::Idle => "idle".to_string(),
            State::Connecting { conns, .. } => format!("connecting {conns:?}"),
            State::Up(up) => format!("up {:?}", up.relay.counts()),
        };
        format!("{} to {}: {state}", self.from, self.to)
    }

    fn conns(&self) -> Vec<ConnNumber> {
        match &self.state {
            State::Idle => Vec::new(),
            State::Connecting { conns, .. } => {
                conns.local.into_iter().chain(conns.remote).collect()
            }
            State::Up(up) => vec![up.conns.local, up.conns.remote],
        }
    }

    fn request(&self, link: usize, receive_maximum: u16) -> Request {
        Request {
            version: ProtocolVersion::V5,
            bridge_bit: false,
            client_id: client_id(link),
            user_name: None,
            password: None,
            keep_alive_s: KEEP_ALIVE_S,
            receive_maximum: receive_maximum.min(self.inflight_max),
            packet_bytes_max: PACKET_BYTES_MAX,
            topic_alias_max: 3,
            features: Default::default(),
            node: None,
            will_topic: None,
            ends_session: false,
        }
    }
}

impl World {
    fn now_ms(&self) -> u64 {
        self.now.0
    }

    /// A link is made, or looks at its time limits.
    pub(super) fn tend_link(&mut self, index: usize) {
        let now_ms = self.now_ms();
        if !self.sites[self.links[index].from].machine.is_running() {
            self.plan_in(200, Event::Link(index));
            return;
        }
        let link = &mut self.links[index];
        link.look_at_ms = None;
        match &mut link.state {
            State::Idle => self.begin_link(index),
            State::Connecting { until_ms, .. } if *until_ms <= now_ms => {
                self.drop_link(index, "CONNACK did not come");
            }
            State::Connecting { .. } => {}
            State::Up(up) => {
                let due = up.relay.deadline_ms().is_some_and(|at_ms| at_ms <= now_ms);
                if due && let Err(error) = up.relay.handle_timeout(now_ms, &mut up.outputs) {
                    let error = error.to_string();
                    return self.drop_link(index, &error);
                }
                self.flush_link(index);
            }
        }
        self.plan_look(index);
    }

    fn begin_link(&mut self, index: usize) {
        let link = &self.links[index];
        let (to, request) = (link.to, link.request(index, u16::MAX));
        let hello = hello(&request);
        let Some(remote) = self.open(Owner::Link(index, Side::Remote), to, &hello) else {
            let ms = self.draw.below(3_000);
            return self.plan_in(ms, Event::Link(index));
        };
        let conns = PerSide { local: None, remote: Some(remote) };
        let until_ms = self.now_ms() + CONNACK_LIMIT_MS;
        self.links[index].state = State::Connecting { conns, remote: None, until_ms };
    }

    /// Bytes have come at one end of a link.
    pub(super) fn link_reads(&mut self, index: usize, side: Side, number: ConnNumber) {
        if !self.links[index].conns().contains(&number) {
            return; // Of a link that is no more.
        }
        match &self.links[index].state {
            State::Idle => {}
            State::Connecting { .. } => self.link_hears_connack(index, side, number),
            State::Up(_) => self.relay_packets(index),
        }
        self.plan_look(index);
    }

    fn link_hears_connack(&mut self, index: usize, side: Side, number: ConnNumber) {
        let conn = self.conns.get_mut(&number).expect("it is read from");
        let bytes = conn.input.make_contiguous();
        let packet = decode(bytes, ProtocolVersion::V5, PACKET_BYTES_MAX).expect("valid packets");
        let Some((Packet::ConnAck(connack), len)) = packet else { return };
        let link = &mut self.links[index];
        let State::Connecting { conns, remote, .. } = &mut link.state else { return };
        let asked = remote.as_ref().map_or(u16::MAX, |peer| peer.receive_maximum);
        let (mut conns, remote) = (*conns, remote.clone());
        let request = link.request(index, asked);
        let peer = Peer::granted(&request, &connack).expect("bridges are accepted");
        conn.input.drain(..len);
        match (side, remote) {
            (Side::Remote, _) => {
                let request = link.request(index, peer.receive_maximum);
                let (from, hello) = (link.from, hello(&request));
                conns.local = self.open(Owner::Link(index, Side::Local), from, &hello);
                let until_ms = self.now_ms() + CONNACK_LIMIT_MS;
                self.links[index].state = State::Connecting { conns, remote: Some(peer), until_ms };
            }
            (Side::Local, Some(remote)) => {
                let peers = PerSide { local: peer, remote };
                let conns = PerSide::from_fn(|side| conns[side].expect("both are open"));
                self.link_is_up(index, conns, peers);
            }
            (Side::Local, None) => unreachable!("the remote end is first"),
        }
    }

    fn link_is_up(&mut self, index: usize, conns: PerSide<ConnNumber>, peers: PerSide<Peer>) {
        self.coverage.hit("links made");
        self.tell(format_args!("link {index} is up"));
        let now_ms = self.now_ms();
        let link = &mut self.links[index];
        let left = link.sweep_left.filter(|&side| peers[side].session_present);
        link.sweep_left = sweep_needed(&link.mapping, &peers).or(left);
        let plan = RelayPlan {
            mapping: link.mapping.clone(),
            peers,
            subscribe: PerSide::from_fn(|_| true),
            sweep: link.sweep_left,
            tells_origin: true,
            ack_timeout_ms: ACK_TIMEOUT_MS,
            packet_bytes_max: PACKET_BYTES_MAX,
            receive_maximum: link.inflight_max,
            per_s: (0, 0),
            retired: Default::default(),
        };
        let mut outputs = Outputs::default();
        let relay = Relay::new(plan, now_ms, &mut outputs);
        link.state = State::Up(Box::new(Up { conns, relay, outputs }));
        self.relay_packets(index);
    }

    /// Hands the packets that have come to the relay, as far as it takes them.
    fn relay_packets(&mut self, index: usize) {
        let now_ms = self.now_ms();
        let link = &mut self.links[index];
        let State::Up(up) = &mut link.state else { return };
        let mut failed = None;
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            for side in Side::BOTH {
                let Some(conn) = self.conns.get_mut(&up.conns[side]) else { continue };
                while failed.is_none() && up.relay.may_read(side, &up.outputs) {
                    let bytes = conn.input.make_contiguous();
                    let packet = decode(bytes, ProtocolVersion::V5, PACKET_BYTES_MAX);
                    let Some((packet, len)) = packet.expect("valid packets") else { break };
                    up.relay.handle_received(side, now_ms);
                    failed = up.relay.handle_packet(side, &packet, now_ms, &mut up.outputs).err();
                    conn.input.drain(..len);
                    goes_on = true;
                }
            }
        }
        for notice in up.relay.take_notices() {
            match notice {
                Notice::Subscribed(side) => link.subscribed[side] = true,
                Notice::Swept(_) => link.sweep_left = None,
                other => panic!("{other:?}"),
            }
        }
        match failed {
            Some(error) => {
                let error = error.to_string();
                self.drop_link(index, &error);
            }
            None => self.flush_link(index),
        }
    }

    fn flush_link(&mut self, index: usize) {
        let now_ms = self.now_ms();
        let State::Up(up) = &mut self.links[index].state else { return };
        let mut sent = Vec::new();
        for side in Side::BOTH {
            let bytes = up.outputs[side].pending().to_vec();
            if !bytes.is_empty() {
                up.outputs[side].advance(bytes.len());
                up.relay.handle_written(side, now_ms);
                sent.push((up.conns[side], bytes));
            }
        }
        up.relay.note_outputs(now_ms, &up.outputs);
        for (number, bytes) in sent {
            self.send(number, &bytes);
        }
    }

    /// Has the time limits looked at when the first of them is due.
    fn plan_look(&mut self, index: usize) {
        let link = &mut self.links[index];
        let due_ms = match &link.state {
            State::Idle => None,
            State::Connecting { until_ms, .. } => Some(*until_ms),
            State::Up(up) => up.relay.deadline_ms(),
        };
        if let Some(due_ms) = due_ms
            && link.look_at_ms.is_none_or(|at_ms| due_ms < at_ms)
        {
            link.look_at_ms = Some(due_ms);
            let at = outpost_broker::core::time::Instant(due_ms);
            self.plan_at(at, Event::Link(index));
        }
    }

    /// A link has ended, and is made anew.
    pub(super) fn drop_link(&mut self, index: usize, why: &str) {
        self.tell(format_args!("link {index} is down: {why}"));
        let sweep = match &self.links[index].state {
            State::Up(up) => up.relay.sweeping(),
            _ => self.links[index].sweep_left,
        };
        let conns = self.links[index].conns();
        self.links[index].state = State::Idle;
        self.links[index].sweep_left = sweep;
        conns.into_iter().for_each(|number| self.drop_conn(number));
        let ms = self.draw.below(2_000);
        self.plan_in(ms, Event::Link(index));
    }

    /// The process of its gateway is gone, with all that it remembered.
    pub(super) fn forget_link(&mut self, index: usize) {
        let conns = self.links[index].conns();
        let link = &mut self.links[index];
        (link.state, link.sweep_left, link.look_at_ms) = (State::Idle, None, None);
        conns.into_iter().for_each(|number| self.drop_conn(number));
        self.plan_in(500, Event::Link(index));
    }

    /// The network loses a connection, in the middle of whatever is under way.
    pub(super) fn cut_link(&mut self, index: usize) {
        if let State::Up(up) = &self.links[index].state {
            self.coverage.hit("links cut");
            let number = up.conns.remote;
            if let Some(conn) = self.conns.get_mut(&number) {
                let kept = conn.down.arrive(&mut self.draw);
                conn.down.lose();
                conn.down.send(&kept);
                conn.down.end();
            }
            self.schedule(number);
        }
    }

    /// The network swallows everything from now on, and tells nobody.
    pub(super) fn silence_link(&mut self, index: usize) {
        if let State::Up(up) = &self.links[index].state {
            let number = up.conns.remote;
            if let Some(conn) = self.conns.get_mut(&number) {
                self.coverage.hit("links gone silent");
                conn.is_silent = true;
            }
        }
    }
}

fn hello(request: &Request) -> Vec<u8> {
    let mut out = Output::default();
    request.encode(&mut out).expect("an output grows");
    out.pending().to_vec()
}
