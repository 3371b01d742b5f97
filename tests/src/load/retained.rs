//! retained: a message on each of many topics is stored; a new subscriber gets them all.

use anyhow::Result;

use crate::args::{Args, Part};
use crate::engine::{Client, Engine};
use crate::measure::{CostNames, Measure};
use crate::receipts::{Receipts, Receiver};
use crate::report::Report;
use crate::routing::publishers;
use crate::stream::{self, Pace, Plan, Stop};

pub(crate) fn run(args: &Args) -> Result<Report> {
    let mut engine = Engine::new(args.address, args.version(), Receipts::new(1, 1))?;
    let mut report = Report::new("retained");
    report.count("qos", args.qos() as u64);
    let mut stored = args.messages().unwrap_or(0);
    if args.part != Part::Deliver {
        stored = store(&mut engine, args, stored, &mut report)?;
    }
    if args.part != Part::Store {
        deliver(&mut engine, args, stored, &mut report)?;
    }
    Ok(report)
}

/// Publishes a message to each of so many topics; how many were.
fn store(engine: &mut Engine, args: &Args, messages: u64, report: &mut Report) -> Result<u64> {
    let publishers = publishers(engine, args, 1)?;
    let measure = Measure::begin(args.pid)?;
    let plan = Plan {
        publishers: &publishers,
        topics: &[(0..messages).map(|n| format!("retained/{n}/machine/temperature")).collect()],
        qos: args.qos(),
        retain: true,
        deliveries_each: 0,
        pace: Pace::Saturated { ahead: None },
        stop: Stop::Messages(messages),
        payload_bytes: args.payload_bytes(),
        timeout: args.timeout(),
    };
    let outcome = stream::run(engine, &plan)?;
    let names = CostNames {
        cpu_us_each: "store_cpu_us_per_message",
        rss_bytes_each: Some("rss_bytes_per_message"),
        written_bytes_each: Some("written_bytes_per_message"),
        generator_busy_ratio: "store_generator_busy_ratio",
    };
    measure.end()?.report(report, &names, messages);
    report.number("stored_per_s", messages as f64 / outcome.elapsed_s);
    outcome.report_acks(report, &engine.tally);
    Ok(outcome.published)
}

/// A new subscriber asks for all of them at QoS 0. Messages of different topics may come in any
/// order.
fn deliver(engine: &mut Engine, args: &Args, stored: u64, report: &mut Report) -> Result<()> {
    let client = Client { client_id: "sub", receiver: Some(Receiver::new(0)), ..Client::default() };
    let subscriber = engine.open_all([client], args.timeout())?[0];
    let measure = Measure::begin(args.pid)?;
    let begin_ns = engine.now_ns();
    let qos = outpost_protocol::QoS::AtMostOnce;
    engine.subscribe(subscriber, &["retained/#".to_owned()], qos)?;
    engine.settle(args.timeout(), stream::QUIET, |tally| tally.receipts.delivered >= stored)?;
    let costs = measure.end()?;
    stream::report_receipts(report, &engine.tally, stored);
    let elapsed_ns = engine.tally.last_progress_ns.saturating_sub(begin_ns);
    report.number("delivered_in_ms", elapsed_ns as f64 / 1e6);
    let names = CostNames {
        cpu_us_each: "deliver_cpu_us_per_message",
        rss_bytes_each: None,
        written_bytes_each: None,
        generator_busy_ratio: "deliver_generator_busy_ratio",
    };
    costs.report(report, &names, engine.tally.receipts.delivered);
    costs.report_peak(report);
    Ok(())
}
