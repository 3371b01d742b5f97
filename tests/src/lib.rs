//! The black-box harness: a broker process of one's own, and a client that speaks exact packets.
//!
//! Everything here blocks and waits on events (a listener that accepts, a packet, a closed
//! connection) with a deadline; nothing guesses how long something takes. The tests themselves are
//! in `tests/tests/`. Clients that we did not write are driven through [`Driver`] and [`Command`].
//!
//! `OUTPOST_TEST_BROKER=host:port` makes [`Broker::start`] use a broker that already runs, so that
//! the tests can be held against another implementation. Tests that need a configuration or a
//! process of their own then end early (see [`Broker::is_external`]).

mod broker;
mod certificates;
mod client;
mod command;
mod driver;
mod fake_remote;
mod foreign;
mod foreign_broker;
mod link;
mod packets;
mod port;
mod proxy;
mod received;

pub use broker::{Broker, DEADLINE, Lease, binary, built};
pub use certificates::Certificates;
pub use client::RawClient;
pub use command::{Command, Ended};
pub use driver::{Driver, Library, tests_folder};
pub use fake_remote::{Answer, Caller, FakeRemote};
pub use foreign::{ForeignClient, ForeignMessage, Kind};
pub use foreign_broker::{ForeignBroker, Make};
pub use link::Link;
pub use packets::{filter, message, unique, v5, v31, v311};
pub use port::free_port;
pub use proxy::{Proxy, Quality};
pub use received::{
    Ack, Auth, ConnAck, Disconnect, FromReceived, PingResp, Props, PubAck, PubComp, PubRec, PubRel,
    Publish, Received, SubAck, UnsubAck,
};
