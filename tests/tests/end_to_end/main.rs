//! From sensors through a gateway to a centre: the real program twice, with `configs/gateway.toml`
//! and `configs/central.toml` as an installer fills them in.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod kills;
mod publishers;
mod site;
mod traffic;
