//! What a seed decides before anything happens.

use outpost_bridge::config::{Direction, TopicConfig};
use outpost_bridge::peering::Features;
use outpost_broker::core::limits::Limits;
use outpost_broker::core::{CommitPolicy, Settings};
use outpost_broker::store::StoreOptions;

use crate::draw::Draw;

/// A run before it begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub sites: usize,
    /// The gateway that has the bridge, and the site that it goes to.
    pub links: Vec<(usize, usize)>,
    pub store: StoreOptions,
    pub faults: Faults,
    /// Messages that are published in all.
    pub messages: u64,
    pub inflight_max: u16,
    /// How long bytes are under way at most, in milliseconds.
    pub delay_ms: u64,
    /// The longest commit.
    pub commit_ms: u64,
    commit: CommitPolicy,
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
    pub(super) fn drawn(draw: &mut Draw) -> Self {
        // A pair, a chain, a star, a ring, a diamond.
        let ways: [(usize, &[(usize, usize)]); 5] = [
            (2, &[(0, 1)]),
            (3, &[(0, 1), (1, 2)]),
            (3, &[(1, 0), (2, 0)]),
            (3, &[(0, 1), (1, 2), (2, 0)]),
            (4, &[(0, 1), (0, 2), (1, 3), (2, 3)]),
        ];
        let (sites, links) = draw.of(&ways);
        Self {
            sites,
            links: links.to_vec(),
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
            features: Features::default(),
            version: "simulated",
            seed: seed.wrapping_mul(31).wrapping_add(site as u64 + 1),
        }
    }
}

/// Everything goes both ways, under the same names.
pub(super) fn rules() -> Vec<TopicConfig> {
    let rule = |filter: &str| TopicConfig { qos: 2, ..TopicConfig::new(filter, Direction::Both) };
    vec![rule("t/#"), rule("r/#")]
}
