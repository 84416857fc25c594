//! Any text, read as the manifest of a checkpoint, as `archive.json`, and as the name of an object.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    tipline_backup::fuzzing::manifest(text);
    tipline_backup::fuzzing::descriptor(text.as_bytes());
    tipline_backup::fuzzing::name(text);
});
