//! The broker as one plain value that knows no clock, socket or file.

pub mod change;
pub mod limits;
pub mod message;
pub mod time;
