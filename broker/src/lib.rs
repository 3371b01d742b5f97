//! The Outpost broker.

pub mod core;
