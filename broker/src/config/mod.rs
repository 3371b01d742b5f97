//! The configuration, in two steps: what the file says (`file.rs`, read by `document.rs`), then what
//! the broker obeys ([`Config`], made by `validate.rs`). Only the second leaves this module.
//!
//! An error names file, line, key, value and what would be right; all errors of a file are told at
//! once. `configs/reference.toml` has every key at its default, and a test holds it to that.

mod address;
mod data_dir;
mod document;
mod error;
mod file;
mod units;
mod validate;
mod warnings;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use outpost_bridge::config::{BridgeConfig, LocalConfig};
use serde::Deserialize;

pub use address::{InvalidAddress, ListenAddress};
pub(crate) use error::io_reason;
pub use error::{ConfigError, ConfigErrors};

use crate::core::TopicClass;
use crate::core::limits::{Limits, QueueClass};
use error::Report;
use units::ShowBytes;

/// A configuration file may have so many bytes; a larger one is something else by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the broker obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients come in: one or more.
    pub listeners: Vec<Listener>,
    /// Who may come in.
    pub auth: AuthConfig,
    /// Where messages are kept, and how often they are committed.
    pub store: Store,
    /// The bounds of the core.
    pub limits: Limits,
    /// Queues with bounds of their own; the first that fits a client identifier counts.
    pub queues: Vec<QueueClass>,
    /// The status topics.
    pub sys: Sys,
    /// The log.
    pub log: Log,
    /// The links to other brokers, each checked and with a name of its own.
    pub bridges: Vec<BridgeConfig>,
    /// The local broker of all bridges, where they run without a broker; then nothing else counts but
    /// the log.
    pub local: Option<LocalConfig>,
}

/// A door of the broker: one MQTT port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address it is bound to.
    pub address: ListenAddress,
    /// Whether clients may come in without a user name. Where not said: on loopback only.
    pub allow_anonymous: bool,
    /// TLS; none: plain TCP.
    pub tls: Option<ListenerTls>,
}

/// TLS at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM: the certificate of the broker, then those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key_file: PathBuf,
    /// PEM: the authorities of client certificates; none: clients are not asked for one.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client without a certificate is turned away in the handshake.
    pub require_client_cert: bool,
    /// Whether the common name of a client certificate is the user name, and no password is asked.
    pub cn_as_user_name: bool,
}

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// The password file that `outpost passwd` writes; none: there are no users.
    pub password_file: Option<PathBuf>,
}

/// Where messages are kept, and how often they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The data directory.
    pub path: PathBuf,
    /// Milliseconds that changes gather before a commit that somebody waits for, and that receivers
    /// have to acknowledge a message before it is stored; 0: only those gather that come while the
    /// commit before is under way.
    pub commit_interval_ms: u64,
    /// Milliseconds that the flash budget may stretch the interval to.
    pub commit_interval_max_ms: u64,
    /// Bytes that may be written to the data directory in a day; 0: as many as it takes.
    pub flash_budget_per_day: u64,
    /// So many changes are committed without waiting for the interval to end.
    pub commit_ops_max: u32,
    /// So many bytes of changes are committed without waiting for the interval to end.
    pub commit_bytes_max: u64,
    /// Bytes of memory for pages of the store.
    pub cache_bytes: u64,
    /// Milliseconds that changes may gather that nobody waits for.
    pub lazy_commit_interval_ms: u64,
    /// What is promised of the messages of which topics; all others are durable.
    pub topics: Vec<TopicClass>,
    /// What is done about a damaged store at the start.
    pub on_corrupt: OnCorrupt,
}

/// What is done about a damaged store at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCorrupt {
    /// Its file is set aside, and the broker starts with what can be read of it.
    #[default]
    Salvage,
    /// The broker does not start; the file stays as it is.
    Refuse,
}

/// The status topics under `$SYS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sys {
    /// Seconds between two updates; 0: there are none.
    pub interval_s: u32,
}

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// The severity of a log line; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What the operator has to mend.
    Error,
    /// What the operator should know.
    Warn,
    /// The life of the broker and its connections.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// What the libraries say of themselves, too.
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: time, level, message, fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says beside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Plain listeners beside those that the file names; the default listener is only there where
    /// neither names any. An address that the file has already stays as it is there.
    pub listen: Vec<ListenAddress>,
    /// The data directory in the place of `store.path`; relative to the working directory.
    pub data: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file, where there is one, and adds what the command line says.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigErrors> {
        let config = match file {
            Some(file) => Self::check(file, &read_text(file, FILE_BYTES_MAX)?)?,
            None => Self { listeners: Vec::new(), ..Self::default() },
        };
        Ok(config.complete(overrides))
    }

    /// Checks `text` as if it had been read from `file`, whose folder is where relative paths start.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        Ok(Self::check(file, text)?.complete(Overrides::default()))
    }

    /// The file alone, with no listener where it names none.
    fn check(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let mut report = Report::new(file, text);
        let read = document::read(text, &mut report);
        let base = file.parent().unwrap_or(Path::new(""));
        let config = validate::validate(read, base, &mut report);
        report.finish().map(|()| config)
    }

    fn complete(mut self, overrides: Overrides) -> Self {
        for address in overrides.listen {
            if self.listeners.iter().all(|listener| listener.address != address) {
                self.listeners.push(Listener::at(address));
            }
        }
        if self.listeners.is_empty() {
            self.listeners.push(Listener::default());
        }
        if let Some(data) = overrides.data {
            self.store.path = data;
        }
        self
    }
}

/// Reads a text file that the operator named and that is bounded.
pub(crate) fn read_text(file: &Path, bytes_max: u64) -> Result<String, ConfigErrors> {
    let read = || {
        let mut text = String::new();
        File::open(file)?.take(bytes_max + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| ConfigErrors::unreadable(file, &error))?;
    if text.len() as u64 > bytes_max {
        let error = io::Error::other(format!("it is larger than {}", ShowBytes(bytes_max)));
        return Err(ConfigErrors::unreadable(file, &error));
    }
    Ok(text)
}

/// What there is without any file: a broker for this machine alone. The data directory is looked
/// for: `./outpost-data` if it exists, else `$XDG_DATA_HOME/outpost` or `~/.local/share/outpost`,
/// else `./outpost-data`.
impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            auth: AuthConfig::default(),
            store: Store::at(data_dir::default_data_dir()),
            limits: Limits::default(),
            queues: Vec::new(),
            sys: Sys::default(),
            log: Log::default(),
            bridges: Vec::new(),
            local: None,
        }
    }
}

impl Listener {
    /// A plain listener with what is right for its address: anonymous clients on loopback only.
    pub fn at(address: ListenAddress) -> Self {
        Self { allow_anonymous: address.is_loopback(), address, tls: None }
    }
}

/// 127.0.0.1:1883, plain, anonymous clients allowed.
impl Default for Listener {
    fn default() -> Self {
        Self::at(ListenAddress::default())
    }
}

impl Store {
    /// A store in a directory, all else at its default.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            commit_interval_ms: 20,
            commit_interval_max_ms: 10_000,
            flash_budget_per_day: 0,
            commit_ops_max: 1_000,
            commit_bytes_max: 256 << 10,
            cache_bytes: 8 << 20,
            lazy_commit_interval_ms: 1_000,
            topics: Vec::new(),
            on_corrupt: OnCorrupt::default(),
        }
    }
}

impl Default for Sys {
    fn default() -> Self {
        Self { interval_s: 10 }
    }
}

#[cfg(test)]
mod tests;
