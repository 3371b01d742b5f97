//! The relay: what comes from one broker goes to the other, with its packet identifier unaltered.
//!
//! It keeps nothing that decides what happens to a message. A QoS 1 or 2 exchange runs between the
//! sessions of the two brokers, and the relay only passes its packets on, so that it can be thrown
//! away at any moment: the sessions take the exchange up again through the next relay. What it does
//! hold is for one connection: what is subscribed, what waits for an acknowledgement (to notice that
//! none comes), and the sweep after a lost session.
//!
//! Packets that are not passed on as they are:
//! - PUBLISH gets the topic of the other end, loses subscription identifiers, and is cut down to
//!   what the other broker said in CONNACK: its Maximum QoS, Retain Available and Maximum Packet
//!   Size. A message that no rule fits (a subscription that the configuration has no more) or that
//!   is too large is acknowledged here, counted, and goes no further.
//! - An acknowledgement that says "not now" (see `acks.rs`) ends the connection instead, so that the
//!   message stays in its session and is sent again.
//!
//! # Bounds, and why two full buffers do not block each other
//! While more than [`OUTPUT_BYTES_SOFT`] wait for one end, for the network or beyond the window of that
//! end (see `window.rs`), the other end is not read. A broker that stops reading while it cannot write may
//! be at both ends; if both outputs were full and both ends unread, nothing would move again. So an end is
//! unread only while the other end is read: as soon as both would be unread, both are read on, QoS 0
//! messages are dropped and counted, and the rest is bounded by the brokers' windows: at most Receive
//! Maximum messages and their acknowledgements. A broker that goes past [`OUTPUT_BYTES_SOFT`],
//! [`OUTPUT_BYTES_RESERVE`] and one packet (it speaks 3.1.1 and has no window, or the packets are very
//! large) ends the connection, and nothing that is not acknowledged is lost. Worst case of memory: both
//! outputs that full, and as much beyond the window in each direction.

mod acks;
mod aliases;
mod flow;
mod held;
mod paced;
mod publish;
mod subscribe;
mod sweep;
#[cfg(test)]
mod tests;
mod watch;
mod window;

use std::fmt;
use std::sync::Arc;

use outpost_protocol::{Packet, ProtocolVersion, ReasonCode};

use crate::handshake::Peer;
use crate::interest::Interest;
use crate::link_error::LinkError;
use crate::mapping::Mapping;
use crate::output::{Output, Outputs};
use crate::pace::Pace;
use crate::side::{PerSide, Side};

use aliases::{Given, Taken};
use flow::Flow;
use held::Held;
use paced::Paced;
use subscribe::Subscribing;
use sweep::Sweep;
use watch::Watch;

pub(crate) use subscribe::{FILTERS_PER_PACKET, subscribe_filter, subscribe_packet};
pub use sweep::needed as sweep_needed;

/// Bytes that may wait for one end before the other end is not read any more.
pub const OUTPUT_BYTES_SOFT: usize = 256 * 1024;

/// Bytes that may wait beyond it, one packet not counted, while both brokers wait to send.
pub const OUTPUT_BYTES_RESERVE: usize = 8 * 1024 * 1024;

/// What a relay is to do; see [`Relay::new`].
#[derive(Clone, Debug)]
pub struct Plan {
    /// The rules.
    pub mapping: Arc<Mapping>,
    /// What the two brokers granted.
    pub peers: PerSide<Peer>,
    /// At which ends to subscribe.
    pub subscribe: PerSide<bool>,
    /// The end whose session holds identifiers of exchanges that the other end has forgotten.
    pub sweep: Option<Side>,
    /// Whether a broker of another make is told where messages come from.
    pub tells_origin: bool,
    /// How long acknowledgements and writes may make no progress, in milliseconds.
    pub ack_timeout_ms: u64,
    /// The largest packet that is taken from an end.
    pub packet_bytes_max: u32,
    /// What the remote broker was told: the messages that it may have unacknowledged.
    pub receive_maximum: u16,
    /// Messages and bytes a second to the remote broker; 0: as many as there are.
    pub per_s: (u32, u32),
    /// Subscriptions of a former configuration, to be taken back where anything is subscribed.
    pub retired: PerSide<Vec<String>>,
}

/// What happened, in numbers; each by the end that the messages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged for good by the other end (QoS 1 and 2), or sent to it (QoS 0).
    pub forwarded: PerSide<u64>,
    /// Refused for good by the other end, or larger than it takes.
    pub refused: PerSide<u64>,
    /// No rule fitted.
    pub unmapped: PerSide<u64>,
    /// The other end has no subscribers, and says so.
    pub unwanted: PerSide<u64>,
    /// QoS 0, dropped because the other end was too slow.
    pub dropped: PerSide<u64>,
    /// Bytes of the PUBLISH packets written to the other end, repeated ones too.
    pub bytes: PerSide<u64>,
}

/// What the operator should read about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message was refused for good and is not sent again. At most one notice in 10 s.
    MessageRefused {
        /// Where it came from.
        from: Side,
        /// Its topic there; empty where it is not known any more.
        topic: String,
        /// Why.
        reason: ReasonCode,
        /// How many others were refused since the last notice.
        others: u64,
    },
    /// A subscription was refused: nothing comes over the bridge by this rule.
    SubscriptionRefused {
        /// Who refused.
        side: Side,
        /// The filter.
        filter: String,
        /// Why.
        reason: ReasonCode,
    },
    /// A subscription was granted with a lower QoS than wanted.
    QosLowered {
        /// Who lowered it.
        side: Side,
        /// The filter.
        filter: String,
        /// What was wanted.
        wanted: u8,
        /// What was granted.
        granted: u8,
    },
    /// All subscriptions of this end are answered.
    Subscribed(Side),
    /// The remote broker has said what it has subscribers for.
    Interest(Arc<Interest>),
    /// The identifiers of forgotten exchanges are released at this end.
    Swept(Side),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::MessageRefused { from, topic, reason, others } => {
                let by = from.other();
                write!(f, "{by} refused a message: {reason}, topic \"{topic}\"")?;
                if *others > 0 {
                    write!(f, "; {others} more before it")?;
                }
                Ok(())
            }
            Notice::SubscriptionRefused { side, filter, reason } => {
                write!(f, "{side} refused the subscription \"{filter}\": {reason}")
            }
            Notice::QosLowered { side, filter, wanted, granted } => {
                write!(f, "{side} granted QoS {granted}, not {wanted}, for \"{filter}\"")
            }
            Notice::Subscribed(side) => write!(f, "subscribed at the {side}"),
            Notice::Interest(_) => f.write_str("the interest of the remote broker"),
            Notice::Swept(side) => write!(f, "swept the {side}"),
        }
    }
}

/// The relay over one pair of connections. Times are milliseconds of any clock that only goes
/// forward.
#[derive(Debug)]
pub struct Relay {
    mapping: Arc<Mapping>,
    peers: PerSide<Peer>,
    /// By the end that the messages come from.
    flows: PerSide<Flow>,
    /// Beyond the window of the other end.
    beyond: PerSide<Held>,
    watches: PerSide<Watch>,
    /// Topic aliases, by the end that is sent them.
    aliases_given: PerSide<Given>,
    /// By the end that sets them.
    aliases_taken: PerSide<Taken>,
    subscribing: PerSide<Subscribing>,
    sweep: Option<Sweep>,
    paced: Paced,
    /// What the remote broker has subscribers for, where it was asked.
    interest: Option<Arc<Interest>>,
    tells_origin: bool,
    ack_timeout_ms: u64,
    output_bytes_max: usize,
    receive_maximum: u16,
    counts: Counts,
    acknowledged_ms: PerSide<Option<u64>>,
    notices: Vec<Notice>,
    refusal_noted_ms: Option<u64>,
    refusals_unnoted: u64,
    /// The topic of the message at hand, as the other end calls it.
    mapped: String,
    /// The properties of the message at hand, where they differ from those that came.
    properties: Output,
}

impl Relay {
    /// A relay between two brokers that have both answered CONNECT. It subscribes at once.
    pub fn new(plan: Plan, now_ms: u64, out: &mut Outputs) -> Self {
        let Plan { mapping, peers, subscribe, sweep, tells_origin, .. } = plan;
        let Plan { ack_timeout_ms, packet_bytes_max, receive_maximum, .. } = plan;
        let (messages_per_s, bytes_per_s) = plan.per_s;
        let mut retired = plan.retired;
        let asks = peers.remote.peering.is_some_and(|peering| peering.features.interest);
        let asks_since_ms = asks.then_some(now_ms);
        let watch = |side| Watch::new(side, peers[side].keep_alive_s, ack_timeout_ms, now_ms);
        let mut relay = Self {
            watches: PerSide::from_fn(watch),
            aliases_given: PerSide::from_fn(|side| Given::new(peers[side].topic_aliases_out)),
            aliases_taken: PerSide::from_fn(|side| Taken::new(peers[side].topic_aliases_in)),
            mapping,
            peers,
            flows: PerSide::default(),
            beyond: PerSide::default(),
            subscribing: PerSide::from_fn(|side| {
                Subscribing::new(std::mem::take(&mut retired[side]))
            }),
            sweep: sweep.map(|side| Sweep::new(side, now_ms)),
            paced: Paced::new(Pace::new(messages_per_s, bytes_per_s), asks_since_ms),
            interest: None,
            tells_origin,
            ack_timeout_ms,
            output_bytes_max: OUTPUT_BYTES_SOFT + OUTPUT_BYTES_RESERVE + packet_bytes_max as usize,
            receive_maximum,
            counts: Counts::default(),
            acknowledged_ms: PerSide::default(),
            notices: Vec::new(),
            refusal_noted_ms: None,
            refusals_unnoted: 0,
            mapped: String::new(),
            properties: Output::default(),
        };
        for side in Side::BOTH {
            if subscribe[side] {
                relay.subscribe_more(side, now_ms, out);
            }
        }
        relay.sweep_more(out);
        relay
    }

    /// Takes one packet that came from `from`, and writes what follows from it into `out`. Only to
    /// be called while [`Self::may_read`] of that end.
    ///
    /// # Errors
    /// The link has ended: both connections are to be closed without DISCONNECT, and made anew.
    pub fn handle_packet(
        &mut self,
        from: Side,
        packet: &Packet<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(from, publish, now_ms, out)?,
            Packet::PubAck(ack) => self.handle_pub_ack(from, ack, now_ms, out)?,
            Packet::PubRec(ack) => self.handle_pub_rec(from, ack, now_ms, out)?,
            Packet::PubRel(ack) => self.handle_pub_rel(from, ack, now_ms, out),
            Packet::PubComp(ack) => self.handle_pub_comp(from, ack, now_ms, out)?,
            Packet::UnsubAck(ack) => self.handle_unsub_ack(from, ack, now_ms, out)?,
            Packet::SubAck(ack) => self.handle_sub_ack(from, ack, now_ms, out)?,
            Packet::PingResp => self.watches[from].handle_ping_resp(),
            Packet::Disconnect(disconnect) => {
                return Err(LinkError::Disconnected { side: from, reason: disconnect.reason });
            }
            Packet::ConnAck(_) => return Err(protocol_error(from, "a second CONNACK")),
            _ => return Err(protocol_error(from, "a packet that was not asked for")),
        }
        for side in Side::BOTH {
            self.fill_window(side, now_ms, out)?;
        }
        match Side::BOTH.into_iter().find(|&side| out[side].len() > self.output_bytes_max) {
            Some(side) => Err(LinkError::Overflow(side)),
            None => Ok(()),
        }
    }

    /// Whether packets from this end may be taken now. See the top of this file.
    pub fn may_read(&self, side: Side, out: &Outputs) -> bool {
        let swept = self.sweep.as_ref().map(Sweep::side);
        if swept == Some(side.other()) || side == Side::Local && self.paced.is_full() {
            return false;
        }
        let full =
            |end: Side| out[end].len() + self.beyond[end.other()].bytes() > OUTPUT_BYTES_SOFT;
        let other_unread = full(side) || swept == Some(side);
        !full(side.other()) || other_unread
    }

    /// Bytes came from this end.
    pub fn handle_received(&mut self, side: Side, now_ms: u64) {
        self.watches[side].handle_received(now_ms);
    }

    /// This end took bytes.
    pub fn handle_written(&mut self, side: Side, now_ms: u64) {
        self.watches[side].handle_written(now_ms);
    }

    /// To be called after each burst, when everything that could be written has been.
    pub fn note_outputs(&mut self, now_ms: u64, out: &Outputs) {
        for side in Side::BOTH {
            self.watches[side].note_output(!out[side].is_empty(), now_ms);
        }
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn deadline_ms(&self) -> Option<u64> {
        let sweep_ms = self.sweep.as_ref().map(Sweep::progress_ms);
        let flow_ms = |side: Side| {
            let flow = &self.flows[side];
            (!flow.pending.is_empty()).then_some(flow.progress_ms)
        };
        let flows_ms = Side::BOTH.into_iter().filter_map(flow_ms);
        let subscribed_ms = Side::BOTH.into_iter().filter_map(|s| self.subscribing[s].since_ms());
        let asked_ms = self.paced.asks_since_ms();
        let progress_ms = flows_ms.chain(subscribed_ms).chain(sweep_ms).chain(asked_ms);
        let acks_ms = progress_ms.map(|ms| ms + self.ack_timeout_ms);
        let watches_ms = Side::BOTH.into_iter().filter_map(|side| self.watches[side].deadline_ms());
        acks_ms.chain(watches_ms).chain(self.paced.deadline_ms()).min()
    }

    /// Sends PINGREQ where it is due, and messages whose time has come.
    ///
    /// # Errors
    /// An end has been silent for too long: the link has ended.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outputs) -> Result<(), LinkError> {
        self.release(now_ms, out)?;
        for side in Side::BOTH {
            self.check_subscribing(side, now_ms, out)?;
        }
        for side in Side::BOTH {
            let reading = self.may_read(side, out);
            if self.watches[side].handle_timeout(reading, now_ms)? {
                put(Packet::PingReq, &self.peers[side], &mut out[side]);
            }
            self.check_flow(side, now_ms, out)?;
        }
        let is_asked_long_ago = |since_ms| now_ms >= since_ms + self.ack_timeout_ms;
        if self.paced.asks_since_ms().is_some_and(is_asked_long_ago) {
            return Err(self.ack_timeout(Side::Remote));
        }
        match &self.sweep {
            Some(sweep) if now_ms >= sweep.progress_ms() + self.ack_timeout_ms => {
                Err(self.ack_timeout(sweep.side()))
            }
            _ => Ok(()),
        }
    }

    fn check_flow(&mut self, from: Side, now_ms: u64, out: &Outputs) -> Result<(), LinkError> {
        let to = from.other();
        // The acknowledgement may be there, unread; or the watch looks after the stalled write.
        let is_excused = !self.may_read(to, out) || out[to].len() > OUTPUT_BYTES_SOFT;
        let flow = &mut self.flows[from];
        if is_excused {
            flow.progress_ms = now_ms;
        }
        if flow.pending.is_empty() || now_ms < flow.progress_ms + self.ack_timeout_ms {
            return Ok(());
        }
        Err(self.ack_timeout(to))
    }

    fn check_subscribing(
        &mut self,
        side: Side,
        now_ms: u64,
        out: &Outputs,
    ) -> Result<(), LinkError> {
        if !self.may_read(side, out) {
            self.subscribing[side].excuse(now_ms);
        }
        match self.subscribing[side].since_ms() {
            Some(since_ms) if now_ms >= since_ms + self.ack_timeout_ms => {
                Err(LinkError::SubscribeTimeout { side, limit_s: self.ack_timeout_ms / 1000 })
            }
            _ => Ok(()),
        }
    }

    fn ack_timeout(&self, side: Side) -> LinkError {
        LinkError::AckTimeout { side, limit_s: self.ack_timeout_ms / 1000 }
    }

    /// The version that is spoken with this end.
    pub fn version(&self, side: Side) -> ProtocolVersion {
        self.peers[side].version
    }

    /// What has happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// When this end last acknowledged a message.
    pub fn acknowledged_ms(&self, side: Side) -> Option<u64> {
        self.acknowledged_ms[side]
    }

    /// Takes what the operator should read about.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A message that came from `from` is refused for good.
    fn refused(&mut self, from: Side, topic: String, reason: ReasonCode, now_ms: u64) {
        const NOTICE_INTERVAL_MS: u64 = 10_000;
        self.counts.refused[from] += 1;
        if self.refusal_noted_ms.is_some_and(|noted_ms| now_ms < noted_ms + NOTICE_INTERVAL_MS) {
            self.refusals_unnoted += 1;
            return;
        }
        self.refusal_noted_ms = Some(now_ms);
        let others = std::mem::take(&mut self.refusals_unnoted);
        self.notices.push(Notice::MessageRefused { from, topic, reason, others });
    }
}

fn protocol_error(side: Side, what: &str) -> LinkError {
    LinkError::Protocol { side, what: what.into() }
}

/// Writes a packet that is known to be encodable.
fn put(packet: Packet<'_>, peer: &Peer, out: &mut Output) {
    packet.encode(peer.version, out).expect("an output grows, and the fields are short enough");
}
