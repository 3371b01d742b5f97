//! Bridges of the real program: what the operator sees and does.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod alone;
mod bad_links;
mod classes;
mod control;
mod floods;
mod foreign_bridge;
mod foreign_remotes;
mod interest;
mod reload;
mod remote_errors;
mod remote_limits;
mod state;
mod traffic;
mod ways;
