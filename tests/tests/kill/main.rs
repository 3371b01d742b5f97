//! The real program under load, killed fifty times with SIGKILL on the same data directory: what was
//! acknowledged comes, QoS 2 exactly once, each stream in order, and a retained topic has what was
//! acknowledged last or what was published after it.
//!
//! Publishers and subscribers are threads that keep what MQTT asks of a client (`publisher`,
//! `subscriber`); `stage` tells them which life of the broker it is; `conductor` kills it at a
//! random count of events. Each life's dice come from a seed that is told when the test fails:
//! `OUTPOST_SEED` takes it again. Threads and kernel decide the rest, so a seed repeats the load and
//! the moments by count, not each byte.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod conductor;
mod draw;
mod publisher;
mod stage;
mod stream;
mod subscriber;

use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, thread};

use outpost_protocol::ProtocolVersion::{V5, V311};
use outpost_tests::Broker;

use crate::conductor::Conductor;
use crate::draw::Draw;
use crate::publisher::Publisher;
use crate::stage::Stage;
use crate::subscriber::{Habit, Share, Subscriber};

/// `OUTPOST_ROUNDS` takes another number.
const ROUNDS: u64 = 50;

/// Messages of a queue that is longer than what memory holds of it.
const LONG_QUEUE: u64 = 2_000;

/// Nothing is refused for want of room: this test is about kills.
const CONFIG: &str = "
    [limits]
    queue_messages_max = 10000000
    queue_bytes_max = \"4 GiB\"
    queue_total_bytes_max = \"4 GiB\"
";

#[test]
fn fifty_kills_lose_nothing() {
    if Broker::is_external() {
        return;
    }
    let mut draw = Draw(number("OUTPOST_SEED").unwrap_or_else(fresh_seed));
    let told = Told(draw.0);
    let mut broker = Broker::with_config(CONFIG);
    let stage = Stage::new(broker.address());
    let share = Share::default();
    let mut subscribers = [
        Subscriber::new("stays", V5, &["on/#", "all/#", "r/#"], Habit::Stays, draw.fork()),
        Subscriber::new("away", V311, &["all/#", "r/#"], Habit::Away, draw.fork()),
        Subscriber::new("flaps", V5, &["all/#", "on/0"], Habit::Flaps, draw.fork()),
        Subscriber::new("member-1", V5, &["$share/g/s/#"], Habit::Stays, draw.fork()).of(&share),
        Subscriber::new("member-2", V311, &["$share/g/s/#"], Habit::Flaps, draw.fork()).of(&share),
    ];
    for subscriber in &mut subscribers {
        subscriber.subscribe(&stage);
    }
    let versions_and_windows = [(V5, 60), (V311, 40), (V5, 8), (V311, 1)];
    let mut publishers: Vec<Publisher> = (0_u8..)
        .zip(versions_and_windows)
        .map(|(name, (version, window))| Publisher::new(name, version, window, draw.fork()))
        .collect();
    thread::scope(|scope| {
        for publisher in &mut publishers {
            scope.spawn(|| stage.play(|| publisher.run(&stage)));
        }
        for subscriber in &mut subscribers {
            scope.spawn(|| stage.play(|| subscriber.run(&stage)));
        }
        Conductor { broker: &mut broker, stage: &stage, draw }
            .run(number("OUTPOST_ROUNDS").unwrap_or(ROUNDS), versions_and_windows.len());
    });
    for publisher in &publishers {
        subscribers[0].check_complete(publisher, &["on", "all", "r"]);
        subscribers[1].check_complete(publisher, &["all", "r"]);
        subscribers[2].check_complete(publisher, &["all"]);
        share.check_complete(publisher);
    }
    let packets = subscribers[1].packets_most;
    assert!(packets > LONG_QUEUE, "no long queue: {packets} packets came at once");
    let log = broker.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    drop(told);
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::from(since.subsec_nanos())
}

/// Tells the seed when the test fails.
struct Told(u64);

impl Drop for Told {
    #[allow(clippy::print_stderr, reason = "a failed test tells its seed")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("OUTPOST_SEED={} cargo test -p outpost-tests --test kill", self.0);
        }
    }
}
