//! Kills the broker and looks at it after each start.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use outpost_protocol::{Packet, PacketId, Properties, Publish, QoS, Subscribe, SubscribeFilters};
use outpost_tests::{Broker, Link, Received, filter, message, v5};

use crate::draw::Draw;
use crate::stage::Stage;
use crate::stream::{END, Stream};

/// Acknowledged and received messages of one life, at the most.
const EVENTS_MAX: u64 = 6_000;
/// A start that is killed lives at most so long.
const START_MAX_MS: u64 = 60;

/// Owns the broker's lives.
pub struct Conductor<'a> {
    pub broker: &'a mut Broker,
    pub stage: &'a Stage,
    pub draw: Draw,
}

impl Conductor<'_> {
    /// Fifty kills, say, then the end of all parts. If a client or the broker fails, the broker is
    /// killed, so that nobody waits for it; its directory stays.
    pub fn run(mut self, rounds: u64, publishers: usize) {
        let played = catch_unwind(AssertUnwindSafe(|| {
            self.stage.play(|| (1..=rounds).for_each(|round| self.round(round == rounds)));
            self.finish(publishers);
        }));
        if let Err(panic) = played {
            self.stage.goes_down();
            self.broker.kill();
            resume_unwind(panic);
        }
    }

    /// A life until its kill, and the next start.
    fn round(&mut self, is_last: bool) {
        let events = if self.draw.one_in(8) { 0 } else { 1 + self.draw.below(EVENTS_MAX) };
        assert!(self.stage.wait_for_events(events), "a client has failed");
        self.stage.goes_down();
        self.broker.kill();
        self.keep_data();
        if self.draw.one_in(5) {
            let after = Duration::from_millis(self.draw.below(START_MAX_MS));
            self.broker.restart_and_kill(after);
        }
        self.broker.restart();
        self.check_retained();
        self.stage.is_up_again(is_last);
    }

    /// The data as the kill left it, in `found` beside `data`, for whoever looks into a failure.
    fn keep_data(&self) {
        let [data, found] = ["data", "found"].map(|name| self.broker.dir().join(name));
        fs::create_dir_all(&found).expect("create a directory");
        for entry in fs::read_dir(&data).expect("the data directory is there") {
            let entry = entry.expect("it can be listed");
            // The control socket of the broker that was killed is there, too.
            if !entry.file_type().expect("it can be looked at").is_file() {
                continue;
            }
            fs::copy(entry.path(), found.join(entry.file_name())).expect("copy the data");
        }
    }

    /// Each retained topic has what was acknowledged last, or a later message.
    ///
    /// # Panics
    /// When it has not; when it has nothing, since nothing comes.
    fn check_retained(&self) {
        let mut missing: BTreeMap<String, u32> = self.stage.retained_topics();
        let (mut link, _) =
            Link::connect(self.stage.address, &v5("looker")).expect("the broker is there");
        link.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::List(&[filter("r/#", QoS::ExactlyOnce)]),
        }));
        while !missing.is_empty() {
            let Received::Publish(publish) = link.next_packet().expect("the broker is there")
            else {
                continue;
            };
            let (stream, number) = Stream::of(&publish);
            if let Some(acknowledged) = missing.remove(&stream.topic) {
                assert!(
                    number >= acknowledged,
                    "{stream:?}: {number}, but {acknowledged} was acknowledged"
                );
            }
        }
    }

    /// All is acknowledged, then a last message goes to all subscribers.
    fn finish(&mut self, publishers: usize) {
        assert!(self.stage.wait_for_publishers(publishers), "a client has failed");
        let mut client = self.broker.connect(&v5("conductor"));
        client.publish(&Publish { qos: QoS::ExactlyOnce, ..message(END, b"") });
    }
}
