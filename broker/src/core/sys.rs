//! `$SYS`: what the broker tells of itself, under Mosquitto's names where Mosquitto has one.

use std::sync::Arc;

use outpost_protocol::QoS;

use super::Broker;
use super::connect::state_topic;
use super::durability::TopicClass;
use super::message::Message;
use super::overflow::{Drop, Drops};
use super::route::Origin;
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;

/// What is counted since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// MQTT packets taken.
    pub packets_received: u64,
    /// MQTT packets given to connections.
    pub packets_sent: u64,
    /// Messages taken from clients.
    pub messages_received: u64,
    /// Messages given to connections.
    pub messages_sent: u64,
    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    /// QoS 0 messages not sent since the connection was too slow.
    pub dropped_slow: u64,
    /// Messages dropped since a queue was full.
    pub dropped_full: u64,
    /// Messages that a later one of their topic replaced in a full queue.
    pub dropped_replaced: u64,
    /// Messages that waited for longer than their queue allows.
    pub dropped_aged: u64,
    /// Messages not sent since they had expired.
    pub dropped_expired: u64,
    /// Messages not sent since they were larger than the client takes.
    pub dropped_too_large: u64,
    /// Retained messages refused since the table was full.
    pub dropped_retained_full: u64,
    /// Messages whose session ended before they were delivered.
    pub dropped_session_ended: u64,
    /// Rows that were taken out of a damaged store at the start.
    pub store_salvaged: u64,
    /// Batches that the store committed; those without changes are not counted.
    pub commits: u64,
    /// Rows in them, written or removed.
    pub rows_committed: u64,
    /// Bytes that the store wrote for them.
    pub bytes_committed: u64,
    /// Messages that were never stored, as their receivers acknowledged them before.
    pub elided: u64,
    /// Acknowledgements given before a commit, as nobody needed the message any more.
    pub released_early: u64,
    /// Messages that should be in the store and are not there.
    pub dropped_damaged: u64,
    /// Messages refused with a reason code.
    pub refused: u64,
    /// Messages that came back over a bridge, or had crossed too many.
    pub dropped_loop: u64,
    /// Messages that came over a bridge for the second time.
    pub dropped_repeated: u64,
}

/// So many topics of single sessions at the most.
const SESSION_TOPICS_MAX: usize = 1_000;

fn drops_topic(client_id: &str, drop: Drop) -> String {
    format!("$SYS/broker/sessions/{client_id}/dropped/{}", drop.name())
}

/// A client identifier as one level of a topic: what has a meaning there stands as %XX.
fn topic_level(client_id: &str) -> String {
    let mut level = String::with_capacity(client_id.len());
    for c in client_id.chars() {
        match c {
            '/' | '+' | '#' | '%' => level.push_str(&format!("%{:02X}", u32::from(c))),
            c => level.push(c),
        }
    }
    level
}

impl Broker {
    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The store was damaged at the start: of its rows so many were salvaged, and so many lost.
    pub fn count_salvaged(&mut self, kept: u64, lost: Option<u64>) {
        self.counters.store_salvaged += kept;
        self.store_lost = lost;
    }

    /// The file of the store is so long.
    pub fn count_file(&mut self, bytes: u64) {
        self.store_file_bytes = bytes;
    }

    pub(super) fn publish_sys(&mut self, now: Instant) {
        self.timers.set(now.plus_s(self.settings.sys_interval_s), Timer::Sys);
        let c = self.counters;
        let connected = self.connections.iter().filter(|(_, c)| c.session.is_some()).count();
        let sessions = self.sessions.len();
        let subscriptions: usize = self.sessions.iter().map(|(_, s)| s.subscriptions.len()).sum();
        let dropped = c.dropped_slow
            + c.dropped_full
            + c.dropped_expired
            + c.dropped_too_large
            + c.dropped_retained_full
            + c.dropped_session_ended
            + c.dropped_damaged
            + c.dropped_replaced
            + c.dropped_aged;
        let uptime_s = now.since_ms(self.started_at) / 1000;
        let values: [(&str, String); 27] = [
            ("version", self.settings.version.to_owned()),
            ("uptime", format!("{uptime_s} seconds")),
            ("clients/connected", connected.to_string()),
            ("clients/disconnected", (sessions - connected.min(sessions)).to_string()),
            ("clients/total", sessions.to_string()),
            ("subscriptions/count", subscriptions.to_string()),
            ("messages/received", c.packets_received.to_string()),
            ("messages/sent", c.packets_sent.to_string()),
            ("publish/messages/received", c.messages_received.to_string()),
            ("publish/messages/sent", c.messages_sent.to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("publish/messages/dropped/slow", c.dropped_slow.to_string()),
            ("publish/messages/dropped/full", c.dropped_full.to_string()),
            ("publish/messages/dropped/replaced", c.dropped_replaced.to_string()),
            ("publish/messages/dropped/aged", c.dropped_aged.to_string()),
            ("publish/messages/dropped/expired", c.dropped_expired.to_string()),
            ("publish/messages/refused", c.refused.to_string()),
            ("bridge/messages/dropped/loop", c.dropped_loop.to_string()),
            ("bridge/messages/dropped/repeated", c.dropped_repeated.to_string()),
            ("bytes/received", c.bytes_received.to_string()),
            ("bytes/sent", c.bytes_sent.to_string()),
            ("retained messages/count", self.retained.len().to_string()),
            ("store/messages/count", self.ledger.len().to_string()),
            ("store/messages/bytes", self.waiting_bytes().to_string()),
            ("store/state", self.store_state()),
            ("store/salvaged", c.store_salvaged.to_string()),
            ("store/lost", self.store_lost.map_or("unknown".to_owned(), |lost| lost.to_string())),
        ];
        for (name, value) in values {
            self.publish_internal(now, &format!("$SYS/broker/{name}"), value.as_bytes());
        }
        for (name, value) in self.store_status(now).into_iter().chain(self.class_status()) {
            self.publish_internal(now, &format!("$SYS/broker/store/{name}"), value.as_bytes());
        }
        self.publish_drops(now);
    }

    /// What is written, what is not, and how the budget stands.
    fn store_status(&self, now: Instant) -> Vec<(String, String)> {
        let c = self.counters;
        let budget = self.pending.budget_status(now);
        let has_budget = self.settings.commit.flash_budget_per_day > 0;
        let bytes_left =
            if has_budget { budget.bytes_left.to_string() } else { "unlimited".to_owned() };
        let values = [
            ("commits", c.commits.to_string()),
            ("rows/written", c.rows_committed.to_string()),
            ("bytes/written", c.bytes_committed.to_string()),
            ("bytes/file", self.store_file_bytes.to_string()),
            ("messages/elided", c.elided.to_string()),
            ("acknowledgements/early", c.released_early.to_string()),
            ("commit/interval_ms", budget.interval_ms.to_string()),
            ("budget/bytes_per_day", self.settings.commit.flash_budget_per_day.to_string()),
            ("budget/bytes_left", bytes_left),
            ("budget/state", budget.state.to_owned()),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The classes of topics in the order of the configuration, and what a power cut may take of
    /// each.
    fn class_status(&self) -> Vec<(String, String)> {
        let of_class = |(at, class): (usize, &TopicClass)| {
            let window = class.durability.window_ms();
            let window = window.map_or("unbounded".to_owned(), |ms| ms.to_string());
            let values = [
                ("filter", class.filter.to_string()),
                ("durability", class.durability.name().to_owned()),
                ("window_ms", window),
            ];
            values.map(|(name, value)| (format!("class/{}/{name}", at + 1), value))
        };
        self.settings.topic_classes.iter().enumerate().flat_map(of_class).collect()
    }

    /// What was dropped for each session, by reason: `sessions/CLIENT/dropped/REASON`.
    fn publish_drops(&mut self, now: Instant) {
        let told = self.sessions.iter().flat_map(|(_, session)| {
            let client_id = topic_level(&session.client_id);
            let topic = move |drop: Drop| drops_topic(&client_id, drop);
            session.drops.iter().map(move |(drop, count)| (topic(drop), count))
        });
        let told: Vec<(String, u32)> = told.take(SESSION_TOPICS_MAX).collect();
        for (topic, count) in told {
            self.publish_internal(now, &topic, count.to_string().as_bytes());
        }
    }

    /// Takes what was told of a session back.
    pub(super) fn forget_drops(&mut self, now: Instant, client_id: &str, drops: &Drops) {
        let client_id = topic_level(client_id);
        for (drop, _) in drops.iter() {
            let (topic, _) = self.topics.matches(&drops_topic(&client_id, drop));
            if self.retained.find(&topic).is_some() {
                self.publish_internal(now, &topic, b"");
            }
        }
    }

    /// Tells something of a part of this program under `$SYS`, retained; no payload: it is told no
    /// more. What has been told already is not told again.
    pub fn tell(&mut self, now: Instant, topic: &str, payload: &[u8]) {
        let (known, _) = self.topics.matches(topic);
        let told = self.retained.find(&known).map_or(&b""[..], |message| message.payload());
        if told != payload {
            self.publish_internal(now, topic, payload);
        }
    }

    /// Tells whether the bridge of an Outpost, this one or another, is there, as Mosquitto's bridges tell
    /// it themselves. This broker knows it better than a will could say.
    pub(super) fn tell_bridge_state(&mut self, now: Instant, key: SessionKey, is_there: bool) {
        let topic = state_topic(&self.sessions[key as usize].client_id);
        // What a client calls itself may be no part of a topic.
        if self.settings.sys_interval_s > 0 && !topic.contains(['+', '#', '\0']) {
            self.sessions[key as usize].tells_state = true;
            self.tell(now, &topic, if is_there { b"1" } else { b"0" });
        }
    }

    /// A retained message of the broker's own, kept in memory only.
    fn publish_internal(&mut self, now: Instant, topic: &str, payload: &[u8]) {
        let (topic, matches) = self.topics.matches(topic);
        let message = Message::new(topic, QoS::AtMostOnce, true, None, b"", payload);
        let message = Arc::new(message);
        self.retain(now, &message);
        self.route(now, &message, &matches, Origin::Broker);
    }
}
