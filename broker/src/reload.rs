//! The configuration file read again, at SIGHUP or when the operator asks: what can be changed while
//! the broker runs is changed, and the rest is named.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{error, info, warn};

use crate::bridges::Bridges;
use crate::config::{Config, Overrides};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; none: there is nothing to read again.
    pub file: Option<PathBuf>,
    /// What the command line says beside it.
    pub overrides: Overrides,
}

/// Reads the configuration again.
pub(crate) struct Reloader {
    source: Source,
    /// What is in force, and of the sections that need a restart what was at the start.
    config: Mutex<Config>,
    bridges: Arc<Bridges>,
}

impl Reloader {
    pub(crate) fn new(source: Source, config: Config, bridges: Arc<Bridges>) -> Self {
        Self { source, config: Mutex::new(config), bridges }
    }

    /// Reads the file again and goes over to it. The answer is for the operator, a line for each
    /// thing that was done; the log has it too.
    ///
    /// # Errors
    /// What is wrong with the file, or with a file that it names: then nothing was changed.
    pub(crate) async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let result = self.try_reload().await;
        match &result {
            Ok(_) => info!("the configuration was read again"),
            Err(errors) => {
                for why in errors {
                    error!("{why}");
                }
                error!("the configuration is wrong: the old one stays in force");
            }
        }
        result
    }

    async fn try_reload(&self) -> Result<Vec<String>, Vec<String>> {
        let Source { file, overrides } = &self.source;
        let Some(file) = file else {
            return Err(vec!["there is no configuration file: outpost run had no -c".to_owned()]);
        };
        let config = Config::load(Some(file), overrides.clone())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        if config.local.is_some() != self.is_alone() {
            let (file, words) = (file.display(), "[local] has come or gone: it needs a restart");
            return Err(vec![format!("{file}: {words}")]);
        }
        for warning in config.warnings() {
            warn!("{warning}");
        }
        let reloaded = self.bridges.reload(&config.bridges).await;
        let mut lines = reloaded.map_err(|error| vec![error.to_string()])?.lines;
        let sections = {
            let mut old = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            old.bridges.clone_from(&config.bridges);
            sections_changed(&old, &config)
        };
        for section in sections {
            warn!(section, "changed: it needs a restart");
            lines.push(format!("[{section}] changed: it needs a restart"));
        }
        Ok(lines)
    }

    /// Whether the bridges run without a broker.
    fn is_alone(&self) -> bool {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).local.is_some()
    }
}

/// The sections that only a restart changes.
fn sections_changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let sections = [
        ("listener", old.listeners != new.listeners),
        ("auth", old.auth != new.auth),
        ("store", old.store != new.store),
        ("limits", old.limits != new.limits),
        ("queue", old.queues != new.queues),
        ("sys", old.sys != new.sys),
        ("log", old.log != new.log),
    ];
    sections.into_iter().filter(|(_, changed)| *changed).map(|(section, _)| section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(sections_changed(&old, &new), Vec::<&str>::new());
        new.sys.interval_s += 1;
        new.store.cache_bytes += 1;
        assert_eq!(sections_changed(&old, &new), ["store", "sys"]);
    }
}
