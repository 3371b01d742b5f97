//! What goes wrong with the broker's machine, and how it comes back.

use outpost_broker::core::{Counters, Load};

use crate::contents::Contents;
use crate::disk::Fault;
use crate::wire::BrokerEnd;
use crate::world::{Event, RETAINED_TOPICS, World};

impl World {
    /// Draws whether something goes wrong now.
    pub(crate) fn let_things_go_wrong(&mut self) {
        let faults = self.plan.faults;
        let chance = self.draw.below(1_000);
        if self.machine.broker().is_none() {
            return;
        }
        let mut below = faults.power_cut;
        if chance < below {
            return self.cut_power();
        }
        below += faults.kill;
        if chance < below {
            return self.kill();
        }
        below += faults.clean_restart;
        if chance < below {
            return self.restart();
        }
        below += faults.disk;
        if chance < below {
            let fault = self.draw.of(&[Fault::Full, Fault::Write, Fault::Sync]);
            self.tell(format_args!("the disk: {fault:?}"));
            self.machine.disk.set_fault(fault);
            let ms = self.draw.below(20_000);
            self.plan_in(ms, Event::Repair);
        }
    }

    fn cut_power(&mut self) {
        self.coverage.hit("power cuts");
        if self.machine.is_committing() {
            self.coverage.hit("power cuts in a commit");
        }
        let steps = self.draw.below(60);
        let counters = self.machine.counters();
        self.end_process(false, counters);
        self.tell(format_args!("the power is cut, after {steps} steps"));
        self.machine.cut_power(steps);
    }

    fn kill(&mut self) {
        self.coverage.hit("broker killed");
        let steps = self.draw.below(60);
        let counters = self.machine.counters();
        self.end_process(false, counters);
        self.tell(format_args!("the broker is killed, after {steps} steps"));
        self.machine.kill(steps);
    }

    fn restart(&mut self) {
        self.coverage.hit("broker ended in order");
        self.tell(format_args!("the broker ends in order"));
        // What the last commit releases still goes out: the program gives its connections the time.
        let last_commit = self.machine.end_commit(self.now);
        if last_commit.is_ok() {
            self.oracle.committed();
            self.attend();
        }
        // Whatever was not acknowledged when a failing disk ends it is not promised.
        let counters = self.machine.counters();
        let in_order = last_commit.is_ok() && self.machine.shut_down(self.now).is_ok();
        self.end_process(in_order, counters);
        self.machine.kill(0);
    }

    /// The disk works again.
    pub(crate) fn repair(&mut self) {
        self.machine.disk.set_fault(Fault::None);
        self.tell(format_args!("the disk works"));
    }

    /// The store has failed: the process ends with an error.
    fn fail(&mut self) {
        self.tell(format_args!("the store has failed"));
        let counters = self.machine.counters();
        self.end_process(false, counters);
        self.machine.kill(0);
    }

    /// What the world makes of the end of the broker's process. Whoever restarts it will.
    fn end_process(&mut self, in_order: bool, counters: Counters) {
        self.process += 1;
        self.coverage.add_broker(counters);
        self.oracle.broker_ended(self.now, counters, in_order);
        let ids: Vec<u64> = self.lines.keys().copied().collect();
        for id in ids {
            let loses = self.draw.one_in(2);
            let line = self.lines.get_mut(&id).expect("it is in the list");
            line.broker = BrokerEnd::Gone;
            line.up.lose();
            if loses {
                line.down.lose();
            }
            line.down.end();
            self.schedule(id);
            self.forget_if_over(id);
        }
        let ms = self.draw.of(&[0, 10, 1_000, 50_000]);
        let ms = self.draw.below(ms + 1);
        self.plan_in(ms, Event::Start);
    }

    /// The broker's process starts, on whatever the disk holds.
    pub(crate) fn start(&mut self) {
        let is_first = self.process == 0;
        if !is_first && self.has_faults && self.draw.one_in(5) {
            self.coverage.hit("power cuts while opening");
            let steps = self.draw.below(12);
            self.tell(format_args!("the power is cut while the store is opened, after {steps}"));
            self.machine.cut_power_while_starting(steps);
            return self.plan_in(100, Event::Start);
        }
        match self.machine.start(self.now) {
            Ok(contents) => {
                self.process += u64::from(is_first);
                self.tell(format_args!("the broker starts: {contents:?}"));
                self.check_contents(&contents);
                self.oracle.broker_started(self.now);
            }
            // A full or failing disk keeps it from starting; nothing else may.
            Err(error) if self.has_faults && self.machine.disk.has_failed() => {
                self.tell(format_args!("the broker cannot start: {error}"));
                self.plan_in(1_000, Event::Start);
            }
            Err(error) => panic!("the store is lost: {error}"),
        }
    }

    /// What the store holds is what was promised.
    pub(crate) fn check_contents(&self, contents: &Contents) {
        for topic in RETAINED_TOPICS {
            let value = contents.retained.iter().find(|(stored, _)| stored == topic);
            let value = value.map(|(_, message)| message.expect("payloads say their number"));
            self.oracle.check_retained(self.now, topic, value);
        }
    }

    /// Messages have been read from the store.
    pub(crate) fn end_load(&mut self, load: &Load) {
        self.tell(format_args!("{load:?} is read"));
        self.coverage.hit("loads");
        if let Err(error) = self.machine.load(self.now, load) {
            self.tell(format_args!("reading fails: {error}"));
            self.fail();
        }
    }

    /// A batch is due: the store takes it, and will need some time.
    pub(crate) fn begin_commit(&mut self) {
        if !self.machine.begin_commit(self.now) {
            return;
        }
        self.oracle.batch_taken();
        let longest_ms = if self.has_faults { self.plan.faults.commit_ms } else { 5 };
        let ms = self.draw.below(longest_ms + 1);
        if ms >= 1_000 {
            self.coverage.hit("commits that took a second");
        }
        self.tell(format_args!("a commit begins"));
        self.plan_in(ms, Event::Commit(self.process));
    }

    /// The commit is done, or has failed, or waits for space.
    pub(crate) fn end_commit(&mut self) {
        if self.machine.disk.is_full() && self.draw.one_in(2) {
            self.coverage.hit("commits that waited for space");
            self.tell(format_args!("the commit waits for space"));
            self.machine.stall(self.now);
            return self.plan_in(1_000, Event::Commit(self.process));
        }
        match self.machine.end_commit(self.now) {
            Ok(()) => {
                self.coverage.hit("commits");
                self.tell(format_args!("the commit is done"));
                self.oracle.committed();
            }
            Err(error) => {
                self.tell(format_args!("the commit fails: {error}"));
                self.fail();
            }
        }
    }
}
