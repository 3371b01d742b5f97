//! What the operator says about one bridge: `[[bridge]]` in the broker's configuration, or in a file
//! for bridges alone, with `[local]`.
//!
//! [`BridgeConfig`] is the form in the file; [`BridgeConfig::validate`] refuses what has no meaning
//! and names key, value and what would be right. Nothing here looks at the network or at files.

mod class;

use std::collections::BTreeMap;
use std::fmt;

use outpost_protocol::{ProtocolVersion, QoS, TopicFilter};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};

use crate::mapping::Mapping;
use crate::side::Side;
use crate::template::{Template, TemplateFault, is_name};

pub use class::{CLASSES_MAX, ClassConfig, DEFAULT_CLASS};

/// One bridge: a link to another MQTT broker, and what goes over it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// The name of the bridge in logs and status: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// Where the remote broker listens: `host:port`, `192.0.2.1:1883` or `[2001:db8::1]:1883`. A
    /// name is looked up anew for each connection.
    pub address: String,
    /// Further addresses, up to 15, for when that one cannot be reached.
    #[serde(default)]
    pub fallback_addresses: Vec<String>,
    /// Which of several addresses is used.
    #[serde(default)]
    pub address_policy: AddressPolicy,
    /// Seconds for which the first address has to be reachable again before a link by another one is
    /// given up for it, 3 to 86400.
    #[serde(default = "default_failback_after_s")]
    pub failback_after_s: u32,
    /// The client identifier at both brokers; `outpost-<name>` where it is not given. The sessions
    /// belong to it: a new identifier leaves the old sessions, with what waits in them, behind.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The MQTT version spoken with the remote broker.
    #[serde(default)]
    pub version: MqttVersion,
    /// The user name for the remote broker.
    #[serde(default)]
    pub user_name: Option<String>,
    /// The password for the remote broker.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Seconds without traffic after which the remote broker is pinged, 1 to 65535.
    #[serde(default = "default_keep_alive_s")]
    pub keep_alive_s: u16,
    /// TLS towards the remote broker; plain TCP where it is not given.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// MQTT over WebSocket, and with `tls` over secure WebSocket (wss); without it where it is not given.
    #[serde(default)]
    pub websocket: Option<WebSocketConfig>,
    /// An HTTP proxy that makes the connection to the remote broker, and looks its name up.
    #[serde(default)]
    pub proxy: Option<ProxyConfig>,
    /// QoS 1 and 2 messages unacknowledged in each direction, 1 to 1000; less where a broker allows
    /// less. Towards a broker that speaks 3.1.1, and so cannot say what it allows, at most 20:
    /// Mosquitto closes the connection at the 21st.
    #[serde(default = "default_inflight_max")]
    pub inflight_max: u16,
    /// The highest QoS that the remote broker is sent, 1 or 2: for one that takes no QoS 2 and cannot
    /// say so in 3.1.1.
    #[serde(default = "default_maximum_qos")]
    pub maximum_qos: u8,
    /// The largest packet forwarded, in bytes with its header and with the longer of its two topics,
    /// 1024 to 268435455. A broker that speaks 5.0 is told; from one that speaks 3.1.1 a larger packet
    /// ends the connection.
    #[serde(default = "default_packet_bytes_max")]
    pub packet_bytes_max: u32,
    /// Milliseconds until the first attempt to reconnect, 10 to 3600000.
    #[serde(default = "default_reconnect_min_ms")]
    pub reconnect_min_ms: u64,
    /// The longest wait between two attempts, in milliseconds, `reconnect_min_ms` to 86400000. Each
    /// wait is varied by up to a quarter either way.
    #[serde(default = "default_reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// Seconds without any acknowledgement, or without a byte taken by the other side while some
    /// wait, after which the link is given up and made anew, 1 to 3600.
    #[serde(default = "default_ack_timeout_s")]
    pub ack_timeout_s: u16,
    /// How the bytes are compressed where the remote broker is an Outpost that takes it. Another broker
    /// gets plain MQTT. See [`crate::compression`], also for when not to.
    #[serde(default)]
    pub compression: Compression,
    /// How hard zstd tries, 1 to 19: more CPU, and little to gain with small messages.
    #[serde(default = "default_compression_level")]
    pub compression_level: i32,
    /// How long small outputs to the remote broker may be gathered before they are written, in
    /// milliseconds; 0: not at all. Up to 60000, and to half of `keep_alive_s`. For links that are paid
    /// or woken by the packet: fewer and fuller ones, and more to compress at once. At most
    /// `inflight_max` messages of QoS 1 and 2 go in one such time; 16 KiB never wait.
    #[serde(default)]
    pub batch_delay_ms: u32,
    /// How many topics may have an alias of two bytes in each direction, where the remote broker speaks
    /// 5.0 and takes as many, 0 to 1000. Worst case of memory: twice as many topics.
    #[serde(default = "default_topic_alias_max")]
    pub topic_alias_max: u16,
    /// Whether a remote broker of another make gets the user property `outpost-origin` with each
    /// message: 60 bytes that stop loops through it. Other Outposts always get it.
    #[serde(default = "default_origin")]
    pub origin: bool,
    /// Whether only that is sent for which the remote broker has subscribers, offline ones included, where
    /// it is an Outpost and says so. See [`crate::interest`].
    #[serde(default)]
    pub interest: bool,
    /// A topic at the remote broker that is told whether the link is up: `1` retained, and `0` by the will
    /// and before each end in order, as Mosquitto's bridges do on
    /// `$SYS/broker/connection/{client_id}/state`. None: nothing is told. Another Outpost tells that topic
    /// by itself, and so does this one.
    #[serde(default)]
    pub notification_topic: Option<String>,
    /// Names for use as `{name}` in `from`, `to`, prefixes and `notification_topic`, such as `{ site = "plant7" }`. Two are
    /// there always: `{bridge}`, its name, and `{client_id}`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Topics that go by links of their own, up to [`CLASSES_MAX`] classes.
    #[serde(default)]
    pub class: Vec<ClassConfig>,
    /// What is forwarded, 1 to [`TOPICS_MAX`] tables. The first that fits a topic decides.
    #[serde(default)]
    pub topic: Vec<TopicConfig>,
    /// The local broker, where the bridge does not run inside it. Not a key of the bridge: the file has
    /// one for all bridges.
    #[serde(skip)]
    pub local: Option<LocalConfig>,
    /// Which class this is a link of; see [`Self::links`].
    #[serde(skip)]
    pub link_class: Option<String>,
}

/// A local broker of any make that is reached over the network: `[local]`. What it is to a bridge, the
/// remote broker is, too: both sessions are called `client_id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// Where it listens, in the form of [`BridgeConfig::address`].
    pub address: String,
    /// The MQTT version spoken with it.
    #[serde(default)]
    pub version: MqttVersion,
    /// The user name.
    #[serde(default)]
    pub user_name: Option<String>,
    /// The password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// TLS; plain TCP where it is not given.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
}

/// How many `topic` tables one bridge may have.
pub const TOPICS_MAX: usize = 1000;

/// The MQTT version spoken with a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MqttVersion {
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// Which of several addresses is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressPolicy {
    /// The first that can be reached, and the very first again as soon as it is stable.
    #[default]
    Failover,
    /// Each link by the next one.
    RoundRobin,
}

/// What is done to the bytes between two Outposts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// One zstd stream in each direction.
    #[default]
    Zstd,
    /// Nothing.
    None,
}

/// TLS towards the remote broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file with the certificates of the authorities that are trusted. There is no default:
    /// a gateway trusts the authority of its own site and no other.
    pub ca_file: String,
    /// A PEM file with the client certificate, followed by its chain.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// A PEM file with the private key of the client certificate.
    #[serde(default)]
    pub key_file: Option<String>,
    /// The name that the certificate of the remote broker must bear; the host of `address` where it
    /// is not given.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Protocols to name in the handshake (ALPN), up to 8 of 1 to 255 bytes: cloud brokers that listen on
    /// port 443 ask for one, such as `mqtt` or `x-amzn-mqtt-ca`.
    #[serde(default)]
    pub alpn: Vec<String>,
}

/// MQTT over WebSocket towards the remote broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketConfig {
    /// Where the remote broker speaks MQTT: a path that begins with `/`, with its query if there is one,
    /// up to 4096 bytes.
    #[serde(default = "default_websocket_path")]
    pub path: String,
    /// Headers to send with the request, up to 32, such as `Authorization`. The values, up to 8192 bytes
    /// each, are kept out of logs. Those that the handshake itself has cannot be given.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self { path: default_websocket_path(), headers: BTreeMap::new() }
    }
}

/// An HTTP proxy, asked by CONNECT. What is between it and the bridge is not encrypted by it: TLS goes
/// through it to the remote broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where the proxy listens, in the form of [`BridgeConfig::address`].
    pub address: String,
    /// The user name for the proxy (Basic), up to 255 bytes without colons.
    #[serde(default)]
    pub user_name: Option<String>,
    /// The password for the proxy, up to 255 bytes. Who sees the bytes between bridge and proxy sees it.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// One rule of what is forwarded. The local topic is `local_prefix` + name, the remote one
/// `remote_prefix` + name, where the name fits `filter`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicConfig {
    /// The topic filter, without the prefixes. It may be empty where both prefixes are given: then
    /// the one topic `local_prefix` is the one topic `remote_prefix`. Not beside `from`.
    #[serde(default)]
    pub filter: String,
    /// In place of `filter` and prefixes: which topics, at the end that they come from (with direction
    /// `both`: the local one), with captures `+name` and `#name`. See [`crate::template`].
    #[serde(default)]
    pub from: String,
    /// What they are called at the other end, with `{name}` for captures and variables.
    #[serde(default)]
    pub to: String,
    /// What does not go by this rule although it fits, up to 100 filters: of local topics in full with
    /// `from`, without the prefixes with `filter`. A later rule may take it.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What becomes of the RETAIN flag.
    #[serde(default)]
    pub retain: RetainRule,
    /// Which of the classes of the bridge they are of; see [`ClassConfig`].
    #[serde(default)]
    pub class: Option<String>,
    /// Which way the messages go.
    pub direction: Direction,
    /// The highest QoS used, 0 to 2.
    #[serde(default = "default_qos")]
    pub qos: u8,
    /// What local topics begin with; joined as it stands, so that it usually ends in `/`.
    #[serde(default)]
    pub local_prefix: String,
    /// What remote topics begin with; joined as it stands, so that it usually ends in `/`.
    #[serde(default)]
    pub remote_prefix: String,
}

/// What becomes of the RETAIN flag of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetainRule {
    /// It goes along.
    #[default]
    Keep,
    /// The other end retains nothing.
    Clear,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the local broker to the remote one.
    Out,
    /// From the remote broker to the local one.
    In,
    /// Both ways.
    Both,
}

/// A text that is not shown in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<MqttVersion> for ProtocolVersion {
    fn from(version: MqttVersion) -> Self {
        match version {
            MqttVersion::V5 => Self::V5,
            MqttVersion::V311 => Self::V311,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What is wrong in the configuration of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, within the table of the bridge: `keep_alive_s`, `tls.key_file`, `topic[2].filter`
    /// (counted from 0).
    pub key: String,
    /// The value found, as the file has it; empty where a key is missing.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\": expected {}", self.key, self.value, self.expected)
    }
}

impl std::error::Error for Invalid {}

impl BridgeConfig {
    /// Checks every value and what the values mean together.
    ///
    /// # Errors
    /// The first value that cannot be used, in the order of the keys.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_identity()?;
        self.validate_times_and_bounds()?;
        if let Some(tls) = &self.tls {
            tls.validate()?;
        }
        if let Some(websocket) = &self.websocket {
            websocket.validate()?;
        }
        if let Some(proxy) = &self.proxy {
            proxy.validate()?;
        }
        if let Some(topic) = self.notification_topic() {
            let is_fine = (1..=1024).contains(&topic.len()) && !topic.contains(['+', '#', '\0']);
            require(is_fine, "notification_topic", &topic, "a topic without wildcards")?;
        }
        self.validate_classes()?;
        self.validate_topics()
    }

    /// [`Self::maximum_qos`], as it is spoken of.
    pub(crate) fn maximum_qos(&self) -> QoS {
        QoS::try_from(self.maximum_qos).unwrap_or(QoS::ExactlyOnce)
    }

    /// The client identifier at both brokers.
    pub fn client_id(&self) -> String {
        let base = self.base_client_id();
        match self.class_suffix() {
            Some(class) => format!("{base}.{class}"),
            None => base,
        }
    }

    /// The name of the link in logs and status: that of the bridge, with `.` and the class behind it
    /// where that is not the default one.
    pub fn link_name(&self) -> String {
        match self.class_suffix() {
            Some(class) => format!("{}.{class}", self.name),
            None => self.name.clone(),
        }
    }

    fn base_client_id(&self) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("outpost-{}", self.name))
    }

    fn class_suffix(&self) -> Option<&str> {
        self.link_class.as_deref().filter(|class| *class != DEFAULT_CLASS)
    }

    /// The links that this bridge is made of, one for each class that has topics. Each is run as a
    /// bridge of its own ([`crate::run`]), knows the rules of all, and takes those of its class.
    pub fn links(&self) -> Vec<Self> {
        let mut classes: Vec<&str> = self.topic.iter().map(TopicConfig::class).collect();
        classes.sort_unstable();
        classes.dedup();
        let link = |class: &str| Self { link_class: Some(class.to_owned()), ..self.clone() };
        classes.into_iter().map(link).collect()
    }

    /// How the messages of this link go.
    pub fn own_class(&self) -> ClassConfig {
        let own = self.link_class.as_deref().unwrap_or(DEFAULT_CLASS);
        self.find_class(own).cloned().unwrap_or_default()
    }

    /// A class that is configured.
    pub fn find_class(&self, name: &str) -> Option<&ClassConfig> {
        self.class.iter().find(|class| class.name == name)
    }

    /// The rules of this link, or of all of them where this is not one of [`Self::links`].
    pub fn mapping(&self) -> Mapping {
        let mapping = Mapping::of_class(&self.topics(), self.link_class.as_deref());
        if self.local.is_none() { mapping.with_local_narrowed() } else { mapping }
    }

    /// The subscriptions of the local session: each local filter that goes out, with its QoS. The
    /// local broker can hold messages for them before the first link is up.
    pub fn local_subscriptions(&self) -> impl Iterator<Item = (String, u8)> {
        let rules = self.mapping().rules(Side::Local).to_vec();
        rules.into_iter().map(|rule| (rule.filter().to_owned(), rule.qos() as u8))
    }

    /// The topic by which the remote broker is told whether this link is up.
    pub fn notification_topic(&self) -> Option<String> {
        let topic = self.notification_topic.as_ref()?;
        Some(self.put_in(topic, &self.client_id()))
    }

    /// A text with the variables put in.
    fn put_in(&self, text: &str, client_id: &str) -> String {
        let own = [("bridge", self.name.as_str()), ("client_id", client_id)];
        let variables = self.variables.iter().map(|(name, value)| (&**name, &**value));
        own.into_iter().chain(variables).fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }

    /// The rules, with the variables put in.
    pub fn topics(&self) -> Vec<TopicConfig> {
        let client_id = self.base_client_id();
        let put_in = |text: &str| self.put_in(text, &client_id);
        let topic = |topic: &TopicConfig| TopicConfig {
            from: put_in(&topic.from),
            to: put_in(&topic.to),
            local_prefix: put_in(&topic.local_prefix),
            remote_prefix: put_in(&topic.remote_prefix),
            ..topic.clone()
        };
        self.topic.iter().map(topic).collect()
    }

    /// The host of `address`, without the brackets of an IPv6 address; `None` where `address` is
    /// not valid.
    pub fn host(&self) -> Option<&str> {
        host_of(&self.address)
    }

    /// The port of `address`; `None` where `address` is not valid.
    pub fn port(&self) -> Option<u16> {
        split_address(&self.address).map(|(_, port)| port)
    }

    fn validate_identity(&self) -> Result<(), Invalid> {
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        require(
            (1..=64).contains(&self.name.len()) && self.name.chars().all(named),
            "name",
            &self.name,
            "1 to 64 characters of A-Z a-z 0-9 _ -",
        )?;
        require_address("address", &self.address)?;
        require_range("fallback_addresses", self.fallback_addresses.len() as u64, 0, 15)?;
        for address in &self.fallback_addresses {
            require_address("fallback_addresses", address)?;
        }
        require_range("failback_after_s", self.failback_after_s.into(), 3, 86_400)?;
        if let Some(client_id) = &self.client_id {
            require(
                (1..=256).contains(&client_id.len()) && !client_id.contains('\0'),
                "client_id",
                client_id,
                "1 to 256 bytes without U+0000",
            )?;
        }
        require_user(self.user_name.as_deref(), self.password.as_ref(), self.version)
    }

    fn validate_times_and_bounds(&self) -> Result<(), Invalid> {
        require_range("keep_alive_s", self.keep_alive_s.into(), 1, 65_535)?;
        let level = u64::try_from(self.compression_level).unwrap_or(0);
        require_range("compression_level", level, 1, 19)?;
        require_range("inflight_max", self.inflight_max.into(), 1, 1000)?;
        require_range("maximum_qos", self.maximum_qos.into(), 1, 2)?;
        require_range("packet_bytes_max", self.packet_bytes_max.into(), 1024, 268_435_455)?;
        require_range("reconnect_min_ms", self.reconnect_min_ms, 10, 3_600_000)?;
        let delay_max_ms = longest_batch_delay_ms(self.keep_alive_s);
        let expected = format!("0 to {delay_max_ms}");
        let is_short = u64::from(self.batch_delay_ms) <= delay_max_ms;
        require(is_short, "batch_delay_ms", &self.batch_delay_ms.to_string(), &expected)?;
        require_range("topic_alias_max", self.topic_alias_max.into(), 0, 1000)?;
        let min_ms = self.reconnect_min_ms;
        require_range("reconnect_max_ms", self.reconnect_max_ms, min_ms, 86_400_000)?;
        require_range("ack_timeout_s", self.ack_timeout_s.into(), 1, 3600)
    }

    fn validate_classes(&self) -> Result<(), Invalid> {
        require_range("class", self.class.len() as u64, 0, CLASSES_MAX as u64)?;
        for (index, class) in self.class.iter().enumerate() {
            let within = |invalid: Invalid| Invalid {
                key: format!("class[{index}].{}", invalid.key),
                ..invalid
            };
            class.validate().map_err(within)?;
            let is_first = self.class[..index].iter().all(|other| other.name != class.name);
            require(is_first, "name", &class.name, "a name that no other class has")
                .map_err(within)?;
            let is_used = self.topic.iter().any(|topic| topic.class() == class.name);
            require(is_used, "name", &class.name, "a class that a topic table names")
                .map_err(within)?;
        }
        for (index, topic) in self.topic.iter().enumerate() {
            let is_known =
                topic.class() == DEFAULT_CLASS || self.find_class(topic.class()).is_some();
            let key = format!("topic[{index}].class");
            require(is_known, &key, topic.class(), "the name of a class of this bridge")?;
        }
        Ok(())
    }

    fn validate_topics(&self) -> Result<(), Invalid> {
        require(
            (1..=TOPICS_MAX).contains(&self.topic.len()),
            "topic",
            &format!("{} tables", self.topic.len()),
            "1 to 1000 tables",
        )?;
        require_range("variables", self.variables.len() as u64, 0, 100)?;
        for (name, value) in &self.variables {
            let is_fine = is_name(name)
                && value.len() <= 256
                && !value.contains(['+', '#', '{', '}', '\0'])
                && name != "bridge"
                && name != "client_id";
            let key = format!("variables.{name}");
            require(is_fine, &key, value, "a name of a-z A-Z 0-9 _, and a value without + # { }")?;
        }
        for (index, topic) in self.topics().iter().enumerate() {
            topic.validate().map_err(|invalid| Invalid {
                key: format!("topic[{index}].{}", invalid.key),
                ..invalid
            })?;
        }
        Ok(())
    }
}

impl LocalConfig {
    /// Checks every value and what the values mean together.
    ///
    /// # Errors
    /// The first value that cannot be used, in the order of the keys.
    pub fn validate(&self) -> Result<(), Invalid> {
        require_address("address", &self.address)?;
        require_user(self.user_name.as_deref(), self.password.as_ref(), self.version)?;
        self.tls.as_ref().map_or(Ok(()), TlsConfig::validate)
    }
}

impl TlsConfig {
    fn validate(&self) -> Result<(), Invalid> {
        require(!self.ca_file.is_empty(), "tls.ca_file", "", "a PEM file")?;
        require(
            self.cert_file.is_none() || self.key_file.is_some(),
            "tls.key_file",
            "",
            "the private key that belongs to cert_file",
        )?;
        require(
            self.key_file.is_none() || self.cert_file.is_some(),
            "tls.cert_file",
            "",
            "the certificate that belongs to key_file",
        )?;
        require_range("tls.alpn", self.alpn.len() as u64, 0, 8)?;
        for protocol in &self.alpn {
            let is_fine = (1..=255).contains(&protocol.len());
            require(is_fine, "tls.alpn", protocol, "names of 1 to 255 bytes")?;
        }
        let server_name = self.server_name.as_deref();
        require(server_name != Some(""), "tls.server_name", "", "a host name or an IP address")
    }
}

impl WebSocketConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let is_path = self.path.starts_with('/')
            && self.path.len() <= 4096
            && PathAndQuery::try_from(&self.path).is_ok_and(|parsed| parsed.as_str() == self.path);
        let expected = "a path that begins with /, up to 4096 bytes, without spaces and #";
        require(is_path, "websocket.path", &self.path, expected)?;
        require_range("websocket.headers", self.headers.len() as u64, 0, 32)?;
        for (name, value) in &self.headers {
            let key = format!("websocket.headers.{name}");
            let is_free =
                HeaderName::try_from(name).is_ok_and(|name| !OF_HANDSHAKE.contains(&name));
            require(is_free, &key, "", "the name of a header that the handshake does not have")?;
            let value = value.reveal();
            let is_fine = value.len() <= 8192 && HeaderValue::try_from(value).is_ok();
            require(is_fine, &key, "(hidden)", "up to 8192 bytes without control characters")?;
        }
        Ok(())
    }
}

/// The headers that the handshake of WebSocket has itself, or must not have.
const OF_HANDSHAKE: [HeaderName; 10] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_ACCEPT,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

impl ProxyConfig {
    fn validate(&self) -> Result<(), Invalid> {
        require_address("proxy.address", &self.address)?;
        let is_fine = |text: &str| text.len() <= 255 && !text.contains(char::is_control);
        if let Some(user_name) = &self.user_name {
            let is_fine = is_fine(user_name) && !user_name.contains(':');
            let expected = "up to 255 bytes without colons and control characters";
            require(is_fine, "proxy.user_name", user_name, expected)?;
        }
        let Some(password) = &self.password else { return Ok(()) };
        let expected = "up to 255 bytes without control characters";
        require(is_fine(password.reveal()), "proxy.password", "(hidden)", expected)?;
        let has_user = self.user_name.is_some();
        require(has_user, "proxy.password", "(hidden)", "a user_name beside it")
    }
}

impl TopicConfig {
    /// The filter at the local broker.
    pub fn local_filter(&self) -> String {
        format!("{}{}", self.local_prefix, self.filter)
    }

    /// The filter at the remote broker.
    pub fn remote_filter(&self) -> String {
        format!("{}{}", self.remote_prefix, self.filter)
    }

    /// Which class it is of.
    pub fn class(&self) -> &str {
        self.class.as_deref().unwrap_or(DEFAULT_CLASS)
    }

    /// A rule with all else at its default.
    pub fn new(filter: &str, direction: Direction) -> Self {
        Self {
            filter: filter.into(),
            direction,
            class: None,
            from: String::new(),
            to: String::new(),
            exclude: Vec::new(),
            retain: RetainRule::Keep,
            qos: default_qos(),
            local_prefix: String::new(),
            remote_prefix: String::new(),
        }
    }

    fn validate(&self) -> Result<(), Invalid> {
        require(self.qos <= 2, "qos", &self.qos.to_string(), "0, 1 or 2")?;
        require_range("exclude", self.exclude.len() as u64, 0, 100)?;
        for filter in &self.exclude {
            require(is_filter(filter), "exclude", filter, "a topic filter")?;
        }
        if !self.from.is_empty() || !self.to.is_empty() {
            return self.validate_template();
        }
        let is_said = !self.local_filter().is_empty() || !self.remote_filter().is_empty();
        require(is_said, "filter", "", "a topic filter, or from and to")?;
        for (key, prefix) in
            [("local_prefix", &self.local_prefix), ("remote_prefix", &self.remote_prefix)]
        {
            require(!prefix.contains(['+', '#', '\0']), key, prefix, "no wildcards and no U+0000")?;
        }
        require(
            self.filter.is_empty() || is_filter(&self.filter),
            "filter",
            &self.filter,
            "a topic filter: + and # alone between slashes, # last",
        )?;
        for joined in [self.local_filter(), self.remote_filter()] {
            require(
                is_filter(&joined) && !joined.starts_with("$share/"),
                "filter",
                &joined,
                "prefix and filter joined to be a topic filter that is not shared \
                 (does the prefix lack its final slash?)",
            )?;
        }
        Ok(())
    }
}

impl TopicConfig {
    fn validate_template(&self) -> Result<(), Invalid> {
        let alone = "nothing beside from and to";
        for (key, value) in [
            ("filter", &self.filter),
            ("local_prefix", &self.local_prefix),
            ("remote_prefix", &self.remote_prefix),
        ] {
            require(value.is_empty(), key, value, alone)?;
        }
        let wrong = |fault: TemplateFault| {
            let value = if fault.key == "from" { &self.from } else { &self.to };
            Invalid { key: fault.key.into(), value: value.clone(), expected: fault.expected }
        };
        let template = Template::parse(&self.from, &self.to).map_err(wrong)?;
        let is_fine = is_filter(&template.filter()) && !template.filter().starts_with("$share/");
        require(is_fine, "from", &self.from, "a topic filter that is not shared")?;
        require(!self.to.is_empty() && self.to.len() <= 1024, "to", &self.to, "a topic")?;
        if self.direction == Direction::Both {
            template.reversed().map_err(wrong)?;
        }
        Ok(())
    }
}

const MQTT_STRING_MAX: usize = 65_535;

fn is_filter(text: &str) -> bool {
    TopicFilter::new(text).is_ok()
}

/// The host of an address, without the brackets of an IPv6 address.
pub(crate) fn host_of(address: &str) -> Option<&str> {
    split_address(address).map(|(host, _)| host)
}

fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port: u16 = port.parse().ok()?;
    let hostable = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '[' | ']');
    (port != 0 && !bare.is_empty() && bare.chars().all(hostable)).then_some((bare, port))
}

fn require(holds: bool, key: &str, value: &str, expected: &str) -> Result<(), Invalid> {
    if holds {
        return Ok(());
    }
    Err(Invalid { key: key.into(), value: value.into(), expected: expected.into() })
}

fn require_address(key: &str, address: &str) -> Result<(), Invalid> {
    let expected = "host:port, with an IPv6 address in brackets and a port of 1 to 65535";
    require(split_address(address).is_some(), key, address, expected)
}

fn require_user(
    user_name: Option<&str>,
    password: Option<&Secret>,
    version: MqttVersion,
) -> Result<(), Invalid> {
    let is_fine = |name: &str| name.len() <= MQTT_STRING_MAX && !name.contains('\0');
    let name = user_name.unwrap_or_default();
    require(is_fine(name), "user_name", name, "up to 65535 bytes without U+0000")?;
    let Some(password) = password else { return Ok(()) };
    let is_fine = password.reveal().len() <= MQTT_STRING_MAX;
    require(is_fine, "password", "(hidden)", "up to 65535 bytes")?;
    // [MQTT-3.1.2-22] of 3.1.1; MQTT 5.0 allows a password alone.
    require(
        user_name.is_some() || version == MqttVersion::V5,
        "password",
        "(hidden)",
        "a user_name beside it, because version = \"3.1.1\" has no password alone",
    )
}

fn require_range(key: &str, value: u64, min: u64, max: u64) -> Result<(), Invalid> {
    let holds = (min..=max).contains(&value);
    require(holds, key, &value.to_string(), &format!("{min} to {max}"))
}

fn default_keep_alive_s() -> u16 {
    60
}

fn default_maximum_qos() -> u8 {
    2
}

fn default_inflight_max() -> u16 {
    1000
}

fn default_packet_bytes_max() -> u32 {
    1024 * 1024
}

fn default_reconnect_min_ms() -> u64 {
    1000
}

fn default_reconnect_max_ms() -> u64 {
    60_000
}

fn default_ack_timeout_s() -> u16 {
    60
}

fn default_topic_alias_max() -> u16 {
    100
}

/// A broker must hear from the bridge in time, what is held back included.
pub(crate) fn longest_batch_delay_ms(keep_alive_s: u16) -> u64 {
    (u64::from(keep_alive_s) * 500).min(60_000)
}

fn default_websocket_path() -> String {
    "/mqtt".to_owned()
}

fn default_failback_after_s() -> u32 {
    60
}

fn default_compression_level() -> i32 {
    crate::compression::DEFAULT_LEVEL
}

fn default_origin() -> bool {
    true
}

fn default_qos() -> u8 {
    1
}

#[cfg(test)]
mod tests;
