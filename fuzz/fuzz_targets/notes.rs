//! Any text, read as everything of a verifiable log that strangers give.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tipline_audit::fuzzing::leaf(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        tipline_audit::fuzzing::text(text);
    }
});
