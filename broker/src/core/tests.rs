//! The core driven by hand: no sockets, no files, virtual time. `bed` is what the tests stand on,
//! `check` compares what the core holds with itself and with the store after every step.

mod alias;
mod bed;
mod check;
mod classes;
mod crash;
mod elision;
mod expiry;
mod flows;
mod interest;
mod limits;
mod live;
mod long_queue;
mod ordering;
mod origins;
mod policy;
mod properties;
mod queue_full;
mod resume;
mod retained;
mod shared;
mod stall;
mod takeover;
mod will;
