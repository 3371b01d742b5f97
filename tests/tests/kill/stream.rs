//! Messages of one publisher, topic and QoS: numbered from 0, each with a payload that tells which
//! one it is.

use std::collections::BTreeMap;

use outpost_protocol::QoS;
use outpost_tests::Publish;

/// The topic that ends a subscriber's part.
pub const END: &str = "end";

/// Now and then a message is so large that the store needs pages of its own for it.
const LARGE_EVERY: u32 = 97;
const LARGE_BYTES: usize = 6_000;

/// What keeps its order: a topic, which has one publisher, and a QoS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    pub topic: String,
    pub qos: QoS,
}

/// For each stream the number of its next message.
pub type Numbers = BTreeMap<Stream, u32>;

impl Stream {
    /// The payload of a message.
    pub fn payload(&self, number: u32) -> Vec<u8> {
        let mut payload = format!("{number} {} {} ", self.topic, self.qos as u8).into_bytes();
        let len = if number % LARGE_EVERY == LARGE_EVERY - 1 {
            LARGE_BYTES
        } else {
            payload.len() + (number.wrapping_mul(7_919) % 300) as usize
        };
        payload.resize(len, b'a' + (number % 26) as u8);
        payload
    }

    /// Which message it is.
    ///
    /// # Panics
    /// When it is none that was ever published.
    pub fn of(publish: &Publish) -> (Self, u32) {
        let stream = Self { topic: publish.topic.clone(), qos: publish.qos };
        let text = publish.payload.split(|&byte| byte == b' ').next().unwrap_or_default();
        let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{publish:?} has no number"));
        assert!(publish.payload == stream.payload(number), "{publish:?} is not what was published");
        (stream, number)
    }
}
