//! From a session's queue through its window to its connection.

use std::sync::Arc;

use outpost_bridge::origin::Origin;
use outpost_protocol::{PacketId, QoS, ReasonCode};

use super::Broker;
use super::bug::Bug;
use super::change::{QueuedMessage, Seq, SubscriptionRecord, Target};
use super::connection::ConnId;
use super::ledger::Entry;
use super::message::Message;
use super::output::{AckKind, Delivery, Output, added_bytes_max};
use super::overflow::Drop;
use super::queue::Queued;
use super::session::{Content, Resend};
use super::time::Instant;
use super::topics::SessionKey;

/// What became of a packet of a former connection.
enum Resent {
    Sent,
    /// It has to be read from the store first.
    Waits,
    /// There is none.
    None,
}

impl Broker {
    /// Sends a QoS 0 message to a session that is connected. A connection that is too slow does not
    /// get it, and one that is not there neither.
    pub(super) fn send_at_most_once(
        &mut self,
        key: SessionKey,
        message: &Arc<Message>,
        retain: bool,
        subscription_ids: Option<Arc<[u32]>>,
        number: Option<Seq>,
    ) {
        let Some(id) = self.sessions[key as usize].connection else { return };
        let stamps = self.sessions[key as usize].stamps_since.is_some();
        let output_bytes_max = u64::from(self.settings.limits.output_bytes_max);
        let Some(connection) = self.connections.get_mut(id.index()) else { return };
        if !connection.is_accepted {
            return;
        }
        if connection.output_bytes > output_bytes_max {
            self.count_drop(key, Drop::Slow);
            return;
        }
        let delivery = Delivery {
            message: message.clone(),
            packet_id: None,
            qos: QoS::AtMostOnce,
            dup: false,
            retain,
            subscription_ids,
            number,
            came_at: Instant::default(),
        };
        let added = added_bytes_max(connection.bridge.is_some(), stamps);
        if connection.maximum_packet_size != u32::MAX
            && delivery.encoded_len_max(added) > u64::from(connection.maximum_packet_size)
        {
            self.count_drop(key, Drop::TooLarge);
            return;
        }
        self.counters.messages_sent += 1;
        connection.push(Output::Publish(delivery));
        connection.wake(&mut self.wakeups);
    }

    /// Puts a QoS 1 or 2 message behind what waits for a session, and sends what may be sent.
    pub(super) fn enqueue(&mut self, now: Instant, key: SessionKey, mut queued: Queued) {
        let bytes = queued.message.bytes();
        if queued.seq.is_none() {
            let memory_max = self.settings.limits.memory_queue_bytes_max;
            if self.is_full(key, bytes) || self.memory_queue_bytes() + bytes > memory_max {
                // Nothing of it is stored: this session ends with its connection, and is slow.
                self.count_drop(key, Drop::Full);
                self.push_full_event(now, key, "the newest message was dropped");
                return;
            }
            let session = &self.sessions[key as usize];
            if session.queue.is_whole() {
                self.memory_bytes += bytes;
            } else {
                // It was durable once: behind what it still has in the store.
                let target = queued.target(session.id);
                queued.seq = Some(self.reside(now, &queued.message, vec![target]));
            }
        }
        let session = &mut self.sessions[key as usize];
        session.note_topic(&queued);
        match queued.seq {
            Some(_)
                if session.connection.is_some()
                    && session.queue.takes_live(&queued, self.head_size) =>
            {
                session.queue.push_live(queued);
            }
            Some(seq) if !session.takes_into_memory(self.head_size) => {
                if queued.share.is_some() {
                    session.shared.insert(seq);
                }
                session.queue.push_number(seq, bytes);
            }
            _ => session.queue.push(queued),
        }
        self.watch_age(key);
        self.pump(now, key);
    }

    /// Stores a message for the sessions that need it after a restart, or keeps it in memory where
    /// that is all that is promised. Its number.
    pub(super) fn store_message(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        targets: Vec<Target>,
    ) -> Seq {
        let seq = self.next_number();
        self.store_message_as(now, seq, message, targets);
        seq
    }

    /// The same, where it has been given its number.
    pub(super) fn store_message_as(
        &mut self,
        now: Instant,
        seq: Seq,
        message: &Arc<Message>,
        targets: Vec<Target>,
    ) {
        if message.is_volatile() {
            return self.reside_as(now, seq, message, targets);
        }
        let row = self.new_row(now, seq, message, targets);
        self.pending.put_message(seq, row);
    }

    /// Keeps a message for sessions in memory, where it is found by its number. The number.
    pub(super) fn reside(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        targets: Vec<Target>,
    ) -> Seq {
        let seq = self.next_number();
        self.reside_as(now, seq, message, targets);
        seq
    }

    fn reside_as(&mut self, now: Instant, seq: Seq, message: &Arc<Message>, targets: Vec<Target>) {
        let row = self.new_row(now, seq, message, targets);
        self.resident_bytes += message.bytes();
        self.resident.insert(seq, row);
    }

    /// The number of the next message.
    pub(super) fn next_number(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        seq
    }

    fn new_row(
        &mut self,
        now: Instant,
        seq: Seq,
        message: &Arc<Message>,
        targets: Vec<Target>,
    ) -> QueuedMessage {
        let sessions = u32::try_from(targets.len()).expect("fewer targets than sessions");
        let (bytes, expires_at) = (message.bytes(), message.expires_at);
        self.ledger.insert(seq, Entry { bytes, arrived_at: now, expires_at, sessions });
        QueuedMessage { message: message.clone(), arrived_at: Some(now), targets }
    }

    /// Sends from the queue while the window is open.
    pub(super) fn pump(&mut self, now: Instant, key: SessionKey) {
        let Some(id) = self.sessions[key as usize].connection else { return };
        if !self.connections[id.index()].is_accepted {
            return;
        }
        while self.sessions[key as usize].has_window() {
            match self.resend_next(now, key, id) {
                Resent::Sent => continue,
                Resent::Waits => break,
                Resent::None => {}
            }
            if self.sessions[key as usize].queue.front().is_none() {
                self.fill_head(key);
            }
            let Some(queued) = self.sessions[key as usize].queue.pop() else { break };
            if queued.message.is_expired(now) {
                self.count_drop(key, Drop::Expired);
                self.finish(now, key, &queued);
            } else if self.is_too_large(key, id, &queued) {
                // As if it had been delivered [MQTT-3.1.2-25].
                self.count_drop(key, Drop::TooLarge);
                self.finish(now, key, &queued);
            } else {
                self.send(now, key, id, queued);
            }
        }
        self.request_load(key);
        self.announce_room(key);
    }

    /// A session is done with a message, delivered or not.
    pub(super) fn finish(&mut self, now: Instant, key: SessionKey, queued: &Queued) {
        match queued.seq {
            Some(seq) => self.finish_number(now, key, seq),
            None => self.memory_bytes -= queued.message.bytes(),
        }
    }

    /// Likewise one that is known by its number.
    pub(super) fn finish_number(&mut self, now: Instant, key: SessionKey, seq: Seq) {
        self.sessions[key as usize].finish(seq);
        if !self.release_message(now, seq) {
            self.touch_session(now, key);
        }
    }

    /// One session fewer waits for a message. True: a restart need not be told by the row of that
    /// session. It was the last one, so that the row of the message goes, which says all there is to
    /// say; or the message is in memory only.
    pub(super) fn release_message(&mut self, now: Instant, seq: Seq) -> bool {
        let is_early = self.has_bug(Bug::EarlyElision);
        if !(self.ledger.release(seq) || is_early && self.ledger.release(seq)) {
            return self.resident.contains_key(&seq);
        }
        if !self.forget_resident(seq) {
            self.forget_message(now, seq);
        }
        true
    }

    /// False: the message does not live in memory only.
    fn forget_resident(&mut self, seq: Seq) -> bool {
        let Some(row) = self.resident.remove(&seq) else { return false };
        self.resident_bytes -= row.message.bytes();
        true
    }

    /// The same of many at once: their rows go little by little.
    pub(super) fn release_many(&mut self, now: Instant, seqs: Vec<Seq>) {
        for seq in seqs {
            if !self.ledger.release(seq) || self.forget_resident(seq) {
                continue;
            }
            if self.pending.find_message(seq).is_some() {
                self.forget_message(now, seq);
            } else {
                self.stale.insert(seq);
            }
        }
        if !self.stale.is_empty() {
            self.pending.lazy(now);
        }
    }

    /// Whether the queue of a session takes no message of so many bytes.
    pub(super) fn is_full(&self, key: SessionKey, bytes: u64) -> bool {
        self.is_full_by_itself(key, bytes) || self.is_full_in_all(bytes)
    }

    /// Whether it would go beyond the limits of the session itself.
    pub(super) fn is_full_by_itself(&self, key: SessionKey, bytes: u64) -> bool {
        let session = &self.sessions[key as usize];
        session.messages() >= session.policy.messages_max as usize
            || session.queue.bytes() + bytes > session.policy.bytes_max
    }

    /// Whether it would go beyond the limit of all queues together.
    pub(super) fn is_full_in_all(&self, bytes: u64) -> bool {
        self.waiting_bytes() + bytes > self.settings.limits.queue_total_bytes_max
    }

    /// Bytes of all messages that wait, each counted once.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.ledger.bytes() + self.memory_bytes
    }

    /// Retained messages for subscriptions made, as far as window and buffer allow. The rest follows
    /// when the client has taken these.
    pub(super) fn send_retained_ahead(&mut self, now: Instant, key: SessionKey) {
        let budget = u64::from(self.settings.limits.output_bytes_max) / 4;
        loop {
            let session = &self.sessions[key as usize];
            let (Some(id), Some(ahead)) = (session.connection, session.retained_ahead.front())
            else {
                return;
            };
            let is_open = session.has_window() && session.queue.is_empty();
            let connection = &self.connections[id.index()];
            // SUBACK goes first.
            if connection.output_bytes > budget || !connection.parked.is_empty() {
                return;
            }
            let (_, filter) = super::route::split_share(&ahead.filter);
            let Some(message) = self.retained.next_match(filter, ahead.after.as_ref()) else {
                let sent = self.sessions[key as usize].retained_ahead.pop_front();
                self.note_retained_sent(now, key, sent.map(|ahead| ahead.filter));
                continue;
            };
            let (message, subscription) = (message.clone(), ahead.subscription);
            if subscription.qos_of(&message) > QoS::AtMostOnce && !is_open {
                return;
            }
            let is_wanted = ahead.only.as_ref().is_none_or(|only| (only.0)(&message.topic))
                && self.topics.takes(key, &message.topic);
            if let Some(ahead) = self.sessions[key as usize].retained_ahead.front_mut() {
                ahead.after = Some(message.topic.clone());
            }
            if is_wanted && !message.is_expired(now) {
                self.send_retained(now, key, &message, subscription);
            }
        }
    }

    /// What is left of it, if anything, waits in the queue: a restart need not begin anew.
    fn note_retained_sent(&mut self, now: Instant, key: SessionKey, filter: Option<Arc<str>>) {
        let session = &mut self.sessions[key as usize];
        let Some(filter) = filter else { return };
        let Some(record) = session.subscriptions.get_mut(&filter) else { return };
        if std::mem::take(&mut record.owes_retained) {
            self.pending.put_subscription(session.id, filter, Some(*record));
            self.pending.lazy(now);
        }
    }

    fn send_retained(
        &mut self,
        now: Instant,
        key: SessionKey,
        message: &Arc<Message>,
        subscription: SubscriptionRecord,
    ) {
        let qos = subscription.qos_of(message);
        let subscription_ids: Option<Arc<[u32]>> =
            subscription.subscription_id.map(|id| [id].into());
        if qos == QoS::AtMostOnce {
            self.send_at_most_once(key, message, true, subscription_ids, None);
            return;
        }
        let queued = Queued {
            message: message.clone(),
            seq: None,
            qos,
            retain: true,
            subscription_ids,
            share: None,
        };
        self.enqueue_stored(now, key, queued);
    }

    /// Enqueues a message for one session alone, in the store as well if the session is durable.
    pub(super) fn enqueue_stored(&mut self, now: Instant, key: SessionKey, mut queued: Queued) {
        let session = &self.sessions[key as usize];
        if session.is_durable() {
            let target = queued.target(session.id);
            queued.seq = Some(self.store_message(now, &queued.message, vec![target]));
            if !queued.message.is_volatile() {
                self.pending.lazy(now);
            }
        }
        self.enqueue(now, key, queued);
    }

    /// Sends the next packet that was in flight on a former connection.
    fn resend_next(&mut self, now: Instant, key: SessionKey, id: ConnId) -> Resent {
        let durable_after = self.all_durable_after();
        self.fill_resend(key);
        let session = &mut self.sessions[key as usize];
        let is_durable = session.is_durable();
        let stamps = session.stamps_since.is_some();
        let inflight = match session.take_off_again() {
            Resend::Now(inflight) => inflight,
            Resend::Absent => return Resent::Waits,
            Resend::None => return Resent::None,
        };
        let packet_id = inflight.packet_id;
        match &inflight.content {
            Content::Message(queued) => {
                // [MQTT-3.3.1-1]: perhaps it was parked and never left; DUP does no harm then.
                let mut delivery = queued.delivery(packet_id, true);
                let seq = delivery.number;
                delivery.number = seq.filter(|seq| self.pending.is_reserved(*seq));
                if let Some(entry) = seq.filter(|_| stamps).and_then(|seq| self.ledger.find(seq)) {
                    delivery.came_at = entry.arrived_at;
                }
                let message = delivery.message.clone();
                let output = Output::Publish(delivery);
                // Its identifier may not be durable yet, if the connection changed in between.
                let waits = is_durable && queued.qos == QoS::ExactlyOnce;
                self.counters.messages_sent += 1;
                let stored_after = self.stored_before_bridge(now, id, seq, &message);
                let after = if waits { durable_after } else { stored_after };
                self.push_publish_after(id, after, output, true);
            }
            Content::Released | Content::Number(_) => {
                let pubrel = Output::Ack(AckKind::PubRel, packet_id, ReasonCode::Success);
                self.push_after(id, durable_after, pubrel);
            }
        }
        Resent::Sent
    }

    fn send(&mut self, now: Instant, key: SessionKey, id: ConnId, queued: Queued) {
        let reuses_id = self.has_bug(Bug::PacketIdReused);
        let stored_after = self.stored_before_bridge(now, id, queued.seq, &queued.message);
        let session = &mut self.sessions[key as usize];
        let is_durable = session.is_durable();
        let qos = queued.qos;
        let came = session.stamps_since.and(queued.seq).and_then(|seq| self.ledger.find(seq));
        let mut delivery = session.take_off(queued);
        delivery.came_at = came.map_or(now, |entry| entry.arrived_at);
        if reuses_id {
            delivery.packet_id = session.oldest_in_flight();
        }
        delivery.number = delivery.number.and_then(|seq| self.told_number(now, id, seq));
        let output = Output::Publish(delivery);
        self.counters.messages_sent += 1;
        let mut after = 0;
        if is_durable && qos == QoS::ExactlyOnce {
            // The receiver remembers the identifier, so a restart must know it as well.
            self.touch_session(now, key);
            after = self.pending.urgent(now);
        } else if is_durable {
            self.note_flight(key);
        }
        self.push_publish_after(id, after.max(stored_after), output, stored_after > 0);
    }

    /// The batch that stores a message that is to go over a bridge, where it might get there by another
    /// way as well; else 0. Lost by this broker after it was sent, such a message would come again from
    /// its publisher, and the first one, late, by the other way: behind messages that are newer.
    fn stored_before_bridge(
        &mut self,
        now: Instant,
        id: ConnId,
        seq: Option<Seq>,
        message: &Message,
    ) -> u64 {
        let is_bridge = self.connections[id.index()].bridge.is_some();
        let Some(seq) = seq.filter(|_| is_bridge) else { return 0 };
        let batch = self.pending.batch_of(seq);
        if batch == 0 {
            return 0;
        }
        let came_over_bridge = Origin::of(&message.properties()).is_some();
        let has_other_way = came_over_bridge || {
            let (_, matches) = self.topics.matches(&message.topic);
            matches.bridges > 1
        };
        if !has_other_way {
            return 0;
        }
        if batch == self.pending.number() {
            self.pending.urgent(now);
        }
        batch
    }

    fn is_too_large(&self, key: SessionKey, id: ConnId, queued: &Queued) -> bool {
        let Some(connection) = self.connections.get(id.index()) else { return false };
        let maximum = connection.maximum_packet_size;
        if maximum == u32::MAX {
            return false;
        }
        let stamps = self.sessions[key as usize].stamps_since.is_some();
        let added = added_bytes_max(connection.bridge.is_some(), stamps);
        let delivery = queued.delivery(PacketId::MIN, false);
        delivery.encoded_len_max(added) > u64::from(maximum)
    }

    /// Wakes who waits for room in the queue of a session.
    pub(super) fn announce_room(&mut self, key: SessionKey) {
        // How much room is awaited is not known here: who finds too little waits again.
        if self.sessions[key as usize].is_awaited && !self.is_full(key, 1) {
            self.sessions[key as usize].is_awaited = false;
            self.wake_waiting();
        }
        self.announce_room_in_all();
    }

    /// Wakes who waits for room in all queues together.
    pub(super) fn announce_room_in_all(&mut self) {
        if self.is_total_awaited && !self.is_full_in_all(1) {
            self.is_total_awaited = false;
            self.wake_waiting();
        }
    }
}
