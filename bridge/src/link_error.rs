//! Why a link could not be made or did not last, in words for the operator.

use std::fmt;
use std::io;

use outpost_protocol::ReasonCode;

use crate::side::Side;

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A step before MQTT failed: looking the name up, TCP, the proxy, TLS, WebSocket, or the door of
    /// the local broker.
    #[error("{phase} failed: {what}")]
    Transport {
        /// Which step.
        phase: Phase,
        /// What went wrong, with the name or address.
        what: String,
    },
    /// A step took too long.
    #[error("{phase} failed: {peer}: no answer within {limit_s} s")]
    TimedOut {
        /// Which step.
        phase: Phase,
        /// The name or address that the step was taken with.
        peer: String,
        /// The time allowed, in seconds.
        limit_s: u64,
    },
    /// CONNACK with an error.
    #[error("{side} refused CONNECT: {reason}")]
    Refused {
        /// Who refused.
        side: Side,
        /// The reason given.
        reason: ReasonCode,
    },
    /// The connection ended without DISCONNECT.
    #[error("{side} closed the connection{}", if *.connecting { " before CONNACK" } else { "" })]
    Closed {
        /// Who closed it.
        side: Side,
        /// Whether CONNACK had not come yet.
        connecting: bool,
    },
    /// DISCONNECT from a broker.
    #[error("{side} disconnected: {reason}")]
    Disconnected {
        /// Who disconnected.
        side: Side,
        /// The reason given.
        reason: ReasonCode,
    },
    /// Reading or writing failed.
    #[error("the connection to the {side} failed: {what}")]
    Io {
        /// Which connection.
        side: Side,
        /// The error of the operating system or of TLS.
        what: String,
    },
    /// A broker sent what MQTT does not allow, or what was not asked for.
    #[error("{side} broke the protocol: {what}")]
    Protocol {
        /// Who did.
        side: Side,
        /// What it sent.
        what: String,
    },
    /// A message was refused for now: it stays where it is and is sent again.
    #[error("{side} cannot take a message now ({reason}), topic \"{topic}\"")]
    Busy {
        /// Who refused it.
        side: Side,
        /// The reason given.
        reason: ReasonCode,
        /// The topic at the end that the message came from; empty where it is not known any more.
        topic: String,
    },
    /// PINGREQ was not answered.
    #[error("{0} did not answer PINGREQ")]
    PingTimeout(Side),
    /// Messages wait for acknowledgements, and none came.
    #[error("no acknowledgement from the {side} for {limit_s} s while messages wait for it")]
    AckTimeout {
        /// Who should have acknowledged.
        side: Side,
        /// The time allowed, in seconds.
        limit_s: u64,
    },
    /// SUBSCRIBE was not answered.
    #[error("{side} did not answer SUBSCRIBE for {limit_s} s")]
    SubscribeTimeout {
        /// Who should have answered.
        side: Side,
        /// The time allowed, in seconds.
        limit_s: u64,
    },
    /// Bytes wait to be written, and none were taken.
    #[error("{side} took no bytes for {limit_s} s")]
    WriteStalled {
        /// Who took none.
        side: Side,
        /// The time allowed, in seconds.
        limit_s: u64,
    },
    /// More waits to be written than the bridge keeps in memory.
    #[error("{0} takes bytes too slowly while both brokers wait to send")]
    Overflow(Side),
    /// The preferred address can be reached again.
    #[error("the first address can be reached again")]
    FailBack,
    /// Its class may have no connection at this time of the day.
    #[error("its hours are over")]
    OutsideHours,
    /// The local broker allows less than was announced to the remote one; the next attempt knows.
    #[error("the local broker's limits were not known yet")]
    LimitsLearned,
}

impl LinkError {
    /// What kind of failure it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            LinkError::Transport { phase, .. } => match phase {
                Phase::Dns => "dns",
                Phase::Tcp => "tcp",
                Phase::Proxy => "proxy",
                Phase::Tls => "tls",
                Phase::WebSocket => "websocket",
                Phase::Connect => "connect",
                Phase::Local => "local",
            },
            LinkError::TimedOut { .. }
            | LinkError::PingTimeout(_)
            | LinkError::AckTimeout { .. }
            | LinkError::SubscribeTimeout { .. }
            | LinkError::WriteStalled { .. } => "timeout",
            LinkError::Refused { .. } => "refused",
            LinkError::Closed { .. } => "closed",
            LinkError::Disconnected { .. } => "disconnected",
            LinkError::Io { .. } => "io",
            LinkError::Protocol { .. } => "protocol",
            LinkError::Busy { .. } => "busy",
            LinkError::Overflow(_) => "overflow",
            LinkError::OutsideHours => "hours",
            LinkError::LimitsLearned => "limits",
            LinkError::FailBack => "failback",
        }
    }

    /// The end whose connection does not work any more.
    pub(crate) fn broken_side(&self) -> Option<Side> {
        match *self {
            LinkError::Closed { side, .. }
            | LinkError::Disconnected { side, .. }
            | LinkError::Io { side, .. }
            | LinkError::WriteStalled { side, .. }
            | LinkError::PingTimeout(side)
            | LinkError::Overflow(side) => Some(side),
            _ => None,
        }
    }
}

/// The steps of making a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the address of a host name.
    Dns,
    /// Connecting by TCP.
    Tcp,
    /// Asking the proxy for the way on.
    Proxy,
    /// The TLS handshake, and the files that it needs.
    Tls,
    /// The WebSocket handshake.
    WebSocket,
    /// CONNECT until CONNACK.
    Connect,
    /// Opening the local broker's own door.
    Local,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dns => "DNS",
            Phase::Tcp => "TCP",
            Phase::Proxy => "proxy",
            Phase::Tls => "TLS",
            Phase::WebSocket => "WebSocket",
            Phase::Connect => "CONNECT",
            Phase::Local => "connecting to the local broker",
        })
    }
}

/// What the system says of a failed call, without the number that std appends.
pub(crate) fn io_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
