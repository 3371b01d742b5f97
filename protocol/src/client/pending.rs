//! The SUBSCRIBE and UNSUBSCRIBE that wait for their answer.

use crate::PacketId;

use super::REQUESTS_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Subscribe,
    Unsubscribe,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    packet_id: PacketId,
    request: Request,
    filters: usize,
}

#[derive(Debug)]
pub(super) struct Pending {
    entries: [Option<Entry>; REQUESTS_MAX],
}

impl Pending {
    pub(super) const fn new() -> Self {
        Self { entries: [None; REQUESTS_MAX] }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.iter().all(Option::is_some)
    }

    pub(super) fn contains(&self, packet_id: PacketId) -> bool {
        self.entries.iter().flatten().any(|entry| entry.packet_id == packet_id)
    }

    /// Has no effect where it is full.
    pub(super) fn insert(&mut self, packet_id: PacketId, request: Request, filters: usize) {
        if let Some(free) = self.entries.iter_mut().find(|entry| entry.is_none()) {
            *free = Some(Entry { packet_id, request, filters });
        }
    }

    /// How many filters the request had, if there is such a one.
    pub(super) fn remove(&mut self, packet_id: PacketId, request: Request) -> Option<usize> {
        let is_it = |entry: &Option<Entry>| {
            entry.is_some_and(|entry| entry.packet_id == packet_id && entry.request == request)
        };
        let entry = self.entries.iter_mut().find(|entry| is_it(entry))?;
        entry.take().map(|entry| entry.filters)
    }
}
