//! `outpost store inspect`.

use std::io::{self, Write};
use std::time::SystemTime;

use clap::Args;

use super::super::output::{Failure, Output};
use super::failed;
use crate::store::tools::{self, Inspection, Queue, SessionSummary, StoreFile};

/// Show sessions with their queues, and what is retained
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As JSON; bytes and milliseconds since 1970
    #[arg(long)]
    json: bool,
    /// Only the session of this client, with its subscriptions
    #[arg(long, value_name = "CLIENT_ID")]
    session: Option<String>,
    /// Every topic with what waits and what is retained under it
    #[arg(long)]
    topics: bool,
}

pub(super) fn execute(
    arguments: &Arguments,
    file: &StoreFile,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let client_id = arguments.session.as_deref();
    let inspection = tools::inspect(file, client_id, arguments.topics).map_err(failed)?;
    if arguments.json {
        serde_json::to_writer(&mut *output.out, &inspection).map_err(io::Error::from)?;
        writeln!(output.out)?;
    } else {
        show(&inspection, client_id, now_ms(), output.out)?;
    }
    let path = file.path().display();
    match client_id {
        Some(client_id) if inspection.sessions.is_empty() => {
            Err(Failure::work(format!("{path}: there is no session of {client_id:?}")))
        }
        _ if inspection.damaged > 0 => {
            let damaged = inspection.damaged;
            Err(Failure::work(format!("{path}: {damaged} pages or rows cannot be read")))
        }
        _ => Ok(()),
    }
}

fn show(
    inspection: &Inspection,
    client_id: Option<&str>,
    now_ms: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Inspection { file, bytes, schema, sessions, messages, retained, topics, .. } = inspection;
    if client_id.is_none() {
        let schema = schema.map_or("unknown".to_owned(), |schema| schema.to_string());
        writeln!(out, "{file}: {}, schema {schema}", size(*bytes))?;
        writeln!(out, "queued: {}", queue(messages, now_ms))?;
        write!(out, "retained: {} messages, {}", retained.messages, size(retained.bytes))?;
        if let Some(topic) = &retained.largest_topic {
            write!(out, ", largest {} ({})", topic, size(retained.largest_bytes))?;
        }
        writeln!(out, "\nsessions: {}", sessions.len())?;
    }
    for session in sessions {
        show_session(session, now_ms, out)?;
    }
    for (topic, of_topic) in topics.iter().flatten() {
        let (queued, bytes) = (of_topic.queued, size(of_topic.queued_bytes));
        let retained = size(of_topic.retained_bytes);
        writeln!(out, "topic {topic}: queued {queued} ({bytes}), retained {retained}")?;
    }
    Ok(())
}

fn show_session(session: &SessionSummary, now_ms: u64, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {}: {}", session.client_id, queue(&session.queue, now_ms))?;
    write!(
        out,
        "    subscriptions {}, in flight {}, unreleased {}, {}",
        session.subscriptions,
        session.in_flight,
        session.unreleased,
        expiry(session, now_ms)
    )?;
    writeln!(out, "{}", if session.has_will { ", owes a will" } else { "" })?;
    for filter in &session.filters {
        writeln!(out, "    {filter}")?;
    }
    Ok(())
}

fn queue(queue: &Queue, now_ms: u64) -> String {
    let Queue { messages, bytes, oldest_at } = queue;
    let oldest = oldest_at.map_or(String::new(), |at| {
        format!(", oldest {} ago", duration(now_ms.saturating_sub(at)))
    });
    format!("{messages} messages, {}{oldest}", size(*bytes))
}

fn expiry(session: &SessionSummary, now_ms: u64) -> String {
    match (session.expires_at, session.expiry_interval_s) {
        (Some(at), _) if at <= now_ms => "expired".to_owned(),
        (Some(at), _) => format!("expires in {}", duration(at - now_ms)),
        (None, u32::MAX) => "never expires".to_owned(),
        (None, s) => format!("expires {} after its connection", duration(u64::from(s) * 1000)),
    }
}

/// Rounded for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if shown < 1024.0 {
            break;
        }
        (shown, unit) = (shown / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{shown:.1} {unit}") }
}

/// The two largest units of a time.
fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_rounded() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        assert_eq!(duration(59_999), "59 s");
        assert_eq!(duration(61_000), "1 min 1 s");
        assert_eq!(duration(3_600_000), "1 h 0 min");
        assert_eq!(duration(90_000_000), "1 d 1 h");
    }
}
