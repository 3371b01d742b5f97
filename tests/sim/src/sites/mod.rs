//! Several sites joined by bridges: whole gateways, each with core, store and disk, and the real relay
//! between them, in one virtual time.
//!
//! Publishers at each site publish with QoS 0, 1 and 2 and remember what was acknowledged; one
//! subscriber at each site is to get all of it. Sites lose power at any moment, are killed and ended in
//! order; links are cut in the middle of a packet, go silent, and come back. Then the faults end, and
//! every acknowledged message has to have reached every site: in order, QoS 2 once, QoS 1 once for each
//! time that its publisher had to send it, by whatever ways the sites are joined, and what is retained is
//! the same everywhere.

mod broker_side;
mod client_side;
mod connection;
mod link;
mod oracle;
mod plan;
mod publisher;
mod subscriber;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use outpost_broker::core::Load;
use outpost_broker::core::time::Instant;

use crate::Report;
use crate::coverage::{Coverage, RUNS_OF_SITES};
use crate::disk::Disk;
use crate::draw::Draw;
use crate::machine::Machine;
use crate::trace::{EPOCH, Trace};
use connection::{Conn, ConnNumber};
use link::Link;
use oracle::Oracle;
use plan::Plan;
use publisher::Publisher;
use subscriber::{GROUPS, Subscriber};

/// How long everything may take to come to rest, in virtual milliseconds.
const REST_MS_MAX: u64 = 30 * 60 * 1000;

/// How long after that nothing more may come.
const QUIET_MS: u64 = 3 * 60 * 1000;

/// More happens in no run.
const EVENTS_MAX: u64 = 1_000_000;

/// With interest: a subscriber leaves some topics, or comes back to them, for one in so many messages.
const LEAVES_ONE_IN: u64 = 12;

/// Something that is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// Bytes arrive at the broker of a connection, or at its client.
    Up(ConnNumber),
    Down(ConnNumber),
    /// A publisher publishes, or connects.
    Publish(usize),
    /// A subscriber connects.
    Subscribe(usize),
    /// A link is made, or looks at its time limits.
    Link(usize),
    /// The network takes more of what goes to this remote end, or a link need not wait for others any more.
    Write(usize, ConnNumber),
    /// The store of a site has done what it does for the process of this number.
    Commit(usize, u64),
    Load(usize, u64, Load),
    /// The process of a site starts.
    Start(usize),
}

/// One site.
struct Site {
    machine: Machine,
    /// Which process this is.
    process: u64,
}

/// Everything.
struct World {
    plan: Plan,
    draw: Draw,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Event>,
    entries: u64,
    sites: Vec<Site>,
    conns: BTreeMap<ConnNumber, Conn>,
    next_conn: ConnNumber,
    links: Vec<Link>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    oracle: Oracle,
    trace: Trace,
    coverage: Coverage,
    has_faults: bool,
    published: u64,
}

/// Plays the run of a seed.
pub fn play_sites(seed: u64, is_printed: bool) -> Report {
    let mut world = World::new(seed, is_printed);
    let played = catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = played.err().map(crate::words_of);
    let World { trace, coverage, .. } = world;
    Report { seed, hash: trace.hash(), events: trace.lines(), coverage, failure }
}

impl World {
    fn new(seed: u64, is_printed: bool) -> Self {
        let mut draw = Draw::new(seed ^ 0x5174_e500);
        let plan = Plan::drawn(seed, &mut draw);
        let site = |index: usize, draw: &mut Draw| {
            let disk = Disk::new(draw.fork());
            let settings = plan.settings(seed, index);
            Site { machine: Machine::new(settings, plan.store.clone(), disk), process: 0 }
        };
        let sites: Vec<Site> = (0..plan.sites).map(|index| site(index, &mut draw)).collect();
        let bridges = plan.bridges.iter().enumerate();
        let links = bridges.flat_map(|(bridge, ends)| Link::of_bridge(bridge, *ends, &plan));
        Self {
            links: links.collect(),
            publishers: (0..plan.sites).map(Publisher::new).collect(),
            subscribers: (0..plan.sites).map(Subscriber::new).collect(),
            oracle: Oracle::new(&plan),
            sites,
            draw,
            now: EPOCH,
            agenda: BTreeMap::new(),
            entries: 0,
            conns: BTreeMap::new(),
            next_conn: 0,
            trace: Trace::new(is_printed),
            coverage: Coverage::default(),
            has_faults: false,
            published: 0,
            plan,
        }
    }

    fn run(&mut self) {
        self.coverage.hit(RUNS_OF_SITES);
        let plan = format!("{:?}", self.plan);
        self.tell(format_args!("{plan}"));
        for site in 0..self.sites.len() {
            self.start(site);
            self.plan_in(0, Event::Subscribe(site));
        }
        for link in 0..self.links.len() {
            self.plan_in(0, Event::Link(link));
        }
        // What is subscribed before the first message is published is entitled to it.
        self.until("all are subscribed", |world| {
            world.oracle.is_all_known() && world.links.iter().all(Link::is_subscribed)
        });
        self.has_faults = true;
        for site in 0..self.sites.len() {
            self.plan_in(0, Event::Publish(site));
        }
        self.until("all is published", |world| world.published >= world.plan.messages);
        self.tell(format_args!("the faults end"));
        self.has_faults = false;
        self.want_everything();
        self.until("all is delivered", |world| {
            let is_at_rest = world.publishers.iter().all(Publisher::is_at_rest);
            is_at_rest && world.oracle.is_all_known() && world.oracle.is_complete()
        });
        self.tell(format_args!("all is delivered"));
        // A slow link may have much left of what has come by other ways, or comes once more.
        let until = self.now.plus_ms(REST_MS_MAX);
        loop {
            let quiet_at = self.now.plus_ms(QUIET_MS);
            while self.now < quiet_at {
                self.step();
            }
            let look = |site: &Site| site.machine.look().expect("the store is sound");
            if self.now >= until || self.sites.iter().all(|site| look(site).messages.is_empty()) {
                break;
            }
        }
        self.check_end();
    }

    /// Lets things happen until something holds, in bounded time once there are no faults.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = self.now.plus_ms(REST_MS_MAX);
        while !holds(self) {
            let is_late = !self.has_faults && self.now >= until;
            assert!(!is_late, "it takes too long until {what}: {}", self.unrest());
            self.step();
        }
    }

    fn unrest(&self) -> String {
        let links: Vec<String> = self.links.iter().map(Link::words).collect();
        let publishers = &self.publishers;
        format!("missing {:?}, links {links:?}, {publishers:?}", self.oracle.missing())
    }

    fn check_end(&mut self) {
        self.oracle.check_end();
        self.coverage.add("messages that overtook", self.oracle.overtaken());
        let mut retained = Vec::new();
        for site in &mut self.sites {
            self.coverage.add("loops stopped", site.machine.counters().dropped_loop);
            self.coverage.add("repetitions stopped", site.machine.counters().dropped_repeated);
            self.coverage.add_disk(site.machine.disk.counts());
            let contents = site.machine.look().expect("the store is sound");
            assert_eq!(contents.messages, [], "messages wait for nobody");
            retained.push(contents.retained);
        }
        for (site, found) in retained.iter().enumerate() {
            assert_eq!(found, &retained[0], "site {site} retains something else than site 0");
        }
    }

    fn plan_in(&mut self, ms: u64, event: Event) {
        self.plan_at(self.now.plus_ms(ms), event);
    }

    fn plan_at(&mut self, at: Instant, event: Event) {
        self.entries += 1;
        self.agenda.insert((at.max(self.now), self.entries), event);
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.tell(self.now, what);
    }

    /// The next thing happens: a timer of a core, a batch that is due, or what the agenda says.
    fn step(&mut self) {
        let due = |(index, site): (usize, &Site)| {
            let timeout = site.machine.next_timeout().map(|at| (at, index, true));
            let is_free = !site.machine.is_committing();
            let batch = site.machine.batch_due().filter(|_| is_free).map(|at| (at, index, false));
            [timeout, batch].into_iter().flatten().min()
        };
        let site = self.sites.iter().enumerate().filter_map(due).min();
        let event = self.agenda.first_key_value().map(|((at, _), _)| *at);
        match (site, event) {
            (Some((at, index, is_timer)), event) if event.is_none_or(|event| at <= event) => {
                self.now = self.now.max(at);
                if is_timer { self.serve_timers(index) } else { self.begin_commit(index) }
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                let (_, event) = self.agenda.pop_first().expect("it was there just now");
                self.happen(event);
            }
            (_, None) => panic!("nothing is to come"),
        }
        for site in 0..self.sites.len() {
            self.attend(site);
        }
        assert!(self.trace.lines() < EVENTS_MAX, "it goes on for ever");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up(conn) => self.arrive_up(conn),
            Event::Down(conn) => self.arrive_down(conn),
            Event::Publish(who) => self.publish(who),
            Event::Subscribe(who) => self.connect_subscriber(who),
            Event::Link(link) => self.tend_link(link),
            Event::Write(link, remote) => self.write_link(link, remote),
            Event::Commit(site, process) if process == self.sites[site].process => {
                self.end_commit(site);
            }
            Event::Load(site, process, load) if process == self.sites[site].process => {
                self.sites[site].machine.load(self.now, &load).expect("the disk is sound");
            }
            Event::Commit(..) | Event::Load(..) => {}
            Event::Start(site) => self.start(site),
        }
    }

    /// Draws whether something goes wrong now.
    fn let_things_go_wrong(&mut self) {
        let site = self.draw.below(self.sites.len() as u64) as usize;
        let chance = self.draw.below(1_000);
        let faults = self.plan.faults;
        if chance < faults.power_cut {
            return self.end_process(site, How::PowerCut);
        }
        if chance < faults.power_cut + faults.kill {
            return self.end_process(site, How::Kill);
        }
        if chance < faults.power_cut + faults.kill + faults.restart {
            return self.end_process(site, How::InOrder);
        }
        let link = self.draw.below(self.links.len() as u64) as usize;
        if self.draw.percent(faults.cut_percent) {
            self.cut_link(link);
        } else if self.draw.percent(faults.silence_percent) {
            self.silence_link(link);
        }
        if self.plan.ways.interest && self.draw.one_in(LEAVES_ONE_IN) {
            let who = self.draw.below(self.subscribers.len() as u64) as usize;
            let group = self.draw.below(GROUPS.len() as u64) as usize;
            self.change_mind(who, group);
        }
    }
}

/// How the process of a site comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    PowerCut,
    Kill,
    InOrder,
}
