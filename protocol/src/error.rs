//! What can go wrong on the wire: a packet that is refused, a packet that cannot be written.

use core::fmt;

use crate::reason_code::ReasonCode;

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason code to answer with before closing (4.13); 3.1 and 3.1.1 only close.
    pub reason: ReasonCode,
    /// What was wrong: a fixed English phrase that names the packet or property and the field.
    pub what: &'static str,
}

impl DecodeError {
    /// The packet cannot be parsed according to the specification: 0x81.
    #[cold]
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self { reason: ReasonCode::MalformedPacket, what }
    }

    /// The packet parses, and holds what the protocol forbids: 0x82.
    #[cold]
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, what }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.reason)
    }
}

impl core::error::Error for DecodeError {}

/// The packet cannot be written: the buffer has no room for it, a field is longer than its length
/// prefix or the Remaining Length can say, or the packet lacks what its kind needs (a packet
/// identifier above QoS 0, at least one topic filter, a user name beside a 3.1.1 password).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFull;

impl fmt::Display for BufferFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packet does not fit into the buffer or on the wire")
    }
}

impl core::error::Error for BufferFull {}
