//! What must hold of the simulation itself. The runs that test the broker are played by
//! `cargo run --profile sim -p outpost-sim`, as `tests/run` does; here are a few of them.

use outpost_sim::{FIXED_SEEDS, Options, play};

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let first = play(seed, Options::default());
        assert!(first.events > 100, "seed {seed} does next to nothing");
        let second = play(seed, Options::default());
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 20, "different seeds give different runs");
}

#[test]
fn seeds_that_found_something_find_nothing_now() {
    for &seed in FIXED_SEEDS {
        let report = play(seed, Options::default());
        assert_eq!(report.failure, None, "seed {seed}");
    }
}

/// Were this not noticed, what the other runs find would prove little.
#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let options = Options { has_lying_disk: true, ..Options::default() };
    let is_noticed = (0..20).any(|seed| play(seed, options).failure.is_some());
    assert!(is_noticed, "the simulation does not notice what is lost");
}
