//! Messages that wait for a connection, in order.

use heapless::{Deque, Vec};
use outpost_protocol::client::{Message, RequestError};
use outpost_protocol::{Buffer, BufferFull, Properties, QoS, TopicName};

use crate::PublishError;

/// What happens to a message for which the queue has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    #[default]
    Refuse,
    /// The oldest one that waits is dropped and counted.
    DropOldest,
}

/// Up to `QUEUED` messages, each with up to `READING` bytes of topic, properties and payload.
#[derive(Debug)]
pub(crate) struct Queue<const QUEUED: usize, const READING: usize> {
    readings: Deque<Reading<READING>, QUEUED>,
    when_full: WhenFull,
    dropped: u32,
}

#[derive(Debug)]
struct Reading<const READING: usize> {
    /// Topic, properties in wire form, payload.
    bytes: Vec<u8, READING>,
    topic_len: usize,
    properties_len: usize,
    qos: QoS,
    retain: bool,
    token: u32,
}

impl<const QUEUED: usize, const READING: usize> Queue<QUEUED, READING> {
    pub(crate) const fn new(when_full: WhenFull) -> Self {
        Self { readings: Deque::new(), when_full, dropped: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.readings.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// How many were dropped to make room; stays at its maximum.
    pub(crate) const fn dropped(&self) -> u32 {
        self.dropped
    }

    pub(crate) fn push(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        TopicName::new(message.topic)
            .map_err(|error| PublishError::Request(RequestError::Topic(error)))?;
        let reading = Reading::new(message).map_err(|BufferFull| PublishError::TooLong)?;
        if self.readings.is_full() && self.when_full == WhenFull::DropOldest {
            self.readings.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.readings.push_back(reading).map_err(|_| PublishError::QueueFull)
    }

    pub(crate) fn front(&self) -> Option<Message<'_>> {
        self.readings.front().map(Reading::message)
    }

    pub(crate) fn pop(&mut self) {
        self.readings.pop_front();
    }
}

impl<const READING: usize> Reading<READING> {
    fn new(message: &Message<'_>) -> Result<Self, BufferFull> {
        let mut bytes = Bytes(Vec::new());
        bytes.put(message.topic.as_bytes())?;
        message.properties.iter().try_for_each(|property| property.encode(&mut bytes))?;
        let properties_len = bytes.0.len() - message.topic.len();
        bytes.put(message.payload)?;
        Ok(Self {
            bytes: bytes.0,
            topic_len: message.topic.len(),
            properties_len,
            qos: message.qos,
            retain: message.retain,
            token: message.token,
        })
    }

    fn message(&self) -> Message<'_> {
        let (topic, rest) = self.bytes.split_at(self.topic_len);
        let (properties, payload) = rest.split_at(self.properties_len);
        Message {
            // It was copied from a str.
            topic: core::str::from_utf8(topic).unwrap_or_default(),
            payload,
            qos: self.qos,
            retain: self.retain,
            properties: Properties::encoded(properties),
            token: self.token,
        }
    }
}

struct Bytes<const N: usize>(Vec<u8, N>);

impl<const N: usize> Buffer for Bytes<N> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes).map_err(|_| BufferFull)
    }
}
