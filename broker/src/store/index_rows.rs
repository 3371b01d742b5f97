//! The rows of the index: parts, and the entries in them. As hostile as all rows, and as bounded.

use serde::{Deserialize, Serialize};

use super::rows::RowFault;
use crate::core::change::{
    QueuedMessage, SessionId, StoredMessage, StoredTarget, Target, topic_hash,
};
use crate::core::time::Instant;

/// The version byte.
const INDEX_VERSION: u8 = 1;

type Checked<T> = Result<T, RowFault>;

/// What is known of a message.
pub(super) type Entry<'a> = StoredMessage<'a>;

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnedEntry {
    pub(super) bytes: u32,
    pub(super) arrived_at: Option<Instant>,
    pub(super) expires_at: Option<Instant>,
    pub(super) topic_hash: u64,
    pub(super) targets: Vec<StoredTarget>,
}

impl OwnedEntry {
    pub(super) fn as_entry(&self) -> Entry<'_> {
        StoredMessage {
            bytes: self.bytes,
            arrived_at: self.arrived_at,
            expires_at: self.expires_at,
            topic_hash: self.topic_hash,
            targets: &self.targets,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct EntryRow<T> {
    bytes: u32,
    arrived_at: Option<u64>,
    expires_at: Option<u64>,
    topic_hash: [u8; 8],
    /// Twice the session's number; one more where it came by a shared subscription.
    targets: T,
}

/// A part whose entries are still to be read.
#[derive(Debug)]
pub(super) struct Part<'a> {
    first: u64,
    /// The number after the last that it covers.
    pub(super) end: u64,
    entries: &'a [u8],
}

// ---- writing

pub(super) fn encode_queued(queued: &QueuedMessage) -> Box<[u8]> {
    encode_entry(&entry_of(queued).as_entry())
}

pub(super) fn entry_of(queued: &QueuedMessage) -> OwnedEntry {
    OwnedEntry {
        bytes: u32::try_from(queued.message.bytes()).unwrap_or(u32::MAX),
        arrived_at: queued.arrived_at,
        expires_at: queued.message.expires_at,
        topic_hash: topic_hash(&queued.message.topic),
        targets: queued.targets.iter().map(stored_target).collect(),
    }
}

pub(super) fn stored_target(target: &Target) -> StoredTarget {
    StoredTarget { session: target.session, is_shared: target.share.is_some() }
}

pub(super) fn encode_entry(entry: &Entry<'_>) -> Box<[u8]> {
    let code =
        |target: &StoredTarget| u64::from(target.session.0) << 1 | u64::from(target.is_shared);
    let row = EntryRow {
        bytes: entry.bytes,
        arrived_at: entry.arrived_at.map(|at| at.0),
        expires_at: entry.expires_at.map(|at| at.0),
        topic_hash: entry.topic_hash.to_le_bytes(),
        targets: entry.targets.iter().map(code).collect::<Vec<u64>>(),
    };
    to_bytes(&row, Vec::with_capacity(32)).into()
}

/// Adds an entry that leaves out `skipped` numbers behind the one before it.
pub(super) fn push_entry(entries: &mut Vec<u8>, skipped: u64, entry: &[u8]) {
    *entries = to_bytes(&skipped, std::mem::take(entries));
    entries.extend_from_slice(entry);
}

/// A part that covers `width` numbers.
pub(super) fn encode_part(width: u64, entries: &[u8]) -> Vec<u8> {
    let mut part = to_bytes(&width, vec![INDEX_VERSION]);
    part.extend_from_slice(entries);
    part
}

fn to_bytes(value: &impl Serialize, out: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, out).expect("a vector takes whatever there is to encode")
}

// ---- reading

pub(super) fn decode_part(first: u64, bytes: &[u8]) -> Checked<Part<'_>> {
    let (&version, bytes) = bytes.split_first().ok_or(RowFault::Empty)?;
    if version != INDEX_VERSION {
        return Err(RowFault::Version(version));
    }
    let (width, entries) = postcard::take_from_bytes::<u64>(bytes).map_err(RowFault::Encoding)?;
    match first.checked_add(width) {
        Some(end) if width > 0 => Ok(Part { first, end, entries }),
        _ => Err(RowFault::Value("the range is empty or too long")),
    }
}

impl<'a> Part<'a> {
    /// Its entries with their numbers, ascending and in its range, until one is invalid.
    pub(super) fn entries(&self) -> impl Iterator<Item = Checked<(u64, OwnedEntry)>> + use<'a> {
        let (mut lowest, end, mut rest) = (Some(self.first), self.end, self.entries);
        std::iter::from_fn(move || {
            let lowest_now = if rest.is_empty() { None } else { Some(lowest) }?;
            let entry = take_entry(lowest_now, end, rest);
            (lowest, rest) = match &entry {
                Ok((seq, _, rest)) => (seq.checked_add(1), *rest),
                Err(_) => (None, [].as_slice()),
            };
            Some(entry.map(|(seq, entry, _)| (seq, entry)))
        })
    }
}

fn take_entry(lowest: Option<u64>, end: u64, bytes: &[u8]) -> Checked<(u64, OwnedEntry, &[u8])> {
    let (skipped, bytes) = postcard::take_from_bytes::<u64>(bytes).map_err(RowFault::Encoding)?;
    let seq = lowest.and_then(|lowest| lowest.checked_add(skipped)).filter(|seq| *seq < end);
    let seq = seq.ok_or(RowFault::Value("a number is not in the range"))?;
    let (row, rest) =
        postcard::take_from_bytes::<EntryRow<Vec<u64>>>(bytes).map_err(RowFault::Encoding)?;
    let target = |code: u64| match u32::try_from(code >> 1) {
        Ok(id) => Ok(StoredTarget { session: SessionId(id), is_shared: code & 1 != 0 }),
        Err(_) => Err(RowFault::Value("a session number is out of range")),
    };
    let entry = OwnedEntry {
        bytes: row.bytes,
        arrived_at: row.arrived_at.map(Instant),
        expires_at: row.expires_at.map(Instant),
        topic_hash: u64::from_le_bytes(row.topic_hash),
        targets: row.targets.into_iter().map(target).collect::<Checked<_>>()?,
    };
    Ok((seq, entry, rest))
}
