//! Any bytes, read as what is in a backup of key files.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tipline_backup::fuzzing::identity(bytes));
