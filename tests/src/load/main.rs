//! `outpost-load`: the load generator. One run of one scenario against one broker, one line of JSON.
//!
//! It speaks MQTT 3.1.1 or 5.0 from one thread with one `epoll`, in batches, so that it stays far
//! cheaper than the broker it drives. It connects to loopback addresses only, and every run is
//! bounded in messages, connections and time. `tests/bench/compare` runs it against several brokers
//! and writes the tables of `docs/BENCHMARKS.md`.
//!
//! - `engine` owns the sockets and speaks the protocol; `connection` and `flights` are its parts.
//! - `stream` publishes by a plan and waits for the rest; `routing`, `sessions`, `retained` and
//!   `connections` are the scenarios.
//! - `receipts` and `histogram` judge what arrives; `measure` and `broker_process` read the costs
//!   from `/proc`; `report` writes the line.

mod args;
mod broker_process;
mod connection;
mod connections;
mod engine;
mod flights;
mod histogram;
mod measure;
mod receipts;
mod report;
mod retained;
mod routing;
mod sessions;
mod stream;

use std::io::Write;

use anyhow::Result;
use clap::Parser;

use crate::args::{Args, Scenario};
use crate::report::Report;

fn main() -> Result<()> {
    let args = Args::parse();
    args.check()?;
    let report = run(&args)?;
    writeln!(std::io::stdout().lock(), "{report}")?;
    Ok(())
}

fn run(args: &Args) -> Result<Report> {
    match args.scenario {
        Scenario::Fanin
        | Scenario::Fanout
        | Scenario::Pairs
        | Scenario::Shared
        | Scenario::Wildcards => routing::run(args),
        Scenario::Offline => sessions::offline(args),
        Scenario::Durable => sessions::durable(args),
        Scenario::Retained => retained::run(args),
        Scenario::Idle => connections::idle(args),
        Scenario::Connects => connections::connects(args),
    }
}
