//! The MQTT protocol without I/O: 3.1, 3.1.1 and 5.0 in one set of types.
//!
//! This crate owns the wire format and the state rules that both ends of a connection share. It
//! knows no socket, clock, file or allocator, and it depends on nothing: bytes come in as slices,
//! packets borrow from them, time is an argument.
//!
//! - [`decode()`] takes the next packet from a byte stream, and tells incomplete from malformed from
//!   too large. It never panics, never allocates and never reads past the packet.
//! - Every packet has `encode` and `encoded_len`; [`Buffer`] is where the bytes go.
//! - [`Properties`] are kept in wire form and can be forwarded as they came.
//! - [`TopicName`] and [`TopicFilter`] cannot exist unchecked.
//! - [`SendState`] and [`ReceivingHalf`] are the rules of the QoS flows, [`KeepAlive`] and
//!   [`KeepAliveWatch`] those of silence, for the client and for the server.
//! - [`client::Client`] is a whole client without I/O. It leaves topic aliases to its caller, for
//!   whom [`IncomingTopicAliases`] and [`OutgoingTopicAliases`] are.
//!
//! Specification ids in the code (`[MQTT-3.3.1-4]`) are those of MQTT 5.0 unless 3.1.1 is named.
#![no_std]

#[cfg(any(test, feature = "fuzzing"))]
extern crate std;

mod ack;
mod auth;
pub mod client;
mod connack;
mod connect;
mod decode;
#[cfg(test)]
mod differential;
mod disconnect;
mod encode;
mod error;
mod flow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod keep_alive;
mod packet;
mod packet_id;
mod properties;
mod property;
mod puback;
mod pubcomp;
mod publish;
mod pubrec;
mod pubrel;
mod qos;
mod reason_code;
mod reason_set;
mod suback;
mod subscribe;
#[cfg(test)]
mod testing;
mod topic;
mod topic_alias;
mod unsuback;
mod unsubscribe;
mod version;
pub mod wire;

pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use decode::{decode, packet_len};
pub use disconnect::Disconnect;
pub use encode::{Buffer, SliceBuffer};
pub use error::{BufferFull, DecodeError};
pub use flow::{Ack, Received, ReceivingHalf, SendState, SendStep};
pub use keep_alive::{KeepAlive, KeepAliveStep, KeepAliveWatch};
pub use packet::{Packet, PacketType};
pub use packet_id::PacketId;
pub use properties::{Properties, PropertiesIter};
pub use property::Property;
pub use puback::PubAck;
pub use pubcomp::PubComp;
pub use publish::Publish;
pub use pubrec::PubRec;
pub use pubrel::PubRel;
pub use qos::QoS;
pub use reason_code::ReasonCode;
pub use reason_set::{ReasonCodes, ReasonCodesIter, WireReasonCodes};
pub use suback::SubAck;
pub use subscribe::{
    RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscribeFiltersIter,
    SubscriptionOptions, WireSubscribeFilters,
};
pub use topic::{TopicError, TopicFilter, TopicName};
pub use topic_alias::{IncomingTopicAliases, OutgoingAlias, OutgoingTopicAliases};
pub use unsuback::UnsubAck;
pub use unsubscribe::{
    Unsubscribe, UnsubscribeFilters, UnsubscribeFiltersIter, WireUnsubscribeFilters,
};
pub use version::ProtocolVersion;

/// The largest Remaining Length: what four bytes of a variable byte integer can say (1.5.5).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;
