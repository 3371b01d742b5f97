//! The bridges of this program: their sessions, their tasks, and what the operator does to them while
//! they run.
//!
//! | file | what it owns |
//! |---|---|
//! | `explain` | what they do with a topic |
//! | `session` | their sessions at this broker |
//! | `reload` | a new configuration |
//! | `report` | what they are doing, as the control socket tells it |
//! | `told` | the same as `$SYS` topics |
//!
//! A bridge is made of links, one for each class of its topics (`BridgeConfig::links`), mostly of one.
//! A table holds one entry for each link, by its name: that of the bridge, or `bridge.class`. It is
//! locked to look at it and never while something is waited for; who changes it holds `changing` from
//! beginning to end, so that changes come one after the other.

mod explain;
mod reload;
mod report;
mod session;
mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outpost_bridge::Setup;
use outpost_bridge::config::BridgeConfig;
use outpost_bridge::connect::{Connector, local_connector, remote_connector};
use outpost_bridge::link_error::LinkError;
use outpost_bridge::side::PerSide;
use outpost_bridge::status::{BridgeState, BridgeStatus};
use outpost_bridge::turns::Turns;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

pub(crate) use report::{Report, WayReport};
pub use session::prepare;

use crate::net::handshake::Door;
use crate::net::local::LocalConnector;
use crate::server::{ServerError, seed};

/// How long a link may take to say good-bye before it is cut.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);

/// All bridges.
pub(crate) struct Bridges {
    /// The broker of this program; none: the bridges run alone, and each has its local broker in its
    /// configuration.
    door: Option<Arc<Door>>,
    sys_interval_s: u32,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Of each bridge, for its links.
    turns: Mutex<BTreeMap<String, Turns>>,
    changing: tokio::sync::Mutex<()>,
}

/// One link.
struct Entry {
    config: BridgeConfig,
    status: Arc<BridgeStatus>,
    /// What configurations before subscribed to at each broker, and this one does not.
    retired: PerSide<Vec<String>>,
    /// None while it pauses.
    running: Option<Running>,
}

/// Filters that are remembered to be unsubscribed, at each broker of a link.
const RETIRED_MAX: usize = 1000;

impl Entry {
    /// What this configuration and those before it subscribed to, and another one does not.
    fn retired_by(&self, config: &BridgeConfig) -> PerSide<Vec<String>> {
        let filters = |config: &BridgeConfig, side| -> Vec<String> {
            let mapping = config.mapping();
            mapping.rules(side).iter().map(|rule| rule.filter().to_owned()).collect()
        };
        PerSide::from_fn(|side| {
            let kept = filters(config, side);
            let mut retired = self.retired[side].clone();
            retired.extend(filters(&self.config, side));
            retired.sort_unstable();
            retired.dedup();
            retired.retain(|filter| !kept.contains(filter));
            retired.truncate(RETIRED_MAX);
            retired
        })
    }
}

/// The task of a bridge.
struct Running {
    /// Told `true` when it is to take its leave.
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The ways to the brokers of a link.
pub(crate) struct Ways {
    remote: Box<dyn Connector>,
    /// None: the broker of this program.
    local: Option<Box<dyn Connector>>,
}

/// A link and the ways to its brokers.
pub(crate) type Prepared = (BridgeConfig, Ways);

/// The bridges with the ways to their brokers, and the TLS files that they need.
///
/// # Errors
/// A file that cannot be used.
pub(crate) fn prepared(bridges: &[BridgeConfig]) -> Result<Vec<Prepared>, ServerError> {
    links(bridges).map(|link| Ok((link.clone(), ways(&link)?))).collect()
}

/// The links of bridges.
pub(crate) fn links(bridges: &[BridgeConfig]) -> impl Iterator<Item = BridgeConfig> {
    bridges.iter().flat_map(BridgeConfig::links)
}

fn ways(bridge: &BridgeConfig) -> Result<Ways, ServerError> {
    let failed = |error: LinkError| ServerError::Bridge {
        name: bridge.name.clone(),
        why: error.to_string(),
    };
    let local = bridge.local.as_ref().map(local_connector).transpose().map_err(failed)?;
    Ok(Ways { remote: remote_connector(bridge).map_err(failed)?, local })
}

impl Bridges {
    /// Starts a task for each link. Their sessions at the broker of this program are prepared; none:
    /// each has a local broker elsewhere.
    pub(crate) fn start(
        bridges: Vec<Prepared>,
        door: Option<Arc<Door>>,
        sys_interval_s: u32,
    ) -> Arc<Self> {
        let all = Arc::new(Self {
            door,
            sys_interval_s,
            entries: Mutex::default(),
            turns: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        });
        for (config, ways) in bridges {
            let status = Arc::new(BridgeStatus::new(config.link_name()));
            all.launch(config, ways, status);
        }
        all
    }

    /// Enters a link and starts its task.
    fn launch(self: &Arc<Self>, config: BridgeConfig, ways: Ways, status: Arc<BridgeStatus>) {
        let (leave, mut told) = watch::channel(false);
        let shutdown = async move {
            // An error means that the entry is gone, which is the same.
            let _ = told.wait_for(|leave| *leave).await;
        };
        let Ways { remote, local } = ways;
        let local = local.unwrap_or_else(|| self.inside(&config));
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(config.name.clone()).or_default().clone()
        };
        let mut entries = self.entries();
        let before = entries.get(&config.link_name());
        let retired = before.map(|entry| entry.retired_by(&config)).unwrap_or_default();
        let setup = Setup {
            config: config.clone(),
            local,
            remote,
            status: status.clone(),
            turns,
            retired: retired.clone(),
            seed: seed(),
        };
        let run = outpost_bridge::run(setup, shutdown);
        let task = tokio::spawn(self.clone().watch(status.clone(), run));
        let running = Some(Running { leave, task });
        entries.insert(config.link_name(), Entry { config, status, retired, running });
    }

    /// The way of a bridge to the broker of this program.
    fn inside(&self, link: &BridgeConfig) -> Box<dyn Connector> {
        let door = self.door.clone().expect("bridges that run alone have [local]");
        let name = format!("bridge {}", link.link_name()).into();
        Box::new(LocalConnector { door, client_id: link.client_id(), name })
    }

    /// Runs a bridge and tells each change of its state.
    async fn watch(self: Arc<Self>, status: Arc<BridgeStatus>, run: impl Future<Output = ()>) {
        let mut run = std::pin::pin!(run);
        let mut changes = status.watch();
        self.tell_state(&status);
        loop {
            tokio::select! {
                () = run.as_mut() => break,
                Ok(()) = changes.changed() => self.tell_state(&status),
            }
        }
        self.tell_state(&status);
    }

    /// Stops a bridge in order: no link is left when this returns.
    async fn halt(&self, name: &str) {
        let running = self.entries().get_mut(name).and_then(|entry| entry.running.take());
        let Some(Running { leave, mut task }) = running else { return };
        leave.send_replace(true);
        if tokio::time::timeout(LEAVE_LIMIT, &mut task).await.is_err() {
            task.abort();
            // It has been told that it is cancelled, or it has just ended.
            let _ = task.await;
        }
    }

    /// Stops a bridge until it is resumed.
    ///
    /// # Errors
    /// There is no such bridge.
    pub(crate) async fn pause(&self, name: &str) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        for Found { name, status, .. } in self.find(Some(name))? {
            self.halt(&name).await;
            status.enter(BridgeState::Paused);
            self.tell_state(&status);
            info!(bridge = name, "paused by the operator");
        }
        Ok(())
    }

    /// Starts a bridge that pauses; one that does not is left alone.
    ///
    /// # Errors
    /// There is no such bridge, or its TLS files cannot be used any more.
    pub(crate) async fn resume(self: &Arc<Self>, name: &str) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        for Found { name, config, status } in self.find(Some(name))? {
            let pauses = self.entries().get(&name).is_some_and(|entry| entry.running.is_none());
            if pauses {
                let ways = ways(&config).map_err(|error| error.to_string())?;
                info!(bridge = name, "resumed by the operator");
                // Its session as at the start: what the remote broker wanted has to be told anew.
                self.begin((config, ways), status);
            }
        }
        Ok(())
    }

    /// Stops all of them; a link that is stuck is cut after a while.
    pub(crate) async fn stop(&self, limit: Duration) {
        let _changing = self.changing.lock().await;
        let mut running = Vec::new();
        for entry in self.entries().values_mut() {
            running.extend(entry.running.take());
        }
        for Running { leave, .. } in &running {
            leave.send_replace(true);
        }
        let until = tokio::time::Instant::now() + limit;
        for Running { mut task, .. } in running {
            if tokio::time::timeout_at(until, &mut task).await.is_err() {
                task.abort();
            }
        }
    }

    /// A link by its name, all links of a bridge by the name of that, or all there are.
    fn find(&self, name: Option<&str>) -> Result<Vec<Found>, String> {
        let entries = self.entries();
        let is_meant = |link: &str, entry: &Entry| {
            name.is_none_or(|name| name == link || name == entry.config.name)
        };
        let meant = entries.iter().filter(|(link, entry)| is_meant(link, entry));
        let found: Vec<Found> = meant
            .map(|(link, entry)| Found {
                name: link.clone(),
                config: entry.config.clone(),
                status: entry.status.clone(),
            })
            .collect();
        match name {
            Some(name) if found.is_empty() => Err(unknown(name, &entries)),
            _ => Ok(found),
        }
    }

    /// Nothing under this lock waits, and a panic leaves no half-made entry.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a link.
struct Found {
    name: String,
    config: BridgeConfig,
    status: Arc<BridgeStatus>,
}

fn unknown(name: &str, entries: &BTreeMap<String, Entry>) -> String {
    let known: Vec<&str> = entries.keys().map(String::as_str).collect();
    match known.as_slice() {
        [] => format!("there is no bridge \"{name}\"; there is none at all"),
        _ => format!("there is no bridge \"{name}\"; there are: {}", known.join(", ")),
    }
}
