//! From what the store held back to sessions, routes and queues. It is done before any client can
//! connect, so that nothing is ever routed past a session that is not back yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use outpost_protocol::PacketId;

use super::change::{Loaded, QueuedMessage, Seq, SessionId, SessionRecord, Target};
use super::session::{Queued, Session};
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;
use super::{Broker, Waiting};

impl Broker {
    /// Takes over the state of a former run. To be called once, on an empty broker.
    ///
    /// A session whose client was connected when that run ended has lost it now: its will and its
    /// expiry begin to count.
    pub fn handle_loaded(&mut self, now: Instant, loaded: Loaded) {
        self.next_seq = loaded.next_seq.max(Seq(1));
        self.next_session = loaded.next_session.max(1);
        let mut records = BTreeMap::new();
        for (id, record) in loaded.sessions {
            let key = self.restore_session(id, &record);
            records.insert(id, (key, record));
        }
        for (id, filter, record) in loaded.subscriptions {
            let Some((key, _)) = records.get(&id) else { continue };
            self.sessions[*key as usize].subscriptions.insert(filter.clone(), record);
            self.add_route(*key, &filter, record);
        }
        for message in loaded.retained {
            if let Some(at) = message.expires_at {
                self.timers.set(at, Timer::RetainedExpiry(message.topic.clone()));
            }
            self.retained.insert(message);
        }
        let mut inflight = BTreeMap::new();
        for (seq, queued) in loaded.messages {
            self.restore_message(now, seq, queued, &records, &mut inflight);
        }
        for (key, record) in records.values() {
            self.restore_flows(*key, record, &mut inflight);
        }
        // A will may be due: all sessions are complete before it is routed to them.
        for (key, record) in records.into_values() {
            self.restart_session(now, key, &record);
        }
    }

    fn restore_session(&mut self, id: SessionId, record: &SessionRecord) -> SessionKey {
        let mut session = Session::new(id, Arc::from(&*record.client_id));
        session.expiry_interval_s = record.expiry_interval_s;
        session.will = record.will.clone().map(Box::new);
        session.received = record.received.iter().filter_map(|id| PacketId::new(*id)).collect();
        session.is_stored = true;
        session.is_stored_durable = session.is_durable();
        self.insert_session(session)
    }

    /// Puts a message into the queues of those who still need it; what was in flight goes to
    /// `inflight` instead.
    fn restore_message(
        &mut self,
        now: Instant,
        seq: Seq,
        row: QueuedMessage,
        records: &BTreeMap<SessionId, (SessionKey, SessionRecord)>,
        inflight: &mut BTreeMap<(SessionKey, Seq), Queued>,
    ) {
        let mut sessions = 0;
        for target in &row.targets {
            let Some((key, record)) = records.get(&target.session) else { continue };
            if is_done(record, seq) {
                continue;
            }
            sessions += 1;
            let queued = restore_queued(&row, seq, target);
            if record.inflight.iter().any(|i| i.seq == Some(seq)) {
                inflight.insert((*key, seq), queued);
            } else {
                self.sessions[*key as usize].enqueue(queued);
            }
        }
        if sessions == 0 {
            self.pending.remove_message(now, seq);
            return;
        }
        let bytes = row.message.bytes();
        self.waiting_bytes += bytes;
        self.waiting.insert(seq, Waiting { sessions, bytes });
    }

    fn restore_flows(
        &mut self,
        key: SessionKey,
        record: &SessionRecord,
        inflight: &mut BTreeMap<(SessionKey, Seq), Queued>,
    ) {
        let session = &mut self.sessions[key as usize];
        for flight in &record.inflight {
            let Some(packet_id) = PacketId::new(flight.packet_id) else { continue };
            match flight.seq {
                None => session.restore_inflight(packet_id, None),
                Some(seq) => {
                    if let Some(queued) = inflight.remove(&(key, seq)) {
                        session.restore_inflight(packet_id, Some(queued));
                    }
                }
            }
        }
        session.restore_done(record.done.clone());
    }

    fn restart_session(&mut self, now: Instant, key: SessionKey, record: &SessionRecord) {
        let session = &mut self.sessions[key as usize];
        let id = session.id;
        let expiry_s = session.expiry_interval_s;
        let expires_at = match record.expires_at {
            Some(at) => Some(at),
            None if expiry_s == u32::MAX => None,
            None => Some(now.plus_s(expiry_s)),
        };
        session.expires_at = expires_at;
        match record.will.as_ref().map(|w| w.due_at) {
            Some(Some(due_at)) => self.timers.set(due_at, Timer::WillDelay(id)),
            Some(None) => self.start_will_delay(now, key),
            None => {}
        }
        if let Some(at) = expires_at {
            self.timers.set(at, Timer::SessionExpiry(id));
            self.touch_session(now, key);
        }
    }
}

fn is_done(record: &SessionRecord, seq: Seq) -> bool {
    seq < record.cursor || record.done.iter().any(|(first, last)| *first <= seq && seq <= *last)
}

fn restore_queued(row: &QueuedMessage, seq: Seq, target: &Target) -> Queued {
    let ids = &target.subscription_ids;
    Queued {
        message: row.message.clone(),
        seq: Some(seq),
        qos: target.qos,
        retain: target.retain,
        subscription_ids: if ids.is_empty() { None } else { Some(ids.as_slice().into()) },
        share: target.share.clone(),
    }
}
