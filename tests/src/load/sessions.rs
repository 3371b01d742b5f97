//! offline and durable: messages for a session that outlives its connections.

use std::time::Duration;

use anyhow::Result;

use crate::args::{Args, Part};
use crate::engine::{Client, ClientIndex, Engine};
use crate::measure::{CostNames, Measure};
use crate::receipts::{Receipts, Receiver};
use crate::report::Report;
use crate::routing::publishers;
use crate::stream::{self, Outcome, Pace, Plan, Stop};

const TOPIC: &str = "load/durable";
/// What has been queued is given up when nothing has come for so long: a broker may be busy with its
/// disk.
const DRAIN_QUIET: Duration = Duration::from_secs(5);

/// Messages are published while the sessions are absent; then they return and get them.
pub(crate) fn offline(args: &Args) -> Result<Report> {
    let mut engine = engine(args, args.sessions)?;
    let mut report = Report::new("offline");
    report.count("qos", args.qos() as u64);
    // What `--part deliver` finds is checked as if this run had published it.
    let mut stored = args.messages().unwrap_or(0);
    if args.part != Part::Deliver {
        stored = enqueue(&mut engine, args, &mut report)?;
    }
    if args.part != Part::Store {
        drain(&mut engine, args, stored, &mut report)?;
    }
    Ok(report)
}

/// Publishes for new sessions, which are absent; how many messages each of them was promised.
fn enqueue(engine: &mut Engine, args: &Args, report: &mut Report) -> Result<u64> {
    for number in 0..args.sessions {
        let session = subscribed_session(engine, args, number)?;
        let left = engine.tally.left + 1;
        engine.leave(session)?;
        engine.until(args.timeout(), "the end of the connection", |tally| tally.left == left)?;
    }
    let measure = Measure::begin(args.pid)?;
    let outcome = publish(engine, args, 0)?;
    let costs = measure.end()?;
    let names = CostNames {
        cpu_us_each: "enqueue_cpu_us_per_message",
        rss_bytes_each: Some("rss_bytes_per_message"),
        written_bytes_each: Some("written_bytes_per_message"),
        generator_busy_ratio: "enqueue_generator_busy_ratio",
    };
    costs.report(report, &names, outcome.published);
    if let Some(broker) = &costs.broker {
        report.number("enqueue_rss_growth_bytes", broker.rss_growth_bytes);
    }
    report.count("published", outcome.published);
    report.number("enqueued_in_s", outcome.elapsed_s);
    outcome.report_acks(report, &engine.tally);
    report.count("unfinished", engine.tally.in_flight);
    Ok(outcome.published - engine.tally.refused)
}

/// The sessions return, and all that is queued for them is delivered.
fn drain(engine: &mut Engine, args: &Args, stored: u64, report: &mut Report) -> Result<()> {
    let expected = stored * u64::from(args.sessions);
    let measure = Measure::begin(args.pid)?;
    let begin_ns = engine.now_ns();
    for number in 0..args.sessions {
        let name = name(number);
        engine.open(Client { client_id: &name, ..session(number) })?;
    }
    engine.settle(args.timeout(), DRAIN_QUIET, |tally| {
        tally.receipts.delivered >= expected && tally.unreleased == 0
    })?;
    let costs = measure.end()?;
    let elapsed_s = engine.tally.last_progress_ns.saturating_sub(begin_ns).max(1) as f64 / 1e9;
    stream::report_receipts(report, &engine.tally, expected);
    report.count("out_of_order", engine.tally.receipts.out_of_order);
    report.number("drained_in_s", elapsed_s);
    report.number("drained_per_s", engine.tally.receipts.delivered as f64 / elapsed_s);
    let names = CostNames {
        cpu_us_each: "drain_cpu_us_per_message",
        rss_bytes_each: None,
        written_bytes_each: Some("drain_written_bytes_per_message"),
        generator_busy_ratio: "drain_generator_busy_ratio",
    };
    costs.report(report, &names, engine.tally.receipts.delivered);
    if let Some(broker) = &costs.broker {
        report.number("drain_rss_growth_bytes", broker.rss_growth_bytes);
    }
    costs.report_peak(report);
    Ok(())
}

/// Messages are published to the session while it is connected and acknowledges them.
pub(crate) fn durable(args: &Args) -> Result<Report> {
    let mut engine = engine(args, 1)?;
    subscribed_session(&mut engine, args, 0)?;
    let mut report = Report::new("durable");
    report.count("qos", args.qos() as u64);
    report.count("window", u64::from(args.window));

    let measure = Measure::begin(args.pid)?;
    let outcome = publish(&mut engine, args, 1)?;
    let costs = measure.end()?;
    outcome.report(&mut report, &engine.tally, 1);
    let names = CostNames {
        cpu_us_each: "broker_cpu_us_per_message",
        rss_bytes_each: None,
        written_bytes_each: Some("written_bytes_per_message"),
        generator_busy_ratio: "generator_busy_ratio",
    };
    costs.report(&mut report, &names, engine.tally.receipts.delivered);
    costs.report_peak(&mut report);
    Ok(report)
}

fn engine(args: &Args, sessions: u32) -> Result<Engine> {
    Engine::new(args.address, args.version(), Receipts::new(args.publishers(), sessions))
}

/// A session's client identifier.
fn name(number: u32) -> String {
    format!("session-{number}")
}

/// A client of a session, without its name.
fn session(number: u32) -> Client<'static> {
    Client { durable: true, receiver: Some(Receiver::new(number)), ..Client::default() }
}

/// A new session: what a run before has left in it is discarded by a clean start.
fn subscribed_session(engine: &mut Engine, args: &Args, number: u32) -> Result<ClientIndex> {
    let name = name(number);
    let clean = Client { client_id: &name, durable: false, ..session(number) };
    let left = engine.tally.left + 1;
    for client in engine.open_all([clean], args.timeout())? {
        engine.leave(client)?;
    }
    engine.until(args.timeout(), "the end of the connection", |tally| tally.left == left)?;
    let subscribed = engine.tally.subscribed + 1;
    let client = engine.open(Client { client_id: &name, ..session(number) })?;
    engine.subscribe(client, &[TOPIC.to_owned()], args.qos())?;
    engine.until(args.timeout(), "SUBACK", |tally| tally.subscribed == subscribed)?;
    Ok(client)
}

fn publish(engine: &mut Engine, args: &Args, deliveries_each: u64) -> Result<Outcome> {
    let publishers = publishers(engine, args, args.publishers() as usize)?;
    let plan = Plan {
        publishers: &publishers,
        topics: &vec![vec![TOPIC.to_owned()]; publishers.len()],
        qos: args.qos(),
        retain: false,
        deliveries_each,
        pace: Pace::of(args),
        stop: Stop::of(args),
        payload_bytes: args.payload_bytes(),
        timeout: args.timeout(),
    };
    stream::run(engine, &plan)
}
