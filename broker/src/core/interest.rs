//! Bridges of other Outposts are told which filters there are subscribers for here, where they ask for
//! it ([`outpost_bridge::interest`]): once when they come, and again soon after a change.

use std::hash::BuildHasher;

use outpost_bridge::interest::{FILTERS_MAX, Interest, TOPIC};
use outpost_protocol::{Packet, Properties, ProtocolVersion, Publish, QoS};

use super::Broker;
use super::connection::ConnId;
use super::output::{ByteBuffer, Output};
use super::time::Instant;
use super::timers::Timer;

/// How soon after a change bridges are told of it: changes mostly come several at a time.
const TELL_AFTER_MS: u64 = 250;

/// A bridge that wants to know, and what it was told.
#[derive(Debug)]
pub(super) struct Interested {
    id: ConnId,
    /// The change of subscriptions up to which it knows.
    generation: u64,
    digest: u64,
}

impl Broker {
    /// The bridge of this connection is to know of the interest here from now on.
    pub(super) fn watch_interest(&mut self, now: Instant, id: ConnId) {
        self.interested.push(Interested { id, generation: u64::MAX, digest: 0 });
        self.tell_interest(now);
    }

    /// Tells those of the bridges that do not know it yet.
    pub(super) fn tell_interest(&mut self, now: Instant) {
        let mut interested = std::mem::take(&mut self.interested);
        interested.retain_mut(|told| self.tell_one(told));
        self.interested = interested;
        if !self.interested.is_empty() {
            self.timers.set(now.plus_ms(TELL_AFTER_MS), Timer::Interest);
        }
    }

    /// False: the connection is gone.
    fn tell_one(&mut self, told: &mut Interested) -> bool {
        let Some(connection) = self.connection(told.id) else { return false };
        let Some(key) = connection.session else { return false };
        let generation = self.topics.generation();
        if told.generation == generation || connection.output_bytes > u64::from(u16::MAX) {
            return true;
        }
        let maximum_packet_size = connection.maximum_packet_size as usize;
        let filters = self.topics.filters_but_of(key, FILTERS_MAX);
        let mut payload = Interest::payload(filters.as_deref());
        let mut bytes = packet(&payload);
        if bytes.len() > maximum_packet_size {
            payload = Interest::payload(None);
            bytes = packet(&payload);
        }
        let digest = foldhash::quality::FixedState::with_seed(1).hash_one(&payload);
        if told.generation == u64::MAX || told.digest != digest {
            self.push_output(told.id, Output::Encoded(bytes.into_boxed_slice()));
        }
        (told.generation, told.digest) = (generation, digest);
        true
    }
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TOPIC,
        packet_id: None,
        properties: Properties::EMPTY,
        payload,
    };
    let mut bytes = ByteBuffer::default();
    let encoded = Packet::Publish(publish).encode(ProtocolVersion::V5, &mut bytes);
    encoded.expect("a buffer that grows, and a payload that is bounded");
    bytes.0
}
