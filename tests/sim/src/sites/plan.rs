//! What a seed decides before anything happens.

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::peering::Features;
use outpost_broker::core::limits::Limits;
use outpost_broker::core::{CommitPolicy, Settings};
use outpost_broker::store::StoreOptions;

use crate::draw::Draw;

/// See [`Ways::drawn`].
const SALT: u64 = 0x2_9b40_0000;

/// A run before it begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub sites: usize,
    /// The gateway that has the bridge, and the site that it goes to.
    pub bridges: Vec<(usize, usize)>,
    pub store: StoreOptions,
    pub faults: Faults,
    /// Messages that are published in all.
    pub messages: u64,
    pub inflight_max: u16,
    /// How long bytes are under way at most, in milliseconds.
    pub delay_ms: u64,
    /// The longest commit.
    pub commit_ms: u64,
    pub ways: Ways,
    commit: CommitPolicy,
}

/// What the bridges do beyond the plain one: one link each, in order, all that its rules fit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ways {
    /// Topics go by links of their own.
    classes: Classes,
    /// Messages a second by one of the links; 0: as many as there are.
    messages_per_s: u32,
    /// Bytes that the network takes at once of what goes to the remote end; 0: all.
    pub bytes_at_once: usize,
    /// How many of a hundred messages are new ones while old ones wait.
    pub live_percent: u8,
    stamp: bool,
    /// Only what somebody subscribes to at the other end is sent.
    pub interest: bool,
    /// Each end of a bridge is told which broker is at the other one, and does not send back what that
    /// took in.
    pub tells_node: bool,
}

/// How the topics are split over the links of a bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Classes {
    #[default]
    One,
    /// One takes some of the topics that the filter of the other fits, too.
    Overlapping,
    /// A third has what is retained.
    Three,
}

/// How often what goes wrong: in thousandths of the messages, and in hundredths of what is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub power_cut: u64,
    pub kill: u64,
    pub restart: u64,
    pub cut_percent: u64,
    pub silence_percent: u64,
}

impl Plan {
    pub(super) fn drawn(seed: u64, draw: &mut Draw) -> Self {
        // A pair, a chain, a star, a ring, a diamond.
        let ways: [(usize, &[(usize, usize)]); 5] = [
            (2, &[(0, 1)]),
            (3, &[(0, 1), (1, 2)]),
            (3, &[(1, 0), (2, 0)]),
            (3, &[(0, 1), (1, 2), (2, 0)]),
            (4, &[(0, 1), (0, 2), (1, 3), (2, 3)]),
        ];
        let (sites, bridges) = draw.of(&ways);
        Self {
            sites,
            bridges: bridges.to_vec(),
            store: StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() },
            faults: Faults {
                power_cut: draw.of(&[0, 4, 15]),
                kill: draw.of(&[0, 4, 15]),
                restart: draw.of(&[0, 4]),
                cut_percent: draw.of(&[0, 2, 10]),
                silence_percent: draw.of(&[0, 0, 1]),
            },
            messages: draw.between(60, 250),
            inflight_max: draw.of(&[1, 3, 20, 100]),
            delay_ms: draw.of(&[0, 2, 50, 500]),
            commit_ms: draw.of(&[1, 10, 100, 2_000]),
            ways: Ways::drawn(seed),
            commit: CommitPolicy {
                interval_ms: draw.of(&[0, 20, 1_000]),
                lazy_interval_ms: draw.of(&[100, 1_000, 10_000]),
                ..CommitPolicy::default()
            },
        }
    }

    /// How the broker of a site is set up.
    pub(super) fn settings(&self, seed: u64, site: usize) -> Settings {
        Settings {
            limits: Limits::default(),
            commit: self.commit,
            sys_interval_s: 0,
            topic_classes: Vec::new(),
            queues: Vec::new(),
            features: Features { interest: true, ..Features::default() },
            version: "simulated",
            seed: seed.wrapping_mul(31).wrapping_add(site as u64 + 1),
        }
    }
}

impl Ways {
    /// Drawn apart, and with a salt by which the seeds of [`crate::FIXED_SITE_SEEDS`] that were found
    /// with plain bridges have plain ones still.
    fn drawn(seed: u64) -> Self {
        let mut draw = Draw::new(seed ^ SALT);
        if draw.one_in(3) {
            return Self::default();
        }
        let classes = draw.of(&[Classes::One, Classes::Overlapping, Classes::Three]);
        Self {
            classes,
            messages_per_s: draw.of(&[0, 0, 5, 50]),
            bytes_at_once: draw.of(&[0, 20, 200]),
            live_percent: draw.of(&[0, 1, 50, 90]),
            stamp: draw.one_in(2),
            interest: draw.one_in(2),
            tells_node: draw.one_in(2),
        }
    }

    /// The links of a bridge: everything goes both ways, under the same names.
    pub(super) fn links(&self, client_id: &str, inflight_max: u16) -> Vec<BridgeConfig> {
        let Self { messages_per_s, live_percent, stamp, interest, .. } = self;
        let delivery = format!("live_percent = {live_percent}\nstamp = {stamp}\n");
        let mut text = format!(
            "name = \"simulated\"\naddress = \"simulated:1883\"\nclient_id = \"{client_id}\"\n\
             keep_alive_s = 30\ninflight_max = {inflight_max}\ninterest = {interest}\n"
        );
        let tables: &[(&str, &str)] = match self.classes {
            Classes::One => &[("t/#", "default"), ("r/#", "default")],
            Classes::Overlapping => &[("t/+/a", "first"), ("t/#", "default"), ("r/#", "default")],
            Classes::Three => &[("t/+/a", "default"), ("r/#", "state"), ("#", "first")],
        };
        for (name, priority, per_s) in
            [("first", 90, 0), ("default", 50, *messages_per_s), ("state", 50, 0)]
        {
            if !tables.iter().any(|(_, class)| *class == name) {
                continue;
            }
            text += &format!(
                "[[class]]\nname = \"{name}\"\npriority = {priority}\n\
                 messages_per_s = {per_s}\n{delivery}"
            );
        }
        for (filter, class) in tables {
            text += &format!(
                "[[topic]]\nfilter = \"{filter}\"\nclass = \"{class}\"\n\
                 direction = \"both\"\nqos = 2\n"
            );
        }
        let config: BridgeConfig = toml::from_str(&text).expect("a configuration");
        config.validate().expect("it is valid");
        config.links()
    }
}
