//! What is promised to a client and waits for a commit, in the order in which it leaves.
//!
//! The acknowledgement of a PUBLISH waits only because durable sessions need its message after a
//! restart. Once all of them have acknowledged the message, nobody does, stored or not: then it is
//! free before the commit. Whatever it waits for, it never overtakes what was parked before it for
//! the same connection [MQTT-4.6.0-2].

use std::ops::Range;

use outpost_protocol::QoS;

use super::Broker;
use super::change::Seq;
use super::connection::ConnId;
use super::output::Output;
use super::time::Instant;

/// An output that waits.
#[derive(Debug)]
pub(super) struct Parked {
    /// It is free when this batch is committed; 0: it is.
    batch: u64,
    /// Ascending within a connection.
    ticket: u64,
    /// Of how many messages receivers have still to be heard; 0: it waits for the commit only.
    needs: u32,
    /// A PUBLISH that was sent before, or comes and goes over bridges, or stands behind such a one: later
    /// ones do not overtake it.
    holds_up: bool,
    output: Output,
}

/// An acknowledgement that waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    connection: ConnId,
    ticket: u64,
}

impl Broker {
    /// An output that leaves when `batch` is committed (0: at once), and never before what was
    /// given here for the same connection earlier.
    pub(super) fn push_after(&mut self, id: ConnId, batch: u64, output: Output) {
        self.park(id, batch, output, false);
    }

    /// A PUBLISH, which need not wait behind acknowledgements that wait for a commit, but goes
    /// behind those that are sent again, in the order of first sending [MQTT-4.6.0-1], or wait to be
    /// stored.
    pub(super) fn push_publish_after(
        &mut self,
        id: ConnId,
        batch: u64,
        output: Output,
        holds_up: bool,
    ) {
        let is_committed = self.pending.is_committed(batch);
        let Some(connection) = self.connection_mut(id) else { return };
        if is_committed && connection.publishes_held_up == 0 {
            self.push_output(id, output);
            return;
        }
        let holds_up = holds_up || connection.publishes_held_up > 0;
        self.park(id, batch, output, holds_up);
    }

    /// The acknowledgement of a PUBLISH whose messages stand in the open batch: it leaves when that
    /// is committed, or as soon as nobody needs them any more.
    pub(super) fn push_after_messages(
        &mut self,
        now: Instant,
        id: ConnId,
        messages: Range<Seq>,
        output: Output,
    ) {
        let messages = (messages.start.0..messages.end.0).map(Seq);
        if !messages.clone().any(|seq| self.pending.is_open(seq)) {
            return self.push_after(id, 0, output);
        }
        let batch = self.pending.number();
        let ticket = self.park(id, batch, output, false);
        let waiter = Waiter { connection: id, ticket };
        let mut needs = 0;
        let mut is_soft = true;
        for seq in messages {
            if self.pending.is_open(seq) {
                is_soft &= self.may_be_elided(seq);
                self.pending.await_message(now, seq, waiter);
                needs += 1;
            }
        }
        if !is_soft {
            self.pending.urgent(now);
        }
        let parked = self.connection_mut(id).and_then(|c| c.parked.back_mut());
        if let Some(parked) = parked.filter(|parked| parked.ticket == ticket) {
            parked.needs = needs;
        }
    }

    /// Nobody needs a stored message any more. One that is still in the open batch is never written.
    pub(super) fn forget_message(&mut self, now: Instant, seq: Seq) {
        let (is_elided, waiter) = self.pending.remove_message(now, seq);
        self.counters.elided += u64::from(is_elided);
        if let Some(waiter) = waiter {
            self.release_early(waiter);
        }
        let backlog_max = self.settings.limits.store_backlog_bytes_max;
        if self.pending.is_room_awaited && self.pending.backlog_bytes() <= backlog_max {
            self.pending.is_room_awaited = false;
            self.wake_waiting();
        }
    }

    /// A message goes to another session, by another number: who waits for it waits for the commit.
    pub(super) fn hold_to_commit(&mut self, now: Instant, seq: Seq) {
        self.pending.hold_to_commit(now, seq);
    }

    fn release_early(&mut self, waiter: Waiter) {
        let Some(connection) = self.connection_mut(waiter.connection) else { return };
        let at = connection.parked.partition_point(|parked| parked.ticket < waiter.ticket);
        let parked = connection.parked.get_mut(at).filter(|p| p.ticket == waiter.ticket);
        let Some(parked) = parked else { return };
        parked.needs -= 1;
        if parked.needs > 0 {
            return;
        }
        parked.batch = 0;
        self.counters.released_early += 1;
        if at == 0 {
            self.release_free(waiter.connection);
            if self.waiting_connections.remove(&waiter.connection) {
                self.room_for.insert(waiter.connection);
            }
        }
    }

    /// Gives out what a connection's client may get now that another batch is committed.
    pub(super) fn release_committed(&mut self, now: Instant, id: ConnId) {
        self.release_free(id);
        let Some(connection) = self.connection(id) else { return };
        match connection.session {
            Some(session) if connection.is_accepted => self.send_retained_ahead(now, session),
            Some(session) if connection.parked.is_empty() => self.accept(now, id, session),
            _ => {}
        }
    }

    fn release_free(&mut self, id: ConnId) {
        let committed = self.pending.committed();
        let Some(connection) = self.connection_mut(id) else { return };
        while let Some(parked) = connection.parked.pop_front_if(|p| p.batch <= committed) {
            connection.publishes_held_up -= u32::from(parked.holds_up);
            connection.push(parked.output);
        }
        self.wake(id);
    }

    /// Its ticket.
    fn park(&mut self, id: ConnId, batch: u64, output: Output, holds_up: bool) -> u64 {
        let is_committed = self.pending.is_committed(batch);
        let ticket = self.pending.next_ticket();
        let Some(connection) = self.connection_mut(id) else { return ticket };
        if is_committed && connection.parked.is_empty() {
            self.push_output(id, output);
            return ticket;
        }
        connection.publishes_held_up += u32::from(holds_up);
        connection.parked.push_back(Parked { batch, ticket, needs: 0, holds_up, output });
        if !is_committed {
            self.pending.wake_after(batch, id);
        }
        ticket
    }

    /// Whether a message may be done before it is stored: those who get it are there, and nothing
    /// else about it has to be stored.
    fn may_be_elided(&self, seq: Seq) -> bool {
        let Some(row) = self.pending.find_message(seq) else { return false };
        row.targets.iter().all(|target| {
            let key = self.session_keys.get(&target.session);
            target.qos == QoS::AtLeastOnce
                && key.is_some_and(|key| self.sessions[*key as usize].connection.is_some())
        })
    }
}
