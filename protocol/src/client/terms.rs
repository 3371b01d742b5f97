//! What the CONNACK settled for one connection.

use crate::{ConnAck, QoS};

/// The terms of the connection (3.2.2.3); what the server did not say has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the server went on with the session.
    pub session_present: bool,
    /// How many messages of QoS 1 and 2 may be on their way at once; in 3.x the client's own limit.
    pub receive_maximum: u16,
    /// The largest packet that the server takes, in bytes; `u32::MAX`: it did not name any.
    pub maximum_packet_size: u32,
    /// The highest QoS that may be published.
    pub maximum_qos: QoS,
    /// Whether messages may be retained.
    pub retain_available: bool,
    /// The highest topic alias that may be used; 0: none.
    pub topic_alias_maximum: u16,
    /// The keep-alive in force, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// How long the server keeps the session, in seconds; None: as long as it was asked to.
    pub session_expiry_interval_s: Option<u32>,
    /// Whether subscriptions may have wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have an identifier.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscription_available: bool,
}

impl Terms {
    /// `asked` are the terms as far as the client names them: what holds unless the server says
    /// otherwise.
    pub(super) fn new(conn_ack: &ConnAck<'_>, asked: &Asked) -> Self {
        let said = &conn_ack.properties;
        let is_available = |flag: Option<u8>| flag != Some(0);
        Self {
            session_present: asked.session_present,
            receive_maximum: said.receive_maximum().unwrap_or(asked.receive_maximum),
            maximum_packet_size: said.maximum_packet_size().unwrap_or(u32::MAX),
            maximum_qos: match said.maximum_qos() {
                Some(0) => QoS::AtMostOnce,
                Some(1) => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            retain_available: is_available(said.retain_available()),
            topic_alias_maximum: said.topic_alias_maximum().unwrap_or(0),
            // [MQTT-3.1.2-21]
            keep_alive_s: said.server_keep_alive_s().unwrap_or(asked.keep_alive_s),
            session_expiry_interval_s: said.session_expiry_interval_s(),
            wildcard_subscription_available: is_available(said.wildcard_subscription_available()),
            subscription_identifiers_available: is_available(
                said.subscription_identifiers_available(),
            ),
            shared_subscription_available: is_available(said.shared_subscription_available()),
        }
    }
}

/// What the client takes for granted as long as the server says nothing else.
pub(super) struct Asked {
    pub(super) session_present: bool,
    pub(super) receive_maximum: u16,
    pub(super) keep_alive_s: u16,
}
