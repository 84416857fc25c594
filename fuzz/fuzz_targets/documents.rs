//! Any text, read as the manifest of a checkpoint and as `archive.json`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    tipline_backup::fuzzing::manifest(text);
    tipline_backup::fuzzing::descriptor(text.as_bytes());
});
