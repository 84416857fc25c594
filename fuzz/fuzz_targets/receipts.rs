//! Any bytes, read as an object of the history of receipts: head, body and records, and several in one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    tipline_backup::fuzzing::receipts(bytes, cut.into());
});
