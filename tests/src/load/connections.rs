//! idle and connects: what a connection costs that does nothing, and one that comes and goes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::args::Args;
use crate::engine::{Client, ClientIndex, Engine};
use crate::measure::{CostNames, Measure};
use crate::receipts::Receipts;
use crate::report::Report;

/// Connections whose CONNACK has not come; well below what a listener queues.
const CONNECTING_MAX: u64 = 64;

/// Opens all connections, then watches them for `--seconds`.
pub(crate) fn idle(args: &Args) -> Result<Report> {
    let mut engine = engine(args)?;
    let connections = u64::from(args.connections());
    let mut report = Report::new("idle");
    report.count("connections", connections);

    let measure = Measure::begin(args.pid)?;
    let begin = Instant::now();
    for index in 0..connections {
        engine.open(Client { client_id: &format!("idle-{index}"), ..Client::default() })?;
        let waited_for = (index + 1).saturating_sub(CONNECTING_MAX);
        engine.until(args.timeout(), "CONNACK", |tally| tally.ready >= waited_for)?;
    }
    engine.until(args.timeout(), "CONNACK", |tally| tally.ready == connections)?;
    report.number("connects_per_s", connections as f64 / begin.elapsed().as_secs_f64());
    let names = CostNames {
        cpu_us_each: "connect_cpu_us_each",
        rss_bytes_each: Some("rss_bytes_per_connection"),
        written_bytes_each: None,
        generator_busy_ratio: "connect_generator_busy_ratio",
    };
    let costs = measure.end()?;
    costs.report(&mut report, &names, connections);
    costs.report_peak(&mut report);

    let measure = Measure::begin(args.pid)?;
    let begin = Instant::now();
    while begin.elapsed() < args.duration() {
        engine.turn(Duration::from_millis(50))?;
    }
    ensure!(engine.tally.left == 0, "a connection was closed");
    if let Some(broker) = measure.end()?.broker {
        report.number("idle_cpu_ms", broker.cpu_us / 1_000.0);
        report.number("rss_growth_while_idle_bytes", broker.rss_growth_bytes);
    }
    Ok(report)
}

/// Opens and ends connections, a bounded number at a time.
pub(crate) fn connects(args: &Args) -> Result<Report> {
    let mut engine = engine(args)?;
    let connections = u64::from(args.connections());
    let measure = Measure::begin(args.pid)?;
    let begin = Instant::now();
    let mut opened: Vec<ClientIndex> = Vec::new();
    let mut leaving = 0;
    for index in 0..connections {
        opened.push(
            engine.open(Client { client_id: &format!("come-{index}"), ..Client::default() })?,
        );
        if opened.len() as u64 >= CONNECTING_MAX || index + 1 == connections {
            leaving += opened.len() as u64;
            engine.until(args.timeout(), "CONNACK", |tally| tally.ready == leaving)?;
            for client in opened.drain(..) {
                engine.leave(client)?;
            }
            engine.until(args.timeout(), "the end of the stream", |tally| tally.left == leaving)?;
        }
    }
    let mut report = Report::new("connects");
    report.count("connections", connections);
    report.number("connects_per_s", connections as f64 / begin.elapsed().as_secs_f64());
    let names = CostNames {
        cpu_us_each: "broker_cpu_us_per_connection",
        rss_bytes_each: Some("rss_bytes_per_connection"),
        written_bytes_each: None,
        generator_busy_ratio: "generator_busy_ratio",
    };
    let costs = measure.end()?;
    costs.report(&mut report, &names, connections);
    costs.report_peak(&mut report);
    Ok(report)
}

fn engine(args: &Args) -> Result<Engine> {
    Engine::new(args.address, args.version(), Receipts::new(0, 0))
}
