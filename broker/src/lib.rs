//! The Outpost broker.

pub mod core;
pub mod store;
