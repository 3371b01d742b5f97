//! The proof that the simulation has teeth: mistakes are planted into the broker, and found.

use std::process::ExitCode;

use outpost_broker::core::Bug;
use outpost_sim::{Options, play};

/// A known mistake has to show within so many seeds.
const SEEDS_MAX: u64 = 200;

const BUGS: [(&str, Bug); 6] = [
    ("ack-before-commit", Bug::AckBeforeCommit),
    ("forgotten-route", Bug::ForgottenRoute),
    ("packet-id-reused", Bug::PacketIdReused),
    ("lost-pubrel", Bug::LostPubRel),
    ("early-elision", Bug::EarlyElision),
    ("dropped-share", Bug::DroppedShare),
];

/// The mistake of this name.
pub(crate) fn named(name: &str) -> Result<Bug, String> {
    let names = BUGS.map(|(name, _)| name).join(", ");
    let found = BUGS.iter().find(|(known, _)| *known == name);
    found.map(|(_, bug)| *bug).ok_or_else(|| format!("one of {names}"))
}

/// The command that plays a run with a mistake again.
pub(crate) fn replay(seed: u64, bug: Bug) -> String {
    let name = BUGS.iter().find(|(_, known)| *known == bug).map_or("", |(name, _)| name);
    format!(
        "cargo run --profile sim -p outpost-sim --features seeded-bugs -- \
         --seed {seed} --trace --bug {name}"
    )
}

/// Plants each, and says what found it and when.
pub(crate) fn find_all() -> ExitCode {
    let mut all_found = true;
    for (name, bug) in BUGS {
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let report = play(seed, Options { bug: Some(bug), ..Options::default() });
            Some((seed, report.failure?))
        });
        match found {
            Some((seed, failure)) => {
                let failure: String =
                    failure.lines().next().unwrap_or("").chars().take(100).collect();
                println!("{name}: found by seed {seed}: {failure}");
            }
            None => {
                eprintln!("{name}: not found within {SEEDS_MAX} seeds");
                all_found = false;
            }
        }
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
