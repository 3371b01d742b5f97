//! What a connection tells.

use outpost_protocol::client::{Published, RequestError};
use outpost_protocol::{Disconnect, Publish, SubAck, UnsubAck};

/// What happened on the connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A message came in. It is acknowledged by the next call of `receive`: whoever comes back for
    /// more is done with it.
    Message(Publish<'a>),
    /// A message of QoS 1 or 2 has come to its end.
    Published(Published),
    /// A queued message was given up: the server of this connection does not take it.
    NotSent {
        /// The number that the message had.
        token: u32,
        /// Why.
        error: RequestError,
    },
    /// The answer to `subscribe`: one reason code for each filter.
    Subscribed(SubAck<'a>),
    /// The answer to `unsubscribe`.
    Unsubscribed(UnsubAck<'a>),
    /// The server ends the connection and says why.
    Disconnected(Disconnect<'a>),
}
