//! A stream of packets of 5.0.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::decode_v5(data));
