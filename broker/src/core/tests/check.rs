//! What must hold after every step: the tables of the core agree with each other, and with the store
//! once everything is committed.

use std::collections::{BTreeMap, BTreeSet};

use super::bed::MemoryStore;
use crate::core::change::{QueuedMessage, Seq, SessionId, SessionRecord};
use crate::core::{Broker, Durability};

/// The tables of the core say the same.
pub(super) fn memory_agrees(broker: &Broker) {
    let mut needed: BTreeMap<Seq, u32> = BTreeMap::new();
    let mut memory_bytes = 0;
    let ended = broker.sessions.iter().filter(|(_, session)| session.has_ended).count();
    assert_eq!(broker.clients.len(), broker.sessions.len() - ended);
    assert_eq!(broker.session_keys.len(), broker.sessions.len());
    for (key, session) in &broker.sessions {
        if !session.has_ended {
            assert_eq!(broker.clients.get(&session.client_id), Some(&(key as u32)));
        }
        assert_eq!(broker.session_keys.get(&session.id), Some(&(key as u32)));
        if let Some(id) = session.connection {
            let connection = broker.connections.get(id.index()).expect("it is open");
            assert_eq!((connection.id, connection.session), (id, Some(key as u32)));
        }
        session.waiting().for_each(|seq| *needed.entry(seq).or_default() += 1);
        memory_bytes += session.waiting_in_memory().map(|q| q.message.bytes()).sum::<u64>();
        let numbers = session.queue.numbers().map(|seq| broker.ledger.find(seq));
        let bytes: u64 = session.queue.head().map(|q| q.message.bytes()).sum();
        let bytes = bytes + numbers.map(|entry| entry.expect("it waits").bytes).sum::<u64>();
        assert_eq!(session.queue.bytes(), bytes);
        session.assert_sound();
    }
    for (_, connection) in &broker.connections {
        if let Some(key) = connection.session {
            assert_eq!(broker.sessions[key as usize].connection, Some(connection.id));
        }
    }
    let waiting: BTreeMap<Seq, u32> =
        broker.ledger.iter().map(|(seq, entry)| (seq, entry.sessions)).collect();
    assert_eq!(waiting, needed, "messages and the sessions that wait for them");
    let bytes: u64 = broker.ledger.iter().map(|(_, entry)| entry.bytes).sum();
    assert_eq!(broker.waiting_bytes(), bytes + memory_bytes);
    assert_eq!(broker.memory_bytes, memory_bytes);
}

/// The rows of the store are what the core holds. To be called when everything is committed.
pub(super) fn store_is_memory(broker: &Broker, store: &MemoryStore) {
    let stored: BTreeSet<Seq> = store.messages.keys().copied().collect();
    let waiting: BTreeSet<Seq> = broker.ledger.iter().map(|(seq, _)| seq).collect();
    let waiting = &waiting - &broker.resident.keys().copied().collect();
    assert_eq!(stored, waiting, "messages in the store and in memory");
    let mut records = BTreeMap::new();
    let mut subscriptions = BTreeMap::new();
    for (_, session) in &broker.sessions {
        if session.keeps_row() {
            records.insert(session.id, session.record(broker.next_seq));
        }
        if session.is_durable() {
            let rows = session.subscriptions.iter().map(|(f, r)| ((session.id, f.clone()), *r));
            subscriptions.extend(rows);
        }
    }
    let restarted = |records: &BTreeMap<SessionId, SessionRecord>| -> BTreeMap<_, _> {
        records.iter().map(|(id, record)| (*id, restarted(store, *id, record))).collect()
    };
    assert_eq!(restarted(&store.sessions), restarted(&records), "sessions after a restart");
    assert_eq!(store.subscriptions, subscriptions, "subscriptions in the store and in memory");
    let retained: BTreeMap<_, _> = broker
        .retained
        .iter()
        .filter(|m| !m.topic.starts_with("$SYS/"))
        .filter(|m| {
            Durability::of(&m.topic, &broker.settings.topic_classes) != Durability::Volatile
        })
        .map(|m| (m.topic.clone(), m.clone()))
        .collect();
    assert_eq!(store.retained, retained, "retained messages in the store and in memory");
}

/// What a restart makes of the row of a session: the row may tell of messages that are gone, as the
/// end of a message's row says all that the session's row would. With the messages that wait for it.
fn restarted(
    store: &MemoryStore,
    id: SessionId,
    row: &SessionRecord,
) -> (SessionRecord, BTreeSet<Seq>) {
    let is_done = |seq: &Seq| {
        *seq < row.cursor || row.done.iter().any(|(first, last)| first <= seq && seq <= last)
    };
    let is_target = |message: &QueuedMessage| message.targets.iter().any(|t| t.session == id);
    let waiting = store.messages.iter().filter(|(_, message)| is_target(message));
    let waiting: BTreeSet<Seq> = waiting.map(|(seq, _)| *seq).filter(|s| !is_done(s)).collect();
    let mut inflight = row.inflight.clone();
    inflight.retain(|flight| flight.seq.is_none_or(|seq| waiting.contains(&seq)));
    (SessionRecord { cursor: Seq(0), done: Vec::new(), inflight, ..row.clone() }, waiting)
}
