//! The protocol versions that a connection can speak.

/// The version that a CONNECT asks for by its protocol name and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// The protocol level (5.0: protocol version) as CONNECT writes it.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name as CONNECT writes it [MQTT-3.1.2-1].
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Whether packets of this version carry properties and reason codes.
    #[inline]
    pub(crate) const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}
