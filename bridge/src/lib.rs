//! Outpost's bridge: a link between two MQTT brokers that loses nothing acknowledged.

pub mod config;
