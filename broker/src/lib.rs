//! The Outpost broker.
