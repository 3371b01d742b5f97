//! The life of a bridge: make a link, keep it until it ends, wait, and again. Tells the status and
//! the log.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use outpost_protocol::{Packet, ProtocolVersion, ReasonCode};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::addresses::preferred_is_back;
use crate::backoff::Backoff;
use crate::config::{BridgeConfig, ClassConfig, Compression, Secret, longest_batch_delay_ms};
use crate::connect::{BoxedStream, Connector};
use crate::end::MqttEnd;
use crate::gather::Gather;
use crate::handshake::{Peer, Request};
use crate::hours::{Hours, Opening};
use crate::interest::{Interest, narrowing};
use crate::link::{Clock, Link, notify};
use crate::link_error::{LinkError, Phase};
use crate::mapping::Mapping;
use crate::origin;
use crate::output::{Output, Outputs};
use crate::peering::{Features, NodeId};
use crate::prepare;
use crate::relay::{Counts, Notice, Plan, Relay, sweep_needed};
use crate::side::{PerSide, Side};
use crate::status::{BridgeState, BridgeStatus};
use crate::turns::{Turn, Turns};
use crate::wire::{Counted, Wire};

/// From CONNECT to CONNACK, in seconds, where `ack_timeout_s` is not shorter.
const CONNACK_LIMIT_S: u64 = 30;

/// A connector knows its own steps and their times; this, for each address that it may try, is for one
/// that does not return.
const CONNECTOR_LIMIT_S: u64 = 90;

/// A link that held as long as this lets the back-off start anew.
const STOOD_MS: u64 = 10_000;

/// A sweep that was begun this often and not finished is given up.
const SWEEPS_MAX: u32 = 3;

/// A session that expires sooner may be gone after an ordinary failure of the link.
const SHORT_EXPIRY_S: u32 = 86_400;

/// With a limit to the messages a second: how many seconds' worth the local broker sends ahead. The
/// round trip of a slow link is shorter.
const HELD_S: u32 = 3;

/// The status shows no more problems of one link than this.
const PROBLEMS_MAX: usize = 16;

/// What a bridge, or one link of it, is run with.
pub struct Setup {
    /// It is valid (see [`BridgeConfig::validate`]).
    pub config: BridgeConfig,
    /// Makes connections to the broker at home, a new one for each link.
    pub local: Box<dyn Connector>,
    /// Likewise to the other one (see [`crate::connect::remote_connector`]).
    pub remote: Box<dyn Connector>,
    /// What it is doing.
    pub status: Arc<BridgeStatus>,
    /// Shared by the links of one bridge.
    pub turns: Turns,
    /// Subscriptions that a former configuration made, to be taken back.
    pub retired: PerSide<Vec<String>>,
    /// Draws the variation of the waits.
    pub seed: u64,
}

/// Runs a bridge until `shutdown`. Nothing here ends it but that: it then says DISCONNECT on both sides,
/// within a second.
pub async fn run(setup: Setup, shutdown: impl Future<Output = ()>) {
    let Setup { config, mut local, mut remote, status, turns, retired, seed } = setup;
    let mut driver = Driver { retired, ..Driver::new(config, status, seed) };
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            () = driver.until_open() => {}
        }
        let turn = turns.enter(driver.class.priority);
        let ended = driver.attempt(&mut *local, &mut *remote, turn, shutdown.as_mut()).await;
        let Some(error) = ended else { break };
        let delay = driver.handle_end(&error);
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            () = sleep(delay) => {}
        }
    }
    driver.status.enter(BridgeState::Stopped);
    info!(bridge = driver.name, "bridge stopped");
}

/// Ends the session of a bridge, which does not run, at one of its brokers, with what waits in it.
///
/// # Errors
/// Why the broker could not be told: it keeps the session.
pub async fn forget(
    config: &BridgeConfig,
    side: Side,
    connector: &mut dyn Connector,
) -> Result<(), LinkError> {
    let status = Arc::new(BridgeStatus::new(config.link_name()));
    let mut driver = Driver::new(config.clone(), status, 0);
    let request = match side {
        Side::Local => driver.local_request(None),
        Side::Remote => driver.remote_request(),
    };
    let request = Request { will_topic: None, ends_session: true, ..request };
    let (end, _) = driver.open_end(side, connector, &request).await?;
    prepare::leave(end, request.version).await;
    Ok(())
}

/// What lasts from one link to the next. All of it can be lost: it saves time and log lines, with
/// one exception, `sweep_left`, which see.
struct Driver {
    /// In the log.
    name: String,
    config: BridgeConfig,
    class: ClassConfig,
    mapping: Arc<Mapping>,
    status: Arc<BridgeStatus>,
    backoff: Backoff,
    clock: Clock,
    /// Whether to set the bridge bit towards a 3.1.1 broker.
    bridge_bit: PerSide<bool>,
    /// The local session was made since the last link, and the link is to see that it is new. As with
    /// `sweep_left`, a process that ends before that forgets it.
    local_is_new: bool,
    /// The local broker, as far as it is known.
    local_node: Option<NodeId>,
    /// What the local broker said it takes: the remote one has to be told before.
    local_limits: Option<Limits>,
    /// Ends where this process has subscribed. Only asked for 3.1.1, where a repetition would bring
    /// all retained messages again.
    subscribed: PerSide<bool>,
    /// Ends whose SUBACKs the present link waits for.
    awaited: PerSide<bool>,
    /// The end whose sweep was begun and did not finish. Should the process end between the loss of
    /// a session and the end of the sweep, this is forgotten, and a QoS 2 message from the new
    /// session may be taken for a repetition: the one gap that a bridge without a store has.
    sweep_left: Option<Side>,
    sweeps: u32,
    /// Subscriptions of a former configuration that are still to be taken back.
    retired: PerSide<Vec<String>>,
    counts_before: Counts,
    wire: Arc<Wire>,
    link_up_ms: Option<u64>,
    /// What the remote broker last said it has subscribers for.
    interest: Option<Arc<Interest>>,
    logged: Option<LinkError>,
    expiry_logged_s: PerSide<Option<u32>>,
}

/// What a broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    receive_maximum: u16,
    packet_bytes_max: u32,
}

impl Driver {
    fn new(config: BridgeConfig, status: Arc<BridgeStatus>, seed: u64) -> Self {
        Self {
            name: config.link_name(),
            class: config.own_class(),
            mapping: Arc::new(config.mapping()),
            counts_before: status.snapshot().counts,
            wire: Arc::new(Wire::new(status.snapshot().wire_bytes)),
            status,
            backoff: Backoff::new(config.reconnect_min_ms, config.reconnect_max_ms, seed),
            clock: Clock::start(),
            bridge_bit: PerSide { local: true, remote: true },
            local_is_new: false,
            local_node: None,
            local_limits: None,
            subscribed: PerSide::default(),
            awaited: PerSide::default(),
            sweep_left: None,
            sweeps: 0,
            retired: PerSide::default(),
            link_up_ms: None,
            interest: None,
            logged: None,
            expiry_logged_s: PerSide::default(),
            config,
        }
    }

    /// Until it is time for a link.
    async fn until_open(&self) {
        let hours = self.class.hours();
        let mut told = false;
        while let Opening::Closed { for_s } = hours.at(second_of_day()) {
            let next_attempt = SystemTime::now() + Duration::from_secs(for_s.into());
            if !std::mem::replace(&mut told, true) {
                info!(bridge = self.name, "outside its hours; the next attempt is in {for_s} s");
                self.status.enter(BridgeState::OutsideHours { next_attempt });
            }
            sleep(look_again_in(for_s)).await;
        }
    }

    /// Makes a link and keeps it until it ends; `None`: shut down.
    async fn attempt(
        &mut self,
        local: &mut dyn Connector,
        remote: &mut dyn Connector,
        turn: Turn,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<LinkError> {
        self.status.with(|snapshot| snapshot.address.clone_from(&self.config.address));
        self.status.enter(BridgeState::Connecting);
        let made = tokio::select! {
            biased;
            () = shutdown.as_mut() => return None,
            made = self.make_link(local, remote, turn) => made,
        };
        let mut link = match made {
            Ok(link) => link,
            Err(error) => return Some(error),
        };
        let failback_after = Duration::from_secs(self.config.failback_after_s.into());
        let hours = self.class.hours();
        let ended = tokio::select! {
            biased;
            () = shutdown.as_mut() => None,
            error = link.run(|relay| self.observe(relay, local)) => Some(error),
            () = preferred_is_back(remote, failback_after) => Some(LinkError::FailBack),
            () = closing(&hours) => Some(LinkError::OutsideHours),
        };
        remote.link_ended();
        self.note_sweep(&link.relay);
        self.counts_before = add(&self.counts_before, link.relay.counts());
        link.close(ended.as_ref().and_then(LinkError::broken_side)).await;
        ended
    }

    /// The remote broker first: what it takes decides what the local one is asked for.
    async fn make_link(
        &mut self,
        local: &mut dyn Connector,
        remote: &mut dyn Connector,
        turn: Turn,
    ) -> Result<Link, LinkError> {
        if self.config.local.is_some() {
            self.meet_local(local).await?;
        }
        self.local_node = local.node().or(self.local_node);
        let announced = self.remote_request();
        let (mut remote_end, mut remote_peer) =
            self.open_end(Side::Remote, remote, &announced).await?;
        remote_peer.maximum_qos = remote_peer.maximum_qos.min(self.config.maximum_qos());
        if let Some(address) = remote.address() {
            self.status.with(|snapshot| address.clone_into(&mut snapshot.address));
        }
        let is_compressed = remote_peer.peering.is_some_and(|peering| peering.features.zstd);
        if is_compressed {
            remote_end = remote_end.compress(self.config.compression_level);
        }
        self.expect_interest(&remote_peer, local);
        let request = self.local_request(Some(&remote_peer));
        let (local_end, mut local_peer) = self.open_end(Side::Local, local, &request).await?;
        local_peer.session_present &= !self.local_is_new;
        self.learn_limits(&local_peer, &announced)?;
        let peers = PerSide { local: local_peer, remote: remote_peer };
        self.log_up(&peers);
        let inflight_max = announced.receive_maximum;
        let mut outputs = Outputs::default();
        let gather = Gather::new(self.batch_delay_ms(&peers.remote));
        let plan = self.plan(peers, inflight_max);
        self.local_is_new = false;
        self.awaited = plan.subscribe;
        let notification = announced.will_topic;
        if let Some(topic) = &notification {
            notify(topic, b"1", plan.peers.remote.version, &mut outputs.remote);
        }
        let relay = Relay::new(plan, self.clock.now_ms(), &mut outputs);
        let ends = PerSide { local: local_end, remote: remote_end };
        self.link_up_ms = Some(self.clock.now_ms());
        self.status.with(|snapshot| {
            snapshot.problems.clear();
            snapshot.is_compressed = is_compressed;
        });
        self.enter_connected();
        Ok(Link { ends, outputs, relay, gather, clock: self.clock, turn, notification })
    }

    /// Makes sure of a local broker over the network before the remote one is asked. Its session is
    /// made where there is none, and gathers what is published whether a link comes or not; and while
    /// it is away, no connections to the remote broker are made for nothing.
    async fn meet_local(&mut self, local: &mut dyn Connector) -> Result<(), LinkError> {
        let request = self.local_request(None);
        let (mut end, peer) = self.open_end(Side::Local, local, &request).await?;
        self.local_limits = Some(Limits::of(&peer));
        self.local_node = peer.peering.and_then(|peering| peering.node);
        if !peer.session_present {
            self.local_is_new = true;
            self.subscribed.local = false;
        }
        let is_due = self.local_is_new && !self.subscribed.local;
        let rules = if is_due { self.mapping.rules(Side::Local) } else { &[] };
        let version = peer.version;
        let subscribed = prepare::subscribe(&mut end, version, rules);
        within(Phase::Local, Side::Local.to_string(), CONNACK_LIMIT_S, subscribed).await?;
        self.subscribed.local |= is_due;
        prepare::leave(end, version).await;
        Ok(())
    }

    /// CONNECT and CONNACK; without the bridge bit for a 3.1.1 broker that does not know it.
    async fn open_end(
        &mut self,
        side: Side,
        connector: &mut dyn Connector,
        request: &Request,
    ) -> Result<(MqttEnd<BoxedStream>, Peer), LinkError> {
        let opened = self.open(side, connector, request).await;
        match opened {
            Err(LinkError::Refused { reason: ReasonCode::UnsupportedProtocolVersion, .. })
                if request.bridge_bit =>
            {
                self.bridge_bit[side] = false;
                self.open(side, connector, &Request { bridge_bit: false, ..request.clone() }).await
            }
            // Some brokers hang up on a version that they do not know, or reset the connection, or close
            // the WebSocket with a code: try it the other way next time.
            Err(error @ (LinkError::Closed { connecting: true, .. } | LinkError::Io { .. })) => {
                self.bridge_bit[side] = !self.bridge_bit[side];
                Err(error)
            }
            other => other,
        }
    }

    /// Connects, and speaks CONNECT and CONNACK.
    async fn open(
        &self,
        side: Side,
        connector: &mut dyn Connector,
        request: &Request,
    ) -> Result<(MqttEnd<BoxedStream>, Peer), LinkError> {
        let mut stream = self.connect(side, connector).await?;
        if side == Side::Remote {
            stream = Box::new(Counted::new(stream, self.wire.clone()));
        }
        let mut end = MqttEnd::new(side, request.version, request.packet_bytes_max, stream);
        let mut out = Output::default();
        request
            .encode(&mut out)
            .map_err(|_| LinkError::Protocol { side, what: "CONNECT cannot be encoded".into() })?;
        let address = match side {
            Side::Local => self.config.local.as_ref().map(|local| local.address.as_str()),
            Side::Remote => Some(connector.address().unwrap_or(&self.config.address)),
        };
        let address = address.map_or_else(|| side.to_string(), str::to_owned);
        let limit_s = CONNACK_LIMIT_S.min(self.config.ack_timeout_s.into());
        let shaking = shake(side, &mut end, &mut out, request);
        let peer = within(Phase::Connect, address, limit_s, shaking).await?;
        Ok((end, peer))
    }

    /// A byte stream, or why there is none; of the local broker it is said that it is this one.
    async fn connect(
        &self,
        side: Side,
        connector: &mut dyn Connector,
    ) -> Result<BoxedStream, LinkError> {
        let (phase, addresses) = match side {
            Side::Local => (Phase::Local, 1),
            Side::Remote => (Phase::Connect, 1 + self.config.fallback_addresses.len() as u64),
        };
        let limit_s = CONNECTOR_LIMIT_S * addresses;
        let connected = within(phase, side.to_string(), limit_s, connector.connect()).await;
        connected.map_err(|error| match error {
            LinkError::Transport { .. } if side == Side::Local => {
                LinkError::Transport { phase, what: error.to_string() }
            }
            other => other,
        })
    }

    fn remote_request(&self) -> Request {
        let version = self.config.version.into();
        let limits = self.limits_towards(Side::Local, self.local_limits);
        Request {
            version,
            bridge_bit: version == ProtocolVersion::V311 && self.bridge_bit.remote,
            client_id: self.config.client_id(),
            user_name: self.config.user_name.clone(),
            password: revealed(self.config.password.as_ref()),
            keep_alive_s: self.config.keep_alive_s,
            receive_maximum: limits.receive_maximum,
            packet_bytes_max: limits.packet_bytes_max,
            topic_alias_max: self.config.topic_alias_max,
            features: Features {
                zstd: self.config.compression == Compression::Zstd,
                interest: self.config.interest,
            },
            node: self.local_node,
            will_topic: self.config.notification_topic(),
            ends_session: false,
        }
    }

    fn local_request(&self, remote: Option<&Peer>) -> Request {
        let limits = self.limits_towards(Side::Remote, remote.map(Limits::of));
        // What the relay takes off is not to make a message too large.
        let taken_off = match remote {
            Some(Peer { peering: None, .. }) if !self.config.origin => ORIGIN_BYTES_MAX,
            _ => 0,
        };
        let local = self.config.local.as_ref();
        let version = local.map_or(ProtocolVersion::V5, |local| local.version.into());
        // What waits for its turn is held here: no more of it than the rate lets through soon.
        let held_max = match self.class.messages_per_s {
            0 => u16::MAX,
            per_s => u16::try_from(per_s.saturating_mul(HELD_S)).unwrap_or(u16::MAX),
        };
        Request {
            version,
            bridge_bit: version == ProtocolVersion::V311 && self.bridge_bit.local,
            client_id: self.config.client_id(),
            user_name: local.and_then(|local| local.user_name.clone()),
            password: revealed(local.and_then(|local| local.password.as_ref())),
            keep_alive_s: self.config.keep_alive_s,
            receive_maximum: limits.receive_maximum.min(held_max),
            packet_bytes_max: limits.packet_bytes_max.saturating_add(taken_off),
            // Bytes cost nothing there.
            topic_alias_max: 0,
            features: Features::default(),
            node: remote.and_then(|remote| remote.peering?.node),
            will_topic: None,
            ends_session: false,
        }
    }

    /// What one broker may send, so that what becomes of it is within what the other one, `to`,
    /// takes, and within the configuration.
    fn limits_towards(&self, to: Side, taken: Option<Limits>) -> Limits {
        let growth = self.mapping.growth_bytes(to.other());
        let growth = u32::try_from(growth).unwrap_or(u32::MAX);
        let packet_bytes_max = taken
            .map_or(u32::MAX, |limits| limits.packet_bytes_max)
            .min(self.config.packet_bytes_max);
        Limits {
            receive_maximum: taken
                .map_or(u16::MAX, |limits| limits.receive_maximum)
                .min(self.config.inflight_max),
            packet_bytes_max: packet_bytes_max.saturating_sub(growth).max(PACKET_BYTES_LEAST),
        }
    }

    /// Where the local broker takes less than the remote one was told, the remote one has to be told
    /// again. 3.1.1 has no words for it.
    fn learn_limits(&mut self, local: &Peer, announced: &Request) -> Result<(), LinkError> {
        self.local_limits = Some(Limits::of(local));
        let now = self.remote_request();
        let told_enough = announced.receive_maximum <= now.receive_maximum
            && announced.packet_bytes_max <= now.packet_bytes_max;
        if told_enough || announced.version != ProtocolVersion::V5 {
            return Ok(());
        }
        Err(LinkError::LimitsLearned)
    }

    fn plan(&mut self, peers: PerSide<Peer>, receive_maximum: u16) -> Plan {
        let left = self.sweep_left.filter(|&side| peers[side].session_present);
        let sweep = match sweep_needed(&self.mapping, &peers) {
            Some(side) => Some(side),
            None => left.filter(|_| self.sweeps < SWEEPS_MAX),
        };
        if left.is_some() && sweep.is_none() {
            warn!(bridge = self.name, "identifiers of a lost session could not be released");
        }
        self.sweep_left = sweep;
        let subscribe = PerSide::from_fn(|side| {
            let known = peers[side].session_present && self.subscribed[side];
            peers[side].version == ProtocolVersion::V5 || !known
        });
        Plan {
            mapping: Arc::clone(&self.mapping),
            peers,
            subscribe,
            sweep,
            tells_origin: self.config.origin,
            // What is held back is not late.
            ack_timeout_ms: u64::from(self.config.ack_timeout_s) * 1000
                + u64::from(self.config.batch_delay_ms),
            packet_bytes_max: self.config.packet_bytes_max,
            receive_maximum,
            per_s: (self.class.messages_per_s, self.class.bytes_per_s),
            retired: self.retired.clone(),
        }
    }

    /// A link is up once both brokers have said which subscriptions they took.
    fn enter_connected(&self) {
        if self.awaited == PerSide::default() {
            self.status.enter(BridgeState::Connected);
        }
    }

    /// The remote broker may have lowered the keep-alive: it must hear of the bridge in time.
    fn batch_delay_ms(&self, remote: &Peer) -> u64 {
        let wanted_ms = u64::from(self.config.batch_delay_ms);
        match remote.keep_alive_s {
            0 => wanted_ms,
            keep_alive_s => wanted_ms.min(longest_batch_delay_ms(keep_alive_s)),
        }
    }

    fn note_sweep(&mut self, relay: &Relay) {
        match relay.sweeping() {
            Some(_) => self.sweeps += 1,
            None => {
                self.sweep_left = None;
                self.sweeps = 0;
            }
        }
    }

    /// Called after each burst.
    fn observe(&mut self, relay: &mut Relay, local: &mut dyn Connector) {
        let counts = add(&self.counts_before, relay.counts());
        let acknowledged_ms = PerSide::from_fn(|side| relay.acknowledged_ms(side));
        let clock = self.clock;
        let wire_bytes = self.wire.bytes();
        self.status.with(|snapshot| {
            snapshot.wire_bytes = wire_bytes;
            for side in Side::BOTH {
                if snapshot.counts.forwarded[side.other()] != counts.forwarded[side.other()]
                    && let Some(ms) = acknowledged_ms[side]
                {
                    let ago = Duration::from_millis(clock.now_ms().saturating_sub(ms));
                    snapshot.acknowledged[side] = SystemTime::now().checked_sub(ago);
                }
            }
        });
        self.status.note_counts(counts);
        for notice in relay.take_notices() {
            if let Notice::Interest(interest) = &notice {
                self.handle_interest(interest, local);
            }
            self.handle_notice(&notice);
        }
    }

    /// What a remote broker wanted before says nothing of one in its place that does not tell.
    fn expect_interest(&mut self, remote: &Peer, local: &mut dyn Connector) {
        let tells = remote.peering.is_some_and(|peering| peering.features.interest);
        let is_narrow = self.interest.as_deref().is_some_and(|i| *i != Interest::Everything);
        if is_narrow && !tells {
            self.handle_interest(&Arc::new(Interest::Everything), local);
        }
    }

    /// What the remote broker does not want need not wait for it.
    fn handle_interest(&mut self, interest: &Arc<Interest>, local: &mut dyn Connector) {
        let before = self.interest.replace(interest.clone());
        let (takes, newly) = narrowing(&self.mapping, before, interest);
        local.narrow(takes, newly);
    }

    fn handle_notice(&mut self, notice: &Notice) {
        let bridge = &self.name;
        match notice {
            Notice::Subscribed(side) => {
                self.subscribed[*side] = true;
                self.retired[*side].clear();
                debug!(bridge, "subscribed at the {side}");
                if std::mem::take(&mut self.awaited[*side]) {
                    self.enter_connected();
                }
            }
            Notice::Swept(side) => {
                self.sweep_left = None;
                info!(bridge, "released the identifiers of a lost session at the {side}");
            }
            Notice::Interest(_) => debug!(bridge, "{notice}"),
            Notice::MessageRefused { .. } => warn!(bridge, "{notice}"),
            Notice::SubscriptionRefused { .. } | Notice::QosLowered { .. } => {
                warn!(bridge, "{notice}");
                self.status.with(|snapshot| {
                    if snapshot.problems.len() < PROBLEMS_MAX {
                        snapshot.problems.push(notice.to_string());
                    }
                });
            }
        }
    }

    fn log_up(&mut self, peers: &PerSide<Peer>) {
        info!(
            bridge = self.name,
            address = self.config.address,
            outpost = peers.remote.peering.is_some(),
            compressed = peers.remote.peering.is_some_and(|peering| peering.features.zstd),
            remote_session_present = peers.remote.session_present,
            local_session_present = peers.local.session_present,
            "link up"
        );
        for side in Side::BOTH {
            self.log_expiry(side, peers[side].session_expiry_s);
        }
    }

    fn log_expiry(&mut self, side: Side, expiry_s: u32) {
        // Once, and not after each break.
        if self.expiry_logged_s[side].replace(expiry_s) == Some(expiry_s) {
            return;
        }
        let what = "forgets the session, and messages that wait there, after a longer break";
        match expiry_s {
            u32::MAX => {}
            SHORT_EXPIRY_S.. => info!(bridge = self.name, expiry_s, "the {side} {what}"),
            _ => warn!(bridge = self.name, expiry_s, "the {side} {what}"),
        }
    }

    /// A link or an attempt has ended: how long to wait.
    fn handle_end(&mut self, error: &LinkError) -> Duration {
        let up_ms = self.link_up_ms.take();
        if *error == LinkError::LimitsLearned {
            return Duration::ZERO;
        }
        if matches!(error, LinkError::FailBack | LinkError::OutsideHours) {
            info!(bridge = self.name, address = self.config.address, "{error}");
            return Duration::ZERO;
        }
        if up_ms.is_some_and(|up_ms| self.clock.now_ms() >= up_ms + STOOD_MS) {
            self.backoff.reset();
        }
        let delay = Duration::from_millis(self.backoff.next_delay_ms());
        self.log_down(error, up_ms.is_some(), delay);
        let next_attempt = SystemTime::now() + delay;
        self.status.note_error(error);
        self.status.enter(BridgeState::Waiting { next_attempt });
        delay
    }

    /// The same failure again and again is one line.
    fn log_down(&mut self, error: &LinkError, was_up: bool, delay: Duration) {
        let (bridge, address) = (&self.name, &self.config.address);
        let delay_s = delay.as_secs_f32();
        if was_up {
            warn!(bridge, address, "link down: {error}; next attempt in {delay_s:.1} s");
        } else if self.logged.as_ref() != Some(error) {
            warn!(bridge, address, "no link: {error}; next attempt in {delay_s:.1} s");
        } else {
            debug!(bridge, address, "still no link: {error}; next attempt in {delay_s:.1} s");
        }
        self.logged = Some(error.clone());
    }
}

fn revealed(password: Option<&Secret>) -> Option<String> {
    password.map(Secret::reveal).map(Into::into)
}

/// What the local broker adds to each message to say where it comes from.
const ORIGIN_BYTES_MAX: u32 = origin::PROPERTY_BYTES_MAX as u32;

/// Room for a packet at all, whatever a broker says.
const PACKET_BYTES_LEAST: u32 = 64;

impl Limits {
    fn of(peer: &Peer) -> Self {
        Self { receive_maximum: peer.receive_maximum, packet_bytes_max: peer.packet_bytes_max }
    }
}

/// Until the hours of a link are over.
async fn closing(hours: &Hours) {
    loop {
        match hours.at(second_of_day()) {
            Opening::Always => std::future::pending().await,
            Opening::Open { for_s } => sleep(look_again_in(for_s)).await,
            Opening::Closed { .. } => return,
        }
    }
}

/// The clock may be set meanwhile.
fn look_again_in(for_s: u32) -> Duration {
    Duration::from_secs(for_s.min(30).into())
}

/// By the clock on the wall.
fn second_of_day() -> u32 {
    let time = jiff::Zoned::now().time();
    let part = |value: i8| u32::from(value.unsigned_abs());
    part(time.hour()) * 3600 + part(time.minute()) * 60 + part(time.second()).min(59)
}

async fn shake(
    side: Side,
    end: &mut MqttEnd<BoxedStream>,
    out: &mut Output,
    request: &Request,
) -> Result<Peer, LinkError> {
    loop {
        if let Some((packet, len)) = end.next_packet()? {
            // [MQTT-3.2.0-1]
            let Packet::ConnAck(connack) = packet else {
                let what = "the first packet is not CONNACK".into();
                return Err(LinkError::Protocol { side, what });
            };
            let granted = Peer::granted(request, &connack);
            let peer = granted.map_err(|reason| LinkError::Refused { side, reason })?;
            end.consume(len);
            return Ok(peer);
        }
        poll_fn(|cx| {
            end.poll_write(out, cx)?;
            let read = end.poll_read(cx);
            match read {
                Poll::Ready(Err(LinkError::Closed { side, .. })) => {
                    Poll::Ready(Err(LinkError::Closed { side, connecting: true }))
                }
                other => other,
            }
        })
        .await?;
    }
}

async fn within<T>(
    phase: Phase,
    peer: String,
    limit_s: u64,
    step: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout(Duration::from_secs(limit_s), step).await.unwrap_or(Err(LinkError::TimedOut {
        phase,
        peer,
        limit_s,
    }))
}

fn add(before: &Counts, now: &Counts) -> Counts {
    let sum = |of: fn(&Counts) -> &PerSide<u64>| {
        PerSide::from_fn(|side| of(before)[side] + of(now)[side])
    };
    Counts {
        forwarded: sum(|counts| &counts.forwarded),
        refused: sum(|counts| &counts.refused),
        unmapped: sum(|counts| &counts.unmapped),
        unwanted: sum(|counts| &counts.unwanted),
        dropped: sum(|counts| &counts.dropped),
        bytes: sum(|counts| &counts.bytes),
    }
}
