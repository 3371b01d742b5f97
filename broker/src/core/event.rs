//! What happened that an operator may want to read: values that the shell logs outside the lock.

use outpost_protocol::ReasonCode;

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client is connected.
    Connected {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// User name.
        user_name: Option<Box<str>>,
        /// Protocol level: 3, 4 or 5.
        level: u8,
        /// A session was resumed.
        session_present: bool,
    },
    /// A CONNECT was refused.
    Refused {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// The answer.
        reason: ReasonCode,
        /// Why, in words.
        why: &'static str,
    },
    /// A client is gone.
    Disconnected {
        /// Client identifier.
        client_id: Box<str>,
        /// Where from.
        address: Box<str>,
        /// Why.
        reason: ReasonCode,
        /// Why, in words.
        why: &'static str,
    },
    /// A session came to its end.
    SessionEnded {
        /// Client identifier.
        client_id: Box<str>,
        /// Messages that waited for it.
        dropped: usize,
    },
    /// A message was not taken, or dropped, for want of room.
    Full {
        /// Whose queue or which table.
        what: Box<str>,
        /// What was done.
        done: &'static str,
    },
}
