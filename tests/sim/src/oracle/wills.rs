//! Wills: each is published when it is due, and not when its client left in order.
//!
//! That a will exists, is due or is void is stored without haste, so that a crash may bring back what
//! was before. Whatever was in a committed batch must hold.

use std::collections::BTreeMap;

use outpost_broker::core::time::Instant;

use super::End;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client is connected.
    Armed,
    Due(Instant),
    /// It must be published, or was.
    Published,
    /// It must not be published.
    Void,
    /// A crash left open what is stored.
    Uncertain,
    /// The broker ended; the next one finds it as if its client was lost then.
    Waiting,
}

#[derive(Debug)]
struct Will {
    who: usize,
    delay_s: u32,
    state: State,
    /// The batch that brings its state into the store.
    batch: u64,
}

/// All wills, by message.
#[derive(Debug, Default)]
pub(super) struct Wills {
    all: BTreeMap<usize, Will>,
    taken: u64,
    committed: u64,
}

impl Wills {
    pub(super) fn armed(&mut self, who: usize, message: usize, delay_s: u32) {
        let batch = self.taken + 1;
        self.all.insert(message, Will { who, delay_s, state: State::Armed, batch });
    }

    /// A new session is stored from then on, with its will.
    pub(super) fn connack_leaves(&mut self, who: usize) {
        self.change(who, |will| will.state == State::Armed, |will| will.state);
    }

    /// The connection of a client is at its end. Wills that are published by that.
    pub(super) fn detached(
        &mut self,
        now: Instant,
        who: usize,
        end: End,
        expiry_s: u32,
    ) -> Vec<usize> {
        let is_armed = |will: &Will| will.state == State::Armed;
        self.change(who, is_armed, |will| {
            let delay_s = will.delay_s.min(expiry_s);
            match end {
                End::Normal => State::Void,
                End::Shutdown => State::Armed,
                End::TakenOver { clean_start: false } if will.delay_s > 0 => State::Void,
                _ if delay_s == 0 => State::Published,
                _ => State::Due(now.plus_s(delay_s)),
            }
        })
    }

    /// The client is back in its session: a will that was to come is void.
    pub(super) fn session_resumed(&mut self, now: Instant, who: usize, may_be_over: bool) {
        let is_due = |will: &Will| matches!(will.state, State::Due(_));
        self.change(who, is_due, |will| match will.state {
            State::Due(at) if at <= now || may_be_over => State::Uncertain,
            _ => State::Void,
        });
    }

    /// The client's connection ended before it was told whether its session is a new one. A new one
    /// is over then, and its will published; another's waits.
    pub(super) fn are_uncertain(&mut self, who: usize) {
        self.change(who, |will| matches!(will.state, State::Due(_)), |_| State::Uncertain);
    }

    /// The session is over: its will is published now at the latest.
    pub(super) fn session_ended(&mut self, _now: Instant, who: usize) -> Vec<usize> {
        let is_due = |will: &Will| matches!(will.state, State::Due(_));
        self.change(who, is_due, |_| State::Published)
    }

    /// The next will that has become due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let batch = self.taken + 1;
        let is_due = |will: &Will| matches!(will.state, State::Due(at) if at <= now);
        let (message, will) = self.all.iter_mut().find(|(_, will)| is_due(will))?;
        will.state = State::Published;
        will.batch = batch;
        Some(*message)
    }

    pub(super) fn batch_taken(&mut self) {
        self.taken += 1;
    }

    pub(super) fn committed(&mut self) {
        self.committed = self.taken;
    }

    /// The broker's process is gone. Wills of which nobody knows what the store says.
    pub(super) fn broker_ended(&mut self, in_order: bool) -> Vec<usize> {
        if in_order {
            self.committed = self.taken + 1;
        }
        let mut uncertain = Vec::new();
        for (message, will) in &mut self.all {
            let is_stored = will.batch <= self.committed;
            will.state = match will.state {
                State::Armed if is_stored => State::Waiting,
                state if is_stored => state,
                _ => State::Uncertain,
            };
            if will.state == State::Uncertain {
                uncertain.push(*message);
            }
        }
        self.taken = self.taken.max(self.committed);
        uncertain
    }

    /// The next broker has loaded the store. `expiries`: of the session of each client.
    pub(super) fn broker_started(&mut self, now: Instant, expiries: &[u32]) {
        let batch = self.taken + 1;
        for will in self.all.values_mut().filter(|will| will.state == State::Waiting) {
            will.state = State::Due(now.plus_s(will.delay_s.min(expiries[will.who])));
            will.batch = batch;
        }
    }

    /// The wills of a client that may have been published or not.
    pub(super) fn uncertain(&self, who: usize) -> Vec<usize> {
        let is_meant = |will: &Will| will.who == who && will.state == State::Uncertain;
        self.all.iter().filter(|(_, will)| is_meant(will)).map(|(message, _)| *message).collect()
    }

    /// A will that is due later.
    pub(super) fn pending(&self) -> Option<usize> {
        let is_due = |will: &Will| matches!(will.state, State::Due(_));
        self.all.iter().find(|(_, will)| is_due(will)).map(|(message, _)| *message)
    }

    /// Somebody got it.
    pub(super) fn check_taken(&self, message: usize) {
        let state = self.all.get(&message).map(|will| will.state);
        let is_fine = matches!(state, Some(State::Published | State::Uncertain));
        assert!(is_fine, "the will {message} was published, and is {state:?}");
    }

    /// Changes the state of a client's wills. Those that are published by it.
    fn change(
        &mut self,
        who: usize,
        is_meant: impl Fn(&Will) -> bool,
        to: impl Fn(&Will) -> State,
    ) -> Vec<usize> {
        let batch = self.taken + 1;
        let mut published = Vec::new();
        for (message, will) in &mut self.all {
            if will.who == who && is_meant(will) {
                will.state = to(will);
                will.batch = batch;
                if will.state == State::Published {
                    published.push(*message);
                }
            }
        }
        published
    }
}
