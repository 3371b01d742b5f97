//! What a client sees of a broker whose disk lets it down: a damaged store, a disk that is full.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod damaged;
mod full;
