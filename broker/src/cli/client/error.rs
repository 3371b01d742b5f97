//! What can fail, in words, with the exit code of the program.

use std::fmt;
use std::io;
use std::io::ErrorKind;

use outpost_protocol::client::ConnectionError;
use outpost_protocol::{ConnAck, Disconnect, ProtocolVersion, ReasonCode};
use thiserror::Error;

use crate::config::io_reason;

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub(in crate::cli) enum ClientError {
    /// The host has no address.
    #[error("cannot find the address of {host}: {reason}")]
    Lookup { host: String, reason: String },
    /// No connection; the last address that was tried.
    #[error("cannot connect to {address}: {}", network_reason(.error))]
    Connect { address: String, error: io::Error },
    /// TLS did not come about.
    #[error("cannot speak TLS with {address}: {reason}")]
    Tls { address: String, reason: String },
    /// CONNACK with an error.
    #[error("connection refused: {said}")]
    Refused { said: Said, exit_code: u8 },
    /// DISCONNECT from the server (5.0).
    #[error("the server ended the connection: {said}")]
    Disconnected { said: Said },
    /// The server wants enhanced authentication, which has more steps than a command line.
    #[error("the server asks for enhanced authentication")]
    Authentication,
    /// The transport was closed.
    #[error("connection lost: the server closed it")]
    Closed,
    /// The transport failed.
    #[error("connection lost: {}", network_reason(.0))]
    Lost(#[source] io::Error),
    /// The server broke the protocol, or did not answer.
    #[error("connection given up: {0}")]
    Ended(#[from] ConnectionError),
}

/// A reason code and what the server had to say beside it.
#[derive(Debug)]
pub(in crate::cli) struct Said {
    pub(in crate::cli) reason: ReasonCode,
    text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => self.reason.fmt(f),
            text => write!(f, "{} ({text})", self.reason),
        }
    }
}

/// The server's words on one line of its own.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl ClientError {
    pub(in crate::cli) fn refused(conn_ack: &ConnAck<'_>, version: ProtocolVersion) -> Self {
        let reason = conn_ack.reason;
        let exit_code = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => reason.v311_connect_return_code(),
            ProtocolVersion::V5 => reason.into(),
        };
        let text = match conn_ack.properties.reason_string() {
            Some(text) => printable(text),
            None if reason == ReasonCode::UnsupportedProtocolVersion => {
                "try another one with -V".to_owned()
            }
            None => String::new(),
        };
        Self::Refused { said: Said { reason, text }, exit_code }
    }

    /// A server of 3.1.1 answers a 5.0 CONNECT with a CONNACK of its own version.
    pub(in crate::cli) fn refused_by_old_server() -> Self {
        let reason = ReasonCode::UnsupportedProtocolVersion;
        let text = "try -V 311".to_owned();
        Self::Refused { said: Said { reason, text }, exit_code: reason.v311_connect_return_code() }
    }

    pub(in crate::cli) fn disconnected(packet: &Disconnect<'_>) -> Self {
        let text = packet.properties.reason_string().map(printable).unwrap_or_default();
        Self::Disconnected { said: Said { reason: packet.reason, text } }
    }

    /// As mosquitto_pub and mosquitto_sub have it: the reason code of a refusal (3.1 and 3.1.1: the
    /// return code), 7 for a connection that was lost, 8 for TLS, 1 for all else.
    pub(in crate::cli) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { exit_code, .. } => *exit_code,
            Self::Disconnected { said } if said.reason.is_error() => said.reason.into(),
            Self::Disconnected { .. } | Self::Closed | Self::Lost(_) | Self::Ended(_) => 7,
            Self::Tls { .. } => 8,
            Self::Lookup { .. } | Self::Connect { .. } | Self::Authentication => 1,
        }
    }

    /// Whether another connection may do better: the network, a server that is busy or restarts.
    /// Who is told to go away for what he is or does (credentials, a malformed packet, another
    /// client with the same identifier) stays away.
    pub(in crate::cli) fn is_transient(&self) -> bool {
        match self {
            Self::Refused { said, .. } | Self::Disconnected { said } => matches!(
                said.reason,
                ReasonCode::Success
                    | ReasonCode::UnspecifiedError
                    | ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::ServerShuttingDown
                    | ReasonCode::KeepAliveTimeout
                    | ReasonCode::ConnectionRateExceeded
                    | ReasonCode::MaximumConnectTime
            ),
            Self::Ended(ConnectionError::Protocol(_)) | Self::Authentication => false,
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Closed
            | Self::Lost(_)
            | Self::Ended(_) => true,
        }
    }
}

/// What the network said, in lower case for the middle of a line.
fn network_reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset => "connection reset".into(),
        ErrorKind::TimedOut => "timed out".into(),
        _ => io_reason(error),
    }
}

#[cfg(test)]
mod tests {
    use outpost_protocol::{Properties, Property};

    use super::*;

    #[test]
    fn refusals_are_told_in_words_and_by_the_code_of_their_version() {
        let properties = [Property::ReasonString("go\naway")];
        let conn_ack = ConnAck {
            session_present: false,
            reason: ReasonCode::NotAuthorized,
            properties: Properties::list(&properties),
        };
        let error = ClientError::refused(&conn_ack, ProtocolVersion::V5);
        assert_eq!(error.to_string(), "connection refused: Not authorized (go away)");
        assert_eq!((error.exit_code(), error.is_transient()), (0x87, false));
        let conn_ack = ConnAck { properties: Properties::EMPTY, ..conn_ack };
        let error = ClientError::refused(&conn_ack, ProtocolVersion::V311);
        assert_eq!(error.to_string(), "connection refused: Not authorized");
        assert_eq!(error.exit_code(), 5);
    }

    #[test]
    fn a_lost_connection_is_worth_another_try() {
        let error = ClientError::Lost(ErrorKind::ConnectionReset.into());
        assert_eq!(error.to_string(), "connection lost: connection reset");
        assert_eq!((error.exit_code(), error.is_transient()), (7, true));
        let disconnect = |reason| Disconnect { reason, properties: Properties::EMPTY };
        let error = ClientError::disconnected(&disconnect(ReasonCode::ServerShuttingDown));
        assert!(error.is_transient());
        let error = ClientError::disconnected(&disconnect(ReasonCode::SessionTakenOver));
        assert_eq!(error.to_string(), "the server ended the connection: Session taken over");
        assert_eq!((error.exit_code(), error.is_transient()), (0x8E, false));
    }
}
