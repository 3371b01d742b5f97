//! The rows of the store: how a record becomes bytes, and bytes a record.
//!
//! A value is a version byte and a row in postcard's encoding. The row types here borrow from the
//! record when they write and from the stored bytes when they read, so that a payload is copied
//! once either way. One definition serves both directions; only its lists differ in type.
//!
//! Both ways a row is checked the same: what this program could not read back it refuses to write,
//! and stored bytes are taken for hostile. Reading never panics, and what it allocates is bounded by
//! the length of the row (times a constant, plus serde's 1 MiB of trust in a list's length).
//! `docs/STORE-FORMAT.md` describes the result.

use std::collections::HashSet;
use std::sync::Arc;

use outpost_protocol::{ProtocolVersion, QoS, RetainHandling, TopicFilter, TopicName, decode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::index_rows::{OwnedEntry, stored_target};
use crate::core::change::{
    InflightRecord, OriginRecord, QueuedMessage, Seq, SessionId, SessionRecord, SubscriptionRecord,
    Target, WillRecord, topic_hash,
};
use crate::core::message::{Message, Topic};
use crate::core::origins::RANGES_MAX;
use crate::core::time::Instant;

/// The version byte of the rows of every table. Each table counts for itself.
const MESSAGE_VERSION: u8 = 2;
const SESSION_VERSION: u8 = 1;
const SUBSCRIPTION_VERSION: u8 = 1;
const RETAINED_VERSION: u8 = 1;
const ORIGIN_VERSION: u8 = 1;

const QOS_BITS: u8 = 0b0000_0011;
const RETAIN_BIT: u8 = 0b0000_0100;
const NO_LOCAL_BIT: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED_BIT: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;
/// Not of MQTT.
const KEEPS_RETAINED_BIT: u8 = 0b0100_0000;
const OWES_RETAINED_BIT: u8 = 0b1000_0000;

/// The largest subscription identifier, a variable byte integer of four bytes.
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The value is empty.
    #[error("the row is empty")]
    Empty,
    /// The version byte is not one that this program knows.
    #[error("row version {0} is not known")]
    Version(u8),
    /// The bytes do not follow the encoding.
    #[error("the row cannot be decoded ({0})")]
    Encoding(postcard::Error),
    /// There are bytes behind the row.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A field has a value that it must not have.
    #[error("{0}")]
    Value(&'static str),
}

type Checked<T> = Result<T, RowFault>;

// ---- the row types

/// A message; in `msg` and in a will.
#[derive(Serialize, Deserialize)]
struct MessageRow<'a> {
    topic: &'a str,
    #[serde(borrow)]
    content: ContentRow<'a>,
}

/// A message without its topic; in `retained`, where the topic is the key.
#[derive(Serialize, Deserialize)]
struct ContentRow<'a> {
    flags: u8,
    expires_at: Option<u64>,
    #[serde(borrow)]
    properties: Bytes<'a>,
    #[serde(borrow)]
    payload: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
struct QueuedRow<'a, T> {
    arrived_at: Option<u64>,
    #[serde(borrow)]
    message: MessageRow<'a>,
    targets: T,
}

/// A row of version 1.
#[derive(Deserialize)]
struct QueuedRow1<'a, T> {
    #[serde(borrow)]
    message: MessageRow<'a>,
    targets: T,
}

#[derive(Serialize, Deserialize)]
struct TargetRow<'a, I> {
    session: u32,
    flags: u8,
    subscription_ids: I,
    share: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct SessionRow<'a, D, I, R> {
    client_id: &'a str,
    expiry_interval_s: u32,
    expires_at: Option<u64>,
    #[serde(borrow)]
    will: Option<WillRow<'a>>,
    cursor: u64,
    done: D,
    inflight: I,
    received: R,
}

#[derive(Serialize, Deserialize)]
struct WillRow<'a> {
    #[serde(borrow)]
    message: MessageRow<'a>,
    message_expiry_interval_s: Option<u32>,
    delay_interval_s: u32,
    due_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionRow {
    options: u8,
    subscription_id: Option<u32>,
}

/// The numbers of another broker's messages: of each range the gap in front of it and its length.
#[derive(Serialize, Deserialize)]
struct OriginRow<R> {
    ranges: R,
}

/// Bytes written in one piece (serde would write a `&[u8]` number by number).
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Self)
    }
}

/// A slice of records written as a list of rows, without that list ever being built.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, R: Serialize, F: Fn(&'a T) -> R> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

// ---- writing: each fills `out`, which it empties first

pub(super) fn encode_queued(queued: &QueuedMessage, out: &mut Vec<u8>) -> Checked<()> {
    queued.targets.iter().try_for_each(check_target)?;
    let row = QueuedRow {
        arrived_at: queued.arrived_at.map(|at| at.0),
        message: message_row(&queued.message)?,
        targets: Each(&queued.targets, target_row),
    };
    encode(MESSAGE_VERSION, &row, out)
}

pub(super) fn encode_session(session: &SessionRecord, out: &mut Vec<u8>) -> Checked<()> {
    check_session(session)?;
    let row = SessionRow {
        client_id: &session.client_id,
        expiry_interval_s: session.expiry_interval_s,
        expires_at: session.expires_at.map(|at| at.0),
        will: session.will.as_ref().map(will_row).transpose()?,
        cursor: session.cursor.0,
        done: Each(&session.done, |(first, last): &(Seq, Seq)| (first.0, last.0)),
        inflight: Each(&session.inflight, |record: &InflightRecord| {
            (record.packet_id, record.seq.map(|seq| seq.0))
        }),
        received: session.received.as_slice(),
    };
    encode(SESSION_VERSION, &row, out)
}

pub(super) fn encode_subscription(
    filter: &str,
    record: &SubscriptionRecord,
    out: &mut Vec<u8>,
) -> Checked<()> {
    check_filter(filter)?;
    record.subscription_id.map_or(Ok(()), check_subscription_id)?;
    let row = SubscriptionRow {
        options: subscription_options(record),
        subscription_id: record.subscription_id,
    };
    encode(SUBSCRIPTION_VERSION, &row, out)
}

pub(super) fn encode_retained(topic: &str, message: &Message, out: &mut Vec<u8>) -> Checked<()> {
    check_topic(topic)?;
    if *message.topic != *topic {
        return Err(RowFault::Value("the message has another topic than its key"));
    }
    encode(RETAINED_VERSION, &content_row(message)?, out)
}

pub(super) fn encode_origin(record: &OriginRecord, out: &mut Vec<u8>) -> Checked<()> {
    check_ranges(&record.numbers)?;
    let mut next = 0;
    let ranges = record.numbers.iter().map(|(first, last)| {
        let range = (first - next, last - first);
        next = *last;
        range
    });
    let ranges: Vec<(u64, u64)> = ranges.collect();
    encode(ORIGIN_VERSION, &OriginRow { ranges }, out)
}

fn check_ranges(ranges: &[(u64, u64)]) -> Checked<()> {
    let is_sound = ranges.iter().all(|(first, last)| first <= last)
        && ranges
            .windows(2)
            .all(|pair| pair[1].0.checked_sub(pair[0].1).is_some_and(|gap| gap > 1));
    if !is_sound {
        return Err(RowFault::Value("the ranges of numbers do not ascend"));
    }
    if ranges.len() > RANGES_MAX {
        return Err(RowFault::Value("too many ranges of numbers"));
    }
    Ok(())
}

fn encode(version: u8, row: &impl Serialize, out: &mut Vec<u8>) -> Checked<()> {
    out.clear();
    out.push(version);
    *out = postcard::to_extend(row, std::mem::take(out)).map_err(RowFault::Encoding)?;
    Ok(())
}

fn message_row(message: &Message) -> Checked<MessageRow<'_>> {
    check_topic(&message.topic)?;
    Ok(MessageRow { topic: &message.topic, content: content_row(message)? })
}

fn target_row(target: &Target) -> TargetRow<'_, &[u32]> {
    TargetRow {
        session: target.session.0,
        flags: message_flags(target.qos, target.retain),
        subscription_ids: &target.subscription_ids,
        share: target.share.as_deref(),
    }
}

fn content_row(message: &Message) -> Checked<ContentRow<'_>> {
    let properties = message.properties().as_encoded();
    check_properties(properties)?;
    Ok(ContentRow {
        flags: message_flags(message.qos, message.retain),
        expires_at: message.expires_at.map(|at| at.0),
        properties: Bytes(properties),
        payload: Bytes(message.payload()),
    })
}

fn will_row(will: &WillRecord) -> Checked<WillRow<'_>> {
    Ok(WillRow {
        message: message_row(&will.message)?,
        message_expiry_interval_s: will.message_expiry_interval_s,
        delay_interval_s: will.delay_interval_s,
        due_at: will.due_at.map(|at| at.0),
    })
}

fn message_flags(qos: QoS, retain: bool) -> u8 {
    u8::from(qos) | if retain { RETAIN_BIT } else { 0 }
}

/// The options byte of SUBSCRIBE [MQTT-3.8.3.1], and two bits of our own.
fn subscription_options(record: &SubscriptionRecord) -> u8 {
    let retain_handling = match record.retain_handling {
        RetainHandling::SendAtSubscribe => 0,
        RetainHandling::SendAtSubscribeIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    u8::from(record.qos)
        | if record.no_local { NO_LOCAL_BIT } else { 0 }
        | if record.retain_as_published { RETAIN_AS_PUBLISHED_BIT } else { 0 }
        | retain_handling << RETAIN_HANDLING_SHIFT
        | if record.keeps_retained { KEEPS_RETAINED_BIT } else { 0 }
        | if record.owes_retained { OWES_RETAINED_BIT } else { 0 }
}

// ---- reading

/// Topics and filters already seen, checked and kept once: telemetry repeats them.
#[derive(Default)]
pub(super) struct Interner(HashSet<Arc<str>>);

impl Interner {
    /// Forgets all if it has become more than `max`.
    pub(super) fn forget_above(&mut self, max: usize) {
        if self.0.len() > max {
            self.0.clear();
        }
    }

    fn topic(&mut self, text: &str) -> Checked<Topic> {
        self.intern(text, check_topic)
    }

    /// A filter. Topics and filters share the set: a topic is a valid filter, but not the reverse.
    pub(super) fn filter(&mut self, text: &str) -> Checked<Arc<str>> {
        self.intern(text, check_filter)
    }

    fn intern(&mut self, text: &str, check: fn(&str) -> Checked<()>) -> Checked<Arc<str>> {
        if let Some(known) = self.0.get(text) {
            check(known)?;
            return Ok(known.clone());
        }
        check(text)?;
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        Ok(text)
    }
}

pub(super) fn decode_origin(bytes: &[u8]) -> Checked<OriginRecord> {
    let row: OriginRow<Vec<(u64, u64)>> = decode_row(ORIGIN_VERSION, bytes)?;
    let mut next: u64 = 0;
    let mut numbers = Vec::with_capacity(row.ranges.len().min(RANGES_MAX));
    for (gap, length) in row.ranges {
        let range =
            next.checked_add(gap).and_then(|first| Some((first, first.checked_add(length)?)));
        let (first, last) = range.ok_or(RowFault::Value("a number is out of range"))?;
        numbers.push((first, last));
        next = last;
    }
    check_ranges(&numbers)?;
    Ok(OriginRecord { numbers })
}

pub(super) fn decode_queued(bytes: &[u8], interner: &mut Interner) -> Checked<QueuedMessage> {
    let row = queued_row(bytes)?;
    let targets = row.targets.into_iter().map(|target| target_of(target, interner));
    Ok(QueuedMessage {
        targets: targets.collect::<Checked<_>>()?,
        arrived_at: row.arrived_at.map(Instant),
        message: message_of(&row.message, interner)?,
    })
}

/// What has to be known of a stored message to queue it. The row is checked as a whole.
pub(super) fn decode_entry(bytes: &[u8], interner: &mut Interner) -> Checked<OwnedEntry> {
    let row = queued_row(bytes)?;
    let MessageRow { topic, content } = row.message;
    let topic = interner.topic(topic)?;
    flags_of(content.flags)?;
    check_properties(content.properties.0)?;
    let bytes = topic.len() + content.properties.0.len() + content.payload.0.len();
    let target = |row| target_of(row, interner).map(|target| stored_target(&target));
    Ok(OwnedEntry {
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        arrived_at: row.arrived_at.map(Instant),
        expires_at: content.expires_at.map(Instant),
        topic_hash: topic_hash(&topic),
        targets: row.targets.into_iter().map(target).collect::<Checked<_>>()?,
    })
}

fn queued_row(bytes: &[u8]) -> Checked<QueuedRow<'_, Vec<TargetRow<'_, Vec<u32>>>>> {
    if bytes.first() != Some(&1) {
        return decode_row(MESSAGE_VERSION, bytes);
    }
    let QueuedRow1 { message, targets } = decode_row(1, bytes)?;
    Ok(QueuedRow { arrived_at: None, message, targets })
}

pub(super) fn decode_session(bytes: &[u8], interner: &mut Interner) -> Checked<SessionRecord> {
    type Row<'a> = SessionRow<'a, Vec<(u64, u64)>, Vec<(u16, Option<u64>)>, Vec<u16>>;
    let row: Row<'_> = decode_row(SESSION_VERSION, bytes)?;
    let inflight = row.inflight.into_iter();
    let session = SessionRecord {
        client_id: row.client_id.into(),
        expiry_interval_s: row.expiry_interval_s,
        expires_at: row.expires_at.map(Instant),
        will: row.will.map(|will| will_of(&will, interner)).transpose()?,
        cursor: Seq(row.cursor),
        done: row.done.into_iter().map(|(first, last)| (Seq(first), Seq(last))).collect(),
        inflight: inflight
            .map(|(packet_id, seq)| InflightRecord { packet_id, seq: seq.map(Seq) })
            .collect(),
        received: row.received,
    };
    check_session(&session)?;
    Ok(session)
}

pub(super) fn decode_subscription(bytes: &[u8]) -> Checked<SubscriptionRecord> {
    let row: SubscriptionRow = decode_owned(SUBSCRIPTION_VERSION, bytes)?;
    row.subscription_id.map_or(Ok(()), check_subscription_id)?;
    let own_bits = KEEPS_RETAINED_BIT | OWES_RETAINED_BIT;
    let retain_handling = match (row.options & !own_bits) >> RETAIN_HANDLING_SHIFT {
        0 => RetainHandling::SendAtSubscribe,
        1 => RetainHandling::SendAtSubscribeIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(RowFault::Value("subscription options are invalid")),
    };
    Ok(SubscriptionRecord {
        qos: qos_of(row.options & QOS_BITS)?,
        no_local: row.options & NO_LOCAL_BIT != 0,
        retain_as_published: row.options & RETAIN_AS_PUBLISHED_BIT != 0,
        retain_handling,
        subscription_id: row.subscription_id,
        keeps_retained: row.options & KEEPS_RETAINED_BIT != 0,
        owes_retained: row.options & OWES_RETAINED_BIT != 0,
    })
}

pub(super) fn decode_retained(
    topic: &str,
    bytes: &[u8],
    interner: &mut Interner,
) -> Checked<Message> {
    let row: ContentRow<'_> = decode_row(RETAINED_VERSION, bytes)?;
    content_of(interner.topic(topic)?, &row)
}

fn decode_row<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Checked<T> {
    let (&found, bytes) = bytes.split_first().ok_or(RowFault::Empty)?;
    if found != version {
        return Err(RowFault::Version(found));
    }
    let (row, rest) = postcard::take_from_bytes(bytes).map_err(RowFault::Encoding)?;
    if rest.is_empty() { Ok(row) } else { Err(RowFault::Trailing(rest.len())) }
}

fn decode_owned<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Checked<T> {
    decode_row(version, bytes)
}

fn message_of(row: &MessageRow<'_>, interner: &mut Interner) -> Checked<Arc<Message>> {
    content_of(interner.topic(row.topic)?, &row.content).map(Arc::new)
}

fn content_of(topic: Topic, row: &ContentRow<'_>) -> Checked<Message> {
    check_properties(row.properties.0)?;
    let (qos, retain) = flags_of(row.flags)?;
    let expires_at = row.expires_at.map(Instant);
    Ok(Message::new(topic, qos, retain, expires_at, row.properties.0, row.payload.0))
}

fn will_of(row: &WillRow<'_>, interner: &mut Interner) -> Checked<WillRecord> {
    Ok(WillRecord {
        message: message_of(&row.message, interner)?,
        message_expiry_interval_s: row.message_expiry_interval_s,
        delay_interval_s: row.delay_interval_s,
        due_at: row.due_at.map(Instant),
    })
}

fn target_of(row: TargetRow<'_, Vec<u32>>, interner: &mut Interner) -> Checked<Target> {
    let (qos, retain) = flags_of(row.flags)?;
    let target = Target {
        session: SessionId(row.session),
        qos,
        retain,
        subscription_ids: row.subscription_ids,
        share: row.share.map(|share| interner.filter(share)).transpose()?,
    };
    check_target(&target)?;
    Ok(target)
}

fn flags_of(flags: u8) -> Checked<(QoS, bool)> {
    if flags & !(QOS_BITS | RETAIN_BIT) != 0 {
        return Err(RowFault::Value("unknown message flags are set"));
    }
    Ok((qos_of(flags & QOS_BITS)?, flags & RETAIN_BIT != 0))
}

fn qos_of(bits: u8) -> Checked<QoS> {
    QoS::try_from(bits).map_err(|_| RowFault::Value("QoS 3"))
}

// ---- what holds for every row, written or read

fn check_topic(topic: &str) -> Checked<()> {
    TopicName::new(topic).map(drop).map_err(|_| RowFault::Value("the topic name is invalid"))
}

fn check_filter(filter: &str) -> Checked<()> {
    TopicFilter::new(filter).map(drop).map_err(|_| RowFault::Value("the topic filter is invalid"))
}

fn check_target(target: &Target) -> Checked<()> {
    if let Some(share) = &target.share {
        check_filter(share)?;
    }
    target.subscription_ids.iter().copied().try_for_each(check_subscription_id)
}

fn check_subscription_id(id: u32) -> Checked<()> {
    if (1..=SUBSCRIPTION_ID_MAX).contains(&id) {
        Ok(())
    } else {
        Err(RowFault::Value("the subscription identifier is out of range"))
    }
}

/// The properties of a message are those of a PUBLISH: they are put into one and decoded, so that
/// there is one judge of what is valid.
fn check_properties(properties: &[u8]) -> Checked<()> {
    const FAULT: RowFault = RowFault::Value("the properties are invalid");
    if properties.is_empty() {
        return Ok(());
    }
    let mut body = vec![0, 1, b't'];
    put_var_int(properties.len(), &mut body);
    body.extend_from_slice(properties);
    let mut packet = vec![0x30];
    put_var_int(body.len(), &mut packet);
    packet.append(&mut body);
    match decode(&packet, ProtocolVersion::V5, u32::MAX) {
        Ok(Some((_, used))) if used == packet.len() => Ok(()),
        _ => Err(FAULT),
    }
}

fn put_var_int(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn check_session(session: &SessionRecord) -> Checked<()> {
    let mut lowest = Some(0);
    for &(first, last) in &session.done {
        if lowest.is_none_or(|lowest| first.0 < lowest) || last < first {
            return Err(RowFault::Value("the ranges of what is done are not in order"));
        }
        lowest = last.0.checked_add(1);
    }
    if session.inflight.iter().any(|record| record.packet_id == 0)
        || session.received.first() == Some(&0)
    {
        return Err(RowFault::Value("a packet identifier is 0"));
    }
    if !session.received.is_sorted_by(|a, b| a < b) {
        return Err(RowFault::Value("the received packet identifiers are not in order"));
    }
    let mut ids: Vec<u16> = session.inflight.iter().map(|record| record.packet_id).collect();
    ids.sort_unstable();
    if !ids.is_sorted_by(|a, b| a < b) {
        return Err(RowFault::Value("a packet identifier is in flight twice"));
    }
    Ok(())
}
