//! What a bridge is doing, for the operator: a handle that the bridge writes and others read.
//!
//! It says what is known and nothing else: connected is a link whose subscriptions the brokers have
//! answered, and forwarded is what the other broker has acknowledged (QoS 0: what was written to it).

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use crate::link_error::LinkError;
use crate::rate::Rate;
use crate::relay::Counts;
use crate::side::PerSide;

/// The status of one bridge. Shared: the bridge updates it once a burst at most.
#[derive(Debug)]
pub struct BridgeStatus {
    name: String,
    started: Instant,
    inner: Mutex<Inner>,
    /// Told of each change of the state.
    changes: watch::Sender<BridgeState>,
}

#[derive(Debug)]
struct Inner {
    snapshot: BridgeSnapshot,
    messages: PerSide<Rate>,
    bytes: PerSide<Rate>,
}

/// The status at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeSnapshot {
    /// What the bridge is doing.
    pub state: BridgeState,
    /// Since when.
    pub since: SystemTime,
    /// The remote address of the present link or attempt.
    pub address: String,
    /// Why the last link or the last attempt ended; kept while a new link holds.
    pub last_error: Option<LastError>,
    /// Messages since the bridge was started, by the end that they come from: `local` are those that
    /// go out.
    pub counts: Counts,
    /// How fast they go, averaged over some ten seconds, by the end that they come from.
    pub rates: PerSide<Rates>,
    /// Bytes sent to the remote broker and received from it since the bridge was started, all packets of
    /// all its links, compressed where they are; TLS and WebSocket add theirs.
    pub wire_bytes: (u64, u64),
    /// Whether the present link, or the last one, is compressed.
    pub is_compressed: bool,
    /// When each broker last acknowledged a QoS 1 or 2 message.
    pub acknowledged: PerSide<Option<SystemTime>>,
    /// What the present link cannot do as configured: subscriptions that were refused or granted
    /// with a lower QoS. The first few.
    pub problems: Vec<String>,
}

/// How fast messages go in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Messages a second, as [`Counts::forwarded`] has them.
    pub messages_per_s: f64,
    /// Bytes of PUBLISH packets a second, as [`Counts::bytes`] has them.
    pub bytes_per_s: f64,
}

/// Why there was no link, or is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// A word that programs can look at; see [`LinkError::kind`].
    pub kind: &'static str,
    /// In words.
    pub what: String,
    /// When it happened.
    pub at: SystemTime,
}

/// What a bridge is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeState {
    /// It makes the two connections, or waits for the answers to its subscriptions.
    Connecting,
    /// Both brokers have accepted it and answered its subscriptions, and messages go over it.
    Connected,
    /// The last attempt failed, or the link ended.
    Waiting {
        /// When the next attempt is.
        next_attempt: SystemTime,
    },
    /// Its class may have no connection at this time of the day.
    OutsideHours {
        /// When it may.
        next_attempt: SystemTime,
    },
    /// The operator has it pause.
    Paused,
    /// It was told to stop.
    Stopped,
}

impl BridgeState {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting { .. } => "waiting",
            Self::OutsideHours { .. } => "outside_hours",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl BridgeStatus {
    /// The status of a bridge that is about to start.
    pub fn new(name: impl Into<String>) -> Self {
        let snapshot = BridgeSnapshot {
            state: BridgeState::Connecting,
            since: SystemTime::now(),
            address: String::new(),
            last_error: None,
            counts: Counts::default(),
            rates: PerSide::default(),
            wire_bytes: (0, 0),
            is_compressed: false,
            acknowledged: PerSide::default(),
            problems: Vec::new(),
        };
        let (messages, bytes) = (PerSide::default(), PerSide::default());
        Self {
            name: name.into(),
            started: Instant::now(),
            inner: Mutex::new(Inner { snapshot, messages, bytes }),
            changes: watch::Sender::new(BridgeState::Connecting),
        }
    }

    /// The name of the bridge.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The status now.
    pub fn snapshot(&self) -> BridgeSnapshot {
        self.with_inner(|inner| {
            inner.sample(self.now_ms());
            inner.snapshot.clone()
        })
    }

    /// To wait for changes of the state.
    pub fn watch(&self) -> watch::Receiver<BridgeState> {
        self.changes.subscribe()
    }

    /// The bridge has come to a state.
    pub fn enter(&self, state: BridgeState) {
        self.with(|snapshot| {
            snapshot.state = state;
            snapshot.since = SystemTime::now();
        });
        self.changes.send_replace(state);
    }

    /// Something went wrong that is no failure of a link.
    pub fn fail(&self, kind: &'static str, what: String) {
        let error = LastError { kind, what, at: SystemTime::now() };
        self.with(|snapshot| snapshot.last_error = Some(error));
    }

    pub(crate) fn note_error(&self, error: &LinkError) {
        self.fail(error.kind(), error.to_string());
    }

    /// What was counted since the bridge was started.
    pub(crate) fn note_counts(&self, counts: Counts) {
        self.with_inner(|inner| {
            inner.snapshot.counts = counts;
            inner.sample(self.now_ms());
        });
    }

    /// Runs under the lock: nothing here waits, and a panic elsewhere leaves no half-made value.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut BridgeSnapshot) -> T) -> T {
        self.with_inner(|inner| change(&mut inner.snapshot))
    }

    fn with_inner<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn sample(&mut self, now_ms: u64) {
        let counts = &self.snapshot.counts;
        self.snapshot.rates = PerSide::from_fn(|from| {
            self.messages[from].sample(counts.forwarded[from], now_ms);
            self.bytes[from].sample(counts.bytes[from], now_ms);
            Rates {
                messages_per_s: self.messages[from].per_s(),
                bytes_per_s: self.bytes[from].per_s(),
            }
        });
    }
}
