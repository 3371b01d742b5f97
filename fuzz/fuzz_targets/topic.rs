//! Topic names, topic filters and matching against plain rewordings of the specification.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outpost_protocol::fuzzing::topic(data));
