//! The Outpost broker.

pub mod auth;
pub mod config;
pub mod core;
pub mod logging;
pub mod store;
pub mod tls;
