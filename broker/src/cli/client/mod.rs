//! What `outpost pub` and `outpost sub` have in common: the options of a client, and a connection
//! that drives the protocol crate's client without I/O.
//!
//! - `options`: what the user types, letter for letter as mosquitto_pub and mosquitto_sub have it;
//!   `url` and `property` are two of its values.
//! - `settings`: what that means once all options are known.
//! - `tls`, `transport`: how to reach the server.
//! - `link`: one session over any number of connections; `trace` tells what passes on it.
//! - `backoff`: how long to wait before the next connection.
//! - `error`: what can fail, in words, with the exit code of the program.

mod backoff;
mod error;
mod link;
mod options;
mod property;
mod settings;
mod tls;
mod trace;
mod transport;
mod url;

pub(super) use backoff::Backoff;
pub(super) use error::ClientError;
pub(super) use link::{Accepted, After, Link, MqttClient};
pub(super) use options::ClientOptions;
pub(super) use property::Target;
pub(super) use settings::Settings;
pub(super) use trace::Reporter;

use ring::rand::{SecureRandom, SystemRandom};

/// Numbers that nobody can foresee; zeros on a system that has none.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => [0; N],
    }
}
