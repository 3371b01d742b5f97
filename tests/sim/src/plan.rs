//! What a seed decides before anything happens: limits, policies, faults, who the clients are.

use outpost_bridge::peering::Features;
use outpost_broker::core::limits::{Limits, QueueFull};
use outpost_broker::core::{CommitPolicy, Durability, Settings, TopicClass};
use outpost_broker::store::StoreOptions;
use outpost_protocol::{ProtocolVersion, QoS};

use crate::draw::Draw;

/// Names of clients, and how many there are at most.
const NAMES: [&str; 6] = ["ada", "bob", "cyd", "dot", "eve", "fay"];

/// The topic that has a class of its own.
pub(crate) const CLASS_TOPIC: &str = "t/1";

/// A run before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub settings: Settings,
    pub store: StoreOptions,
    pub profiles: Vec<Profile>,
    pub faults: Faults,
    /// Things that clients do before the faults end.
    pub acts: u64,
}

/// How often what goes wrong, in thousandths of a client's acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub power_cut: u64,
    pub kill: u64,
    pub clean_restart: u64,
    pub disk: u64,
    /// The longest commit, in milliseconds.
    pub commit_ms: u64,
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Its place among the clients.
    pub index: usize,
    pub name: &'static str,
    pub version: ProtocolVersion,
    /// Session Expiry Interval; 0: its session ends with its connection.
    pub expiry_s: u32,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_size: Option<u32>,
    pub topic_alias_maximum: u16,
    pub keep_alive_s: u16,
    /// Of all its subscriptions.
    pub qos: QoS,
    /// It has a will in some of its connections.
    pub will: Option<WillProfile>,
    /// How often it does what no client should, in hundredths of its acts.
    pub rude_percent: u64,
    /// It answers at once, and not when it gets around to it.
    pub is_prompt: bool,
    /// How long it thinks between two acts at most, in milliseconds.
    pub pause_ms: u64,
    /// How long its bytes are under way at most.
    pub delay_ms: u64,
}

/// The will of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WillProfile {
    pub qos: QoS,
    pub delay_s: u32,
}

impl Profile {
    /// Its session outlives its connection.
    pub(crate) fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }

    /// It speaks 5.0.
    pub(crate) fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    /// A member of shared subscriptions that loses nothing.
    pub(crate) fn may_share(&self) -> bool {
        self.is_durable() && self.qos > QoS::AtMostOnce
    }
}

impl Plan {
    /// What this seed decides.
    pub(crate) fn drawn(seed: u64, draw: &mut Draw) -> Self {
        let clients = draw.between(3, NAMES.len() as u64) as usize;
        Self {
            settings: settings(seed, draw),
            store: StoreOptions {
                cache_bytes: 1 << 20,
                quick_repair_above_bytes: draw.of(&[0, u64::MAX]),
                ..StoreOptions::default()
            },
            profiles: (0..clients).map(|i| profile(i, draw)).collect(),
            faults: faults(draw),
            acts: draw.between(300, 900),
        }
    }

    /// Queues may drop what is in them, or what is to go into them.
    pub(crate) fn drops(&self) -> bool {
        drops(&self.settings.limits)
    }
}

/// Whether queues with these limits may drop what was acknowledged.
pub(crate) fn drops(limits: &Limits) -> bool {
    limits.queue_full != QueueFull::Reject || limits.queue_age_max_s > 0
}

fn settings(seed: u64, draw: &mut Draw) -> Settings {
    let default = Limits::default();
    let limits = Limits {
        inflight_max: draw.of(&[1, 3, 100]),
        queue_messages_max: draw.of(&[4, 12, 1_000, 1_000]),
        queue_bytes_max: draw.of(&[4_000, 1 << 20, 1 << 20]),
        queue_total_bytes_max: draw.of(&[6_000, 1 << 20, 1 << 20]),
        queue_age_max_s: draw.of(&[0, 0, 0, 20]),
        queue_full: draw.of(&[
            QueueFull::Reject,
            QueueFull::Reject,
            QueueFull::DropOldest,
            QueueFull::DropNewest,
            QueueFull::KeepLastPerTopic,
        ]),
        output_bytes_max: draw.of(&[1_000, 1 << 20, 1 << 20]),
        packet_bytes_max: draw.of(&[4_000, 1 << 20]),
        receive_maximum: draw.of(&[2, 20, 1_000]),
        retained_messages_max: draw.of(&[2, 100, 100]),
        retained_bytes_max: draw.of(&[2_000, 1 << 20, 1 << 20]),
        store_backlog_bytes_max: draw.of(&[1_000, 8 << 20, 8 << 20]),
        queue_full_wait_ms: draw.of(&[10_000, 60_000]),
        topic_alias_maximum_out: draw.of(&[0, 2, 10]),
        ..default
    };
    Settings {
        limits,
        commit: CommitPolicy {
            interval_ms: draw.of(&[0, 20, 20, 1_000]),
            lazy_interval_ms: draw.of(&[100, 1_000, 10_000]),
            rows_max: draw.of(&[3, 1_000]),
            // Who has to wait for the store is not to be sent away before the budget allows a commit.
            interval_max_ms: draw.of(&[1_000, 2_000]),
            flash_budget_per_day: draw.of(&[0, 0, 10_000_000]),
            ..CommitPolicy::default()
        },
        sys_interval_s: draw.of(&[0, 0, 10]),
        topic_classes: topic_classes(draw),
        queues: Vec::new(),
        features: Features::default(),
        version: "simulated",
        seed,
    }
}

/// In some runs less is promised of one topic.
fn topic_classes(draw: &mut Draw) -> Vec<TopicClass> {
    let window_ms = draw.of(&[0, 100, 2_000]);
    let durability = draw.of(&[
        Durability::Durable,
        Durability::Durable,
        Durability::Interval { window_ms },
        Durability::Volatile,
    ]);
    vec![TopicClass { filter: CLASS_TOPIC.into(), durability }]
}

fn faults(draw: &mut Draw) -> Faults {
    Faults {
        power_cut: draw.of(&[0, 4, 10, 20]),
        kill: draw.of(&[0, 4, 10]),
        clean_restart: draw.of(&[0, 2, 5]),
        disk: draw.of(&[0, 0, 3, 8]),
        commit_ms: draw.of(&[1, 10, 100, 3_000]),
    }
}

fn profile(index: usize, draw: &mut Draw) -> Profile {
    let version = draw.of(&[ProtocolVersion::V5, ProtocolVersion::V5, ProtocolVersion::V311]);
    let is_v5 = version == ProtocolVersion::V5;
    let will = WillProfile {
        qos: draw.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
        delay_s: if is_v5 { draw.of(&[0, 0, 5, 60]) } else { 0 },
    };
    let for_v5 = |value| if is_v5 { value } else { None };
    Profile {
        index,
        name: NAMES[index],
        version,
        expiry_s: draw.of(&[0, 40, 100_000, 100_000]),
        receive_maximum: for_v5(draw.of(&[None, Some(1), Some(2), Some(5)])),
        maximum_packet_size: if is_v5 { draw.of(&[None, None, None, Some(600)]) } else { None },
        topic_alias_maximum: if is_v5 { draw.of(&[0, 0, 3]) } else { 0 },
        keep_alive_s: draw.of(&[0, 0, 10]),
        qos: draw.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]),
        will: draw.one_in(2).then_some(will),
        rude_percent: draw.of(&[0, 0, 2, 6]),
        is_prompt: draw.one_in(2),
        pause_ms: draw.of(&[5, 50, 500, 3_000]),
        delay_ms: draw.of(&[0, 2, 50, 500]),
    }
}
