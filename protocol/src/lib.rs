//! The MQTT protocol without I/O.
#![no_std]
