//! offline and durable: messages for a session that outlives its connections.

use anyhow::Result;

use crate::args::Args;
use crate::engine::{Client, ClientIndex, Engine};
use crate::measure::{CostNames, Measure};
use crate::receipts::{Receipts, Receiver};
use crate::report::Report;
use crate::routing::publishers;
use crate::stream::{self, Outcome, Pace, Plan, Stop};

const TOPIC: &str = "load/durable";

/// Messages are published while the session is absent; then it returns and gets them.
pub(crate) fn offline(args: &Args) -> Result<Report> {
    let mut engine = engine(args)?;
    let session = subscribed_session(&mut engine, args)?;
    engine.leave(session)?;
    engine.until(args.timeout(), "the end of the connection", |tally| tally.left == 2)?;
    let mut report = Report::new("offline");
    report.count("qos", args.qos() as u64);

    let measure = Measure::begin(args.pid)?;
    let outcome = publish(&mut engine, args, 0)?;
    let names = CostNames {
        cpu_us_each: "enqueue_cpu_us_per_message",
        rss_bytes_each: Some("rss_bytes_per_message"),
        written_bytes_each: Some("written_bytes_per_message"),
        generator_busy_ratio: "enqueue_generator_busy_ratio",
    };
    measure.end()?.report(&mut report, &names, outcome.published);
    report.count("published", outcome.published);
    outcome.report_acks(&mut report, &engine.tally);

    drain(&mut engine, args, outcome.published, &mut report)?;
    Ok(report)
}

/// The session returns, and all that is queued is delivered.
fn drain(engine: &mut Engine, args: &Args, published: u64, report: &mut Report) -> Result<()> {
    let expected = published - engine.tally.refused;
    let measure = Measure::begin(args.pid)?;
    let begin_ns = engine.now_ns();
    engine.open(session(Receiver::new(0)))?;
    engine.settle(args.timeout(), stream::QUIET, |tally| {
        tally.receipts.delivered >= expected && tally.unreleased == 0
    })?;
    let costs = measure.end()?;
    let elapsed_s = engine.tally.last_progress_ns.saturating_sub(begin_ns).max(1) as f64 / 1e9;
    stream::report_receipts(report, &engine.tally, expected);
    report.count("out_of_order", engine.tally.receipts.out_of_order);
    report.number("drained_per_s", engine.tally.receipts.delivered as f64 / elapsed_s);
    let names = CostNames {
        cpu_us_each: "drain_cpu_us_per_message",
        rss_bytes_each: None,
        written_bytes_each: Some("drain_written_bytes_per_message"),
        generator_busy_ratio: "drain_generator_busy_ratio",
    };
    costs.report(report, &names, engine.tally.receipts.delivered);
    costs.report_peak(report);
    Ok(())
}

/// Messages are published to the session while it is connected and acknowledges them.
pub(crate) fn durable(args: &Args) -> Result<Report> {
    let mut engine = engine(args)?;
    subscribed_session(&mut engine, args)?;
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

fn engine(args: &Args) -> Result<Engine> {
    Engine::new(args.address, args.version(), Receipts::new(args.publishers(), 1))
}

fn session(receiver: Receiver) -> Client<'static> {
    let receiver = Some(receiver);
    Client { client_id: "session", durable: true, receiver, ..Client::default() }
}

/// A new session: what a run before has left in it is discarded by a clean start.
fn subscribed_session(engine: &mut Engine, args: &Args) -> Result<ClientIndex> {
    let clean = Client { durable: false, ..session(Receiver::new(0)) };
    for client in engine.open_all([clean], args.timeout())? {
        engine.leave(client)?;
    }
    engine.until(args.timeout(), "the end of the connection", |tally| tally.left == 1)?;
    let client = engine.open(session(Receiver::new(0)))?;
    engine.subscribe(client, &[TOPIC.to_owned()], args.qos())?;
    engine.until(args.timeout(), "SUBACK", |tally| tally.subscribed == 1)?;
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
