//! A message as the core holds it: one allocation of bytes, shared by everything it waits for.

use std::sync::Arc;

use outpost_protocol::{Properties, QoS};

use super::durability::Durability;
use super::time::Instant;

/// A valid topic name, shared: telemetry repeats its topics, so that a topic is kept once.
pub type Topic = Arc<str>;

/// An application message.
///
/// What is forwarded to every receiver alike stands in `body` in wire form: the properties that are
/// passed on unaltered [MQTT-3.3.2-4], [MQTT-3.3.2-15 to -20], then the payload. The Message Expiry
/// Interval is counted down and hence kept apart; aliases and subscription identifiers belong to one
/// connection and are never part of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic name.
    pub topic: Topic,
    /// The QoS of the publisher.
    pub qos: QoS,
    /// The RETAIN flag of the publisher.
    pub retain: bool,
    /// When it expires: the publisher's Message Expiry Interval, or none.
    pub expires_at: Option<Instant>,
    /// What is promised of it, by its topic. What comes from the store is durable.
    pub durability: Durability,
    properties_len: u32,
    body: Box<[u8]>,
}

impl Message {
    /// Puts a message together. `properties` is wire form without a length in front.
    pub fn new(
        topic: Topic,
        qos: QoS,
        retain: bool,
        expires_at: Option<Instant>,
        properties: &[u8],
        payload: &[u8],
    ) -> Self {
        let mut body = Vec::with_capacity(properties.len() + payload.len());
        body.extend_from_slice(properties);
        body.extend_from_slice(payload);
        let properties_len = u32::try_from(properties.len()).expect("a packet is below 256 MiB");
        Self {
            topic,
            qos,
            retain,
            expires_at,
            durability: Durability::default(),
            properties_len,
            body: body.into_boxed_slice(),
        }
    }

    /// The same with another durability.
    pub(super) fn with(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The properties that are forwarded unaltered.
    pub fn properties(&self) -> Properties<'_> {
        Properties::encoded(&self.body[..self.properties_len as usize])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.properties_len as usize..]
    }

    /// It lives in memory only.
    pub(super) fn is_volatile(&self) -> bool {
        self.durability == Durability::Volatile
    }

    /// What it counts in every limit in bytes: topic, properties and payload.
    pub fn bytes(&self) -> u64 {
        (self.topic.len() + self.body.len()) as u64
    }

    /// Whether it may no longer be sent at `now` [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}
