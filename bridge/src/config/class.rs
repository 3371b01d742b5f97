//! `[[bridge.class]]`: some topics of a bridge go by a link of their own.

use serde::Deserialize;

use super::{Invalid, require, require_range};
use crate::hours::Hours;

/// The class of the topic tables that name none.
pub const DEFAULT_CLASS: &str = "default";

/// How many classes one bridge may have. Each is a connection of its own.
pub const CLASSES_MAX: usize = 8;

/// How the messages of some topics go. Each class has a session of its own at both brokers, so that
/// what waits in one holds up no other; the order of messages is kept within it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// What topic tables call it by `class`: 1 to 32 characters of `A-Z a-z 0-9 _ -`. Its sessions have
    /// the `client_id` of the bridge with `.` and this name behind it. The name `default` is that of
    /// the tables without a class, whose sessions have the plain `client_id`.
    pub name: String,
    /// 0 to 100: what goes out waits for as long as a class of a higher priority has something to send
    /// that the network does not take.
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// Parts of the day, `HH:MM-HH:MM` in local time, up to 24, outside of which the class has no
    /// connection, and its messages wait. None: always.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Messages a second to the remote broker, at the most; 0: as many as there are.
    #[serde(default)]
    pub messages_per_s: u32,
    /// Bytes a second of PUBLISH packets to the remote broker, before compression, at the most; 0: as
    /// many as there are. A packet larger than that goes, and then nothing until it is paid for.
    #[serde(default)]
    pub bytes_per_s: u32,
    /// While messages from before the link was up are sent: how many of a hundred are new ones
    /// instead, 0 to 99. New messages then overtake old ones of the same topic; 0 keeps the order.
    #[serde(default)]
    pub live_percent: u8,
    /// Whether messages get the user property `outpost-time`, when they came to this broker, and those
    /// from before the link was up `outpost-backlog`. Only where the remote broker speaks 5.0.
    #[serde(default)]
    pub stamp: bool,
}

impl Default for ClassConfig {
    fn default() -> Self {
        Self {
            name: DEFAULT_CLASS.into(),
            priority: default_priority(),
            allow: Vec::new(),
            messages_per_s: 0,
            bytes_per_s: 0,
            live_percent: 0,
            stamp: false,
        }
    }
}

impl ClassConfig {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        require(
            (1..=32).contains(&self.name.len()) && self.name.chars().all(named),
            "name",
            &self.name,
            "1 to 32 characters of A-Z a-z 0-9 _ -",
        )?;
        require_range("priority", self.priority.into(), 0, 100)?;
        require_range("allow", self.allow.len() as u64, 0, 24)?;
        for text in &self.allow {
            let hours = Hours::parse(std::slice::from_ref(text));
            hours.map_err(|no| Invalid {
                key: "allow".into(),
                value: text.clone(),
                expected: no.to_string(),
            })?;
        }
        require_range("live_percent", self.live_percent.into(), 0, 99)
    }

    /// When it may have a connection. The configuration is valid.
    pub fn hours(&self) -> Hours {
        Hours::parse(&self.allow).unwrap_or_default()
    }
}

fn default_priority() -> u8 {
    50
}
