//! What can go wrong.

use core::fmt;

use outpost_protocol::ReasonCode;
use outpost_protocol::client::{ConnectionError, RequestError};

/// Why a call on the connection failed. After all of them but [`Error::Request`] and
/// [`Error::Publish`] the connection has ended: drop the `Link`, open a transport and connect again;
/// the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The transport failed.
    Transport(E),
    /// The transport was closed.
    Closed,
    /// The server refused the connection.
    Refused(ReasonCode),
    /// The server broke the protocol, or was silent for too long.
    Connection(ConnectionError),
    /// The request was not taken; the connection is unharmed.
    Request(RequestError),
    /// The message was not taken; the connection is unharmed.
    Publish(PublishError),
    /// The server asked for enhanced authentication, which this driver does not do.
    AuthenticationNotSupported,
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::Closed => f.write_str("the connection was closed"),
            Self::Refused(reason) => write!(f, "the server refused the connection: {reason}"),
            Self::Connection(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Publish(error) => error.fmt(f),
            Self::AuthenticationNotSupported => {
                f.write_str("the server asked for enhanced authentication")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

impl<E> From<ConnectionError> for Error<E> {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// It would have to wait, and the queue is full ([`crate::WhenFull::Refuse`]).
    QueueFull,
    /// It would have to wait, and topic, properties and payload together are longer than a place of
    /// the queue.
    TooLong,
    /// The value could not be encoded into a payload of the length of a place of the queue.
    Payload,
    /// It can never be sent like this.
    Request(RequestError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str("the queue is full"),
            Self::TooLong => f.write_str("the message is longer than a place of the queue"),
            Self::Payload => f.write_str("the value does not fit into a payload"),
            Self::Request(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PublishError {}
