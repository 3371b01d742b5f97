//! A legal packet survives encoding and decoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::roundtrip(data));
