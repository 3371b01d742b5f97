//! A stream of packets of 3.1 and 3.1.1.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::decode_v311(data));
