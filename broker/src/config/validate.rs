//! From [`FileConfig`] to [`Config`]: ranges, defaults, paths, and what the values mean together.
//! The file system is not looked at; that a file can be read is found out by who reads it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use outpost_bridge::config::{BridgeConfig, Invalid, LocalConfig, TlsConfig};
use outpost_protocol::{QoS, TopicFilter};
use toml::Spanned;
use toml::de::DeValue;

use super::data_dir::default_data_dir;
use super::error::Report;
use super::file::{
    FileAuth, FileConfig, FileDurability, FileLimits, FileListener, FileListenerTls, FileLog,
    FileQueue, FileQueueFull, FileStore, FileStoreTopic, FileSys, FileTable,
};
use super::units::{Bytes, Int, ShowBytes};
use super::{AuthConfig, Config, ListenAddress, Listener, ListenerTls, Log, Store, Sys};
use crate::core::limits::{Limits, QueueClass, QueueFull, QueuePolicy};
use crate::core::{Durability, TopicClass};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The ranges of what bounds a queue.
const QUEUE_MESSAGES_MAX: RangeInclusive<u32> = 1..=1_000_000_000;
const QUEUE_BYTES_MAX: RangeInclusive<u64> = KIB..=TIB;
const QUEUE_AGE_MAX_S: RangeInclusive<u32> = 0..=u32::MAX;

/// Half of what MQTT can carry: a message that is passed on may have become larger, by the topic that
/// an alias stood for and by subscription identifiers.
const PACKET_BYTES_MAX: u32 = 128 << 20;

/// The walk through the topic filters goes down a stack of so many frames.
const TOPIC_LEVELS_MAX: u16 = 1_000;

/// Every broker must take client identifiers of 1 to 23 bytes [MQTT-3.1.3-5].
const CLIENT_ID_BYTES_MIN: u16 = 23;

/// What the file says, checked; wrong values are reported and stand at their defaults. There may be
/// no listener yet. Relative paths start at `base`.
pub(super) fn validate(file: FileConfig<'_>, base: &Path, report: &mut Report<'_>) -> Config {
    let mut check = Check { base, report };
    let limits = check.limits(&file.limits);
    let local = file.local.map(|local| check.local(local));
    Config {
        queues: check.queues(&file.queues, &limits),
        limits,
        listeners: check.listeners(&file.listeners),
        auth: check.auth(&file.auth),
        store: check.store(&file.store),
        sys: check.sys(&file.sys),
        log: check.log(&file.log),
        bridges: check.bridges(file.bridges, local.as_ref()),
        local,
    }
}

struct Check<'c, 'r> {
    base: &'c Path,
    report: &'c mut Report<'r>,
}

impl Check<'_, '_> {
    fn listeners(&mut self, files: &[Spanned<FileListener>]) -> Vec<Listener> {
        let mut listeners = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for file in files {
            let Some(listener) = self.listener(file) else { continue };
            let line = self.report.line(&file.span());
            let bound = listener.address.port() != 0;
            if let Some(first) = lines.insert(listener.address.to_string(), line).filter(|_| bound)
            {
                let problem = format!("is the address of the listener on line {first} already");
                let span = file.get_ref().address.as_ref().map_or(file.span(), Spanned::span);
                self.report.value("listener.address", span, problem);
            }
            listeners.push(listener);
        }
        listeners
    }

    fn listener(&mut self, file: &Spanned<FileListener>) -> Option<Listener> {
        let FileListener { address, allow_anonymous, tls } = file.get_ref();
        let tls = tls.as_ref().and_then(|tls| self.listener_tls(tls));
        let Some(text) = address else {
            self.missing("listener.address", file.span(), "\"host:port\"");
            return None;
        };
        match text.get_ref().parse::<ListenAddress>() {
            Ok(address) => {
                let allow_anonymous = allow_anonymous.unwrap_or(address.is_loopback());
                Some(Listener { address, allow_anonymous, tls })
            }
            Err(invalid) => {
                self.report.value("listener.address", text.span(), invalid.to_string());
                None
            }
        }
    }

    fn listener_tls(&mut self, file: &Spanned<FileListenerTls>) -> Option<ListenerTls> {
        let FileListenerTls {
            cert_file,
            key_file,
            client_ca_file,
            require_client_cert,
            cn_as_user_name,
        } = file.get_ref();
        for (key, set) in
            [("require_client_cert", require_client_cert), ("cn_as_user_name", cn_as_user_name)]
        {
            if let Some(set) = set.as_ref().filter(|set| *set.get_ref() && client_ca_file.is_none())
            {
                let problem =
                    "needs client_ca_file, the authority that client certificates are from";
                self.report.value(&format!("listener.tls.{key}"), set.span(), problem);
            }
        }
        let path = |path| self.required_path(path, file.span());
        let [cert_file, key_file] =
            [("listener.tls.cert_file", cert_file), ("listener.tls.key_file", key_file)].map(path);
        Some(ListenerTls {
            client_ca_file: self.path("listener.tls.client_ca_file", client_ca_file),
            require_client_cert: require_client_cert.as_ref().is_some_and(|set| *set.get_ref()),
            cn_as_user_name: cn_as_user_name.as_ref().is_some_and(|set| *set.get_ref()),
            cert_file: cert_file?,
            key_file: key_file?,
        })
    }

    fn auth(&mut self, file: &FileAuth) -> AuthConfig {
        AuthConfig { password_file: self.path("auth.password_file", &file.password_file) }
    }

    fn store(&mut self, file: &FileStore) -> Store {
        let path = self.path("store.path", &file.path).unwrap_or_else(default_data_dir);
        let default = Store::at(path);
        macro_rules! int {
            ($key:ident, $range:expr) => {
                self.int(concat!("store.", stringify!($key)), &file.$key, $range, default.$key)
            };
        }
        macro_rules! bytes {
            ($key:ident, $range:expr) => {
                self.bytes(concat!("store.", stringify!($key)), &file.$key, $range, default.$key)
            };
        }
        Store {
            commit_interval_ms: int!(commit_interval_ms, 0..=60_000),
            commit_interval_max_ms: int!(commit_interval_max_ms, 0..=3_600_000),
            flash_budget_per_day: bytes!(flash_budget_per_day, 0..=TIB),
            commit_ops_max: int!(commit_ops_max, 1..=1_000_000),
            commit_bytes_max: bytes!(commit_bytes_max, KIB..=GIB),
            cache_bytes: bytes!(cache_bytes, MIB..=64 * GIB),
            lazy_commit_interval_ms: int!(lazy_commit_interval_ms, 0..=3_600_000),
            on_corrupt: file.on_corrupt.unwrap_or_default(),
            topics: file.topic.iter().filter_map(|topic| self.topic_class(topic)).collect(),
            path: default.path,
        }
    }

    fn topic_class(&mut self, file: &Spanned<FileStoreTopic>) -> Option<TopicClass> {
        let FileStoreTopic { filter, durability, interval_ms } = file.get_ref();
        let filter = self.topic_filter(file, filter)?;
        let expected = "\"durable\", \"interval\" or \"volatile\"";
        let durability = match (durability, interval_ms) {
            (None, _) => {
                self.missing("store.topic.durability", file.span(), expected);
                return None;
            }
            (Some(FileDurability::Interval), None) => {
                let expected = "milliseconds, the window of loss";
                self.missing("store.topic.interval_ms", file.span(), expected);
                return None;
            }
            (Some(FileDurability::Interval), interval_ms) => {
                let key = "store.topic.interval_ms";
                Durability::Interval { window_ms: self.int(key, interval_ms, 1..=3_600_000, 1) }
            }
            (Some(_), Some(interval_ms)) => {
                let problem = "is for durability = \"interval\" only";
                self.report.key("store.topic.interval_ms", interval_ms.span(), problem);
                return None;
            }
            (Some(FileDurability::Durable), None) => Durability::Durable,
            (Some(FileDurability::Volatile), None) => Durability::Volatile,
        };
        Some(TopicClass { filter, durability })
    }

    fn topic_filter(
        &mut self,
        file: &Spanned<FileStoreTopic>,
        filter: &Option<Spanned<String>>,
    ) -> Option<Box<str>> {
        let Some(filter) = filter else {
            self.missing("store.topic.filter", file.span(), "a topic filter");
            return None;
        };
        let is_fine = TopicFilter::new(filter.get_ref()).is_ok_and(|f| f.share_name().is_none());
        if !is_fine {
            let problem = "must be a topic filter, and of no shared subscription";
            self.report.value("store.topic.filter", filter.span(), problem);
        }
        is_fine.then(|| filter.get_ref().as_str().into())
    }

    fn limits(&mut self, file: &FileLimits) -> Limits {
        let default = Limits::default();
        macro_rules! int {
            ($key:ident, $range:expr) => {
                self.int(concat!("limits.", stringify!($key)), &file.$key, $range, default.$key)
            };
        }
        macro_rules! bytes {
            ($key:ident, $range:expr) => {
                self.bytes(concat!("limits.", stringify!($key)), &file.$key, $range, default.$key)
            };
        }
        Limits {
            connections_max: int!(connections_max, 1..=1_000_000),
            connecting_max: int!(connecting_max, 1..=1_000_000),
            connect_timeout_ms: int!(connect_timeout_ms, 100..=600_000),
            connect_bytes_max: bytes!(connect_bytes_max, 64..=PACKET_BYTES_MAX),
            packet_bytes_max: bytes!(packet_bytes_max, 64..=PACKET_BYTES_MAX),
            receive_maximum: int!(receive_maximum, 1..=u16::MAX),
            inflight_max: int!(inflight_max, 1..=u16::MAX),
            queue_messages_max: int!(queue_messages_max, QUEUE_MESSAGES_MAX),
            queue_bytes_max: bytes!(queue_bytes_max, QUEUE_BYTES_MAX),
            queue_total_bytes_max: bytes!(queue_total_bytes_max, KIB..=TIB),
            queue_age_max_s: int!(queue_age_max_s, QUEUE_AGE_MAX_S),
            memory_queue_bytes_max: bytes!(memory_queue_bytes_max, KIB..=TIB),
            queue_full: file.queue_full.map_or(default.queue_full, QueueFull::from),
            output_bytes_max: bytes!(output_bytes_max, 1024..=1 << 30),
            retained_messages_max: int!(retained_messages_max, 0..=1_000_000_000),
            retained_bytes_max: bytes!(retained_bytes_max, 0..=TIB),
            sessions_max: int!(sessions_max, 1..=100_000_000),
            subscriptions_per_session_max: int!(subscriptions_per_session_max, 1..=1_000_000),
            topic_levels_max: int!(topic_levels_max, 1..=TOPIC_LEVELS_MAX),
            client_id_bytes_max: bytes!(client_id_bytes_max, CLIENT_ID_BYTES_MIN..=u16::MAX),
            topic_alias_maximum: int!(topic_alias_maximum, 0..=u16::MAX),
            topic_alias_maximum_out: int!(topic_alias_maximum_out, 0..=u16::MAX),
            session_expiry_max_s: int!(session_expiry_max_s, 0..=u32::MAX),
            keep_alive_max_s: int!(keep_alive_max_s, 0..=u16::MAX),
            maximum_qos: self.maximum_qos(&file.maximum_qos, default.maximum_qos),
            store_backlog_bytes_max: bytes!(store_backlog_bytes_max, 64 * KIB..=TIB),
            queue_full_wait_ms: int!(queue_full_wait_ms, 0..=3_600_000),
            bridge_hops_max: int!(bridge_hops_max, 1..=255),
            bridge_origins_max: int!(bridge_origins_max, 1..=100_000),
            compressed_connections_max: int!(compressed_connections_max, 0..=100_000),
        }
    }

    fn queues(&mut self, files: &[Spanned<FileQueue>], limits: &Limits) -> Vec<QueueClass> {
        files.iter().filter_map(|file| self.queue(file, limits)).collect()
    }

    fn queue(&mut self, file: &Spanned<FileQueue>, limits: &Limits) -> Option<QueueClass> {
        let FileQueue { client_id, messages_max, bytes_max, age_max_s, full } = file.get_ref();
        let rest = limits.queue_policy();
        let policy = QueuePolicy {
            messages_max: self.int(
                "queue.messages_max",
                messages_max,
                QUEUE_MESSAGES_MAX,
                rest.messages_max,
            ),
            bytes_max: self.bytes("queue.bytes_max", bytes_max, QUEUE_BYTES_MAX, rest.bytes_max),
            age_max_s: self.int("queue.age_max_s", age_max_s, QUEUE_AGE_MAX_S, rest.age_max_s),
            full: full.map_or(rest.full, QueueFull::from),
        };
        match client_id {
            Some(pattern) if !pattern.get_ref().is_empty() => {
                Some(QueueClass { client_id: pattern.get_ref().as_str().into(), policy })
            }
            Some(pattern) => {
                let problem = "must be a client identifier; * stands for any characters";
                self.report.value("queue.client_id", pattern.span(), problem);
                None
            }
            None => {
                let expected = "a client identifier; * stands for any characters";
                self.missing("queue.client_id", file.span(), expected);
                None
            }
        }
    }

    fn maximum_qos(&mut self, file: &Option<Spanned<Int>>, default: QoS) -> QoS {
        match self.int("limits.maximum_qos", file, 0..=2, default as u8) {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    fn sys(&mut self, file: &FileSys) -> Sys {
        let default = Sys::default();
        Sys {
            interval_s: self.int(
                "sys.interval_s",
                &file.interval_s,
                0..=86_400,
                default.interval_s,
            ),
        }
    }

    fn log(&mut self, file: &FileLog) -> Log {
        let default = Log::default();
        Log {
            level: file.level.unwrap_or(default.level),
            format: file.format.unwrap_or(default.format),
        }
    }

    fn local(&mut self, file: FileTable<'_, LocalConfig>) -> LocalConfig {
        let FileTable { table, mut config } = file;
        if let Err(invalid) = config.validate() {
            self.invalid("local", &table, &invalid);
        }
        self.resolve_paths(&mut config.tls);
        config
    }

    fn bridges(
        &mut self,
        files: Vec<FileTable<'_, BridgeConfig>>,
        local: Option<&LocalConfig>,
    ) -> Vec<BridgeConfig> {
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        let mut sessions: BTreeMap<String, String> = BTreeMap::new();
        let mut bridges = Vec::new();
        for FileTable { table, mut config } in files {
            if let Err(invalid) = config.validate() {
                self.invalid("bridge", &table, &invalid);
            }
            if local.is_some_and(|local| local.address == config.address) {
                let problem = "must be another broker than that of [local]: one broker cannot have \
                               two sessions with one client identifier";
                self.report.value("bridge.address", locate(&table, "address"), problem);
            }
            let line = self.report.line(&table.span());
            if let Some(first) = lines.insert(config.name.clone(), line) {
                let span = locate(&table, "name");
                let problem = format!("is the name of the bridge on line {first} already");
                self.report.value("bridge.name", span, problem);
            }
            for link in config.links() {
                let client_id = link.client_id();
                let other = sessions.insert(client_id.clone(), config.name.clone());
                if let Some(other) = other.filter(|other| *other != config.name) {
                    let span = locate(&table, "client_id");
                    let problem = format!(
                        "\"{client_id}\" is that of bridge {other} already: at the local broker they would \
                         be one session"
                    );
                    self.report.key("bridge.client_id", span, problem);
                }
            }
            self.resolve_paths(&mut config.tls);
            config.local = local.cloned();
            bridges.push(config);
        }
        bridges
    }

    fn invalid(&mut self, section: &str, table: &Spanned<DeValue<'_>>, invalid: &Invalid) {
        let span = locate(table, &invalid.key);
        let (key, problem) =
            (format!("{section}.{}", invalid.key), format!("must be {}", invalid.expected));
        match invalid.value.as_str() {
            "" => self.report.key(&key, span, problem),
            _ => self.report.value(&key, span, problem),
        }
    }

    fn resolve_paths(&self, tls: &mut Option<TlsConfig>) {
        let Some(tls) = tls else { return };
        let files = [Some(&mut tls.ca_file), tls.cert_file.as_mut(), tls.key_file.as_mut()];
        for file in files.into_iter().flatten() {
            *file = self.base.join(&*file).to_string_lossy().into_owned();
        }
    }

    fn path(&mut self, key: &str, file: &Option<Spanned<String>>) -> Option<PathBuf> {
        let file = file.as_ref()?;
        if file.get_ref().is_empty() {
            self.report.value(key, file.span(), "must be a path");
            return None;
        }
        // Without the "./" that people write, for those who read the path in a message.
        Some(self.base.join(file.get_ref()).components().collect())
    }

    fn required_path(
        &mut self,
        (key, file): (&str, &Option<Spanned<String>>),
        table: Range<usize>,
    ) -> Option<PathBuf> {
        if file.is_none() {
            self.missing(key, table, "the path of a PEM file");
        }
        self.path(key, file)
    }

    /// A key that was taken out of its table for its value is not missing: that has been told.
    fn missing(&mut self, key: &str, span: Range<usize>, expected: &str) {
        if self.report.has(key, &span) {
            return;
        }
        self.report.key(key, span, format!("is missing: must be {expected}"));
    }

    fn int<T: TryFrom<i128> + PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        file: &Option<Spanned<Int>>,
        range: RangeInclusive<T>,
        default: T,
    ) -> T {
        let Some(file) = file else { return default };
        within(file.get_ref().0, &range).unwrap_or_else(|| {
            let problem = format!("must be {} to {}", range.start(), range.end());
            self.report.value(key, file.span(), problem);
            default
        })
    }

    fn bytes<T: TryFrom<i128> + PartialOrd + Into<u64> + Copy>(
        &mut self,
        key: &str,
        file: &Option<Spanned<Bytes>>,
        range: RangeInclusive<T>,
        default: T,
    ) -> T {
        let Some(file) = file else { return default };
        within(file.get_ref().0, &range).unwrap_or_else(|| {
            let [min, max] = [range.start(), range.end()].map(|bound| ShowBytes((*bound).into()));
            self.report.value(key, file.span(), format!("must be {min} to {max}"));
            default
        })
    }
}

fn within<T: TryFrom<i128> + PartialOrd>(value: i128, range: &RangeInclusive<T>) -> Option<T> {
    T::try_from(value).ok().filter(|value| range.contains(value))
}

/// Where the value of `path` stands, such as `topic[2].filter`; the nearest table around it where
/// it is missing.
fn locate(table: &Spanned<DeValue<'_>>, path: &str) -> Range<usize> {
    let mut at = table;
    for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
        let next = match at.get_ref() {
            DeValue::Table(entries) => entries.get(step),
            DeValue::Array(elements) => step.parse().ok().and_then(|n: usize| elements.get(n)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at.span()
}

impl From<FileQueueFull> for QueueFull {
    fn from(file: FileQueueFull) -> Self {
        match file {
            FileQueueFull::Reject => Self::Reject,
            FileQueueFull::DropOldest => Self::DropOldest,
            FileQueueFull::DropNewest => Self::DropNewest,
            FileQueueFull::KeepLastPerTopic => Self::KeepLastPerTopic,
        }
    }
}
