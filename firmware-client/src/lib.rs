//! An MQTT client for sensors: `no_std`, no alloc, 3.1, 3.1.1 and 5.0.
//!
//! [`Client`] is the session and all the memory: messages in flight, and a queue of readings that
//! wait for a connection. [`Client::connect`] puts it on an open transport (any
//! [`embedded_io_async`] `Read + Write`) and gives a [`Link`], which lives as long as that
//! connection. When the connection is lost the `Link` is dropped, the `Client` stays, and on the next
//! transport it goes on where it was.
//!
//! What it must not know: sockets, executors, clocks. Time comes from a [`Clock`] of the caller.
//!
//! Nothing is lost by dropping a future: all progress is in the `Client`, so `receive` may stand in a
//! `select` beside a timer or a button. For that the transport's own `read` and `write` futures must
//! not lose bytes when they are dropped (`embedded_io_async` calls that side-effect-free on cancel).
//!
//! All capacities are const generics of [`Client`]; see there what each of them costs.
#![no_std]

mod client;
mod clock;
mod error;
mod event;
mod input;
mod link;
mod payload;
mod queue;
mod select;

pub use client::{Client, Settings, SmallClient};
pub use clock::Clock;
pub use error::{Error, PublishError};
pub use event::Event;
pub use link::Link;
pub use outpost_protocol::client::{
    ConnectOptions, ConnectionError, Message, Outcome, Published, RequestError, Terms,
};
pub use outpost_protocol::{
    Disconnect, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode,
    RetainHandling, SubAck, SubscribeFilter, SubscriptionOptions, TopicError, TopicName, UnsubAck,
    Will,
};
pub use payload::decode_postcard;
pub use postcard;
pub use queue::WhenFull;

/// Keeps the example of the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
