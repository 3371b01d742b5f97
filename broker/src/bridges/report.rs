//! What bridges are doing, as the control socket tells it: one form for whoever asks.

use std::collections::BTreeMap;
use std::time::SystemTime;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::side::Side;
use outpost_bridge::status::{BridgeSnapshot, BridgeState, BridgeStatus};
use serde::{Deserialize, Serialize};

use super::{Bridges, Found};
use crate::core::Backlog;

/// Of a bridge that runs alone.
const NOT_SEEN: &str = "what waits is in the local broker, which is another program";

/// A drain that would take longer than this is as good as none.
const DRAIN_S_MAX: f64 = 1e9;

/// One bridge at one moment. Ages are in seconds.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) state: String,
    /// How long it has been in this state.
    pub(crate) state_s: u64,
    /// Until the next attempt, while it waits for one.
    pub(crate) next_attempt_s: Option<u64>,
    pub(crate) address: String,
    /// Where the local broker is; none: in this program.
    pub(crate) local_address: Option<String>,
    pub(crate) client_id: String,
    pub(crate) last_error: Option<ErrorReport>,
    /// Since each broker acknowledged a message.
    pub(crate) acknowledged_age_s: SideReport<Option<u64>>,
    /// From here to there.
    pub(crate) out: WayReport,
    /// From there to here.
    #[serde(rename = "in")]
    pub(crate) inward: WayReport,
    /// All bytes to the remote broker and from it, as they went over the wire.
    pub(crate) wire: WireReport,
    /// What waits here to go out.
    pub(crate) backlog: Option<BacklogReport>,
    /// Until it has gone at the present rate; none: it does not move.
    pub(crate) drain_s: Option<u64>,
    pub(crate) problems: Vec<String>,
}

/// One value for each broker.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SideReport<T> {
    pub(crate) local: T,
    pub(crate) remote: T,
}

/// Why there was no link.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ErrorReport {
    pub(crate) kind: String,
    pub(crate) what: String,
    pub(crate) age_s: u64,
}

/// One direction.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WayReport {
    pub(crate) forwarded: u64,
    pub(crate) bytes: u64,
    pub(crate) messages_per_s: f64,
    pub(crate) bytes_per_s: f64,
    /// Messages that did not go over, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
}

/// The connections to the remote broker, before TLS and WebSocket.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WireReport {
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) compressed: bool,
}

/// What waits.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct BacklogReport {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_s: Option<u64>,
}

impl Bridges {
    /// One bridge, or all of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn report(&self, name: Option<&str>) -> Result<Vec<Report>, String> {
        let found = self.find(name)?;
        Ok(found.iter().map(|link| self.report_one(&link.config, &link.status)).collect())
    }

    fn report_one(&self, config: &BridgeConfig, status: &BridgeStatus) -> Report {
        let client_id = config.client_id();
        let backlog = self.backlog(&client_id);
        report(config, client_id, &status.snapshot(), backlog)
    }

    /// What waits in the session of a bridge; none: at a broker elsewhere, which nobody can ask.
    pub(super) fn backlog(&self, client_id: &str) -> Option<Backlog> {
        let door = self.door.as_ref()?;
        door.shared.enter(None, |core| core.broker.backlog(core.now, client_id))
    }

    /// Where a drain begins: what is to be gone has a lower number than this.
    ///
    /// # Errors
    /// There is none of this name, or it runs alone.
    pub(crate) fn drain_mark(&self, name: &str) -> Result<u64, String> {
        self.find(Some(name))?;
        let door = self.door.as_ref().ok_or(NOT_SEEN)?;
        Ok(door.shared.enter(None, |core| core.broker.message_mark()))
    }

    /// How many messages of those below `mark` the remote broker has not acknowledged.
    ///
    /// # Errors
    /// There is none of this name, or it runs alone.
    pub(crate) fn left_below(&self, name: &str, mark: u64) -> Result<u64, String> {
        let found = self.find(Some(name))?;
        let door = self.door.as_ref().ok_or(NOT_SEEN)?;
        let left = |link: &Found| {
            let client_id = link.config.client_id();
            door.shared.enter(None, |core| core.broker.backlog_below(&client_id, mark))
        };
        Ok(found.iter().filter_map(left).sum::<usize>() as u64)
    }
}

fn report(
    config: &BridgeConfig,
    client_id: String,
    snapshot: &BridgeSnapshot,
    backlog: Option<Backlog>,
) -> Report {
    let next_attempt_s = match snapshot.state {
        BridgeState::Waiting { next_attempt } | BridgeState::OutsideHours { next_attempt } => {
            let wait = next_attempt.duration_since(SystemTime::now()).unwrap_or_default();
            Some(wait.as_secs())
        }
        _ => None,
    };
    let mut out = way(snapshot, Side::Local);
    let drain_s = drain_s(backlog.as_ref(), out.messages_per_s);
    for (reason, count) in backlog.iter().flat_map(|backlog| &backlog.dropped) {
        out.dropped.insert(format!("queue_{reason}"), u64::from(*count));
    }
    Report {
        name: config.link_name(),
        state: snapshot.state.name().to_owned(),
        state_s: age_s(snapshot.since),
        next_attempt_s,
        address: match snapshot.address.as_str() {
            "" => config.address.clone(),
            address => address.to_owned(),
        },
        local_address: config.local.as_ref().map(|local| local.address.clone()),
        client_id,
        last_error: snapshot.last_error.as_ref().map(|error| ErrorReport {
            kind: error.kind.to_owned(),
            what: error.what.clone(),
            age_s: age_s(error.at),
        }),
        acknowledged_age_s: SideReport {
            local: snapshot.acknowledged.local.map(age_s),
            remote: snapshot.acknowledged.remote.map(age_s),
        },
        out,
        inward: way(snapshot, Side::Remote),
        wire: WireReport {
            sent_bytes: snapshot.wire_bytes.0,
            received_bytes: snapshot.wire_bytes.1,
            compressed: snapshot.is_compressed,
        },
        backlog: backlog.map(|backlog| BacklogReport {
            messages: backlog.messages as u64,
            bytes: backlog.bytes,
            oldest_s: backlog.oldest_ms.map(|ms| ms / 1000),
        }),
        drain_s,
        problems: snapshot.problems.clone(),
    }
}

fn way(snapshot: &BridgeSnapshot, from: Side) -> WayReport {
    let counts = &snapshot.counts;
    let dropped = [
        ("refused", counts.refused[from]),
        ("unmapped", counts.unmapped[from]),
        ("unwanted", counts.unwanted[from]),
        ("slow", counts.dropped[from]),
    ];
    WayReport {
        forwarded: counts.forwarded[from],
        bytes: counts.bytes[from],
        messages_per_s: snapshot.rates[from].messages_per_s,
        bytes_per_s: snapshot.rates[from].bytes_per_s,
        dropped: dropped.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
    }
}

/// Until the backlog has gone at this rate.
fn drain_s(backlog: Option<&Backlog>, per_s: f64) -> Option<u64> {
    let messages = backlog?.messages;
    if messages == 0 {
        return Some(0);
    }
    let seconds = (messages as f64 / per_s).ceil();
    (seconds < DRAIN_S_MAX).then_some(seconds as u64)
}

fn age_s(at: SystemTime) -> u64 {
    SystemTime::now().duration_since(at).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_drain() {
        let backlog = |messages| Backlog { messages, ..Backlog::default() };
        assert_eq!(drain_s(None, 1.0), None);
        assert_eq!(drain_s(Some(&backlog(0)), 0.0), Some(0));
        assert_eq!(drain_s(Some(&backlog(5)), 0.0), None, "it does not move");
        assert_eq!(drain_s(Some(&backlog(5)), 2.0), Some(3));
        assert_eq!(drain_s(Some(&backlog(5)), 1e-12), None);
    }
}
