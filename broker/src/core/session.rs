//! A session: subscriptions, the two halves of its QoS flows, and its queue.
//!
//! It knows neither topics nor the store; `delivery` and `acknowledge` drive it. Its messages stand
//! in the order of their arrival: first what is in flight, in the order of first sending, then the
//! queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use outpost_protocol::{PacketId, QoS, SendState};

use super::change::{
    InflightRecord, Seq, SessionId, SessionRecord, SubscriptionRecord, Target, WillRecord,
};
use super::connection::ConnId;
use super::event::Throttle;
use super::message::{Message, Topic};
use super::output::Delivery;
use super::time::Instant;

/// The highest packet identifier that the broker gives to a message. 65535 is left to a bridge for
/// its own SUBSCRIBE, as it passes the identifiers of messages on to another broker unaltered.
const PACKET_ID_MAX: u16 = 65_534;

/// A session, connected or not.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub client_id: Arc<str>,
    /// The connection of its client.
    pub connection: Option<ConnId>,
    /// Session Expiry Interval in seconds; `u32::MAX`: never.
    pub expiry_interval_s: u32,
    /// When it ends, while its client is away.
    pub expires_at: Option<Instant>,
    /// How many QoS 1 and 2 messages may be in flight: the client's Receive Maximum, or less.
    pub window: u16,
    pub subscriptions: BTreeMap<Arc<str>, SubscriptionRecord>,
    pub will: Option<Box<WillRecord>>,
    /// QoS 2 packet identifiers received and not yet released [MQTT-4.3.3-10].
    pub received: BTreeSet<PacketId>,
    /// Retained messages still to be sent for subscriptions made.
    pub retained_ahead: VecDeque<RetainedAhead>,
    inflight: VecDeque<Inflight>,
    /// In flight on a former connection and not yet sent again on this one [MQTT-4.4.0-1].
    resend: VecDeque<Inflight>,
    queue: VecDeque<Queued>,
    queue_bytes: u64,
    last_packet_id: u16,
    is_lapped: bool,
    done: Vec<(Seq, Seq)>,
    /// Somebody waits for room in the queue.
    pub is_awaited: bool,
    /// Its queue was full.
    pub full: Throttle,
    /// The store has a row of it.
    pub is_stored: bool,
    /// By that row it outlives its connection.
    pub is_stored_durable: bool,
    /// It stands in the list of those whose row may have to be written with the open batch.
    pub is_dirty: bool,
    /// A restart needs its row as it is now.
    pub needs_row: bool,
}

/// A QoS 1 or 2 message for one session.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub message: Arc<Message>,
    /// Its number in the store; none where nothing of it is stored.
    pub seq: Option<Seq>,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The shared subscription that it came by, with `$share/name/`.
    pub share: Option<Arc<str>>,
}

impl Queued {
    /// What the store has to know of it beside the message.
    pub(super) fn target(&self, session: SessionId) -> Target {
        Target {
            session,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids.as_deref().unwrap_or_default().to_vec(),
            share: self.share.clone(),
        }
    }

    /// Its PUBLISH with this packet identifier.
    pub(super) fn delivery(&self, packet_id: PacketId, dup: bool) -> Delivery {
        Delivery {
            message: self.message.clone(),
            packet_id: Some(packet_id),
            qos: self.qos,
            dup,
            retain: self.retain,
            subscription_ids: self.subscription_ids.clone(),
        }
    }
}

/// A packet identifier in use.
#[derive(Debug)]
pub(super) struct Inflight {
    pub packet_id: PacketId,
    pub state: SendState,
    /// None once PUBREC has come.
    pub queued: Option<Queued>,
}

/// What is left of the retained messages for one subscription.
#[derive(Debug)]
pub(super) struct RetainedAhead {
    pub filter: Arc<str>,
    pub subscription: SubscriptionRecord,
    /// The last topic sent.
    pub after: Option<Topic>,
}

impl Session {
    pub(super) fn new(id: SessionId, client_id: Arc<str>) -> Self {
        Self {
            id,
            client_id,
            connection: None,
            expiry_interval_s: 0,
            expires_at: None,
            window: u16::MAX,
            subscriptions: BTreeMap::new(),
            will: None,
            received: BTreeSet::new(),
            retained_ahead: VecDeque::new(),
            inflight: VecDeque::new(),
            resend: VecDeque::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            last_packet_id: 0,
            is_lapped: false,
            full: Throttle::default(),
            is_stored: false,
            is_stored_durable: false,
            is_dirty: false,
            needs_row: false,
            done: Vec::new(),
            is_awaited: false,
        }
    }

    /// Whether a message is in flight that may be in the store.
    pub(super) fn has_stored_flight(&self) -> bool {
        self.flights().any(|i| i.queued.as_ref().is_some_and(|queued| queued.seq.is_some()))
    }

    /// It outlives its connection, and a restart.
    pub(super) fn is_durable(&self) -> bool {
        self.expiry_interval_s > 0
    }

    /// Messages in flight and in the queue.
    pub(super) fn messages(&self) -> usize {
        self.inflight.len() + self.resend.len() + self.queue.len()
    }

    /// Their bytes, where they wait in the queue.
    pub(super) fn queue_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// Never open while all packet identifiers are in use.
    pub(super) fn has_window(&self) -> bool {
        self.inflight.len() < usize::from(self.window.min(PACKET_ID_MAX))
    }

    pub(super) fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.message.bytes();
        self.queue.push_back(queued);
    }

    pub(super) fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.bytes();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(queued)
    }

    /// The next of the queue, if it has expired.
    pub(super) fn dequeue_expired(&mut self, now: Instant) -> Option<Queued> {
        if self.queue.front()?.message.is_expired(now) { self.dequeue() } else { None }
    }

    /// Gives a message a packet identifier, with which it is sent now. The caller has seen that the
    /// window is open.
    pub(super) fn take_off(&mut self, queued: Queued) -> Delivery {
        let packet_id = self.unused_packet_id();
        let state = SendState::first(queued.qos).expect("QoS 0 is never in flight");
        let delivery = queued.delivery(packet_id, false);
        self.inflight.push_back(Inflight { packet_id, state, queued: Some(queued) });
        delivery
    }

    /// The connection is gone: all that is in flight is to be sent again on the next one.
    pub(super) fn ground(&mut self) {
        self.inflight.append(&mut self.resend);
        std::mem::swap(&mut self.inflight, &mut self.resend);
    }

    /// Puts the next packet of a former connection in flight again, in the order of first sending.
    pub(super) fn take_off_again(&mut self) -> Option<&mut Inflight> {
        self.inflight.push_back(self.resend.pop_front()?);
        self.inflight.back_mut()
    }

    pub(super) fn find_inflight(&mut self, packet_id: PacketId) -> Option<&mut Inflight> {
        let at = self.position(packet_id)?;
        self.inflight.get_mut(at)
    }

    /// A packet identifier is in flight from a former connection, and not sent again yet.
    pub(super) fn is_to_resend(&self, packet_id: PacketId) -> bool {
        self.resend.iter().any(|i| i.packet_id == packet_id)
    }

    /// Frees a packet identifier.
    pub(super) fn land(&mut self, packet_id: PacketId) -> Option<Inflight> {
        let at = self.position(packet_id)?;
        let landed = self.inflight.remove(at);
        if self.inflight.is_empty() && self.inflight.capacity() > 64 {
            self.inflight = VecDeque::new();
        }
        landed
    }

    /// Notes that this session needs a stored message no more.
    pub(super) fn finish(&mut self, seq: Seq) {
        let is_pending = |from: Seq, to: Seq| {
            // What flies ascends, and so does the queue.
            let flying = self.flights().find_map(|i| i.queued.as_ref()?.seq.filter(|s| *s > from));
            let behind = self.queue.partition_point(|q| q.seq <= Some(from));
            flying.is_some_and(|seq| seq < to)
                || self.queue.get(behind).is_some_and(|q| q.seq < Some(to))
        };
        let at = self.done.partition_point(|(_, last)| *last < seq);
        let mut first = seq;
        let mut last = seq;
        let mut from = at;
        let mut to = at;
        if at > 0 && !is_pending(self.done[at - 1].1, seq) {
            first = self.done[at - 1].0;
            from = at - 1;
        }
        if at < self.done.len() && !is_pending(seq, self.done[at].0) {
            last = self.done[at].1;
            to = at + 1;
        }
        self.done.splice(from..to, [(first, last)]);
        let lowest = self.lowest_pending().unwrap_or(Seq(u64::MAX));
        if lowest > self.done[0].1 {
            self.done.retain(|(_, last)| *last > lowest);
        }
    }

    /// Everything that waits for this session, which is left with none.
    pub(super) fn take_all(&mut self) -> Vec<Queued> {
        self.ground();
        let inflight = std::mem::take(&mut self.resend).into_iter().filter_map(|i| i.queued);
        let all = inflight.chain(std::mem::take(&mut self.queue)).collect();
        self.queue_bytes = 0;
        all
    }

    /// Takes out what came by the shared subscription `share` and may go to another member: all
    /// that is in the queue, and what was sent with QoS 1. A QoS 2 flow that began is completed with
    /// this client [MQTT-4.8.2-4]. To be called while the client is away.
    pub(super) fn take_shared(&mut self, share: &Arc<str>) -> Vec<Queued> {
        let is_of_share = |q: &Queued| q.share.as_ref() == Some(share);
        let may_go = |i: &Inflight| {
            i.queued.as_ref().is_some_and(is_of_share) && i.state == SendState::AwaitPubAck
        };
        let mut taken = Vec::new();
        let (go, stay): (VecDeque<_>, _) =
            std::mem::take(&mut self.resend).into_iter().partition(may_go);
        self.resend = stay;
        taken.extend(go.into_iter().filter_map(|i| i.queued));
        let (go, stay): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(is_of_share);
        self.queue = stay;
        self.queue_bytes -= go.iter().map(|q| q.message.bytes()).sum::<u64>();
        taken.extend(go);
        taken
    }

    /// The row of this session. `next_seq` is the lowest number not given away.
    pub(super) fn record(&self, next_seq: Seq) -> SessionRecord {
        let cursor = self.lowest_pending().unwrap_or(next_seq);
        let inflight = self.flights().map(|i| InflightRecord {
            packet_id: i.packet_id.value(),
            seq: i.queued.as_ref().and_then(|q| q.seq),
        });
        SessionRecord {
            client_id: (*self.client_id).into(),
            expiry_interval_s: self.expiry_interval_s,
            expires_at: self.expires_at,
            will: self.will.as_deref().cloned(),
            cursor,
            done: self.done.iter().copied().filter(|(_, last)| *last >= cursor).collect(),
            inflight: inflight.collect(),
            received: self.received.iter().map(|id| id.value()).collect(),
        }
    }

    /// Puts a packet identifier of a former run back in its place.
    pub(super) fn restore_inflight(&mut self, packet_id: PacketId, queued: Option<Queued>) {
        let state = match &queued {
            Some(queued) => SendState::first(queued.qos).unwrap_or(SendState::AwaitPubAck),
            None => SendState::AwaitPubComp,
        };
        self.last_packet_id = packet_id.value();
        self.is_lapped = true;
        self.resend.push_back(Inflight { packet_id, state, queued });
    }

    /// Takes over what a former run had finished out of order.
    pub(super) fn restore_done(&mut self, done: Vec<(Seq, Seq)>) {
        self.done = done;
    }

    /// Where a packet identifier stands in what is in flight. Acknowledgements come in the order of
    /// sending, mostly; with QoS 2 those whose PUBREL is under way still stand before the next one.
    fn position(&self, packet_id: PacketId) -> Option<usize> {
        let oldest = self.inflight.front()?.packet_id;
        if oldest == packet_id {
            return Some(0);
        }
        if self.is_lapped {
            return self.inflight.iter().position(|i| i.packet_id == packet_id);
        }
        let age = |id: PacketId| {
            let (id, oldest) = (u32::from(id.value()), u32::from(oldest.value()));
            (id + u32::from(PACKET_ID_MAX) - oldest) % u32::from(PACKET_ID_MAX)
        };
        let at = self.inflight.binary_search_by_key(&age(packet_id), |i| age(i.packet_id)).ok()?;
        // The identifier that is never given is as old as the first one.
        if self.inflight[at].packet_id == packet_id { Some(at) } else { None }
    }

    fn flights(&self) -> impl Iterator<Item = &Inflight> {
        self.inflight.iter().chain(&self.resend)
    }

    fn lowest_pending(&self) -> Option<Seq> {
        let inflight = self.flights().find_map(|i| i.queued.as_ref()?.seq);
        let queued = self.queue.iter().find_map(|q| q.seq);
        match (inflight, queued) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Identifiers are given in ascending order, so that those in flight lie between the oldest and
    /// the newest, until one that stays for long is lapped.
    fn unused_packet_id(&mut self) -> PacketId {
        loop {
            self.last_packet_id = self.last_packet_id % PACKET_ID_MAX + 1;
            let id = PacketId::new(self.last_packet_id).expect("it is above 0");
            match self.inflight.front() {
                None => {
                    self.is_lapped = false;
                    return id;
                }
                Some(oldest) if oldest.packet_id == id => self.is_lapped = true,
                Some(_) if self.is_lapped && self.inflight.iter().any(|i| i.packet_id == id) => {}
                Some(_) => return id,
            }
        }
    }
}

#[cfg(test)]
impl Session {
    /// Every message that waits for this session, in flight or not.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Queued> {
        self.flights().filter_map(|i| i.queued.as_ref()).chain(&self.queue)
    }

    /// What holds of a session by itself.
    pub(super) fn assert_sound(&self) {
        assert!(self.inflight.len() <= usize::from(self.window), "the window is exceeded");
        let ids: BTreeSet<PacketId> = self.flights().map(|i| i.packet_id).collect();
        assert_eq!(ids.len(), self.inflight.len() + self.resend.len(), "an identifier twice");
        let queue_bytes: u64 = self.queue.iter().map(|q| q.message.bytes()).sum();
        assert_eq!(self.queue_bytes, queue_bytes);
        let done = |seq: Seq| self.done.iter().any(|(first, last)| *first <= seq && seq <= *last);
        assert!(!self.waiting().any(|q| q.seq.is_some_and(done)), "done, and it waits");
        assert!(self.done.windows(2).all(|w| w[0].1 < w[1].0), "ranges overlap: {:?}", self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(seq: u64) -> Queued {
        let message = Message::new("t".into(), QoS::AtLeastOnce, false, None, b"", b"");
        let message = Arc::new(message);
        let qos = QoS::AtLeastOnce;
        Queued {
            message,
            seq: Some(Seq(seq)),
            qos,
            retain: false,
            subscription_ids: None,
            share: None,
        }
    }

    fn shared(seq: u64) -> Queued {
        Queued { share: Some("$share/g/t".into()), ..queued(seq) }
    }

    #[test]
    fn packet_ids_are_found_in_any_order_of_acknowledgement() {
        let mut session = Session::new(SessionId(1), "c".into());
        let mut flying = Vec::new();
        let mut random = 1_u32;
        // Four times round the identifiers; the first one stays, so that it is lapped.
        for seq in 0..260_000 {
            if session.has_window() {
                flying.extend(session.take_off(queued(seq)).packet_id);
            }
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if flying.len() > 20 {
                let at = 1 + random as usize % (flying.len() - 1);
                let packet_id = flying.remove(at);
                let landed = session.land(packet_id).expect("it is in flight");
                assert_eq!(landed.packet_id, packet_id);
                assert!(session.land(packet_id).is_none());
            }
            if seq % 1_000 == 0 {
                let ids: Vec<_> = session.flights().map(|i| i.packet_id).collect();
                assert_eq!(ids, flying);
                for packet_id in &flying {
                    assert_eq!(session.find_inflight(*packet_id).unwrap().packet_id, *packet_id);
                }
            }
            if seq == 130_000 {
                assert!(session.is_lapped);
                while let Some(packet_id) = flying.pop() {
                    session.land(packet_id).expect("it is in flight");
                }
            }
        }
        assert!(session.find_inflight(PacketId::new(65_535).unwrap()).is_none());
    }

    #[test]
    fn the_window_closes_when_all_packet_ids_are_in_use() {
        let mut session = Session::new(SessionId(1), "c".into());
        for seq in 0..u64::from(PACKET_ID_MAX) {
            assert!(session.has_window());
            session.take_off(queued(seq));
        }
        assert!(!session.has_window());
    }

    #[test]
    fn what_waits_between_finished_messages_is_not_finished_with_them() {
        let mut session = Session::new(SessionId(1), "c".into());
        for entry in [queued(5), shared(6), queued(7), shared(8)] {
            session.enqueue(entry);
        }
        for entry in session.take_shared(&"$share/g/t".into()) {
            session.finish(entry.seq.unwrap());
        }
        let record = session.record(Seq(9));
        assert_eq!(record.cursor, Seq(5));
        assert_eq!(record.done, [(Seq(6), Seq(6)), (Seq(8), Seq(8))]);
    }
}
