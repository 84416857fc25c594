//! Any bytes, read as a block of Bitcoin, and as the transactions of one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    tipline_sources::fuzzing::bitcoin(bytes, at.into());
});
