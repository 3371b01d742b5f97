//! Publishing by a plan: as fast as the broker takes it or at a rate, then waiting for the rest.

use std::time::Duration;

use anyhow::Result;
use outpost_protocol::{Properties, Publish, QoS};

use crate::args::Args;
use crate::engine::{ClientIndex, Engine, Tally};
use crate::receipts::Head;
use crate::report::Report;

/// Nothing has come for so long: what is missing will not come.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// Nothing has come for so long while publishing waits for deliveries: what is missing is written
/// off, so that a broker that drops messages is not waited for.
const STALL_NS: u64 = 250_000_000;
/// Messages of one turn at a rate, when the generator lags behind.
const PACED_BURST_MAX: u32 = 256;
/// Closer to the next message than this the generator looks again at once instead of sleeping,
/// because a sleep ends late.
const SPIN_NS: u64 = 2_000_000;

/// What is published.
pub(crate) struct Plan<'a> {
    pub(crate) publishers: &'a [ClientIndex],
    /// For each publisher the topics that it goes through in turn.
    pub(crate) topics: &'a [Vec<String>],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// How often each message shall be delivered while it is published.
    pub(crate) deliveries_each: u64,
    pub(crate) pace: Pace,
    pub(crate) stop: Stop,
    pub(crate) payload_bytes: usize,
    /// For what follows the publishing.
    pub(crate) timeout: Duration,
}

/// How fast.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as the windows allow, and with at most so many messages undelivered.
    Saturated { ahead: Option<u64> },
    /// So many messages a second in all.
    Rate(u64),
}

/// For how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    Messages(u64),
    Duration(Duration),
}

impl Pace {
    pub(crate) fn of(args: &Args) -> Self {
        match args.rate {
            Some(rate) => Self::Rate(rate),
            None => Self::Saturated { ahead: args.ahead() },
        }
    }
}

impl Stop {
    pub(crate) fn of(args: &Args) -> Self {
        args.messages().map_or(Self::Duration(args.duration()), Self::Messages)
    }
}

/// What was published.
pub(crate) struct Outcome {
    pub(crate) published: u64,
    /// From the first message to the last delivery or acknowledgement.
    pub(crate) elapsed_s: f64,
}

impl Outcome {
    /// Reports what became of the messages, each of which should have come `deliveries_each` times.
    pub(crate) fn report(&self, report: &mut Report, tally: &Tally, deliveries_each: u64) {
        report.count("published", self.published);
        report_receipts(report, tally, (self.published - tally.refused) * deliveries_each);
        report.count("out_of_order", tally.receipts.out_of_order);
        report.number("elapsed_s", self.elapsed_s);
        report.number("delivered_per_s", tally.receipts.delivered as f64 / self.elapsed_s);
        report.number("latency_p50_us", tally.receipts.latency.quantile_us(0.5));
        report.number("latency_p99_us", tally.receipts.latency.quantile_us(0.99));
        self.report_acks(report, tally);
        report.count("unfinished", tally.in_flight + tally.unreleased);
    }

    pub(crate) fn report_acks(&self, report: &mut Report, tally: &Tally) {
        if tally.acked > 0 {
            report.count("acked", tally.acked);
            report.count("refused", tally.refused);
            report.number("acked_per_s", tally.acked as f64 / self.elapsed_s);
            report.number("ack_p50_us", tally.ack_latency.quantile_us(0.5));
            report.number("ack_p99_us", tally.ack_latency.quantile_us(0.99));
        }
    }
}

/// Reports losses and duplicates.
pub(crate) fn report_receipts(report: &mut Report, tally: &Tally, expected: u64) {
    let receipts = &tally.receipts;
    report.count("expected", expected);
    report.count("delivered", receipts.delivered);
    report.count("lost", expected.saturating_sub(receipts.delivered));
    report.count("duplicates", receipts.duplicates);
    report.count("foreign", receipts.foreign);
}

/// Publishes and waits until all is delivered and acknowledged, or nothing comes any more.
pub(crate) fn run(engine: &mut Engine, plan: &Plan<'_>) -> Result<Outcome> {
    let mut stream = Stream::new(engine, plan);
    while !stream.is_over() {
        let wait = match plan.pace {
            Pace::Rate(rate) => stream.publish_due(rate)?,
            Pace::Saturated { ahead } => stream.publish_all(ahead)?,
        };
        stream.engine.turn(wait)?;
    }
    let published = stream.published;
    let (begin_ns, delivered_before) = (stream.begin_ns, stream.delivered_before);
    let wanted = delivered_before + published * plan.deliveries_each;
    engine.settle(plan.timeout, QUIET, |tally| {
        tally.in_flight == 0
            && tally.unreleased == 0
            && tally.receipts.delivered + tally.refused * plan.deliveries_each >= wanted
    })?;
    let elapsed_ns = engine.tally.last_progress_ns.saturating_sub(begin_ns).max(1);
    Ok(Outcome { published, elapsed_s: elapsed_ns as f64 / 1e9 })
}

struct Stream<'a> {
    engine: &'a mut Engine,
    plan: &'a Plan<'a>,
    begin_ns: u64,
    delivered_before: u64,
    published: u64,
    /// Deliveries that are no longer waited for.
    written_off: u64,
    /// How many messages each publisher has published.
    numbers: Vec<u32>,
    /// Whose turn it is.
    turn: usize,
    payload: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(engine: &'a mut Engine, plan: &'a Plan<'a>) -> Self {
        let begin_ns = engine.now_ns();
        let delivered_before = engine.tally.receipts.delivered;
        engine.tally.last_progress_ns = begin_ns;
        Self {
            engine,
            plan,
            begin_ns,
            delivered_before,
            published: 0,
            written_off: 0,
            numbers: vec![0; plan.publishers.len()],
            turn: 0,
            payload: vec![b'.'; plan.payload_bytes],
        }
    }

    /// A number of messages is given up, too, when it takes unduly long.
    fn is_over(&self) -> bool {
        let elapsed = Duration::from_nanos(self.engine.now_ns() - self.begin_ns);
        match self.plan.stop {
            Stop::Messages(messages) => self.published >= messages || elapsed > self.plan.timeout,
            Stop::Duration(duration) => elapsed >= duration,
        }
    }

    fn left(&self) -> u64 {
        match self.plan.stop {
            Stop::Messages(messages) => messages - self.published,
            Stop::Duration(_) => u64::MAX,
        }
    }

    /// Publishes what is due at a rate, message by message; how long the next may be waited for.
    fn publish_due(&mut self, rate: u64) -> Result<Duration> {
        for _ in 0..PACED_BURST_MAX {
            let due_ns = self.begin_ns + self.published * 1_000_000_000 / rate;
            let now_ns = self.engine.now_ns();
            if due_ns > now_ns {
                let early = (due_ns - now_ns).saturating_sub(SPIN_NS);
                return Ok(Duration::from_nanos(early).min(Duration::from_millis(50)));
            }
            let publisher = self.next_publisher();
            // A full window or socket holds this publisher up, not the others.
            if self.left() == 0 || self.publish_some(publisher, 1)? == 0 {
                break;
            }
        }
        Ok(Duration::ZERO)
    }

    /// Publishes what the bounds allow; how long may be waited for them to open.
    fn publish_all(&mut self, ahead: Option<u64>) -> Result<Duration> {
        let publishers = self.plan.publishers.len() as u64;
        let mut published = 0;
        for _ in 0..publishers {
            // With a bound on what is undelivered each publisher gets half of its share at a time,
            // so that messages of many publishers are under way all the time.
            let chunk = match ahead {
                Some(ahead) => {
                    let chunk = (ahead / publishers / 2).max(1);
                    if self.undelivered() + chunk > ahead {
                        break;
                    }
                    chunk
                }
                None => u64::from(u16::MAX),
            };
            let publisher = self.next_publisher();
            published += self.publish_some(publisher, chunk.min(self.left()))?;
        }
        Ok(if published > 0 { Duration::ZERO } else { Duration::from_millis(20) })
    }

    fn next_publisher(&mut self) -> usize {
        let publisher = self.turn;
        self.turn = (publisher + 1) % self.plan.publishers.len();
        publisher
    }

    /// Messages that are published and have not come everywhere they should.
    fn undelivered(&mut self) -> u64 {
        let wanted = self.published * self.plan.deliveries_each;
        let come = self.engine.tally.receipts.delivered - self.delivered_before;
        let missing = wanted.saturating_sub(come + self.written_off);
        if missing > 0 && self.engine.now_ns() > self.engine.tally.last_progress_ns + STALL_NS {
            self.written_off += missing;
            return 0;
        }
        missing.div_ceil(self.plan.deliveries_each.max(1))
    }

    /// Publishes up to `count` messages of one publisher in one write; how many.
    fn publish_some(&mut self, publisher: usize, count: u64) -> Result<u64> {
        let client = self.plan.publishers[publisher];
        if !self.engine.is_writable(client) {
            return Ok(0);
        }
        let now_ns = self.engine.now_ns();
        let topics = &self.plan.topics[publisher];
        let mut done = 0;
        while done < count {
            let number = self.numbers[publisher];
            Head { published_ns: now_ns, publisher: publisher as u32, number }
                .write(&mut self.payload);
            let mut publish = Publish {
                dup: false,
                qos: self.plan.qos,
                retain: self.plan.retain,
                topic: &topics[number as usize % topics.len()],
                packet_id: None,
                properties: Properties::EMPTY,
                payload: &self.payload,
            };
            if !self.engine.publish(client, &mut publish, now_ns)? {
                break;
            }
            self.numbers[publisher] += 1;
            done += 1;
        }
        if done > 0 {
            self.published += done;
            self.engine.flush(client)?;
        }
        Ok(done)
    }
}
