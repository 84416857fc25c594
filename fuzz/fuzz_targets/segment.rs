//! Any bytes, read as a segment of an archive: trailer, outline, rows and entries.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, &[u8])| {
    let (first, second, bytes) = input;
    tipline_backup::fuzzing::segment(bytes, [first.into(), second.into()]);
});
