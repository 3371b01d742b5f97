//! The bridges: the real relay and handshake, driven as `bridge/src/driver.rs` drives them.

use std::sync::Arc;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::handshake::{Peer, Request};
use outpost_bridge::interest::{Interest, narrowing};
use outpost_bridge::mapping::Mapping;
use outpost_bridge::output::{Output, Outputs};
use outpost_bridge::peering::{Features, NodeId};
use outpost_bridge::relay::{Notice, Plan as RelayPlan, Relay, sweep_needed};
use outpost_bridge::side::{PerSide, Side};
use outpost_bridge::turns::{Turn, Turns};
use outpost_broker::core::Takes;
use outpost_protocol::{Packet, ProtocolVersion, decode};

use super::connection::{ConnNumber, Owner};
use super::plan::Plan;
use super::{Event, World};

const PACKET_BYTES_MAX: u32 = 1 << 20;
const ACK_TIMEOUT_MS: u64 = 60_000;
const CONNACK_LIMIT_MS: u64 = 30_000;

/// How long the network takes for what it takes at once, at the most.
const TAKES_MS: u64 = 20;

/// With a limit to the messages a second: how many seconds' worth the local broker sends ahead.
const HELD_S: u32 = 3;

/// A link of a bridge of the gateway `from` to the site `to`.
pub(super) struct Link {
    pub from: usize,
    pub to: usize,
    /// That of the bridge, as this link knows it.
    pub config: BridgeConfig,
    mapping: Arc<Mapping>,
    /// Shared by the links of its bridge.
    turns: Turns,
    bridge: usize,
    state: State,
    subscribed: PerSide<bool>,
    /// What the process of the gateway was last told of the interest at the other end.
    pub interest: Option<Arc<Interest>>,
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
    turn: Turn,
    /// Something waits for the network.
    is_busy: bool,
    /// The network takes nothing before.
    takes_at_ms: u64,
    /// The next attempt to write stands in the agenda for then.
    looks_at_ms: Option<u64>,
}

impl Link {
    /// All links of a bridge.
    pub(super) fn of_bridge(bridge: usize, (from, to): (usize, usize), plan: &Plan) -> Vec<Self> {
        let turns = Turns::default();
        let link = |config: BridgeConfig| Self {
            from,
            to,
            mapping: Arc::new(config.mapping()),
            config,
            turns: turns.clone(),
            bridge,
            state: State::Idle,
            subscribed: PerSide::default(),
            interest: None,
            sweep_left: None,
            look_at_ms: None,
        };
        let configs = plan.ways.links(&format!("bridge-{bridge}"), plan.inflight_max);
        configs.into_iter().map(link).collect()
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

    fn request(&self, side: Side, receive_maximum: u16, node: Option<NodeId>) -> Request {
        let held_max = match (side, self.config.own_class().messages_per_s) {
            (Side::Remote, _) | (_, 0) => u16::MAX,
            (Side::Local, per_s) => u16::try_from(per_s * HELD_S).unwrap_or(u16::MAX),
        };
        let interest = side == Side::Remote && self.config.interest;
        Request {
            version: ProtocolVersion::V5,
            bridge_bit: false,
            client_id: self.config.client_id(),
            user_name: None,
            password: None,
            keep_alive_s: self.config.keep_alive_s,
            receive_maximum: receive_maximum.min(self.config.inflight_max).min(held_max),
            packet_bytes_max: PACKET_BYTES_MAX,
            topic_alias_max: 3,
            features: Features { interest, ..Features::default() },
            node,
            will_topic: None,
            ends_session: false,
        }
    }

    /// Whether new messages overtake old ones on the way out.
    pub(super) fn is_live(&self) -> bool {
        self.config.own_class().live_percent > 0
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
        let broker = self.sites[link.from].machine.broker();
        let node = broker.filter(|_| self.plan.ways.tells_node).map(|broker| broker.node());
        let (to, request) = (link.to, link.request(Side::Remote, u16::MAX, node));
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
        let request = link.request(side, asked, None);
        let peer = Peer::granted(&request, &connack).expect("bridges are accepted");
        conn.input.drain(..len);
        match (side, remote) {
            (Side::Remote, _) => {
                let node = peer.peering.filter(|_| self.plan.ways.tells_node).and_then(|p| p.node);
                let request = link.request(Side::Local, peer.receive_maximum, node);
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
        let class = link.config.own_class();
        let plan = RelayPlan {
            mapping: link.mapping.clone(),
            peers,
            subscribe: PerSide::from_fn(|_| true),
            sweep: link.sweep_left,
            tells_origin: true,
            ack_timeout_ms: ACK_TIMEOUT_MS,
            packet_bytes_max: PACKET_BYTES_MAX,
            receive_maximum: link.config.inflight_max,
            per_s: (class.messages_per_s, class.bytes_per_s),
            retired: Default::default(),
        };
        let mut outputs = Outputs::default();
        let relay = Relay::new(plan, now_ms, &mut outputs);
        let turn = link.turns.enter(class.priority);
        let (is_busy, takes_at_ms, looks_at_ms) = (false, now_ms, None);
        let up = Up { conns, relay, outputs, turn, is_busy, takes_at_ms, looks_at_ms };
        link.state = State::Up(Box::new(up));
        let is_live = link.is_live();
        self.oracle.link_begins(is_live);
        self.relay_packets(index);
    }

    /// Hands the packets that have come to the relay, as far as it takes them.
    fn relay_packets(&mut self, index: usize) {
        let now_ms = self.now_ms();
        let link = &mut self.links[index];
        let State::Up(up) = &mut link.state else { return };
        let yields = up.turn.others().go_first();
        let mut failed = up.relay.yield_to_others(yields, now_ms, &mut up.outputs).err();
        let mut goes_on = failed.is_none();
        let mut interest = None;
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
                Notice::Interest(heard) => interest = Some(heard),
                other => panic!("{other:?}"),
            }
        }
        if let Some(interest) = interest {
            self.hear_interest(index, interest);
        }
        match failed {
            Some(error) => {
                let error = error.to_string();
                self.drop_link(index, &error);
            }
            None => self.flush_link(index),
        }
    }

    /// The gateway stores what is wanted at the other end from now on.
    fn hear_interest(&mut self, index: usize, interest: Arc<Interest>) {
        self.coverage.hit("interests heard");
        self.tell(format_args!("link {index} hears of {interest:?}"));
        let now = self.now;
        let link = &mut self.links[index];
        let before = link.interest.replace(interest.clone());
        let (takes, newly) = narrowing(&link.mapping, before, &interest);
        let client_id = link.config.client_id();
        let (from, to) = (link.from, link.to);
        let broker = self.sites[from].machine.broker().expect("its bridges end with it");
        broker.narrow_internal_session(&client_id, Some(Takes(takes)));
        broker.renew_internal_retained(now, &client_id, Takes(newly));
        self.note_known(to);
    }

    /// The network has taken something, or other links have.
    pub(super) fn write_link(&mut self, index: usize, remote: ConnNumber) {
        let now_ms = self.now_ms();
        let State::Up(up) = &mut self.links[index].state else { return };
        if up.conns.remote != remote {
            return;
        }
        up.looks_at_ms = up.looks_at_ms.filter(|at_ms| now_ms < *at_ms);
        let yields = up.turn.others().go_first();
        if yields {
            self.coverage.hit("links that let others go first");
        }
        if let Err(error) = up.relay.yield_to_others(yields, now_ms, &mut up.outputs) {
            let error = error.to_string();
            return self.drop_link(index, &error);
        }
        self.flush_link(index);
        self.plan_look(index);
    }

    fn flush_link(&mut self, index: usize) {
        let now_ms = self.now_ms();
        let bytes_at_once = self.plan.ways.bytes_at_once;
        let State::Up(up) = &mut self.links[index].state else { return };
        let mut sent = Vec::new();
        for side in Side::BOTH {
            let mut bytes = up.outputs[side].pending().to_vec();
            if side == Side::Remote && bytes_at_once > 0 && !bytes.is_empty() {
                if now_ms < up.takes_at_ms {
                    continue;
                }
                bytes.truncate(bytes_at_once);
                up.takes_at_ms = now_ms + self.draw.between(1, TAKES_MS);
            }
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
        self.note_busy(index);
    }

    /// What the network does not take at once it takes soon; meanwhile links of a lower class wait.
    fn note_busy(&mut self, index: usize) {
        let link = &mut self.links[index];
        let State::Up(up) = &mut link.state else { return };
        let is_busy = !up.outputs.remote.is_empty();
        up.turn.note(is_busy);
        let has_changed = std::mem::replace(&mut up.is_busy, is_busy) != is_busy;
        if is_busy && up.looks_at_ms.is_none() {
            up.looks_at_ms = Some(up.takes_at_ms);
            let event = Event::Write(index, up.conns.remote);
            let at = outpost_broker::core::time::Instant(up.takes_at_ms);
            self.plan_at(at, event);
        }
        if has_changed {
            self.tell_others(index);
        }
    }

    /// Links of the same bridge look again whether they are to wait.
    fn tell_others(&mut self, index: usize) {
        let bridge = self.links[index].bridge;
        for other in (0..self.links.len()).filter(|other| *other != index) {
            if self.links[other].bridge == bridge
                && let State::Up(up) = &self.links[other].state
            {
                self.plan_in(0, Event::Write(other, up.conns.remote));
            }
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
        self.tell_others(index);
        conns.into_iter().for_each(|number| self.drop_conn(number));
        let ms = self.draw.below(2_000);
        self.plan_in(ms, Event::Link(index));
    }

    /// The process of its gateway is gone, with all that it remembered.
    pub(super) fn forget_link(&mut self, index: usize) {
        let conns = self.links[index].conns();
        let link = &mut self.links[index];
        (link.state, link.sweep_left, link.look_at_ms) = (State::Idle, None, None);
        link.interest = None;
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
