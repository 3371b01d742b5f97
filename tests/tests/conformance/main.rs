//! What MQTT 3.1, 3.1.1 and 5.0 ask of a server, shown on the running broker from outside, packet
//! by packet. `tests/conformance.tsv` says which test shows which statement.
#![allow(unreachable_pub, reason = "one crate: its modules see each other")]

mod alias;
mod auth;
mod connect;
mod crash;
mod disconnect;
mod expiry;
mod flow_control;
mod keep_alive;
mod limits;
mod malformed;
mod prelude;
mod properties;
mod publish;
mod qos;
mod retain;
mod session;
mod shared;
mod statements;
mod subscribe;
mod sys;
mod topics;
mod v31;
mod v311;
mod will;
