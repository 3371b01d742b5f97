//! A new configuration while the bridges run: each is compared by its name with the one before, and
//! those that are the same are not touched.
//!
//! All that can be wrong with the files is found before anything is changed. Where the connection of a
//! bridge is changed that has a link, the new way is tried first, and where the remote broker then
//! refuses CONNECT, the bridge goes back to what it had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::side::Side;
use outpost_bridge::status::{BridgeState, BridgeStatus};
use tracing::{error, info, warn};

use super::{Bridges, Entry, Prepared, Ways, links, prepare, ways};
use crate::server::ServerError;

/// For the session of a bridge that is no more to be ended.
const FORGET_LIMIT: Duration = Duration::from_secs(5);

/// How long a changed bridge may take to show whether it is let in.
const TRIAL_LIMIT: Duration = Duration::from_secs(30);

/// What a reload did, by the names of the bridges.
#[derive(Debug, Default)]
pub(crate) struct Reloaded {
    pub(crate) lines: Vec<String>,
}

/// What is done about one bridge.
enum Change {
    New,
    /// Another session: the old one ends.
    Replaced,
    /// Rules alone, or what needs no trial.
    Changed,
    /// The way to a broker, or who it is told that it is.
    Moved,
}

impl Bridges {
    /// Goes over to these bridges.
    ///
    /// # Errors
    /// A TLS file that cannot be used: then nothing was changed.
    pub(crate) async fn reload(
        self: &Arc<Self>,
        bridges: &[BridgeConfig],
    ) -> Result<Reloaded, ServerError> {
        let _changing = self.changing.lock().await;
        let known: BTreeMap<String, BridgeConfig> =
            self.entries().iter().map(|(name, e)| (name.clone(), e.config.clone())).collect();
        let wanted: Vec<BridgeConfig> = links(bridges).collect();
        let is_new = |link: &&BridgeConfig| known.get(&link.link_name()) != Some(*link);
        let changed = wanted.iter().filter(is_new);
        let changed: Vec<Prepared> = changed
            .map(|link| Ok((link.clone(), ways(link)?)))
            .collect::<Result<_, ServerError>>()?;
        let mut done = Reloaded::default();
        for name in known.keys().filter(|name| wanted.iter().all(|b| b.link_name() != **name)) {
            let gone = self.remove(name).await;
            done.tell(name, &format!("removed{gone}"));
        }
        let change_of = |link: &BridgeConfig| {
            known.get(&link.link_name()).map_or(Change::New, |old| compare(old, link))
        };
        let is_certain =
            |link: &&BridgeConfig| matches!(change_of(link), Change::New | Change::Changed);
        self.prepare(changed.iter().map(|(link, _)| link).filter(is_certain));
        for (config, ways) in changed {
            let name = config.link_name();
            let change = change_of(&config);
            let what = self.change(change, (config, ways)).await;
            done.tell(&name, &what);
        }
        self.end_sessions();
        Ok(done)
    }

    async fn change(self: &Arc<Self>, change: Change, new: Prepared) -> String {
        match change {
            Change::New => {
                let status = Arc::new(BridgeStatus::new(new.0.link_name()));
                self.begin(new, status);
                "added".to_owned()
            }
            Change::Replaced => {
                let name = new.0.link_name();
                let gone = self.remove(&name).await;
                self.begin(new, Arc::new(BridgeStatus::new(name)));
                format!("changed, with another session{gone}")
            }
            Change::Changed => {
                self.exchange(new).await;
                "changed".to_owned()
            }
            Change::Moved => self.relocate(new).await,
        }
    }

    /// The new way is tried before the old one is given up.
    async fn relocate(self: &Arc<Self>, (config, mut new): Prepared) -> String {
        let name = config.link_name();
        let Some((old, status)) = self.linked(&name) else {
            // There is nothing to be lost.
            self.exchange((config, new)).await;
            return "changed".to_owned();
        };
        if let Err(error) = new.remote.connect().await {
            let what = format!("the changed connection was tried and failed: {error}");
            status.fail("reload", what.clone());
            error!(bridge = name, "{what}; the old one stays");
            return format!("not changed: {what}");
        }
        let mut changes = status.watch();
        self.exchange((config, new)).await;
        let refused = tokio::time::timeout(TRIAL_LIMIT, async {
            loop {
                match *changes.borrow_and_update() {
                    BridgeState::Connected | BridgeState::OutsideHours { .. } => return None,
                    BridgeState::Waiting { .. } => return status.snapshot().last_error,
                    _ => {}
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        });
        let Some(error) = refused.await.ok().flatten().filter(|error| error.kind == "refused")
        else {
            return "changed".to_owned();
        };
        let what = format!("the changed connection was tried and failed: {}", error.what);
        warn!(bridge = name, "{what}; going back to the old one");
        match ways(&old) {
            Ok(ways) => {
                self.exchange((old, ways)).await;
                status.fail("reload", what.clone());
                format!("not changed: {what}")
            }
            Err(error) => {
                error!(bridge = name, %error, "the old connection cannot be made any more");
                format!("changed, although {what}")
            }
        }
    }

    /// The configuration and the status of a bridge that has a link.
    fn linked(&self, name: &str) -> Option<(BridgeConfig, Arc<BridgeStatus>)> {
        let entries = self.entries();
        let entry = entries.get(name).filter(|entry| entry.running.is_some())?;
        let is_connected = entry.status.snapshot().state == BridgeState::Connected;
        is_connected.then(|| (entry.config.clone(), entry.status.clone()))
    }

    /// Puts a changed bridge in the place of the one of its name. One that pauses goes on pausing.
    async fn exchange(self: &Arc<Self>, new: Prepared) {
        let name = new.0.link_name();
        self.halt(&name).await;
        let status = self.entries().get(&name).map(|entry| entry.status.clone());
        let Some(status) = status else { return };
        let pauses = status.snapshot().state == BridgeState::Paused;
        if pauses {
            self.prepare([&new.0]);
            if let Some(entry) = self.entries().get_mut(&name) {
                entry.retired = entry.retired_by(&new.0);
                entry.config = new.0;
            }
            return;
        }
        self.begin(new, status);
    }

    /// Its session first, then its task.
    pub(super) fn begin(
        self: &Arc<Self>,
        (config, ways): (BridgeConfig, Ways),
        status: Arc<BridgeStatus>,
    ) {
        self.prepare([&config]);
        self.launch(config, ways, status);
    }

    /// What goes with it, in words behind others.
    async fn remove(&self, name: &str) -> String {
        self.halt(name).await;
        let Some(Entry { config, .. }) = self.entries().remove(name) else { return String::new() };
        let backlog = self.backlog(&config.client_id());
        self.tell_no_more(name);
        self.forget(&config).await;
        match backlog.map_or(0, |backlog| backlog.messages) {
            0 => String::new(),
            messages => format!("; {messages} messages that were not acknowledged are gone"),
        }
    }

    /// Ends the sessions of a bridge that is no more at other brokers, where messages would wait for it
    /// for ever.
    async fn forget(&self, config: &BridgeConfig) {
        let (bridge, client_id) = (config.link_name(), config.client_id());
        let Ok(Ways { remote, local }) = ways(config) else { return };
        for (side, connector) in [(Side::Remote, Some(remote)), (Side::Local, local)] {
            let Some(mut connector) = connector else { continue };
            let forgotten = outpost_bridge::forget(config, side, &mut *connector);
            let forgotten = tokio::time::timeout(FORGET_LIMIT, forgotten).await;
            let error = match forgotten {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            warn!(
                bridge,
                client_id, "the {side} keeps the session, and what comes for it: {error}"
            );
        }
    }

    /// All at once, so that what goes over from one class to another waits for one of them at any time.
    fn prepare<'l>(&self, links: impl IntoIterator<Item = &'l BridgeConfig>) {
        let Some(door) = &self.door else { return };
        door.shared.enter(None, |core| {
            links.into_iter().for_each(|link| prepare(core.broker, core.now, link));
        });
    }

    /// The sessions of bridges that are no more would gather messages for ever.
    fn end_sessions(&self) {
        let Some(door) = &self.door else { return };
        let kept: Vec<String> =
            self.entries().values().map(|entry| entry.config.client_id()).collect();
        door.shared.enter(None, |core| core.broker.end_internal_sessions_except(core.now, &kept));
    }
}

impl Reloaded {
    fn tell(&mut self, name: &str, what: &str) {
        info!(bridge = name, "{what}");
        self.lines.push(format!("{name}: {what}"));
    }
}

fn compare(old: &BridgeConfig, new: &BridgeConfig) -> Change {
    if old.client_id() != new.client_id() {
        return Change::Replaced;
    }
    let same_way = BridgeConfig {
        topic: old.topic.clone(),
        class: old.class.clone(),
        variables: old.variables.clone(),
        ..new.clone()
    } == *old;
    if same_way { Change::Changed } else { Change::Moved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(more: &str) -> BridgeConfig {
        let text = format!("name = \"b\"\naddress = \"a:1\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn what_changed_decides_what_is_done() {
        let old = bridge("");
        let rules = bridge("topic = [{ filter = \"a\", direction = \"out\" }]");
        assert!(matches!(compare(&old, &rules), Change::Changed));
        assert!(matches!(compare(&old, &bridge("user_name = \"u\"")), Change::Moved));
        assert!(matches!(compare(&old, &bridge("client_id = \"c\"")), Change::Replaced));
        let same = bridge("client_id = \"outpost-b\"");
        assert!(!matches!(compare(&old, &same), Change::Replaced), "it is the default");
    }
}
