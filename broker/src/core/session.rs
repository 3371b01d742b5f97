//! A session: subscriptions, the two halves of its QoS flows, and its queue.
//!
//! It knows neither topics nor the store; `delivery` and `acknowledge` drive it. Its messages stand
//! in the order of their arrival: first what is in flight, in the order of first sending, then the
//! queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use outpost_protocol::{PacketId, SendState};

use super::change::{
    InflightRecord, Seq, SessionId, SessionRecord, SubscriptionRecord, WillRecord, topic_hash,
};
use super::connection::ConnId;
use super::event::Throttle;
use super::last_per_topic::LastPerTopic;
use super::limits::{QueueFull, QueuePolicy};
use super::message::Topic;
use super::output::Delivery;
use super::overflow::Drops;
use super::queue::{HeadSize, Queue, Queued};
use super::seq_set::SeqSet;
use super::time::Instant;
use super::topics::Takes;

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
    pub queue: Queue,
    /// Since when its client is there, where its messages are told when they came.
    pub stamps_since: Option<Instant>,
    /// Messages not in memory that came by a shared subscription.
    pub shared: SeqSet,
    pub sweep: Option<Sweep>,
    /// Messages are being read from the store for it.
    pub is_loading: bool,
    /// The bounds of its queue.
    pub policy: Arc<QueuePolicy>,
    /// Where its policy asks for it.
    pub last_per_topic: Option<Box<LastPerTopic>>,
    /// The age of what waits is looked at when a timer says so.
    pub is_age_watched: bool,
    pub drops: Drops,
    /// It is over, and stays without a name until its `shared` messages have gone to others.
    pub has_ended: bool,
    last_packet_id: u16,
    is_lapped: bool,
    /// The highest number that was sent since nothing was in flight.
    highest_flown: Seq,
    /// What is in flight does not ascend by number: new messages have overtaken older ones.
    is_mixed: bool,
    done: Vec<(Seq, Seq)>,
    /// Somebody waits for room in the queue.
    pub is_awaited: bool,
    /// The broker at the other end of its client, where that is a bridge and has said so: what comes
    /// from there does not go back.
    pub far_node: Option<NodeId>,
    /// It is told under `$SYS` whether its client is there, since that is a bridge.
    pub tells_state: bool,
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

/// A packet identifier in use.
#[derive(Debug)]
pub(super) struct Inflight {
    pub packet_id: PacketId,
    pub state: SendState,
    pub content: Content,
}

/// The message that a packet identifier stands for.
#[derive(Debug)]
pub(super) enum Content {
    Message(Queued),
    /// It is not in memory. Its state is not known either, if it stems from a former run.
    Number(Seq),
    /// PUBREC has come: nobody needs it any more.
    Released,
}

impl Content {
    pub(super) fn seq(&self) -> Option<Seq> {
        match self {
            Self::Message(queued) => queued.seq,
            Self::Number(seq) => Some(*seq),
            Self::Released => None,
        }
    }
}

/// What is the next to be sent again on a new connection.
pub(super) enum Resend<'a> {
    /// Nothing.
    None,
    /// A message that is not in memory.
    Absent,
    /// This, which is in flight again now.
    Now(&'a Inflight),
}

/// The messages of shared subscriptions that go from a session that is away to other members, as
/// far as they are not in memory.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The shared subscriptions; empty: all, as the session has ended.
    pub shares: Vec<Arc<str>>,
    /// Where to go on.
    pub from: Seq,
    /// Where to stop: what comes later was given to this session because no other has room.
    pub until: Seq,
}

impl Sweep {
    /// The next messages to look at.
    pub(super) fn ahead(&self, shared: &SeqSet) -> impl Iterator<Item = Seq> {
        shared.iter_from(self.from).take_while(|seq| *seq < self.until)
    }
}

/// What is left of the retained messages for one subscription.
#[derive(Debug)]
pub(super) struct RetainedAhead {
    pub filter: Arc<str>,
    pub subscription: SubscriptionRecord,
    /// The last topic sent.
    pub after: Option<Topic>,
    /// Which of them; none: all that the session takes.
    pub only: Option<Takes>,
}

impl Inflight {
    /// The message as the row of the session names it. A restart loses a volatile QoS 2 message, and
    /// helps its receiver, who remembers the identifier, to the end of the flow: PUBREL is next.
    fn stored_seq(&self) -> Option<Seq> {
        match &self.content {
            Content::Message(queued) if queued.is_lost_by_restart_halfway() => None,
            content => content.seq(),
        }
    }
}

impl Session {
    pub(super) fn new(id: SessionId, client_id: Arc<str>, policy: Arc<QueuePolicy>) -> Self {
        let keeps_last = policy.full == QueueFull::KeepLastPerTopic;
        Self {
            last_per_topic: keeps_last.then(|| Box::new(LastPerTopic::new(u64::from(id.0)))),
            policy,
            is_age_watched: false,
            drops: Drops::default(),
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
            queue: Queue::default(),
            stamps_since: None,
            shared: SeqSet::default(),
            sweep: None,
            is_loading: false,
            has_ended: false,
            last_packet_id: 0,
            is_lapped: false,
            highest_flown: Seq(0),
            is_mixed: false,
            full: Throttle::default(),
            is_stored: false,
            is_stored_durable: false,
            is_dirty: false,
            needs_row: false,
            done: Vec::new(),
            is_awaited: false,
            tells_state: false,
            far_node: None,
        }
    }

    /// Whether a message is in flight that may be in the store.
    pub(super) fn has_stored_flight(&self) -> bool {
        self.flights().any(|i| match &i.content {
            Content::Message(queued) => queued.seq.is_some() && !queued.message.is_volatile(),
            Content::Number(_) => true,
            Content::Released => false,
        })
    }

    /// It outlives its connection, and a restart.
    pub(super) fn is_durable(&self) -> bool {
        self.expiry_interval_s > 0
    }

    /// A restart has to know of it: it lasts, or owes a will, or messages to others.
    pub(super) fn keeps_row(&self) -> bool {
        self.is_durable() || self.will.is_some() || self.has_ended
    }

    /// A message comes to its queue.
    pub(super) fn note_topic(&mut self, queued: &Queued) {
        if let (Some(topics), Some(seq)) = (&mut self.last_per_topic, queued.seq) {
            topics.note(topic_hash(&queued.message.topic), seq, &self.queue);
        }
    }

    /// Whether a message that comes now is kept in memory, where its turn is near.
    pub(super) fn takes_into_memory(&self, head: HeadSize) -> bool {
        self.connection.is_some() && self.queue.is_whole() && self.queue.has_head_room(head)
    }

    /// Whether all that waits for it is in memory.
    pub(super) fn has_all_in_memory(&self) -> bool {
        self.queue.is_whole() && self.numbers_to_resend().next().is_none()
    }

    /// Whether a message waits for it that is not in memory.
    pub(super) fn needs(&self, seq: Seq) -> bool {
        self.queue.has_number(seq) || self.numbers_to_resend().any(|number| number == seq)
    }

    /// Messages in flight and in the queue.
    pub(super) fn messages(&self) -> usize {
        self.inflight.len() + self.resend.len() + self.queue.len()
    }

    /// The messages in flight that are not delivered yet, by number.
    pub(super) fn flying(&self) -> impl Iterator<Item = Seq> {
        self.flights().filter_map(|inflight| inflight.content.seq())
    }

    /// Never open while all packet identifiers are in use.
    pub(super) fn has_window(&self) -> bool {
        self.inflight.len() < usize::from(self.window.min(PACKET_ID_MAX))
    }

    /// Gives a message a packet identifier, with which it is sent now. The caller has seen that the
    /// window is open.
    pub(super) fn take_off(&mut self, queued: Queued) -> Delivery {
        let packet_id = self.unused_packet_id();
        let state = SendState::first(queued.qos).expect("QoS 0 is never in flight");
        self.note_flown(queued.seq);
        let delivery = queued.delivery(packet_id, false);
        self.inflight.push_back(Inflight { packet_id, state, content: Content::Message(queued) });
        delivery
    }

    /// The packet identifier that has been in flight for longest.
    pub(super) fn oldest_in_flight(&self) -> Option<PacketId> {
        self.inflight.front().map(|inflight| inflight.packet_id)
    }

    /// The connection is gone: all that is in flight is to be sent again on the next one.
    pub(super) fn ground(&mut self) {
        self.inflight.append(&mut self.resend);
        std::mem::swap(&mut self.inflight, &mut self.resend);
    }

    /// Puts the next packet of a former connection in flight again, in the order of first sending.
    pub(super) fn take_off_again(&mut self) -> Resend<'_> {
        match self.resend.front().map(|inflight| &inflight.content) {
            None => return Resend::None,
            Some(Content::Number(_)) => return Resend::Absent,
            Some(_) => {}
        }
        self.inflight.extend(self.resend.pop_front());
        self.inflight.back().map_or(Resend::None, Resend::Now)
    }

    /// What is to be sent again next, where it is not in memory.
    pub(super) fn next_number_to_resend(&self) -> Option<Seq> {
        match self.resend.front()?.content {
            Content::Number(seq) => Some(seq),
            _ => None,
        }
    }

    /// The messages of former connections that are not in memory, in the order of first sending.
    pub(super) fn numbers_to_resend(&self) -> impl Iterator<Item = Seq> {
        self.resend.iter().filter_map(|inflight| match inflight.content {
            Content::Number(seq) => Some(seq),
            _ => None,
        })
    }

    /// Puts a message in its place that was in flight and is in memory again. None: there is no
    /// such place. False: it is a QoS 2 message.
    pub(super) fn fill_resend(&mut self, seq: Seq, queued: Queued) {
        let is_it = |i: &&mut Inflight| matches!(i.content, Content::Number(s) if s == seq);
        let Some(inflight) = self.resend.iter_mut().find(is_it) else { return };
        inflight.state = SendState::first(queued.qos).unwrap_or(SendState::AwaitPubAck);
        inflight.content = Content::Message(queued);
        self.shared.remove(seq);
    }

    /// Takes a message out of what is to be sent again. False: it is not there.
    pub(super) fn remove_resend(&mut self, seq: Seq) -> bool {
        let at = self.resend.iter().position(|inflight| inflight.content.seq() == Some(seq));
        at.is_some_and(|at| self.resend.remove(at).is_some())
    }

    /// Lets go of all messages that can be found by their numbers. To be called while the client is
    /// away.
    pub(super) fn stow(&mut self) {
        for inflight in &mut self.resend {
            let Content::Message(queued) = &inflight.content else { continue };
            let Some(seq) = queued.seq.filter(|_| !queued.is_lost_by_restart_halfway()) else {
                continue;
            };
            if queued.share.is_some() {
                self.shared.insert(seq);
            }
            inflight.content = Content::Number(seq);
        }
        let shared = &mut self.shared;
        self.queue.stow(|queued| {
            if let (Some(seq), Some(_)) = (queued.seq, &queued.share) {
                shared.insert(seq);
            }
        });
        self.resend.shrink_to_fit();
        self.inflight = VecDeque::new();
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
        if self.inflight.is_empty() && self.resend.is_empty() {
            (self.highest_flown, self.is_mixed) = (Seq(0), false);
        }
        landed
    }

    /// A message is in flight. Its place there may be that of another number also after a restart, and
    /// when the session is no longer one whose new messages overtake others.
    fn note_flown(&mut self, seq: Option<Seq>) {
        let Some(seq) = seq else { return };
        self.is_mixed |= seq < self.highest_flown;
        self.highest_flown = self.highest_flown.max(seq);
    }

    /// Notes that this session needs a stored message no more.
    pub(super) fn finish(&mut self, seq: Seq) {
        let is_pending = |from: Seq, to: Seq| {
            let mut later = self.flying().filter(|seq| *seq > from);
            let flying = if self.is_mixed { later.min() } else { later.next() };
            flying.is_some_and(|seq| seq < to) || self.queue.has_between(from, to)
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

    /// Everything that waits for this session, which is left with none: what is in memory, and the
    /// numbers of the rest.
    pub(super) fn take_all(&mut self) -> (Vec<Queued>, Vec<Seq>) {
        self.ground();
        let (mut messages, mut numbers) = (Vec::new(), Vec::new());
        for inflight in std::mem::take(&mut self.resend) {
            match inflight.content {
                Content::Message(queued) => messages.push(queued),
                Content::Number(seq) => numbers.push(seq),
                Content::Released => {}
            }
        }
        let (head, rest) = self.queue.take_all();
        messages.extend(head);
        numbers.extend(rest.iter());
        self.shared = SeqSet::default();
        (messages, numbers)
    }

    /// Takes out what is in memory, came by the shared subscription `share` and may go to another
    /// member: all that is in the queue, and what was sent with QoS 1. A QoS 2 flow that began is
    /// completed with this client [MQTT-4.8.2-4]. To be called while the client is away.
    pub(super) fn take_shared(&mut self, share: &Arc<str>) -> Vec<Queued> {
        let is_of_share = |q: &Queued| q.share.as_ref() == Some(share);
        let (mut taken, mut stay) = (Vec::new(), VecDeque::new());
        for inflight in std::mem::take(&mut self.resend) {
            match inflight.content {
                Content::Message(queued)
                    if is_of_share(&queued) && inflight.state == SendState::AwaitPubAck =>
                {
                    taken.push(queued);
                }
                _ => stay.push_back(inflight),
            }
        }
        self.resend = stay;
        taken.extend(self.queue.take_of_head(is_of_share));
        taken
    }

    /// The row of this session. `next_seq` is the lowest number not given away.
    pub(super) fn record(&self, next_seq: Seq) -> SessionRecord {
        let cursor = self.lowest_pending().unwrap_or(next_seq);
        let inflight = self
            .flights()
            .map(|i| InflightRecord { packet_id: i.packet_id.value(), seq: i.stored_seq() });
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

    /// Puts a packet identifier of a former run back in its place. None: its PUBREC had come.
    pub(super) fn restore_inflight(&mut self, packet_id: PacketId, seq: Option<Seq>) {
        let (state, content) = match seq {
            Some(seq) => (SendState::AwaitPubAck, Content::Number(seq)),
            None => (SendState::AwaitPubComp, Content::Released),
        };
        self.last_packet_id = packet_id.value();
        self.is_lapped = true;
        self.note_flown(seq);
        self.resend.push_back(Inflight { packet_id, state, content });
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

    pub(super) fn lowest_pending(&self) -> Option<Seq> {
        let mut flying = self.flying();
        let first = if self.is_mixed { flying.min() } else { flying.next() };
        first.into_iter().chain(self.queue.lowest()).min()
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
    /// The numbers of all messages that wait for this session, in flight or not.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Seq> {
        let flying = self.flights().filter_map(|i| i.content.seq());
        flying.chain(self.queue.head().filter_map(|q| q.seq)).chain(self.queue.numbers())
    }

    /// The messages that wait without a number.
    pub(super) fn waiting_in_memory(&self) -> impl Iterator<Item = &Queued> {
        let flying = self.flights().filter_map(|i| match &i.content {
            Content::Message(queued) => Some(queued),
            _ => None,
        });
        flying.chain(self.queue.head()).filter(|q| q.seq.is_none())
    }

    /// What holds of a session by itself.
    pub(super) fn assert_sound(&self) {
        assert!(self.inflight.len() <= usize::from(self.window), "the window is exceeded");
        let ids: BTreeSet<PacketId> = self.flights().map(|i| i.packet_id).collect();
        assert_eq!(ids.len(), self.inflight.len() + self.resend.len(), "an identifier twice");
        let numbers: BTreeSet<Seq> = self.resend.iter().filter_map(|i| i.content.seq()).collect();
        let is_known = |seq: Seq| numbers.contains(&seq) || self.queue.has_number(seq);
        assert!(self.shared.iter().all(is_known), "a shared message that is not there");
        let done = |seq: Seq| self.done.iter().any(|(first, last)| *first <= seq && seq <= *last);
        assert!(!self.waiting().any(done), "done, and it waits");
        assert!(self.done.windows(2).all(|w| w[0].1 < w[1].0), "ranges overlap: {:?}", self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;
    use crate::core::message::Message;
    use outpost_protocol::QoS;

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

    fn policy() -> Arc<QueuePolicy> {
        Arc::new(Limits::default().queue_policy())
    }

    fn shared(seq: u64) -> Queued {
        Queued { share: Some("$share/g/t".into()), ..queued(seq) }
    }

    #[test]
    fn packet_ids_are_found_in_any_order_of_acknowledgement() {
        let mut session = Session::new(SessionId(1), "c".into(), policy());
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
        let mut session = Session::new(SessionId(1), "c".into(), policy());
        for seq in 0..u64::from(PACKET_ID_MAX) {
            assert!(session.has_window());
            session.take_off(queued(seq));
        }
        assert!(!session.has_window());
    }

    #[test]
    fn what_waits_between_finished_messages_is_not_finished_with_them() {
        let mut session = Session::new(SessionId(1), "c".into(), policy());
        for entry in [queued(5), shared(6), queued(7), shared(8)] {
            session.queue.push(entry);
        }
        for entry in session.take_shared(&"$share/g/t".into()) {
            session.finish(entry.seq.unwrap());
        }
        let record = session.record(Seq(9));
        assert_eq!(record.cursor, Seq(5));
        assert_eq!(record.done, [(Seq(6), Seq(6)), (Seq(8), Seq(8))]);
    }
}
