//! Raw packet exchanges that Mosquitto's authors wrote, played against a fresh broker. They are not
//! part of this repository: where the folder is not there, the test says so and shows nothing.

#![allow(clippy::print_stdout)] // What was played is what a reader of the run wants to see.

use std::path::{Path, PathBuf};
use std::process::Command;

use outpost_tests::Broker;

/// The folder with the player: named by the environment, or beside the repository.
fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/packet-sequences");
    std::env::var_os("OUTPOST_PACKET_SEQUENCES").map_or(beside, PathBuf::from)
}

#[test]
fn every_packet_sequence_passes() {
    let play = folder().join("play");
    if !play.exists() {
        println!("not played: there is no {}", play.display());
        return;
    }
    let broker = Broker::start();
    let port = broker.address().port().to_string();
    let played = Command::new("python3")
        .arg(&play)
        .args(["--port", &port, "--quiet", "--timeout", "5"])
        .output()
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&played.stdout);
    println!("{said}");
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    let summary = said.lines().last().unwrap_or_default();
    let passed: u32 = summary.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(passed > 1_000, "only {passed} were played: {summary}");
}
