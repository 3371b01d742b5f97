//! The names that nearly every test needs, and short ways to the commands.

pub use outpost_protocol::{QoS, ReasonCode};
pub use outpost_tests::{Broker, Command, Ended, unique};

use std::net::SocketAddr;

/// Starts a command of `outpost` against the server at `address`, with the words of `line` (none has
/// a space in it) and then `more`.
pub fn start(command: &str, address: SocketAddr, line: &str, more: &[&str]) -> Command {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let words = line.split(' ').filter(|word| !word.is_empty());
    let arguments: Vec<_> = [command, "-h", &host, "-p", &port]
        .into_iter()
        .chain(words)
        .chain(more.iter().copied())
        .collect();
    Command::outpost(&arguments)
}

/// Publishes, and waits for the end.
#[track_caller]
pub fn publish(address: SocketAddr, line: &str, more: &[&str]) {
    let ended = start("pub", address, line, more).end();
    assert_eq!((ended.text(), ended.errors.as_str()), ("", ""), "pub {line} {more:?}");
}

/// A subscriber whose subscription has been answered. It shows its packets on standard error.
#[track_caller]
pub fn subscribed(address: SocketAddr, line: &str, more: &[&str]) -> Command {
    let sub = start("sub", address, &format!("-d {line}"), more);
    sub.wait_for_error("received SUBACK", 1);
    sub
}
