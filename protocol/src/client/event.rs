//! What the client tells the caller.

use crate::{Auth, ConnAck, Disconnect, PacketId, Publish, ReasonCode, SubAck, UnsubAck};

/// What became of the input that was handed in.
#[derive(Clone, Debug, PartialEq)]
pub enum Handled<'i> {
    /// The input holds no whole packet: read more.
    Incomplete,
    /// There is no room for the answer: write what `poll_output` gives, then hand in the same input
    /// again.
    OutputFull,
    /// The first `used` bytes of the input are done with (0 for an event that needs no input). Hand
    /// in the rest.
    Taken {
        /// How many bytes to take off the front of the input.
        used: usize,
        /// What the caller should know about it.
        event: Option<Event<'i>>,
    },
}

/// What happened. Borrows from the input, not from the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'i> {
    /// The server accepted the connection. Where `session_present` is false, it knows none of the
    /// subscriptions that were made before.
    Connected(ConnAck<'i>),
    /// The server refused the connection; close the transport.
    Refused(ConnAck<'i>),
    /// A message came in. It is acknowledged when `handle_input` is called the next time, so be done
    /// with it (or have it stored safely) by then.
    Message(Publish<'i>),
    /// A message of QoS 1 or 2 that was published has come to its end.
    Published(Published),
    /// The answer to a SUBSCRIBE: one reason code for each filter, in their order.
    Subscribed(SubAck<'i>),
    /// The answer to an UNSUBSCRIBE.
    Unsubscribed(UnsubAck<'i>),
    /// The server ends the connection and says why (5.0); close the transport.
    Disconnected(Disconnect<'i>),
    /// A step of enhanced authentication (5.0).
    Auth(Auth<'i>),
}

/// The end of one message that was published with QoS 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The packet id that it had; free again.
    pub packet_id: PacketId,
    /// The caller's number, from [`super::Message::token`].
    pub token: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a publication ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has answered: Success or No matching subscribers, or (5.0) an error code with
    /// which it refused the message.
    Acknowledged(ReasonCode),
    /// QoS 2: the server had taken the message over (PUBREC), but then lost the session, so the
    /// exchange can neither be ended nor be started again without the risk of a second delivery.
    SessionLost,
    /// It was not sent: the server of the new connection takes no packet as large, or of this QoS,
    /// or none that is retained. The reason code says which.
    NotSupported(ReasonCode),
}

impl Outcome {
    /// Whether the server has taken the message over for good.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Acknowledged(reason) if !reason.is_error())
    }
}
