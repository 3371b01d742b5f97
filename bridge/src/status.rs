//! What a bridge is doing, for the operator: a handle that the bridge writes and others read.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::relay::Counts;
use crate::side::PerSide;

/// The status of one bridge. Shared: the bridge updates it once a burst at most.
#[derive(Debug)]
pub struct BridgeStatus {
    name: String,
    snapshot: Mutex<BridgeSnapshot>,
}

/// The status at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeSnapshot {
    /// What the bridge is doing.
    pub state: BridgeState,
    /// Since when.
    pub since: SystemTime,
    /// Why the last link or the last attempt ended, in words; kept while a new link holds.
    pub last_error: Option<String>,
    /// Messages since the bridge was started, by the end that they come from: `local` are those that
    /// go out.
    pub counts: Counts,
    /// When each broker last acknowledged a QoS 1 or 2 message.
    pub acknowledged: PerSide<Option<SystemTime>>,
    /// What the present link cannot do as configured: subscriptions that were refused or granted
    /// with a lower QoS. The first few.
    pub problems: Vec<String>,
}

/// What a bridge is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeState {
    /// It makes the two connections.
    Connecting,
    /// Both brokers have accepted it, and messages go over it.
    Connected,
    /// The last attempt failed, or the link ended.
    Waiting {
        /// When the next attempt is.
        next_attempt: SystemTime,
    },
    /// It was told to stop.
    Stopped,
}

impl BridgeStatus {
    /// The status of a bridge that is about to start.
    pub fn new(name: impl Into<String>) -> Self {
        let snapshot = BridgeSnapshot {
            state: BridgeState::Connecting,
            since: SystemTime::now(),
            last_error: None,
            counts: Counts::default(),
            acknowledged: PerSide::default(),
            problems: Vec::new(),
        };
        Self { name: name.into(), snapshot: Mutex::new(snapshot) }
    }

    /// The name of the bridge.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The status now.
    pub fn snapshot(&self) -> BridgeSnapshot {
        self.with(|snapshot| snapshot.clone())
    }

    pub(crate) fn enter(&self, state: BridgeState) {
        self.with(|snapshot| {
            snapshot.state = state;
            snapshot.since = SystemTime::now();
        });
    }

    /// Runs under the lock: nothing here waits, and a panic elsewhere leaves no half-made value.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut BridgeSnapshot) -> T) -> T {
        change(&mut self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
