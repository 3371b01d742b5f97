//! The status of bridges for people.

use super::super::output::{Failure, Output};
use crate::bridges::{Report, WayReport};

/// Shows what bridges are doing, for people or as JSON.
pub(super) fn status(
    reports: &[Report],
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(reports).map_err(Failure::work)?;
        return Ok(writeln!(output.out, "{text}")?);
    }
    if reports.is_empty() {
        writeln!(output.out, "no bridges")?;
    }
    for report in reports {
        for (name, value) in lines(report) {
            writeln!(output.out, "{name:<16}{value}")?;
        }
    }
    Ok(())
}

fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut state = format!("{} for {}", report.state.replace('_', " "), duration(report.state_s));
    if let Some(s) = report.next_attempt_s {
        state.push_str(&format!(", next attempt in {}", duration(s)));
    }
    let mut lines = vec![
        ("bridge", report.name.clone()),
        ("  state", state),
        ("  address", report.address.clone()),
    ];
    lines.extend(report.local_address.iter().map(|address| ("  local", address.clone())));
    if let Some(error) = &report.last_error {
        let (what, kind, age) = (&error.what, &error.kind, duration(error.age_s));
        lines.push(("  last error", format!("{what} ({kind}, {age} ago)")));
    }
    if let Some(backlog) = &report.backlog {
        let mut waits = format!("{} messages, {}", backlog.messages, bytes(backlog.bytes as f64));
        if let Some(s) = backlog.oldest_s {
            waits.push_str(&format!(", oldest {}", duration(s)));
        }
        match report.drain_s {
            _ if backlog.messages == 0 => {}
            Some(s) => waits.push_str(&format!(", gone in {}", duration(s))),
            None => waits.push_str(", does not move"),
        }
        lines.push(("  backlog", waits));
    }
    let age = |age: Option<u64>| age.map_or("never".to_owned(), |s| format!("{} ago", duration(s)));
    lines.push(("  out", way(&report.out)));
    lines.push(("  in", way(&report.inward)));
    let wire = &report.wire;
    let (sent, received) = (bytes(wire.sent_bytes as f64), bytes(wire.received_bytes as f64));
    let how = if wire.compressed { ", compressed" } else { "" };
    lines.push(("  on the wire", format!("{sent} sent, {received} received{how}")));
    let (local, remote) = (report.acknowledged_age_s.local, report.acknowledged_age_s.remote);
    lines.push(("  acknowledged", format!("remote {}, local {}", age(remote), age(local))));
    lines.extend(report.problems.iter().map(|problem| ("  problem", problem.clone())));
    lines
}

fn way(way: &WayReport) -> String {
    let (messages_per_s, bytes_per_s) = (way.messages_per_s, bytes(way.bytes_per_s));
    let mut text = format!("{} messages, {messages_per_s:.1}/s, {bytes_per_s}/s", way.forwarded);
    let lost: Vec<String> = way
        .dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    if !lost.is_empty() {
        text.push_str(&format!("; dropped: {}", lost.join(", ")));
    }
    text
}

fn duration(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}

fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut count = count;
    let mut unit = 0;
    while count >= 1024.0 && unit < units.len() - 1 {
        count /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count:.0} B") } else { format!("{count:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!([duration(5), duration(120), duration(7_200)], ["5 s", "2 min", "2 h"]);
        assert_eq!(duration(200_000), "2 days");
        assert_eq!([bytes(12.0), bytes(1536.0)], ["12 B", "1.5 KiB"]);
        assert_eq!(bytes(3.0 * 1024.0 * 1024.0), "3.0 MiB");
    }
}
