//! Any bytes, read as a block of Ethereum, and as the body of one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u16, &[u8])| {
    let (height, at, bytes) = input;
    tipline_sources::fuzzing::ethereum(height, bytes, at.into());
    if let Ok(name) = std::str::from_utf8(bytes) {
        tipline_sources::fuzzing::name(name);
    }
});
