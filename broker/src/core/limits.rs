//! Every bound of the core, with its name, its unit and its worst case.
//!
//! The configuration fills this in (`[limits]`, one key for each field, same name); the core obeys
//! it. A bound that has no key does not exist.

use outpost_protocol::QoS;

/// What a full queue of a durable session does with the next QoS 1 or 2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFull {
    /// The publisher is told: 5.0 gets PUBACK or PUBREC with 0x97 (Quota exceeded), 3.1.1 waits for
    /// its acknowledgement until there is room. Nothing that was acknowledged is dropped. A will,
    /// whose publisher is gone, is not queued; that is counted and logged.
    Reject,
    /// The oldest message that is not in flight makes room; counted and logged.
    DropOldest,
    /// The new message is not queued for this session; counted and logged.
    DropNewest,
    /// The oldest message makes room that a later one of its topic has replaced; where there is
    /// none, the oldest of all. Counted and logged. What remains is the newest of each topic.
    KeepLastPerTopic,
}

impl QueueFull {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::KeepLastPerTopic => "keep_last_per_topic",
        }
    }
}

/// The bounds of the queue of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// QoS 1 and 2 messages that wait, in flight included.
    pub messages_max: u32,
    /// Their bytes (topic, properties, payload), those in flight not counted.
    pub bytes_max: u64,
    /// Seconds that a message may wait before it is dropped, in flight not counted; 0: for ever.
    pub age_max_s: u32,
    /// What a full queue does.
    pub full: QueueFull,
}

/// Sessions whose queues have bounds of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueClass {
    /// Fits whole client identifiers; `*` stands for any characters, none included.
    pub client_id: Box<str>,
    /// Their bounds.
    pub policy: QueuePolicy,
}

impl QueueClass {
    /// Whether a client identifier is of this class. Takes time by the product of both lengths.
    pub fn fits(&self, client_id: &str) -> bool {
        let mut pieces = self.client_id.split('*');
        let Some(mut rest) = client_id.strip_prefix(pieces.next().unwrap_or_default()) else {
            return false;
        };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

/// The bounds of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Network connections in all, those that have not sent CONNECT included. Worst case: about
    /// 4 KiB each while idle, plus `output_bytes_max` and `packet_bytes_max` while busy.
    pub connections_max: u32,
    /// Connections that have not completed CONNECT. One more is closed at once.
    pub connecting_max: u32,
    /// How long a connection may take until its CONNECT is complete, TLS and authentication included.
    pub connect_timeout_ms: u64,
    /// The largest CONNECT taken, in bytes with its header; where `packet_bytes_max` is less, that
    /// counts. Worst case: `connecting_max` times twice as much, before anybody has said who he is.
    pub connect_bytes_max: u32,
    /// The largest packet taken, in bytes with its header; announced as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// QoS 1 and 2 messages that a client may have unacknowledged towards the broker; announced as
    /// Receive Maximum. A 3.1 or 3.1.1 client knows no such limit: it has to wait with more QoS 1
    /// messages, and may have as many of QoS 2 as there are packet identifiers (some 2 bytes each).
    /// Of those that wait for room in a full queue so many are held, before nothing more is read.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages in flight towards one client, where the client allows as many.
    pub inflight_max: u16,
    /// QoS 1 and 2 messages that wait in one session, in flight included.
    pub queue_messages_max: u32,
    /// Their bytes (topic, properties, payload) in one session.
    pub queue_bytes_max: u64,
    /// Bytes of all queued messages of all sessions, each message counted once.
    pub queue_total_bytes_max: u64,
    /// Seconds that a message may wait in a queue before it is dropped; 0: for ever.
    pub queue_age_max_s: u32,
    /// What a full queue does.
    pub queue_full: QueueFull,
    /// Bytes of messages that wait in memory only, of all sessions together: those of sessions that
    /// end with their connection, and those of volatile topics. One more is dropped.
    pub memory_queue_bytes_max: u64,
    /// Bytes that may wait for one slow connection before QoS 0 messages to it are dropped. Also the
    /// bytes of answers (32 for each) that may wait, for it or for a commit, before nothing more is
    /// read from it, and the bytes of messages of a 3.1 or 3.1.1 client that are held for want of
    /// room in a queue.
    pub output_bytes_max: u32,
    /// Retained messages.
    pub retained_messages_max: u32,
    /// Bytes of all retained messages (topic, properties, payload).
    pub retained_bytes_max: u64,
    /// Sessions, connected or not.
    pub sessions_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_per_session_max: u32,
    /// Levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// Bytes of a client identifier.
    pub client_id_bytes_max: u16,
    /// Topic aliases that a client may set; announced as Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Topic aliases that the broker sets towards a client that allows as many.
    pub topic_alias_maximum_out: u16,
    /// The longest session expiry interval granted, in seconds. Also the expiry of the sessions of
    /// 3.1 and 3.1.1 clients that connect without clean session.
    pub session_expiry_max_s: u32,
    /// The longest keep-alive granted to 5.0 clients, in seconds; 0: as the client asks, none
    /// included. Older clients cannot be told of another: theirs counts.
    pub keep_alive_max_s: u16,
    /// The highest QoS granted and taken.
    pub maximum_qos: QoS,
    /// Bytes of changes that may wait for the store before publishers have to wait.
    pub store_backlog_bytes_max: u64,
    /// How long a 3.1 or 3.1.1 publisher may be made to wait for room in a full queue before its
    /// connection is closed, so that two clients that wait for each other come free again.
    pub queue_full_wait_ms: u64,
    /// Bridges that a message may have crossed; one that crossed more is dropped as going round.
    pub bridge_hops_max: u8,
    /// Other brokers whose messages are remembered, so that none is taken twice. Worst case: 16 KiB
    /// each. The one that was silent for longest makes room for a new one.
    pub bridge_origins_max: u32,
    /// Connections of other Outposts' bridges that are compressed. Worst case: 1.5 MiB each. One more
    /// gets plain MQTT.
    pub compressed_connections_max: u32,
}

impl Limits {
    /// The bounds of a queue that is of no class.
    pub fn queue_policy(&self) -> QueuePolicy {
        QueuePolicy {
            messages_max: self.queue_messages_max,
            bytes_max: self.queue_bytes_max,
            age_max_s: self.queue_age_max_s,
            full: self.queue_full,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connecting_max: 1_000,
            connect_timeout_ms: 10_000,
            connect_bytes_max: 128 << 10,
            packet_bytes_max: 1 << 20,
            receive_maximum: 1_000,
            inflight_max: 100,
            queue_messages_max: 1_000_000,
            queue_bytes_max: 256 << 20,
            queue_total_bytes_max: 1 << 30,
            queue_age_max_s: 0,
            memory_queue_bytes_max: 64 << 20,
            queue_full: QueueFull::Reject,
            output_bytes_max: 1 << 20,
            retained_messages_max: 100_000,
            retained_bytes_max: 64 << 20,
            sessions_max: 100_000,
            subscriptions_per_session_max: 1_000,
            topic_levels_max: 32,
            client_id_bytes_max: 256,
            topic_alias_maximum: 10,
            topic_alias_maximum_out: 10,
            session_expiry_max_s: 30 * 24 * 3600,
            keep_alive_max_s: 0,
            maximum_qos: QoS::ExactlyOnce,
            store_backlog_bytes_max: 8 << 20,
            queue_full_wait_ms: 60_000,
            bridge_hops_max: 8,
            bridge_origins_max: 1_000,
            compressed_connections_max: 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        let fits = |client_id: &str, text: &str| {
            let policy = Limits::default().queue_policy();
            QueueClass { client_id: client_id.into(), policy }.fits(text)
        };
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("a*", "a"), ("a*", "abc"), ("*c", "abc"), ("a*c", "ac")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        assert!(fits("a*b*c", "a-b-b-c"));
        assert!(fits("*b*", "abc"));
        for (pattern, text) in
            [("a", "ab"), ("a", ""), ("a*", "b"), ("a*a", "a"), ("a*b*c", "acb"), ("*b*", "ac")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
