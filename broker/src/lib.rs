//! The Outpost broker.

mod admin;
pub mod alone;
pub mod auth;
mod bridges;
pub mod cli;
pub mod config;
pub mod core;
mod file_limit;
pub mod logging;
mod net;
pub mod reload;
pub mod server;
pub mod store;
pub mod tls;

pub use bridges::prepare as prepare_bridge;
