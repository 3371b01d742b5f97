//! The client under a script of requests, lost connections and whatever a server sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::client(data));
