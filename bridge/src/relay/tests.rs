//! The relay between two model brokers, without sockets or clocks: every packet is moved by the
//! test, so that the link can be cut between any two of them.

mod aliases;
mod cuts;
mod limits;
mod pacing;
mod rules;

use std::sync::Arc;

use outpost_protocol::{Packet, ProtocolVersion, QoS, decode};

use super::{Plan, Relay, sweep_needed};
use crate::config::{Direction, TopicConfig};
use crate::handshake::{Peer, Request};
use crate::link_error::LinkError;
use crate::mapping::Mapping;
use crate::model::{Message, Model};
use crate::output::{Output, Outputs};
use crate::side::{PerSide, Side};

const INFLIGHT_MAX: u16 = 10;

/// Two brokers, and a relay between them while the link is up.
struct World {
    mapping: Arc<Mapping>,
    models: PerSide<Model>,
    /// What the brokers have sent and the relay has not taken.
    inputs: Outputs,
    /// What the relay has sent and the brokers have not taken.
    outputs: Outputs,
    relay: Option<Relay>,
    sweep_left: Option<Side>,
    per_s: (u32, u32),
    retired: PerSide<Vec<String>>,
    now_ms: u64,
    steps: usize,
}

impl World {
    fn new(topics: &[TopicConfig], remote_version: ProtocolVersion) -> Self {
        Self {
            mapping: Arc::new(Mapping::new(topics)),
            models: PerSide {
                local: Model::new(ProtocolVersion::V5),
                remote: Model::new(remote_version),
            },
            inputs: Outputs::default(),
            outputs: Outputs::default(),
            relay: None,
            sweep_left: None,
            per_s: (0, 0),
            retired: Default::default(),
            now_ms: 0,
            steps: 0,
        }
    }

    /// Up, subscribed, and nothing under way.
    fn settled(topics: &[TopicConfig], remote_version: ProtocolVersion) -> Self {
        let mut world = Self::new(topics, remote_version);
        world.connect();
        world.run();
        world
    }

    fn connect(&mut self) {
        self.cut();
        let remote = self.shake(Side::Remote, INFLIGHT_MAX);
        let local = self.shake(Side::Local, INFLIGHT_MAX.min(remote.receive_maximum));
        let peers = PerSide { local, remote };
        let left = self.sweep_left.filter(|&side| peers[side].session_present);
        self.sweep_left = sweep_needed(&self.mapping, &peers).or(left);
        let plan = Plan {
            mapping: Arc::clone(&self.mapping),
            peers,
            subscribe: PerSide::from_fn(|_| true),
            sweep: self.sweep_left,
            tells_origin: true,
            ack_timeout_ms: 60_000,
            packet_bytes_max: 1 << 20,
            receive_maximum: u16::MAX,
            per_s: self.per_s,
            retired: self.retired.clone(),
        };
        self.relay = Some(Relay::new(plan, self.now_ms, &mut self.outputs));
    }

    fn shake(&mut self, side: Side, receive_maximum: u16) -> Peer {
        let model = &mut self.models[side];
        let request = Request {
            version: model.version,
            bridge_bit: false,
            client_id: "bridge".into(),
            user_name: None,
            password: None,
            keep_alive_s: 60,
            receive_maximum,
            packet_bytes_max: 1 << 20,
            topic_alias_max: if side == Side::Remote { 2 } else { 0 },
            features: Default::default(),
            node: None,
            will_topic: None,
            ends_session: false,
        };
        let mut connect = Output::default();
        request.encode(&mut connect).expect("short");
        let input = &mut self.inputs[side];
        assert!(model.handle_bytes(&mut connect.pending().to_vec(), input));
        let (packet, len) = first(input, model.version).expect("CONNACK");
        let Packet::ConnAck(connack) = packet else { panic!("not CONNACK: {packet:?}") };
        let peer = Peer::granted(&request, &connack).expect("accepted");
        input.advance(len);
        peer
    }

    /// The link is gone, and all that was on its way.
    fn cut(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.sweep_left = relay.sweeping();
        }
        self.inputs = Outputs::default();
        self.outputs = Outputs::default();
        for side in Side::BOTH {
            self.models[side].close();
        }
    }

    /// Moves one packet, on the first of the four ways, from `start` on, that has one to move.
    fn step(&mut self, start: usize) -> Result<bool, LinkError> {
        for way in 0..4 {
            let moved = match (start + way) % 4 {
                0 => self.step_in(Side::Local)?,
                1 => self.step_out(Side::Remote),
                2 => self.step_in(Side::Remote)?,
                _ => self.step_out(Side::Local),
            };
            if moved {
                self.steps += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// From a broker to the relay.
    fn step_in(&mut self, side: Side) -> Result<bool, LinkError> {
        let model = &mut self.models[side];
        model.send(&mut self.inputs[side]);
        let relay = self.relay.as_mut().expect("the link is up");
        if !relay.may_read(side, &self.outputs) {
            return Ok(false);
        }
        let Some((packet, len)) = first(&self.inputs[side], model.version) else {
            return Ok(false);
        };
        relay.handle_packet(side, &packet, self.now_ms, &mut self.outputs)?;
        self.inputs[side].advance(len);
        Ok(true)
    }

    /// From the relay to a broker.
    fn step_out(&mut self, side: Side) -> bool {
        let model = &mut self.models[side];
        let Some((packet, len)) = first(&self.outputs[side], model.version) else { return false };
        assert!(model.handle_packet(&packet, &mut self.inputs[side]));
        self.outputs[side].advance(len);
        true
    }

    /// Until nothing moves.
    fn run(&mut self) {
        self.try_run().expect("the link holds");
    }

    fn try_run(&mut self) -> Result<(), LinkError> {
        while self.step(self.steps)? {}
        Ok(())
    }

    fn relay(&mut self) -> &mut Relay {
        self.relay.as_mut().expect("the link is up")
    }

    fn publish(&mut self, side: Side, topic: &str, qos: QoS, payload: &str) {
        self.models[side].publish(Message::new(topic, qos, payload));
    }
}

fn first(bytes: &Output, version: ProtocolVersion) -> Option<(Packet<'_>, usize)> {
    if bytes.is_empty() {
        return None;
    }
    decode(bytes.pending(), version, u32::MAX).expect("well-formed")
}

fn topic(filter: &str, direction: Direction, qos: u8) -> TopicConfig {
    TopicConfig { qos, remote_prefix: "site7/".into(), ..TopicConfig::new(filter, direction) }
}

/// `up/#` goes out and `down/#` comes in, with this QoS.
fn both_ways(qos: u8) -> [TopicConfig; 2] {
    [topic("up/#", Direction::Out, qos), topic("down/#", Direction::In, qos)]
}
