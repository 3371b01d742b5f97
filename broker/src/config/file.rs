//! The configuration as the file has it: every key optional, every value with its place. What the
//! values mean, and which are right, is decided in `validate.rs`.
//!
//! One struct for each section, one field for each key, same name: `deny_unknown_fields` refuses the
//! rest. `[[bridge]]` and `[local]` are described by the crate of the bridge.

use outpost_bridge::config::{BridgeConfig, LocalConfig};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::units::{Bytes, Int};

/// A value that may be missing, and where it stands.
type Key<T> = Option<Spanned<T>>;

#[derive(Default)]
pub(super) struct FileConfig<'a> {
    pub(super) listeners: Vec<Spanned<FileListener>>,
    pub(super) auth: FileAuth,
    pub(super) store: FileStore,
    pub(super) limits: FileLimits,
    pub(super) queues: Vec<Spanned<FileQueue>>,
    pub(super) sys: FileSys,
    pub(super) log: FileLog,
    pub(super) bridges: Vec<FileTable<'a, BridgeConfig>>,
    pub(super) local: Option<FileTable<'a, LocalConfig>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileListener {
    pub(super) address: Key<String>,
    pub(super) allow_anonymous: Option<bool>,
    pub(super) tls: Key<FileListenerTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileListenerTls {
    pub(super) cert_file: Key<String>,
    pub(super) key_file: Key<String>,
    pub(super) client_ca_file: Key<String>,
    pub(super) require_client_cert: Key<bool>,
    pub(super) cn_as_user_name: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAuth {
    pub(super) password_file: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStore {
    pub(super) path: Key<String>,
    pub(super) commit_interval_ms: Key<Int>,
    pub(super) commit_interval_max_ms: Key<Int>,
    pub(super) flash_budget_per_day: Key<Bytes>,
    pub(super) commit_ops_max: Key<Int>,
    pub(super) commit_bytes_max: Key<Bytes>,
    pub(super) cache_bytes: Key<Bytes>,
    pub(super) lazy_commit_interval_ms: Key<Int>,
    pub(super) on_corrupt: Option<super::OnCorrupt>,
    #[serde(default)]
    pub(super) topic: Vec<Spanned<FileStoreTopic>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStoreTopic {
    pub(super) filter: Key<String>,
    pub(super) durability: Option<FileDurability>,
    pub(super) interval_ms: Key<Int>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileDurability {
    Durable,
    Interval,
    Volatile,
}

/// One key for each field of [`crate::core::limits::Limits`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    pub(super) connections_max: Key<Int>,
    pub(super) connecting_max: Key<Int>,
    pub(super) connect_timeout_ms: Key<Int>,
    pub(super) connect_bytes_max: Key<Bytes>,
    pub(super) packet_bytes_max: Key<Bytes>,
    pub(super) receive_maximum: Key<Int>,
    pub(super) inflight_max: Key<Int>,
    pub(super) queue_messages_max: Key<Int>,
    pub(super) queue_bytes_max: Key<Bytes>,
    pub(super) queue_total_bytes_max: Key<Bytes>,
    pub(super) queue_age_max_s: Key<Int>,
    pub(super) queue_full: Option<FileQueueFull>,
    pub(super) memory_queue_bytes_max: Key<Bytes>,
    pub(super) output_bytes_max: Key<Bytes>,
    pub(super) retained_messages_max: Key<Int>,
    pub(super) retained_bytes_max: Key<Bytes>,
    pub(super) sessions_max: Key<Int>,
    pub(super) subscriptions_per_session_max: Key<Int>,
    pub(super) topic_levels_max: Key<Int>,
    pub(super) client_id_bytes_max: Key<Bytes>,
    pub(super) topic_alias_maximum: Key<Int>,
    pub(super) topic_alias_maximum_out: Key<Int>,
    pub(super) session_expiry_max_s: Key<Int>,
    pub(super) keep_alive_max_s: Key<Int>,
    pub(super) maximum_qos: Key<Int>,
    pub(super) store_backlog_bytes_max: Key<Bytes>,
    pub(super) queue_full_wait_ms: Key<Int>,
    pub(super) bridge_hops_max: Key<Int>,
    pub(super) bridge_origins_max: Key<Int>,
    pub(super) compressed_connections_max: Key<Int>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileQueueFull {
    Reject,
    DropOldest,
    DropNewest,
    KeepLastPerTopic,
}

/// What stands differently from [`FileLimits`] for some sessions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQueue {
    pub(super) client_id: Key<String>,
    pub(super) messages_max: Key<Int>,
    pub(super) bytes_max: Key<Bytes>,
    pub(super) age_max_s: Key<Int>,
    pub(super) full: Option<FileQueueFull>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSys {
    pub(super) interval_s: Key<Int>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLog {
    pub(super) level: Option<super::LogLevel>,
    pub(super) format: Option<super::LogFormat>,
}

/// What the crate of the bridge describes, with the table it was read from: its own checks name keys,
/// and the table knows where they stand.
pub(super) struct FileTable<'a, T> {
    pub(super) table: Spanned<DeValue<'a>>,
    pub(super) config: T,
}
