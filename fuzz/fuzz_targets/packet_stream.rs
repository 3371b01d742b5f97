//! A stream in pieces decodes to the same as at once.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::packet_stream(data));
