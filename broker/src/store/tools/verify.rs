//! `outpost store verify`: every page against its checksum, every row decoded, and the rows against
//! each other.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use super::super::contents::Contents;
use super::super::error::StoreError;
use super::super::record::{Record, Table};
use super::{StoreFile, is_done};
use crate::core::change::{QueuedMessage, Seq, SessionId, SessionRecord};

/// So many problems are told one by one; the others are counted.
const PROBLEMS_MAX: usize = 100;

/// What became of a verification.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is wrong, in words, up to a hundred.
    pub problems: Vec<String>,
    /// All that is wrong.
    pub count: u64,
    /// What of it is damage to the file: pages and rows that cannot be read, or are missing.
    pub damage: u64,
    /// Rows that were read and found right, by table.
    pub rows: Vec<(&'static str, u64)>,
    /// Messages that no session waits for any more: the next start removes them.
    pub done_messages: u64,
}

/// Reads all of a store and holds it against itself.
///
/// # Errors
/// The file cannot be read at all, or was written by a later version.
pub fn verify(file: &StoreFile) -> Result<Verified, StoreError> {
    let contents = file.contents()?;
    let mut verifier = Verifier::default();
    if contents.damaged_pages > 0 {
        let pages = contents.damaged_pages;
        verifier.damage(format!("{pages} pages cannot be read, or have a wrong checksum"));
    }
    if contents.damaged_bookkeeping > 0 {
        let pages = contents.damaged_bookkeeping;
        verifier.damage(format!("{pages} pages of redb's own tables have a wrong checksum"));
    }
    if contents.meta.schema.is_none() {
        verifier.damage("table meta: the schema version is missing".into());
    }
    verifier.index(&contents);
    for table in Table::ALL {
        let mut rows = 0;
        contents.each(table, &mut |record| match record {
            Ok(record) => {
                rows += 1;
                verifier.take(&record);
            }
            Err(bad) => verifier.damage(bad.to_string()),
        });
        match contents.rows(table) {
            Some(expected) if expected == rows => {}
            Some(expected) => verifier
                .damage(format!("table {}: {rows} of {expected} rows can be read", table.name())),
            None => verifier.damage(format!("table {} is missing", table.name())),
        }
        verifier.verified.rows.push((table.words(), rows));
    }
    verifier.numbers(contents.meta.seq_mark, contents.meta.session_mark);
    Ok(verifier.verified)
}

#[derive(Default)]
struct Verifier {
    verified: Verified,
    sessions: BTreeMap<SessionId, SessionRecord>,
    clients: HashMap<Box<str>, SessionId>,
    last_seq: Option<Seq>,
    /// Numbers that the index covers and does not name, ascending, ends excluded: a message there
    /// would not be found at the start.
    gaps: Vec<(u64, u64)>,
}

impl Verifier {
    fn problem(&mut self, problem: String) {
        self.verified.count += 1;
        if self.verified.problems.len() < PROBLEMS_MAX {
            self.verified.problems.push(problem);
        }
    }

    fn damage(&mut self, problem: String) {
        self.verified.damage += 1;
        self.problem(problem);
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Session(id, record) => self.session(*id, record),
            Record::Subscription(id, filter, _) => {
                if !self.sessions.contains_key(id) {
                    let id = id.0;
                    self.problem(format!("table sub, row {id} {filter}: there is no session {id}"));
                }
            }
            Record::Retained(message) => {
                if message.payload().is_empty() {
                    let topic = &message.topic;
                    self.problem(format!("table retained, row {topic}: it has no payload"));
                }
            }
            Record::Origin(..) => {}
            Record::Message(seq, queued) => self.message(*seq, queued),
        }
    }

    fn index(&mut self, contents: &Contents<'_>) {
        let mut end = 0;
        contents.each_index_part(&mut |first, part| {
            let row = |what: &dyn Display| format!("table msg_index, row {first}: {what}");
            let part = match part {
                Ok(part) => part,
                Err(fault) => return self.damage(row(&fault)),
            };
            if first < end {
                self.damage(row(&"it begins before the part before it ends"));
            }
            let mut next = first;
            for entry in part.entries() {
                match entry {
                    Ok((seq, _)) => {
                        self.gap(next, seq);
                        next = seq.saturating_add(1);
                    }
                    Err(fault) => self.damage(row(&fault)),
                }
            }
            self.gap(next, part.end);
            end = part.end;
        });
    }

    fn gap(&mut self, first: u64, end: u64) {
        if first < end {
            self.gaps.push((first, end));
        }
    }

    fn session(&mut self, id: SessionId, record: &SessionRecord) {
        if let Some(other) = self.clients.insert(record.client_id.clone(), id) {
            let (id, other, client) = (id.0, other.0, &record.client_id);
            self.problem(format!("table sess, row {id}: session {other} has client {client} too"));
        }
        self.sessions.insert(id, record.clone());
    }

    fn message(&mut self, seq: Seq, queued: &QueuedMessage) {
        self.last_seq = Some(seq);
        let at = self.gaps.partition_point(|(_, end)| *end <= seq.0);
        if self.gaps.get(at).is_some_and(|(first, _)| *first <= seq.0) {
            let seq = seq.0;
            self.damage(format!("table msg_index: it leaves out message {seq}"));
        }
        let is_awaited = queued.targets.iter().any(|target| {
            self.sessions.get(&target.session).is_some_and(|record| !is_done(record, seq))
        });
        self.verified.done_messages += u64::from(!is_awaited);
    }

    /// Numbers are never used again: the marks stand above all of them.
    fn numbers(&mut self, seq_mark: u64, session_mark: u32) {
        if let Some(Seq(last)) = self.last_seq.filter(|last| last.0 >= seq_mark) {
            self.problem(format!("table msg, row {last}: not below the mark {seq_mark}"));
        }
        let above = |cursor: &Seq| cursor.0 > seq_mark;
        let cursors: Vec<_> = self.sessions.iter().map(|(id, r)| (id.0, r.cursor)).collect();
        for (id, cursor) in cursors.into_iter().filter(|(_, cursor)| above(cursor)) {
            let cursor = cursor.0;
            self.problem(format!(
                "table sess, row {id}: cursor {cursor} is above the mark {seq_mark}"
            ));
        }
        if let Some(SessionId(last)) =
            self.sessions.keys().next_back().copied().filter(|last| last.0 >= session_mark)
        {
            self.problem(format!("table sess, row {last}: not below the mark {session_mark}"));
        }
    }
}
