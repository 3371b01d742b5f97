//! `outpost store inspect`: sessions with their queues, and retained messages, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::error::StoreError;
use super::super::record::{Record, Table};
use super::{StoreFile, is_done};
use crate::core::change::{QueuedMessage, Seq, SessionId, SessionRecord};
use crate::core::message::Message;

/// What a store holds. Moments are milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// The version of its schema; none: it cannot be read.
    pub schema: Option<u64>,
    /// Pages and rows that cannot be read: the rest of this leaves out what they held.
    pub damaged: u64,
    /// Messages that wait for any session, each counted once.
    pub messages: Queue,
    /// Retained messages.
    pub retained: Retained,
    /// Sessions, by number.
    pub sessions: Vec<SessionSummary>,
    /// Topics of what waits and of what is retained, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<BTreeMap<String, TopicSummary>>,
}

/// One session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionSummary {
    /// Its number in the store.
    pub id: u32,
    /// The client identifier.
    pub client_id: Box<str>,
    /// Session Expiry Interval in seconds; 4,294,967,295: never.
    pub expiry_interval_s: u32,
    /// When it ends; none: its client was connected, or it never does.
    pub expires_at: Option<u64>,
    /// Whether a will is still owed.
    pub has_will: bool,
    /// How many subscriptions.
    pub subscriptions: u64,
    /// Their filters, where this session was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Packet identifiers in flight towards the client.
    pub in_flight: u64,
    /// QoS 2 messages from the client that it has not released.
    pub unreleased: u64,
    /// What waits for it, in flight or not.
    pub queue: Queue,
}

/// Messages that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How many.
    pub messages: u64,
    /// Their bytes: topics, properties and payloads.
    pub bytes: u64,
    /// When the oldest came; none: there is none, or it was stored by a version that did not say.
    pub oldest_at: Option<u64>,
}

/// Retained messages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Retained {
    /// How many.
    pub messages: u64,
    /// Their bytes: topics, properties and payloads.
    pub bytes: u64,
    /// The topic of the largest.
    pub largest_topic: Option<String>,
    /// And its bytes.
    pub largest_bytes: u64,
}

/// What there is of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicSummary {
    /// Messages that wait.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// The bytes of the retained message; 0: there is none.
    pub retained_bytes: u64,
}

impl Queue {
    fn add(&mut self, queued: &QueuedMessage) {
        self.messages += 1;
        self.bytes += queued.message.bytes();
        let at = queued.arrived_at.map(|at| at.0);
        self.oldest_at = match (self.oldest_at, at) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }
}

/// Counts what is in a store; of all sessions, or of the one of a client alone. `topics`: by topic as
/// well.
///
/// # Errors
/// The file cannot be read, or was written by a later version.
pub fn inspect(
    file: &StoreFile,
    client_id: Option<&str>,
    topics: bool,
) -> Result<Inspection, StoreError> {
    let contents = file.contents()?;
    let mut inspector = Inspector {
        client_id,
        records: BTreeMap::new(),
        sessions: BTreeMap::new(),
        messages: Queue::default(),
        retained: Retained::default(),
        topics: topics.then(BTreeMap::new),
        bad_rows: 0,
    };
    for table in Table::ALL {
        contents.each(table, &mut |record| match record {
            Ok(record) => inspector.take(record),
            Err(_) => inspector.bad_rows += 1,
        });
    }
    Ok(Inspection {
        file: file.path().display().to_string(),
        bytes: file.bytes()?,
        schema: contents.meta.schema,
        damaged: contents.damaged_pages + inspector.bad_rows,
        messages: inspector.messages,
        retained: inspector.retained,
        sessions: inspector.sessions.into_values().collect(),
        topics: inspector.topics,
    })
}

struct Inspector<'a> {
    client_id: Option<&'a str>,
    records: BTreeMap<SessionId, SessionRecord>,
    sessions: BTreeMap<SessionId, SessionSummary>,
    messages: Queue,
    retained: Retained,
    topics: Option<BTreeMap<String, TopicSummary>>,
    bad_rows: u64,
}

impl Inspector<'_> {
    fn take(&mut self, record: Record) {
        match record {
            Record::Session(id, record) => {
                if self.client_id.is_none_or(|client_id| client_id == &*record.client_id) {
                    self.sessions.insert(id, summary(id, &record));
                    self.records.insert(id, record);
                }
            }
            Record::Subscription(id, filter, _) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.subscriptions += 1;
                    if self.client_id.is_some() {
                        session.filters.push(filter.to_string());
                    }
                }
            }
            Record::Retained(message) => self.take_retained(&message),
            Record::Origin(..) => {}
            Record::Message(seq, queued) => self.take_message(seq, &queued),
        }
    }

    fn take_retained(&mut self, message: &Message) {
        if self.client_id.is_some() {
            return;
        }
        let bytes = message.bytes();
        self.retained.messages += 1;
        self.retained.bytes += bytes;
        if bytes > self.retained.largest_bytes {
            self.retained.largest_bytes = bytes;
            self.retained.largest_topic = Some(message.topic.to_string());
        }
        if let Some(topics) = &mut self.topics {
            topics.entry(message.topic.to_string()).or_default().retained_bytes = bytes;
        }
    }

    fn take_message(&mut self, seq: Seq, queued: &QueuedMessage) {
        let mut waits = false;
        for target in &queued.targets {
            if self.records.get(&target.session).is_some_and(|record| !is_done(record, seq))
                && let Some(session) = self.sessions.get_mut(&target.session)
            {
                session.queue.add(queued);
                waits = true;
            }
        }
        if !waits {
            return;
        }
        self.messages.add(queued);
        if let Some(topics) = &mut self.topics {
            let topic = topics.entry(queued.message.topic.to_string()).or_default();
            topic.queued += 1;
            topic.queued_bytes += queued.message.bytes();
        }
    }
}

fn summary(id: SessionId, record: &SessionRecord) -> SessionSummary {
    SessionSummary {
        id: id.0,
        client_id: record.client_id.clone(),
        expiry_interval_s: record.expiry_interval_s,
        expires_at: record.expires_at.map(|at| at.0),
        has_will: record.will.is_some(),
        subscriptions: 0,
        filters: Vec::new(),
        in_flight: record.inflight.len() as u64,
        unreleased: record.received.len() as u64,
        queue: Queue::default(),
    }
}
