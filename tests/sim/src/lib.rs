//! Outpost in a simulated world: core, store and redb on a simulated disk, clients good and rude on a
//! simulated network, and an oracle that knows what each of them may and must see.
//!
//! One seed draws everything, time is virtual, and nothing here has a thread or a file: the same seed
//! gives the same run. `README.md` says what is checked, and how to replay a failure.
//!
//! | file | what it owns |
//! |---|---|
//! | `world` | the agenda, the two phases |
//! | `broker_side`, `client_side`, `faults` | what happens: at the broker's end of the network, at the clients', to the machine |
//! | `machine`, `disk`, `contents` | the computer of the broker: its process, its disk, what is on it |
//! | `wire`, `packet` | connections, packets |
//! | `client`, `manners`, `plan` | who the clients are, how they behave well and badly, what a seed decides |
//! | `oracle`, `watch` | what was promised, and whether it was kept |
//! | `coverage`, `trace`, `draw` | what happened, told and counted; chance |

#![allow(
    missing_docs,
    reason = "a test; its types are documented where their names do not say all"
)]

mod broker_side;
mod client;
mod client_side;
mod contents;
mod coverage;
mod disk;
mod draw;
mod faults;
mod machine;
mod manners;
mod oracle;
mod packet;
mod plan;
mod sites;
mod trace;
mod watch;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use coverage::Coverage;
pub use sites::play_sites;
use world::World;

/// Seeds that found something once.
pub const FIXED_SEEDS: &[u64] = &[
    1513, 2038, 2986, 3090, 3128, 3529, 500_684, 3_018_537, 77_000_317, 77_000_960, 88_003_104,
    99_001_853,
];

/// Likewise of runs of several sites.
pub const FIXED_SITE_SEEDS: &[u64] =
    &[12, 67, 1007, 1033, 1063, 1140, 1340, 1409, 1417, 1431, 1457, 2774];

/// How a run is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What happens goes to standard output.
    pub is_printed: bool,
    /// The disk says that it has synced and has not.
    pub has_lying_disk: bool,
    /// A mistake that the broker makes.
    #[cfg(feature = "seeded-bugs")]
    pub bug: Option<outpost_broker::core::Bug>,
}

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How much that was.
    pub events: u64,
    pub coverage: Coverage,
    /// What did not hold.
    pub failure: Option<String>,
}

/// Plays the run of a seed.
pub fn play(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options);
    let played = catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = played.err().map(words_of);
    let (hash, events, coverage) = world.into_results();
    Report { seed, hash, events, coverage, failure }
}

/// What a panic says.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    text.unwrap_or_else(|| "a panic without words".to_string())
}
