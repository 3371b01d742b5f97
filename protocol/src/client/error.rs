//! What can go wrong in the client: with one request, or with the whole connection.

use core::fmt;

use crate::{DecodeError, ReasonCode, TopicError};

/// Why a request was not taken. Nothing was changed and the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// It can only be sent on a connection that the server has accepted.
    NotConnected,
    /// A buffer or table is full for now. Write what there is to be written and handle what comes
    /// in, then try again.
    Full,
    /// The packet is larger than the buffer that would hold it, or than the server takes, or one of
    /// its fields is longer than 65,535 bytes. It will never fit.
    TooLarge,
    /// The topic name or a topic filter is not a valid one.
    Topic(TopicError),
    /// No topic filter was given [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    NoFilter,
    /// A topic alias with QoS 1 or 2 (such a message may have to be sent on another connection), or
    /// one that the server did not allow [MQTT-3.3.2-9].
    TopicAlias,
    /// The options hold a property that the client sets itself (Maximum Packet Size, Session Expiry
    /// Interval), or a Receive Maximum that is greater than the capacity of the client.
    Property,
    /// The server takes no messages of this QoS [MQTT-3.2.2-11].
    QoSNotSupported,
    /// The server takes no retained messages [MQTT-3.2.2-14].
    RetainNotSupported,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected"),
            Self::Full => f.write_str("no room until something is written or acknowledged"),
            Self::TooLarge => f.write_str("the packet is too large"),
            Self::Topic(error) => error.fmt(f),
            Self::NoFilter => f.write_str("no topic filter given"),
            Self::TopicAlias => f.write_str("this topic alias cannot be used"),
            Self::Property => f.write_str("a property that the client sets itself"),
            Self::QoSNotSupported => f.write_str("the server does not support this QoS"),
            Self::RetainNotSupported => {
                f.write_str("the server does not support retained messages")
            }
        }
    }
}

impl core::error::Error for RequestError {}

/// Why the connection must end. The session is kept; write what is left to be written (a DISCONNECT
/// where MQTT 5.0 wants one), close the transport, and call `handle_closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// The server sent something that it must not send, or that this client cannot take.
    Protocol(DecodeError),
    /// No CONNACK came in time.
    ConnAckTimeout,
    /// No answer to a PINGREQ came in time (3.1.2.10).
    KeepAliveTimeout,
}

impl ConnectionError {
    /// The reason code that the server is told.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Protocol(error) => error.reason,
            Self::ConnAckTimeout | Self::KeepAliveTimeout => ReasonCode::UnspecifiedError,
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::ConnAckTimeout => f.write_str("the server did not answer the CONNECT in time"),
            Self::KeepAliveTimeout => f.write_str("the server did not answer the PINGREQ in time"),
        }
    }
}

impl core::error::Error for ConnectionError {}

impl From<DecodeError> for ConnectionError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error)
    }
}
