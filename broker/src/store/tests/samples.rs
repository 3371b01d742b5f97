//! Random records, random batches, and a model of what a store holds after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use outpost_bridge::peering::NodeId;
use outpost_protocol::{QoS, RetainHandling};

use super::Rng;
use super::whole::Loaded;
use crate::core::change::{
    Batch, InflightRecord, OriginRecord, QueuedMessage, Seq, SessionId, SessionRecord,
    SubscriptionRecord, Target, WillRecord,
};
use crate::core::message::Message;
use crate::core::time::Instant;

const TOPICS: [&str; 5] = ["a", "plant/1/temperature", "/", "$SYS/uptime", "größe/µ"];
const FILTERS: [&str; 5] = ["#", "plant/+/temperature", "a", "$share/group/plant/#", "größe/+"];
/// Payload format indicator; content type; user property twice; correlation data.
const PROPERTIES: [&[u8]; 5] = [
    &[],
    &[0x01, 0x01],
    &[0x03, 0x00, 0x04, b'j', b's', b'o', b'n'],
    &[0x26, 0, 1, b'k', 0, 1, b'v', 0x26, 0, 1, b'k', 0, 0],
    &[0x09, 0, 2, 0xff, 0x00],
];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const RETAIN_HANDLING: [RetainHandling; 3] = [
    RetainHandling::SendAtSubscribe,
    RetainHandling::SendAtSubscribeIfNew,
    RetainHandling::DoNotSend,
];

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) messages: BTreeMap<Seq, QueuedMessage>,
    pub(super) sessions: BTreeMap<SessionId, SessionRecord>,
    pub(super) subscriptions: BTreeMap<(SessionId, Arc<str>), SubscriptionRecord>,
    pub(super) retained: BTreeMap<Arc<str>, Arc<Message>>,
    pub(super) origins: BTreeMap<NodeId, OriginRecord>,
    pub(super) node: Option<NodeId>,
    pub(super) next_seq: Seq,
    pub(super) next_session: u32,
}

impl Model {
    pub(super) fn apply(&mut self, batch: &Batch) {
        self.messages.retain(|seq, _| !batch.removed.contains(*seq));
        self.messages.extend(batch.messages.iter().map(|(seq, row)| (*seq, row.clone())));
        apply(&mut self.sessions, &batch.sessions);
        apply(&mut self.subscriptions, &batch.subscriptions);
        apply(&mut self.retained, &batch.retained);
        apply(&mut self.origins, &batch.origins);
        self.node = batch.node.or(self.node);
        self.next_seq = batch.next_seq;
        self.next_session = batch.next_session;
    }

    /// Asserts the rows, their order, and that free numbers are free.
    pub(super) fn assert_is(&self, loaded: &Loaded) {
        let expected = self.loaded();
        assert_eq!(loaded.messages, expected.messages);
        assert_eq!(loaded.sessions, expected.sessions);
        assert_eq!(loaded.subscriptions, expected.subscriptions);
        assert_eq!(loaded.retained, expected.retained);
        assert_eq!(loaded.origins, expected.origins);
        assert_eq!(loaded.node, expected.node);
        assert!(loaded.next_seq >= self.next_seq);
        assert!(loaded.next_session >= self.next_session);
    }

    /// Whether `loaded` is what [`Self::assert_is`] asserts.
    pub(super) fn is(&self, loaded: &Loaded) -> bool {
        let expected = self.loaded();
        loaded.messages == expected.messages
            && loaded.sessions == expected.sessions
            && loaded.subscriptions == expected.subscriptions
            && loaded.retained == expected.retained
            && loaded.origins == expected.origins
            && loaded.node == expected.node
            && loaded.next_seq >= self.next_seq
            && loaded.next_session >= self.next_session
    }

    fn loaded(&self) -> Loaded {
        let messages = self.messages.iter().map(|(seq, queued)| (*seq, queued.clone()));
        let sessions = self.sessions.iter().map(|(id, session)| (*id, session.clone()));
        let subscriptions = self.subscriptions.iter();
        Loaded {
            messages: messages.collect(),
            sessions: sessions.collect(),
            subscriptions: subscriptions
                .map(|((id, filter), record)| (*id, filter.clone(), *record))
                .collect(),
            retained: self.retained.values().cloned().collect(),
            next_seq: self.next_seq,
            next_session: self.next_session,
            origins: self.origins.iter().map(|(node, row)| (*node, row.clone())).collect(),
            node: self.node,
            ..Loaded::default()
        }
    }
}

fn apply<K: Ord + Clone, V: Clone>(rows: &mut BTreeMap<K, V>, changes: &BTreeMap<K, Option<V>>) {
    for (key, change) in changes {
        match change {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
    }
}

/// Random changes on top of `model`: new rows, replaced rows, removed rows, missing rows removed.
pub(super) fn batch(rng: &mut Rng, model: &Model) -> Batch {
    let mut batch =
        Batch { next_seq: model.next_seq, next_session: model.next_session, ..Batch::default() };
    for _ in 0..rng.below(6) {
        let seq = batch.next_seq;
        batch.next_seq.0 += 1 + rng.below(3);
        batch.messages.insert(seq, queued(rng));
    }
    for seq in model.messages.keys() {
        if rng.one_in(4) {
            if rng.one_in(4) {
                batch.messages.insert(*seq, queued(rng));
            } else {
                batch.removed.insert(*seq);
            }
        }
    }
    if rng.one_in(4) {
        let id = SessionId(batch.next_session);
        batch.next_session += 1;
        batch.sessions.insert(id, Some(session(rng, batch.next_seq)));
    }
    for id in model.sessions.keys() {
        if rng.one_in(3) {
            let row = if rng.one_in(6) { None } else { Some(session(rng, batch.next_seq)) };
            batch.sessions.insert(*id, row);
        }
    }
    for _ in 0..rng.below(3) {
        let key = (SessionId(rng.below(5) as u32), Arc::from(rng.pick(&FILTERS)));
        batch.subscriptions.insert(key, rng.maybe(subscription));
    }
    for _ in 0..rng.below(3) {
        let message = message(rng);
        let topic = message.topic.clone();
        batch.retained.insert(topic, rng.maybe(|_| message));
    }
    if rng.one_in(3) {
        batch.origins.insert(NodeId(rng.below(4)), rng.maybe(origin));
    }
    if rng.one_in(8) {
        batch.node = Some(NodeId(rng.next()));
    }
    batch
}

pub(super) fn origin(rng: &mut Rng) -> OriginRecord {
    let mut next = rng.next() >> (1 + rng.below(63));
    let range = |_| {
        let first = next + 2 + rng.below(1000);
        let bits = rng.below(20);
        next = first + rng.below(1 << bits);
        (first, next)
    };
    OriginRecord { numbers: (0..20).map(range).collect() }
}

pub(super) fn message(rng: &mut Rng) -> Arc<Message> {
    let payload_len = if rng.one_in(20) { rng.below(20_000) } else { rng.below(100) };
    let payload: Vec<u8> = (0..payload_len).map(|_| rng.next() as u8).collect();
    Arc::new(Message::new(
        Arc::from(rng.pick(&TOPICS)),
        rng.pick(&QOS),
        rng.one_in(2),
        rng.maybe(instant),
        rng.pick(&PROPERTIES),
        &payload,
    ))
}

/// One of many topics.
pub(super) fn retained(rng: &mut Rng) -> Arc<Message> {
    let topic = format!("retained/{}", rng.below(1_000)).into();
    let payload: Vec<u8> = (0..1 + rng.below(200)).map(|_| rng.next() as u8).collect();
    let (qos, properties) = (rng.pick(&QOS), rng.pick(&PROPERTIES));
    Arc::new(Message::new(topic, qos, true, None, properties, &payload))
}

pub(super) fn queued(rng: &mut Rng) -> QueuedMessage {
    let targets = (0..rng.below(4)).map(|_| target(rng)).collect();
    QueuedMessage { message: message(rng), arrived_at: rng.maybe(instant), targets }
}

fn target(rng: &mut Rng) -> Target {
    Target {
        session: SessionId(rng.next() as u32 >> rng.below(32)),
        qos: rng.pick(&QOS),
        retain: rng.one_in(2),
        subscription_ids: (0..rng.below(3)).map(|_| subscription_id(rng)).collect(),
        share: rng.maybe(|_| Arc::from("$share/group/plant/#")),
    }
}

pub(super) fn session(rng: &mut Rng, next_seq: Seq) -> SessionRecord {
    let cursor = Seq(rng.below(next_seq.0 + 1));
    let mut done = Vec::new();
    let mut lowest = cursor.0;
    while lowest + 3 < next_seq.0 && rng.one_in(2) {
        let first = lowest + rng.below(2);
        let last = first + rng.below(2);
        done.push((Seq(first), Seq(last)));
        lowest = last + 1;
    }
    let inflight = (0..rng.below(4)).map(|i| InflightRecord {
        packet_id: (65_535 - i) as u16,
        seq: rng.maybe(|rng| Seq(rng.below(next_seq.0 + 1))),
    });
    let inflight = inflight.collect();
    SessionRecord {
        client_id: format!("client-{}", rng.below(1000)).into(),
        expiry_interval_s: rng.pick(&[0, 1, 3600, u32::MAX]),
        expires_at: rng.maybe(instant),
        will: rng.maybe(will),
        cursor,
        done,
        inflight,
        received: (1..=rng.below(4) as u16).map(|i| i * 300).collect(),
    }
}

fn will(rng: &mut Rng) -> WillRecord {
    WillRecord {
        message: message(rng),
        message_expiry_interval_s: rng.maybe(|rng| rng.next() as u32),
        delay_interval_s: rng.next() as u32,
        due_at: rng.maybe(instant),
    }
}

pub(super) fn subscription(rng: &mut Rng) -> SubscriptionRecord {
    let (qos, own) = (rng.pick(&QOS), rng.below(4));
    SubscriptionRecord {
        qos,
        no_local: rng.one_in(2),
        retain_as_published: rng.one_in(2),
        retain_handling: rng.pick(&RETAIN_HANDLING),
        subscription_id: rng.maybe(subscription_id),
        keeps_retained: own & 1 != 0,
        owes_retained: own & 2 != 0,
    }
}

fn subscription_id(rng: &mut Rng) -> u32 {
    1 + rng.below(268_435_455) as u32
}

fn instant(rng: &mut Rng) -> Instant {
    Instant(rng.next() >> rng.below(64))
}
