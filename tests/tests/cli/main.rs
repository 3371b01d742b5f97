//! `outpost pub` and `outpost sub` as a user runs them: against each other, against mosquitto's
//! clients and broker, and against servers that say exactly what a test wants.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod delivery;
mod mosquitto;
mod packets;
mod prelude;
mod recovery;
mod refusals;
mod retained;
mod server;
mod store;
mod tls;
