//! The status of the bridges as retained topics: `$SYS/broker/bridge/NAME/...`. The state is told at
//! once, all else at the interval of `$SYS`.

use std::sync::Arc;
use std::time::Duration;

use outpost_bridge::status::BridgeStatus;

use super::{Bridges, Report};

/// What is told of each bridge, and taken back when it is gone.
const TOPICS: [&str; 21] = [
    "state",
    "since",
    "address",
    "error",
    "error/kind",
    "backlog/messages",
    "backlog/bytes",
    "backlog/oldest_s",
    "drain_s",
    "acknowledged/last_age_s",
    "out/forwarded",
    "out/bytes",
    "out/messages_per_s",
    "out/bytes_per_s",
    "in/forwarded",
    "in/bytes",
    "in/messages_per_s",
    "in/bytes_per_s",
    "wire/sent_bytes",
    "wire/received_bytes",
    "problems",
];

const REASONS: [&str; 11] = [
    "refused",
    "unmapped",
    "unwanted",
    "slow",
    "queue_full",
    "queue_replaced",
    "queue_aged",
    "queue_expired",
    "queue_too_large",
    "queue_slow",
    "queue_damaged",
];

impl Bridges {
    /// Tells all there is to tell, at the interval of `$SYS`, for as long as it is polled.
    pub(crate) async fn tell(self: Arc<Self>) {
        if self.sys_interval_s == 0 {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(self.sys_interval_s.into()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for report in self.report(None).unwrap_or_default() {
                self.tell_values(&report.name, &values(&report));
                // It may have been taken out since it was looked at.
                if self.find(Some(&report.name)).is_err() {
                    self.tell_no_more(&report.name);
                }
            }
        }
    }

    /// Tells what a bridge is doing now.
    pub(super) fn tell_state(&self, status: &BridgeStatus) {
        if self.sys_interval_s == 0 {
            return;
        }
        let snapshot = status.snapshot();
        let since = jiff::Timestamp::try_from(snapshot.since).unwrap_or_default();
        let mut values = vec![
            ("state".to_owned(), snapshot.state.name().to_owned()),
            ("since".to_owned(), since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ];
        if let Some(error) = snapshot.last_error {
            values.push(("error".to_owned(), error.what));
            values.push(("error/kind".to_owned(), error.kind.to_owned()));
        }
        self.tell_values(status.name(), &values);
    }

    /// A bridge is no more: what was told of it is taken back.
    pub(super) fn tell_no_more(&self, name: &str) {
        let ways = ["out", "in"];
        let dropped = ways.iter().flat_map(|way| {
            REASONS.iter().map(move |reason| (format!("{way}/dropped/{reason}"), String::new()))
        });
        let topics = TOPICS.iter().map(|topic| ((*topic).to_owned(), String::new()));
        let values: Vec<_> = topics.chain(dropped).collect();
        self.tell_values(name, &values);
    }

    fn tell_values(&self, name: &str, values: &[(String, String)]) {
        let Some(door) = &self.door else { return };
        door.shared.enter(None, |core| {
            for (topic, value) in values {
                let topic = format!("$SYS/broker/bridge/{name}/{topic}");
                core.broker.tell(core.now, &topic, value.as_bytes());
            }
        });
    }
}

/// All but what is told at once.
fn values(report: &Report) -> Vec<(String, String)> {
    let unknown = || "unknown".to_owned();
    let number = |value: Option<u64>| value.map_or_else(unknown, |value| value.to_string());
    let backlog = report.backlog.as_ref();
    let mut values: Vec<(String, String)> = [
        ("address", report.address.clone()),
        ("backlog/messages", number(backlog.map(|backlog| backlog.messages))),
        ("backlog/bytes", number(backlog.map(|backlog| backlog.bytes))),
        ("backlog/oldest_s", backlog.and_then(|b| b.oldest_s).unwrap_or(0).to_string()),
        ("drain_s", number(report.drain_s)),
        ("acknowledged/last_age_s", number(report.acknowledged_age_s.remote)),
        ("wire/sent_bytes", report.wire.sent_bytes.to_string()),
        ("wire/received_bytes", report.wire.received_bytes.to_string()),
        ("problems", report.problems.join("; ")),
    ]
    .map(|(topic, value)| (topic.to_owned(), value))
    .into();
    for (name, way) in [("out", &report.out), ("in", &report.inward)] {
        values.extend([
            (format!("{name}/forwarded"), way.forwarded.to_string()),
            (format!("{name}/bytes"), way.bytes.to_string()),
            (format!("{name}/messages_per_s"), format!("{:.1}", way.messages_per_s)),
            (format!("{name}/bytes_per_s"), format!("{:.0}", way.bytes_per_s)),
        ]);
        let dropped = way.dropped.iter();
        values.extend(
            dropped.map(|(reason, count)| (format!("{name}/dropped/{reason}"), count.to_string())),
        );
    }
    values
}
