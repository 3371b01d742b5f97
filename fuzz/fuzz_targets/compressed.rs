//! What comes from outside as the compressed stream of a bridge, in pieces of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((piece, bytes)) = data.split_first() {
        outpost_bridge::compression::hostile(bytes, usize::from(*piece));
    }
});
