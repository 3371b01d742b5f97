//! Publishers that record every acknowledgement and a receiver that records every message, each on
//! a thread, so that a test can do something to the brokers at a certain count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use outpost_tests::{ForeignClient, ForeignMessage};
use serde_json::json;

/// How long nothing at all may happen. A bridge whose far end was away for some time waits up to
/// some seconds until it tries again.
const PATIENCE: Duration = Duration::from_secs(45);

/// A payload that ends the receiving of a topic.
const LAST: &str = "last";

/// What has been acknowledged and received so far.
#[derive(Clone, Default)]
pub struct Tally(Arc<(Mutex<Counts>, Condvar)>);

#[derive(Default)]
struct Counts {
    acknowledged: u64,
    received: u64,
}

impl Tally {
    /// Waits until so many messages have been acknowledged to the publishers.
    #[track_caller]
    pub fn wait_for_acknowledged(&self, count: u64) {
        self.wait(|counts| counts.acknowledged >= count, &format!("{count} acknowledged"));
    }

    /// Waits until so many messages, repetitions included, have come to the receiver.
    #[track_caller]
    pub fn wait_for_received(&self, count: u64) {
        self.wait(|counts| counts.received >= count, &format!("{count} received"));
    }

    #[track_caller]
    fn wait(&self, is_reached: impl Fn(&Counts) -> bool, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut counts = self.lock();
        while !is_reached(&counts) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "not {what} in {PATIENCE:?}: {} acknowledged, {} received",
                counts.acknowledged,
                counts.received
            );
            counts = self.0.1.wait_timeout(counts, left).expect("nobody panics with it").0;
        }
    }

    fn add(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.0.lock().expect("nobody panics with it")
    }
}

/// What one publisher publishes: `count` messages with the numbers from 0 as payload, in turn to
/// the topics `telemetry/NAME/0` and so on.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub name: &'static str,
    pub topics: usize,
    pub count: usize,
    pub qos: u8,
}

impl Stream {
    fn topic(&self, number: usize) -> String {
        format!("telemetry/{}/{}", self.name, number % self.topics)
    }

    /// Publishes all on a thread of its own, which ends when all have been acknowledged.
    pub fn publish(self, mut client: ForeignClient, tally: Tally) -> JoinHandle<ForeignClient> {
        let run = move || {
            for number in 0..self.count {
                let payload = number.to_string();
                client.send_publish(&self.topic(number), &payload, self.qos, &json!({}));
            }
            wait_for_published(&mut client, self.count, &tally);
            client
        };
        thread::Builder::new().name(self.name.to_owned()).spawn(run).expect("start a thread")
    }

    /// Publishes a last message to each topic: the receiver has got all when it has got these.
    pub fn publish_last(&self, client: &mut ForeignClient) {
        for number in 0..self.topics {
            client.send_publish(&self.topic(number), LAST, self.qos, &json!({}));
        }
        wait_for_published(client, self.topics, &Tally::default());
    }

    /// Checks what came: nothing is missing, each topic is in the order of publishing as far as
    /// first deliveries go, and with QoS 2 there are no others.
    pub fn check(&self, received: &Received) {
        for first in 0..self.topics.min(self.count) {
            let topic = self.topic(first);
            let expected: Vec<usize> = (first..self.count).step_by(self.topics).collect();
            let all = received.topics.get(&topic).cloned().unwrap_or_default();
            let mut seen = BTreeSet::new();
            let firsts: Vec<usize> = all.iter().copied().filter(|n| seen.insert(*n)).collect();
            let missing: Vec<&usize> = expected.iter().filter(|n| !seen.contains(n)).collect();
            assert!(missing.is_empty(), "{topic}: acknowledged and lost: {missing:?}");
            assert_eq!(firsts, expected, "{topic}: the order of first deliveries");
            if self.qos == 2 {
                assert_eq!(all.len(), expected.len(), "{topic}: QoS 2 more than once: {all:?}");
            }
        }
    }
}

/// Waits until so many messages have been acknowledged, whatever becomes of the connection.
fn wait_for_published(client: &mut ForeignClient, count: usize, tally: &Tally) {
    let mut tags = BTreeSet::new();
    while tags.len() < count {
        let event = client.next_event_within(PATIENCE);
        match event["event"].as_str() {
            Some("published") => {
                let tag = event["tag"].as_u64().expect("a number");
                assert!(tags.insert(tag), "{tag} was acknowledged before");
                tally.add(|counts| counts.acknowledged += 1);
            }
            Some("lost" | "connected") => {}
            _ => panic!("{event} came while publishing"),
        }
    }
}

/// All that a receiver got, by topic and in order.
#[derive(Debug, Default)]
pub struct Received {
    topics: BTreeMap<String, Vec<usize>>,
    /// Messages that are not the first of their number.
    pub repeated: usize,
}

/// Receives on a thread of its own until the last messages of all streams have come.
pub fn receive(
    mut client: ForeignClient,
    streams: &[Stream],
    tally: Tally,
) -> JoinHandle<(ForeignClient, Received)> {
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    for stream in streams {
        for number in 0..stream.topics {
            open.insert(stream.topic(number), u64::from(stream.qos));
        }
    }
    let run = move || {
        let mut received = Received::default();
        while !open.is_empty() {
            let event = client.next_event_within(PATIENCE);
            match event["event"].as_str() {
                Some("message") => {}
                Some("lost" | "connected") => continue,
                _ => panic!("{event} came while receiving"),
            }
            let message = ForeignMessage::new(event.as_object().expect("an event is an object"));
            if message.payload == LAST {
                let qos = open.remove(&message.topic);
                assert!(qos.is_none_or(|qos| qos == message.qos), "{message:?}");
                continue;
            }
            let numbers = received.topics.entry(message.topic).or_default();
            let number = message.payload.parse().expect("the payload is a number");
            received.repeated += usize::from(numbers.contains(&number));
            numbers.push(number);
            tally.add(|counts| counts.received += 1);
        }
        (client, received)
    };
    thread::Builder::new().name("receiver".to_owned()).spawn(run).expect("start a thread")
}
