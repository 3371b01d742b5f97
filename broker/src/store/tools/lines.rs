//! The lines of an export: one JSON object each, with one member that says what it is. The format is
//! in `docs/STORE-FORMAT.md`.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use outpost_bridge::peering::NodeId;
use outpost_protocol::{QoS, RetainHandling};
use serde::{Deserialize, Serialize};

use super::super::record::Record;
use crate::core::change::{
    InflightRecord, OriginRecord, QueuedMessage, Seq, SessionId, SessionRecord, SubscriptionRecord,
    Target, WillRecord,
};
use crate::core::message::Message;
use crate::core::time::Instant;

/// The version of the export format.
pub(super) const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line<'a> {
    #[serde(borrow)]
    OutpostStore(Header<'a>),
    #[serde(borrow)]
    Session(SessionLine<'a>),
    #[serde(borrow)]
    Subscription(SubscriptionLine<'a>),
    #[serde(borrow)]
    Retained(MessageLine<'a>),
    Origin(OriginLine),
    #[serde(borrow)]
    Message(QueuedLine<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header<'a> {
    pub(super) format: u32,
    /// Who wrote it, for people.
    #[serde(borrow)]
    pub(super) written_by: Cow<'a, str>,
    pub(super) next_seq: u64,
    pub(super) next_session: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLine<'a> {
    id: u32,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    expiry_interval_s: u32,
    expires_at: Option<u64>,
    #[serde(borrow)]
    will: Option<WillLine<'a>>,
    cursor: u64,
    done: Vec<(u64, u64)>,
    in_flight: Vec<(u16, Option<u64>)>,
    received: Vec<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WillLine<'a> {
    #[serde(borrow)]
    message: MessageLine<'a>,
    message_expiry_interval_s: Option<u32>,
    delay_interval_s: u32,
    due_at: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionLine<'a> {
    session: u32,
    #[serde(borrow)]
    filter: Cow<'a, str>,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    subscription_id: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keeps_retained: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    owes_retained: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    qos: u8,
    retain: bool,
    expires_at: Option<u64>,
    /// In wire form.
    #[serde(default, skip_serializing_if = "str::is_empty", borrow)]
    properties_base64: Cow<'a, str>,
    /// The payload where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    payload: Option<Cow<'a, str>>,
    /// The payload where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OriginLine {
    /// Sixteen hexadecimal digits.
    node: String,
    numbers: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueuedLine<'a> {
    seq: u64,
    arrived_at: Option<u64>,
    #[serde(borrow)]
    message: MessageLine<'a>,
    #[serde(borrow)]
    targets: Vec<TargetLine<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetLine<'a> {
    session: u32,
    qos: u8,
    retain: bool,
    subscription_ids: Cow<'a, [u32]>,
    #[serde(borrow)]
    share: Option<Cow<'a, str>>,
}

// ---- out

pub(super) fn line(record: &Record) -> Line<'_> {
    match record {
        Record::Session(id, record) => Line::Session(session_line(*id, record)),
        Record::Subscription(id, filter, record) => Line::Subscription(SubscriptionLine {
            session: id.0,
            filter: Cow::Borrowed(filter),
            qos: record.qos.into(),
            no_local: record.no_local,
            retain_as_published: record.retain_as_published,
            retain_handling: match record.retain_handling {
                RetainHandling::SendAtSubscribe => 0,
                RetainHandling::SendAtSubscribeIfNew => 1,
                RetainHandling::DoNotSend => 2,
            },
            subscription_id: record.subscription_id,
            keeps_retained: record.keeps_retained,
            owes_retained: record.owes_retained,
        }),
        Record::Retained(message) => Line::Retained(message_line(message)),
        Record::Origin(node, record) => {
            Line::Origin(OriginLine { node: node.to_string(), numbers: record.numbers.clone() })
        }
        Record::Message(seq, queued) => Line::Message(QueuedLine {
            seq: seq.0,
            arrived_at: queued.arrived_at.map(|at| at.0),
            message: message_line(&queued.message),
            targets: queued.targets.iter().map(target_line).collect(),
        }),
    }
}

fn session_line(id: SessionId, record: &SessionRecord) -> SessionLine<'_> {
    let in_flight = record.inflight.iter();
    SessionLine {
        id: id.0,
        client_id: Cow::Borrowed(&record.client_id),
        expiry_interval_s: record.expiry_interval_s,
        expires_at: record.expires_at.map(|at| at.0),
        will: record.will.as_ref().map(|will| WillLine {
            message: message_line(&will.message),
            message_expiry_interval_s: will.message_expiry_interval_s,
            delay_interval_s: will.delay_interval_s,
            due_at: will.due_at.map(|at| at.0),
        }),
        cursor: record.cursor.0,
        done: record.done.iter().map(|(first, last)| (first.0, last.0)).collect(),
        in_flight: in_flight
            .map(|record| (record.packet_id, record.seq.map(|seq| seq.0)))
            .collect(),
        received: record.received.clone(),
    }
}

fn message_line(message: &Message) -> MessageLine<'_> {
    let text = str::from_utf8(message.payload()).ok();
    MessageLine {
        topic: Cow::Borrowed(&message.topic),
        qos: message.qos.into(),
        retain: message.retain,
        expires_at: message.expires_at.map(|at| at.0),
        properties_base64: BASE64_STANDARD.encode(message.properties().as_encoded()).into(),
        payload: text.map(Cow::Borrowed),
        payload_base64: match text {
            Some(_) => None,
            None => Some(BASE64_STANDARD.encode(message.payload()).into()),
        },
    }
}

fn target_line(target: &Target) -> TargetLine<'_> {
    TargetLine {
        session: target.session.0,
        qos: target.qos.into(),
        retain: target.retain,
        subscription_ids: Cow::Borrowed(&target.subscription_ids),
        share: target.share.as_deref().map(Cow::Borrowed),
    }
}

// ---- in

/// The record of a line; what is wrong with it, in words. None: it is a header.
pub(super) fn record(line: Line<'_>) -> Result<Option<Record>, String> {
    Ok(Some(match line {
        Line::OutpostStore(_) => return Ok(None),
        Line::Session(line) => session(line)?,
        Line::Subscription(line) => {
            let retain_handling = match line.retain_handling {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendAtSubscribeIfNew,
                2 => RetainHandling::DoNotSend,
                other => return Err(format!("retain_handling = {other}: must be 0, 1 or 2")),
            };
            let record = SubscriptionRecord {
                qos: qos(line.qos)?,
                no_local: line.no_local,
                retain_as_published: line.retain_as_published,
                retain_handling,
                subscription_id: line.subscription_id,
                keeps_retained: line.keeps_retained,
                owes_retained: line.owes_retained,
            };
            Record::Subscription(SessionId(line.session), Arc::from(&*line.filter), record)
        }
        Line::Retained(line) => Record::Retained(message(&line)?),
        Line::Origin(line) => {
            let node = NodeId::parse(&line.node);
            let node = node.ok_or_else(|| {
                format!("node = \"{}\": must be 16 hexadecimal digits", line.node)
            })?;
            Record::Origin(node, OriginRecord { numbers: line.numbers })
        }
        Line::Message(line) => {
            let queued = QueuedMessage {
                message: message(&line.message)?,
                arrived_at: line.arrived_at.map(Instant),
                targets: line.targets.into_iter().map(target).collect::<Result<_, _>>()?,
            };
            Record::Message(Seq(line.seq), queued)
        }
    }))
}

fn session(line: SessionLine<'_>) -> Result<Record, String> {
    let will = |will: WillLine<'_>| -> Result<WillRecord, String> {
        Ok(WillRecord {
            message: message(&will.message)?,
            message_expiry_interval_s: will.message_expiry_interval_s,
            delay_interval_s: will.delay_interval_s,
            due_at: will.due_at.map(Instant),
        })
    };
    let in_flight = line.in_flight.into_iter();
    let record = SessionRecord {
        client_id: line.client_id.into(),
        expiry_interval_s: line.expiry_interval_s,
        expires_at: line.expires_at.map(Instant),
        will: line.will.map(will).transpose()?,
        cursor: Seq(line.cursor),
        done: line.done.into_iter().map(|(first, last)| (Seq(first), Seq(last))).collect(),
        inflight: in_flight
            .map(|(packet_id, seq)| InflightRecord { packet_id, seq: seq.map(Seq) })
            .collect(),
        received: line.received,
    };
    Ok(Record::Session(SessionId(line.id), record))
}

fn message(line: &MessageLine<'_>) -> Result<Arc<Message>, String> {
    let decoded = |key: &str, text: &str| {
        BASE64_STANDARD.decode(text).map_err(|error| format!("{key}: {error}"))
    };
    let properties = decoded("properties_base64", &line.properties_base64)?;
    let payload = match (&line.payload, &line.payload_base64) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(text)) => decoded("payload_base64", text)?,
        _ => return Err("a message has either payload or payload_base64".into()),
    };
    if properties.len() as u64 + payload.len() as u64 > u64::from(u32::MAX) {
        return Err("the message is too large".into());
    }
    let expires_at = line.expires_at.map(Instant);
    let topic = Arc::from(&*line.topic);
    let message =
        Message::new(topic, qos(line.qos)?, line.retain, expires_at, &properties, &payload);
    Ok(Arc::new(message))
}

fn target(line: TargetLine<'_>) -> Result<Target, String> {
    Ok(Target {
        session: SessionId(line.session),
        qos: qos(line.qos)?,
        retain: line.retain,
        subscription_ids: line.subscription_ids.into_owned(),
        share: line.share.as_deref().map(Arc::from),
    })
}

fn qos(value: u8) -> Result<QoS, String> {
    QoS::try_from(value).map_err(|_| format!("qos = {value}: must be 0, 1 or 2"))
}
