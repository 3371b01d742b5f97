//! Sockets: from accepted connections to the core and back.
//!
//! | file | what it owns |
//! |---|---|
//! | `shared` | the one lock around the core, and the one door to it |
//! | `clock` | the time that the core is told |
//! | `listener` | accepting, TLS, the limits before CONNECT |
//! | `handshake` | CONNECT and authentication |
//! | `connection` | a connected client: bursts in, bursts out |
//! | `local` | connections of this program's own parts |
//! | `log_budget` | how many lines clients can bring into the log |
//! | `stream` | TCP, TLS and in-process streams as one |
//!
//! A connection is one task. It takes the lock once for each burst of bytes read, and writes once for
//! each time that it is woken; while it is idle it holds no buffer.

pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod handshake;
pub(crate) mod listener;
pub(crate) mod local;
pub(crate) mod log_budget;
pub(crate) mod shared;
pub(crate) mod stream;
