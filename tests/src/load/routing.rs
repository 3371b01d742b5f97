//! fanin, fanout, pairs, shared, wildcards: messages from publishers to connected subscribers.

use std::time::Instant;

use anyhow::Result;

use crate::args::{Args, Scenario};
use crate::engine::{Client, ClientIndex, Engine};
use crate::measure::{CostNames, Measure};
use crate::receipts::{Receipts, Receiver};
use crate::report::Report;
use crate::stream::{self, Pace, Plan, Stop};

/// Who subscribes to what, and who publishes what.
struct Routes {
    /// For each subscriber its topic filters.
    filters: Vec<Vec<String>>,
    /// For each publisher its topics.
    topics: Vec<Vec<String>>,
    /// Whether all subscribers are one group.
    grouped: bool,
    deliveries_each: u64,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let routes = routes(args);
    let groups = if routes.grouped { 1 } else { routes.filters.len() as u32 };
    let receipts = Receipts::new(routes.topics.len() as u32, groups);
    let mut engine = Engine::new(args.address, args.version(), receipts)?;
    let mut report = Report::new(name(args.scenario));
    report.count("qos", args.qos() as u64);
    subscribe(&mut engine, args, &routes, &mut report)?;
    let publishers = publishers(&mut engine, args, routes.topics.len())?;

    let measure = Measure::begin(args.pid)?;
    let plan = Plan {
        publishers: &publishers,
        topics: &routes.topics,
        qos: args.qos(),
        retain: false,
        deliveries_each: routes.deliveries_each,
        pace: Pace::of(args),
        stop: Stop::of(args),
        payload_bytes: args.payload_bytes(),
        timeout: args.timeout(),
    };
    let outcome = stream::run(&mut engine, &plan)?;
    let costs = measure.end()?;

    outcome.report(&mut report, &engine.tally, routes.deliveries_each);
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

fn name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Fanin => "fanin",
        Scenario::Fanout => "fanout",
        Scenario::Pairs => "pairs",
        Scenario::Shared => "shared",
        _ => "wildcards",
    }
}

fn routes(args: &Args) -> Routes {
    let publishers = args.publishers();
    let own_topics =
        |prefix: &str| (0..publishers).map(|p| vec![format!("{prefix}/{p}/value")]).collect();
    match args.scenario {
        Scenario::Fanin => Routes {
            filters: vec![vec!["load/+/value".to_owned()]; args.subscribers() as usize],
            topics: own_topics("load"),
            grouped: false,
            deliveries_each: u64::from(args.subscribers()),
        },
        Scenario::Fanout => Routes {
            filters: vec![vec!["load/all".to_owned()]; args.subscribers() as usize],
            topics: vec![vec!["load/all".to_owned()]; publishers as usize],
            grouped: false,
            deliveries_each: u64::from(args.subscribers()),
        },
        Scenario::Pairs => Routes {
            filters: own_topics("load"),
            topics: own_topics("load"),
            grouped: false,
            deliveries_each: 1,
        },
        Scenario::Shared => Routes {
            filters: vec![
                vec!["$share/group/load/+/value".to_owned()];
                args.subscribers() as usize
            ],
            topics: own_topics("load"),
            grouped: true,
            deliveries_each: 1,
        },
        _ => wildcard_routes(args),
    }
}

/// Filter `n` is of subscriber `n` modulo their number; half end in `#`, half have a `+`. The topic
/// of each filter matches no other.
fn wildcard_routes(args: &Args) -> Routes {
    let filter = |n: u32| match n % 2 {
        0 => format!("site/{n}/+/temperature"),
        _ => format!("site/{n}/machine/#"),
    };
    let dealt = |hands: u32, card: &dyn Fn(u32) -> String| {
        let hand = |h| (h..args.filters).step_by(hands as usize).map(card).collect();
        (0..hands.min(args.filters)).map(hand).collect::<Vec<Vec<String>>>()
    };
    Routes {
        filters: dealt(args.subscribers(), &filter),
        topics: dealt(args.publishers(), &|n| format!("site/{n}/machine/temperature")),
        grouped: false,
        deliveries_each: 1,
    }
}

fn subscribe(engine: &mut Engine, args: &Args, routes: &Routes, report: &mut Report) -> Result<()> {
    let subscribers = open_subscribers(engine, args, routes)?;
    let filters = routes.filters.iter().map(Vec::len).sum::<usize>() as u64;
    let measure = Measure::begin(args.pid)?;
    let begin = Instant::now();
    for (client, filters) in subscribers.iter().zip(&routes.filters) {
        engine.subscribe(*client, filters, args.qos())?;
    }
    engine.until(args.timeout(), "SUBACK", |tally| tally.subscribed >= filters)?;
    if args.scenario == Scenario::Wildcards {
        report.count("filters", filters);
        report.number("subscribed_per_s", filters as f64 / begin.elapsed().as_secs_f64());
        let names = CostNames {
            cpu_us_each: "subscribe_cpu_us_per_filter",
            rss_bytes_each: Some("rss_bytes_per_filter"),
            written_bytes_each: None,
            generator_busy_ratio: "subscribe_generator_busy_ratio",
        };
        measure.end()?.report(report, &names, filters);
    }
    Ok(())
}

fn open_subscribers(engine: &mut Engine, args: &Args, routes: &Routes) -> Result<Vec<ClientIndex>> {
    let ids: Vec<String> = (0..routes.filters.len()).map(|s| format!("sub-{s}")).collect();
    let clients = ids.iter().zip(0..).map(|(client_id, index)| Client {
        client_id,
        receiver: Some(Receiver::new(if routes.grouped { 0 } else { index })),
        ..Client::default()
    });
    engine.open_all(clients, args.timeout())
}

/// Opens publishers with clean sessions.
pub(crate) fn publishers(
    engine: &mut Engine,
    args: &Args,
    count: usize,
) -> Result<Vec<ClientIndex>> {
    let ids: Vec<String> = (0..count).map(|p| format!("pub-{p}")).collect();
    let clients = ids.iter().map(|client_id| Client {
        client_id,
        window: Some(args.window),
        ..Client::default()
    });
    engine.open_all(clients, args.timeout())
}
