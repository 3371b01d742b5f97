//! Crashes at any moment: several clients do as they please, the store commits when it pleases, and
//! the power goes now and then. Whatever was acknowledged must hold.
//!
//! One seed draws everything. `OUTPOST_SEED=7 cargo test -p outpost-broker crash` plays one seed and
//! tells what was done in it; `OUTPOST_SEEDS=100000` plays so many.

#![allow(clippy::disallowed_methods, reason = "the variables choose the seed; the core sees none")]

mod client;
mod oracle;

use std::collections::BTreeSet;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use outpost_protocol::{ReasonCode, SubscriptionOptions};

use self::client::{Client, LOSSY_NAME};
use self::oracle::{Expected, Oracle};
use super::bed::{Bed, Got, QOS_0, QOS_1, QOS_2, settings, v5};
use crate::core::limits::{Limits, QueueClass, QueueFull, QueuePolicy};
use crate::core::queue::HeadSize;
use crate::core::{Durability, TopicClass};

/// Seeds that found something once.
const FIXED_SEEDS: [u64; 1] = [57_100];

const SEEDS: u64 = 1_500;
const STEPS: u64 = 250;

const PLAIN_FILTERS: [&str; 4] = ["t/0", "t/1", "t/+", "t/#"];
const SHARED_FILTER: &str = "$share/g/s/0";
const TOPICS: [&str; 3] = ["t/0", "t/1", "s/0"];
const RETAINED_TOPICS: [&str; 2] = ["r/0", "r/1"];

#[test]
fn what_was_acknowledged_holds_over_crashes() {
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    if let Some(seed) = number("OUTPOST_SEED") {
        return play_or_tell(seed);
    }
    FIXED_SEEDS.into_iter().for_each(play_or_tell);
    (0..number("OUTPOST_SEEDS").unwrap_or(SEEDS)).for_each(play_or_tell);
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    for seed in 0..20 {
        let trace = |seed| {
            let mut world = World::new(seed);
            world.play();
            world.trace
        };
        let first = trace(seed);
        assert!(first.len() > 50);
        assert_eq!(first, trace(seed), "seed {seed}");
    }
}

fn play_or_tell(seed: u64) {
    let mut world = World::new(seed);
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.play())) else { return };
    if env::var("OUTPOST_SEED").is_ok() {
        let told = world.trace.join("\n");
        panic!("seed {seed} fails after:\n{told}");
    }
    if let Some(text) = panic.downcast_ref::<String>() {
        panic!("OUTPOST_SEED={seed} shows: {text}");
    }
    resume_unwind(panic);
}

/// splitmix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A broker, its clients, and what must hold.
#[derive(Debug)]
struct World {
    bed: Bed,
    draw: Draw,
    clients: Vec<Client>,
    oracle: Oracle,
    /// Only `t/0` and what is retained are durable.
    has_classes: bool,
    /// What was done, and what came of it.
    trace: Vec<String>,
}

fn classes() -> Vec<TopicClass> {
    let class = |filter: &str, durability| TopicClass { filter: filter.into(), durability };
    let window_ms = 2_000;
    vec![class("t/1", Durability::Volatile), class("s/#", Durability::Interval { window_ms })]
}

/// The queues of the clients that may lose messages.
fn lossy_queue(draw: &mut Draw, limits: &Limits) -> QueueClass {
    let full = [QueueFull::DropOldest, QueueFull::DropNewest, QueueFull::KeepLastPerTopic];
    let policy = QueuePolicy {
        messages_max: draw.of(&[1, 3, 8]),
        bytes_max: draw.of(&[30, 1 << 20]),
        age_max_s: draw.of(&[0, 0, 2, 20]),
        full: draw.of(&full),
    };
    let policy = if draw.one_in(8) { limits.queue_policy() } else { policy };
    QueueClass { client_id: LOSSY_NAME.into(), policy }
}

/// Has new messages overtake old ones to some clients, as to bridges: drawn apart, so that the other runs
/// are as before.
fn hurry(seed: u64, clients: &mut [Client]) -> BTreeSet<usize> {
    let mut draw = Draw(seed ^ 0x11fe);
    let is_run = draw.one_in(3);
    let mut hurried = BTreeSet::new();
    for (who, client) in clients.iter_mut().enumerate() {
        let percent = draw.of(&[0, 1, 50, 90]);
        if is_run && client.is_durable() && percent > 0 {
            client.live_percent = percent;
            hurried.insert(who);
        }
    }
    hurried
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let limits = Limits {
            inflight_max: draw.of(&[1, 3, 100]),
            queue_messages_max: draw.of(&[4, 12, 1_000]),
            queue_total_bytes_max: draw.of(&[60, 1 << 20]),
            ..Limits::default()
        };
        let has_tight_queues =
            limits.queue_messages_max < 1_000 || limits.queue_total_bytes_max < 1_000;
        let clients = (0..3 + draw.below(3)).map(|i| Client::drawn(i as usize, &mut draw));
        let mut clients: Vec<Client> = clients.collect();
        let hurried = hurry(seed, &mut clients);
        let has_classes = seed % 4 == 3;
        let mut settings = settings(limits);
        settings.queues = vec![lossy_queue(&mut draw, &settings.limits)];
        if has_classes {
            settings.topic_classes = classes();
        }
        let mut bed = Bed::with_settings(settings);
        bed.holds_loads = draw.one_in(2);
        bed.broker.head_size =
            HeadSize { messages: draw.of(&[2, 3, 4, 512]), bytes: draw.of(&[10, 30, 128 << 10]) };
        let (oracle, trace) = (Oracle::new(has_tight_queues, hurried), Vec::new());
        Self { bed, draw, clients, oracle, has_classes, trace }
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.settle();
        self.check_end();
    }

    fn step(&mut self) {
        if self.bed.holds_loads && self.draw.one_in(4) {
            self.bed.answer_load();
        }
        let who = self.draw.below(self.clients.len() as u64) as usize;
        if self.clients[who].connection.is_none() && self.draw.one_in(3) {
            return self.connect_or_part(who);
        }
        match self.draw.below(100) {
            0..24 => self.publish(who),
            24..46 => self.poll(who),
            46..70 => self.process(who),
            70..77 => drop(self.bed.begin_commit()),
            77..84 => self.bed.end_commit(),
            84..89 => self.subscribe(who),
            89 => self.unsubscribe(who),
            90..95 => self.connect_or_part(who),
            95..98 => self.pass_time(),
            98 => self.publish_retained(who),
            _ => self.crash(),
        }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        self.trace.push(text());
    }

    fn connect_or_part(&mut self, who: usize) {
        if self.clients[who].connection.is_none() || self.draw.one_in(10) {
            let clean_start = self.draw.one_in(12);
            return self.connect(who, clean_start);
        }
        self.poll(who);
        if self.clients[who].connection.is_none() {
            return;
        }
        let in_order = self.draw.one_in(3);
        self.tell(|| format!("{who} parts, in order: {in_order}"));
        self.clients[who].part(&mut self.bed, &mut self.oracle, in_order);
    }

    fn connect(&mut self, who: usize, clean_start: bool) {
        self.tell(|| format!("{who} connects, clean start: {clean_start}"));
        self.clients[who].connect(&mut self.bed, &mut self.oracle, clean_start);
    }

    fn publish(&mut self, who: usize) {
        let topic = self.draw.of(&TOPICS);
        let qos = self.draw.of(&[QOS_0, QOS_1, QOS_1, QOS_2, QOS_2]);
        let expiry_s =
            if self.draw.one_in(12) { Some(1 + self.draw.below(30) as u32) } else { None };
        if !self.clients[who].may_publish() {
            return;
        }
        let may_vanish = expiry_s.is_some() || self.has_classes && topic != "t/0";
        let message = self.oracle.new_message(who, topic, qos, may_vanish);
        self.tell(|| format!("{who} publishes {message} to {topic}, {qos:?}, expiry {expiry_s:?}"));
        let expected = self.expected(topic);
        self.oracle.attempt(message, expected);
        self.clients[who].publish(&mut self.bed, &self.oracle, message, expiry_s);
    }

    /// Each retained topic has one publisher.
    fn publish_retained(&mut self, who: usize) {
        let Some(topic) = RETAINED_TOPICS.get(who) else { return };
        if !self.clients[who].may_publish() {
            return;
        }
        let message = self.oracle.new_message(who, topic, QOS_1, false);
        self.oracle.attempt(message, Expected::default());
        self.tell(|| format!("{who} retains {message} at {topic}"));
        self.clients[who].publish(&mut self.bed, &self.oracle, message, None);
    }

    /// Who has to get what is published now.
    fn expected(&self, topic: &str) -> Expected {
        let mut expected = Expected::default();
        for (who, client) in self.clients.iter().enumerate() {
            if client.has_confirmed(topic) {
                let session = (who, client.incarnation);
                expected.subscribed.insert(session);
                if client.is_lossy() {
                    continue;
                }
                if topic.starts_with("s/") {
                    expected.members.insert(session);
                } else {
                    expected.sessions.insert(session);
                }
            }
        }
        expected
    }

    fn poll(&mut self, who: usize) {
        let Some(id) = self.clients[who].connection else { return };
        for got in self.bed.got(id) {
            self.tell(|| format!("{who} gets {got:?}"));
            if let Got::PubAck(packet_id, reason) | Got::PubRec(packet_id, reason) = &got
                && !reason.is_error()
            {
                let message = self.clients[who].message_in_flight(*packet_id);
                let topic = self.oracle.topic(message);
                let expected = self.expected(topic);
                self.oracle.acknowledged(message, expected);
                let text = message.to_string();
                let mut rows = self.bed.store.messages.values();
                let is_stored = rows.any(|row| row.message.payload() == text.as_bytes());
                let clients: Vec<_> =
                    self.clients.iter().map(|c| (c.incarnation, c.subscription_qos)).collect();
                self.oracle.check_safe(message, is_stored, &clients);
            }
            self.clients[who].take(&mut self.oracle, self.bed.now, got);
        }
    }

    fn process(&mut self, who: usize) {
        for _ in 0..1 + self.draw.below(6) {
            let before = self.clients[who].resent();
            if !self.clients[who].process(&mut self.bed, &mut self.oracle) {
                return;
            }
            for message in self.clients[who].resent_since(before) {
                self.tell(|| format!("{who} publishes {message} again"));
                let expected = self.expected(self.oracle.topic(message));
                self.oracle.attempt(message, expected);
            }
        }
    }

    fn subscribe(&mut self, who: usize) {
        let client = &self.clients[who];
        if !client.is_accepted {
            return;
        }
        let filter = match self.draw.below(5) {
            0 if client.may_share() => SHARED_FILTER,
            n => PLAIN_FILTERS[n as usize % 4],
        };
        self.tell(|| format!("{who} subscribes to {filter}"));
        self.clients[who].subscribe(&mut self.bed, filter);
    }

    fn unsubscribe(&mut self, who: usize) {
        let filter = self.draw.of(&PLAIN_FILTERS);
        if self.clients[who].is_accepted {
            self.tell(|| format!("{who} unsubscribes from {filter}"));
            self.clients[who].unsubscribe(&mut self.bed, filter);
        }
    }

    fn pass_time(&mut self) {
        let ms = if self.draw.one_in(8) { 30_000 } else { self.draw.below(2_000) };
        self.tell(|| format!("{ms} ms pass"));
        self.bed.pass_ms(ms);
    }

    fn crash(&mut self) {
        self.tell(|| "crash".to_owned());
        self.bed.crash();
        for client in &mut self.clients {
            client.crashed(&mut self.oracle, self.bed.now);
        }
        // What became due while the power was away.
        self.bed.pass_ms(0);
    }

    /// The faults end: everyone comes back, and everything that waits is delivered.
    fn settle(&mut self) {
        self.bed.holds_loads = false;
        self.tell(|| "the faults end".to_owned());
        for round in 0.. {
            let mut is_quiet = true;
            for who in 0..self.clients.len() {
                if self.clients[who].connection.is_none() && self.clients[who].is_durable() {
                    self.connect(who, false);
                }
                self.poll(who);
                while self.clients[who].has_inbox() {
                    is_quiet = false;
                    self.process(who);
                }
            }
            while self.bed.begin_commit() {
                self.bed.end_commit();
                is_quiet = false;
            }
            if is_quiet && self.clients.iter().all(|c| c.connection.is_some() || !c.is_durable()) {
                break;
            }
            assert!(round < 2_000, "it does not come to rest");
        }
        self.bed.commit();
    }

    fn check_end(&mut self) {
        for client in &self.clients {
            let flow = client.flows().next();
            assert!(flow.is_none(), "{} still has {flow:?}", client.name);
        }
        let incarnations: Vec<u32> = self.clients.iter().map(|c| c.incarnation).collect();
        let qos: Vec<_> = self.clients.iter().map(|c| c.subscription_qos).collect();
        self.oracle.check_end(&incarnations, &qos);
        assert!(self.bed.broker.ledger.len() == 0, "messages wait for nobody");
        for record in self.bed.store.sessions.values() {
            // Those of messages that are gone mean nothing.
            let is_released = record.inflight.iter().any(|flight| flight.seq.is_none());
            assert!(!is_released && record.received.is_empty(), "{record:?}");
        }
        self.check_retained();
        self.end_all();
    }

    fn check_retained(&mut self) {
        let id = self.bed.accepted(&v5("witness"));
        let options = SubscriptionOptions::new(QOS_0);
        self.bed.subscribe_with(id, "r/#", options, Default::default());
        let retained = self.bed.messages(id);
        for topic in RETAINED_TOPICS {
            let value = retained.iter().find(|m| m.topic == topic).map(|m| &*m.payload);
            self.oracle.check_retained(topic, value);
        }
        self.bed.disconnect(id, ReasonCode::Success);
    }

    /// When the last session has ended, nothing is left of any.
    fn end_all(&mut self) {
        for client in &self.clients {
            let id = self
                .bed
                .connect(&outpost_protocol::Connect { clean_start: true, ..v5(client.name) });
            self.bed.lose(id);
            client.connection.into_iter().for_each(|old| self.bed.lose(old));
        }
        self.bed.commit();
        let store = &self.bed.store;
        assert!(store.sessions.is_empty() && store.subscriptions.is_empty());
        assert!(store.messages.is_empty());
        assert!(self.bed.broker.sessions.is_empty());
        assert!(self.bed.broker.timers.len() == 0);
    }
}
