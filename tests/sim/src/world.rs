//! A run: the broker's machine, the network, the clients and the oracle, in virtual time.
//!
//! Whatever is to happen stands in the agenda, or is asked for by the core. The world takes what comes
//! first, lets it happen, and checks. Phase 1 (safety) has faults; in phase 2 (liveness) they stop,
//! and everything has to come to rest in bounded time.

use std::collections::BTreeMap;

use outpost_broker::core::Load;
use outpost_broker::core::time::Instant;

use crate::Options;
use crate::client::Client;
use crate::coverage::Coverage;
use crate::disk::Disk;
use crate::draw::Draw;
use crate::machine::Machine;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::trace::{EPOCH, Trace};
use crate::wire::{BrokerEnd, Line, LineId};

/// Topics that everybody publishes to, and the one of the shared subscription.
pub(crate) const TOPICS: [&str; 3] = ["t/0", "t/1", "s/0"];
/// Each of these has one publisher.
pub(crate) const RETAINED_TOPICS: [&str; 6] = ["r/0", "r/1", "r/2", "r/3", "r/4", "r/5"];
/// Where wills go.
pub(crate) const WILL_TOPICS: [&str; 6] = ["w/0", "w/1", "w/2", "w/3", "w/4", "w/5"];
/// The shared subscription.
pub(crate) const SHARED_FILTER: &str = "$share/g/s/0";
/// What clients subscribe to.
pub(crate) const FILTERS: [&str; 7] = ["t/0", "t/1", "t/+", "t/#", "r/+", "w/#", SHARED_FILTER];

/// How long phase 2 may take, in virtual milliseconds.
const REST_MS_MAX: u64 = 30 * 60 * 1000;

/// More happens in no run.
const EVENTS_MAX: u64 = 1_000_000;

/// Something that is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client has an idea.
    Act(usize),
    /// Bytes of a client arrive, or the end of them.
    Up(LineId),
    /// Bytes for a client arrive, or the end of them.
    Down(LineId),
    /// The store has done what it does for the process of this number.
    Commit(u64),
    /// The store has read this for the process of this number.
    Load(u64, Load),
    /// The broker's process starts.
    Start,
    /// What was wrong with the disk is over.
    Repair,
}

/// Everything.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) draw: Draw,
    pub(crate) now: Instant,
    agenda: BTreeMap<(Instant, u64), Event>,
    entries: u64,
    pub(crate) machine: Machine,
    /// Which process of the broker this is.
    pub(crate) process: u64,
    pub(crate) lines: BTreeMap<LineId, Line>,
    pub(crate) next_line: LineId,
    pub(crate) clients: Vec<Client>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    /// Phase 1: what can go wrong does.
    pub(crate) has_faults: bool,
    acts_left: u64,
}

impl World {
    /// The world of a seed, before anything happens.
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mut draw = Draw::new(seed);
        let plan = Plan::drawn(seed, &mut draw);
        let disk = Disk::new(draw.fork());
        let quota = plan.settings.limits.receive_maximum;
        if options.has_lying_disk {
            disk.lie();
        }
        #[allow(unused_mut, reason = "a mistake can only be planted where there are any")]
        let mut machine = Machine::new(plan.settings.clone(), plan.store.clone(), disk);
        #[cfg(feature = "seeded-bugs")]
        {
            machine.bug = options.bug;
        }
        Self {
            machine,
            clients: plan.profiles.iter().map(|p| Client::new(p.clone(), quota)).collect(),
            oracle: Oracle::new(&plan),
            trace: Trace::new(options.is_printed),
            coverage: Coverage::default(),
            now: EPOCH,
            agenda: BTreeMap::new(),
            entries: 0,
            process: 0,
            lines: BTreeMap::new(),
            next_line: 0,
            has_faults: true,
            acts_left: plan.acts,
            plan,
            draw,
        }
    }

    /// Lets everything happen.
    ///
    /// # Panics
    /// When something that was promised does not hold.
    pub(crate) fn run(&mut self) {
        self.coverage.hit("runs");
        let plan = format!("{:?}", self.plan);
        self.tell(format_args!("{plan}"));
        // Making a new store is not what is tested here: a file is made under another name first.
        self.start();
        for who in 0..self.clients.len() {
            let at = self.draw.below(100);
            self.plan_in(at, Event::Act(who));
        }
        while self.acts_left > 0 {
            self.step();
        }
        self.settle();
        self.check_end();
    }

    /// The hash of what happened, how much it was, and of what kinds.
    pub(crate) fn into_results(self) -> (u64, u64, Coverage) {
        (self.trace.hash(), self.trace.lines(), self.coverage)
    }

    /// Enters something into the agenda.
    pub(crate) fn plan_in(&mut self, ms: u64, event: Event) {
        self.entries += 1;
        self.agenda.insert((self.now.plus_ms(ms), self.entries), event);
    }

    pub(crate) fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.tell(self.now, what);
    }

    /// The next thing happens: a timer of the core, a batch that is due, or what the agenda says.
    fn step(&mut self) {
        let timeout = self.machine.next_timeout();
        let batch = if self.machine.is_committing() { None } else { self.machine.batch_due() };
        let event = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let first = [timeout, batch, event].into_iter().flatten().min();
        let first = first.expect("there is always something to come");
        self.now = self.now.max(first);
        if timeout.is_some_and(|at| at <= self.now) {
            self.serve_timers();
        } else if batch.is_some_and(|at| at <= self.now) {
            self.begin_commit();
        } else if let Some((_, event)) = self.agenda.pop_first() {
            self.happen(event);
        }
        self.attend();
        assert!(self.trace.lines() < EVENTS_MAX, "it goes on for ever");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(who) => self.act_and_think(who),
            Event::Up(line) => self.arrive_up(line),
            Event::Down(line) => self.arrive_down(line),
            Event::Commit(process) if process == self.process => self.end_commit(),
            Event::Load(process, load) if process == self.process => self.end_load(&load),
            Event::Commit(_) | Event::Load(..) => {}
            Event::Start => self.start(),
            Event::Repair => self.repair(),
        }
    }

    fn act_and_think(&mut self, who: usize) {
        if self.clients[who].is_accepted {
            self.acts_left = self.acts_left.saturating_sub(1);
            self.coverage.hit("acts");
        }
        if self.has_faults {
            self.let_things_go_wrong();
        }
        self.act(who);
        // When all are only waiting, there is no need to hurry.
        let pause_ms = self.clients[who].profile.pause_ms;
        let pause_ms = if self.has_faults { pause_ms } else { pause_ms.max(1_000) };
        let is_long = self.has_faults && self.draw.one_in(60);
        let pause_ms = if is_long { self.draw.between(1_000, 90_000) } else { pause_ms };
        let pause_ms = self.draw.below(pause_ms + 1);
        self.plan_in(pause_ms, Event::Act(who));
    }

    /// The faults end: everyone comes back and behaves, and everything that waits is delivered.
    fn settle(&mut self) {
        self.has_faults = false;
        self.tell(format_args!("the faults end"));
        self.repair();
        for client in &mut self.clients {
            client.profile.rude_percent = 0;
            client.profile.is_prompt = true;
            client.profile.keep_alive_s = 0;
            client.deaf_for = 0;
        }
        let until = self.now.plus_ms(REST_MS_MAX);
        while !self.is_at_rest() {
            assert!(self.now < until, "it does not come to rest: {:?}", self.unrest());
            self.step();
        }
        self.tell(format_args!("all is at rest"));
    }

    fn is_at_rest(&self) -> bool {
        self.unrest().is_none()
    }

    /// Something that is still to come.
    fn unrest(&self) -> Option<String> {
        if !self.machine.is_running() {
            return Some("the broker is to start".into());
        }
        if self.agenda.values().any(|event| matches!(event, Event::Load(..))) {
            return Some("messages are to be read".into());
        }
        if self.machine.is_committing() || self.machine.batch_due().is_some() {
            return Some("a commit is to come".into());
        }
        if let Some(will) = self.oracle.pending_will() {
            return Some(format!("the will {will} is to come"));
        }
        let is_busy = |line: &&Line| {
            line.up.has_something()
                || line.down.has_something()
                || matches!(&line.broker, BrokerEnd::Open(end) if end.waits)
        };
        if let Some(line) = self.lines.values().find(is_busy) {
            return Some(format!("{line:?}"));
        }
        let is_busy = |client: &&Client| !client.is_accepted || !client.is_at_rest();
        self.clients.iter().find(is_busy).map(|client| format!("{client:?}"))
    }

    fn check_end(&mut self) {
        let counters = self.machine.broker().expect("it runs").counters();
        self.oracle.check_end(self.now, counters);
        self.coverage.add_broker(counters);
        self.oracle.report(&mut self.coverage);
        self.coverage.add_disk(self.machine.disk.counts());
        let contents = self.machine.look().expect("the store is sound");
        self.check_contents(&contents);
        assert_eq!(contents.messages, [], "messages wait for nobody");
        assert_eq!(contents.busy_sessions, [], "packets are in flight to nobody");
        self.end_all_sessions();
    }

    /// When the last session has ended and the broker has ended in order, nothing is left of any.
    fn end_all_sessions(&mut self) {
        for who in 0..self.clients.len() {
            let client = &mut self.clients[who];
            client.profile.expiry_s = 0;
            client.profile.version = outpost_protocol::ProtocolVersion::V5;
            self.connect(who, true);
        }
        while !self.is_at_rest() {
            self.step();
        }
        self.machine.shut_down(self.now).expect("the store is sound");
        let contents = self.machine.look().expect("the store is sound");
        assert_eq!((contents.sessions, contents.subscriptions), (0, 0), "sessions are left");
        assert_eq!(contents.messages, [], "messages are left");
        self.check_contents(&contents);
    }
}
