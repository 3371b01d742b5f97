//! Outpost's bridge: a link between two MQTT brokers that loses nothing that was acknowledged.
//!
//! # No queue and no state
//! A bridge is two MQTT connections back to back, each with a durable session at its broker, and it
//! relays packets **with their packet identifiers unaltered**. So every QoS exchange runs between
//! the sessions of the two brokers, which keep its state anyway; the bridge never acknowledges a
//! message itself. A crash of the bridge, of either broker or of the link leaves both sessions where
//! they were, and the next link takes the exchange up: QoS 2 stays exactly once in both directions,
//! QoS 1 at least once, both in order. The backlog of a dead link is an ordinary queue of the broker
//! that has the messages, with its limits and tools.
//!
//! Where a client with its own identifiers stood on the remote side, there would be two exchanges to
//! join, and whatever joins them would have to be as durable as the brokers.
//!
//! # Why not rumqttc
//! The remote side is written on `outpost-protocol`, because rumqttc 0.25 answers PUBREC with PUBREL
//! by itself (the other broker may not have it on its disk yet), chooses packet identifiers itself
//! and uses one again while its PUBREL is under way, forgets received QoS 2 identifiers at each
//! reconnect, never sets DUP, drops what is pending when the session was lost, and makes one `write`
//! per message. It serves as a foreign client in the tests.
//!
//! # Map
//! - [`config`]: what the operator says. [`mapping`]: which topics go where, under which name;
//!   [`template`]: names by captures; [`overlap`]: what two filters have in common;
//!   [`loops`]: what would go round or arrive twice.
//! - [`relay`]: what becomes of each packet, the sweep after a lost session, keep-alive and time
//!   limits, bounds of memory. [`backoff`], [`handshake`], [`output`]: its smaller companions. None
//!   of these knows a clock, a socket or a random source.
//! - [`compression`]: fewer bytes between two Outposts.
//! - [`connect`]: TCP, proxy, TLS, WebSocket, or any other byte stream; inside the broker the local end
//!   is one in memory. `end`, `link`, `driver`: the thin part that moves bytes and waits; `gather`: how long;
//!   `prepare`: the session of a local broker over the network before the first link. [`run`] is the door.
//! - [`origin`]: where a message comes from, against loops and repetitions.
//! - [`peering`]: how two Outposts know each other, and what they agree on. [`interest`]: which topics
//!   the other one has subscribers for.
//! - [`status`]: what it is doing, for others to read. [`rate`]: how fast. `wire`: in
//!   how many bytes.
//! - Classes: [`turns`]: which of several links goes first; [`pace`]: how fast one may go; [`hours`]:
//!   when.
//!
//! # Limits
//! - The local broker must not give a message the packet identifier 65535, which SUBSCRIBE uses.
//! - Subscriptions of rules that were taken out of the configuration are taken back where that happens
//!   while the bridge runs. Others stay in the sessions: what they bring is acknowledged and counted as
//!   unmapped, until `client_id` is changed.
//! - A 3.1.1 broker has no words for "not now", "too large" or "how many at once": it closes the
//!   connection, and the bridge comes back.
//! - What a 3.1.1 broker sends beyond the window of the other end waits in memory, up to the bounds of
//!   [`relay`].
//! - `direction = "both"` relies on no-local: a 3.1.1 broker that does not know the bridge bit sends
//!   messages back, and they go round.

mod addresses;
pub mod backoff;
pub mod compression;
pub mod config;
pub mod connect;
mod driver;
mod end;
mod gather;
pub mod handshake;
pub mod hours;
pub mod interest;
mod link;
pub mod link_error;
pub mod loops;
pub mod mapping;
#[cfg(test)]
mod model;
pub mod origin;
pub mod output;
pub mod overlap;
pub mod pace;
pub mod peering;
mod prepare;
pub mod rate;
pub mod relay;
pub mod side;
pub mod status;
pub mod template;
#[cfg(test)]
mod tests;
pub mod turns;
mod wire;

pub use driver::{Setup, forget, run};
