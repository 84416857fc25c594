//! Any bytes, read as what is sent over an admin socket, by either side.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tipline_ops::fuzzing::admin(bytes));
