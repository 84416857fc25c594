//! How files are laid out.

use super::sources::{read, rust};

/// Nobody holds more than this in mind.
const MAX_LINES: usize = 500;
/// The face of a crate fits on a screen.
const MAX_FACE: usize = 59;

#[test]
fn no_file_is_longer_than_can_be_held_in_mind() {
    let long = rust().iter().filter(|source| source.text.lines().count() > MAX_LINES);
    let long: Vec<_> = long.map(|source| &source.path).collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn the_face_of_a_crate_fits_on_a_screen() {
    for source in rust().iter().filter(|source| source.path.ends_with("/src/lib.rs")) {
        let lines = source.text.lines().count();
        assert!(lines <= MAX_FACE, "{} has {lines} lines", source.path);
    }
}

/// A crate's modules are private but for its suites and kinds, and nothing comes in unnamed.
#[test]
fn nothing_is_exported_by_a_glob() {
    for source in rust() {
        let is_glob = |line: &str| {
            let line = line.trim_start();
            line.starts_with("pub use ") && line.ends_with("::*;")
        };
        assert!(!source.text.lines().any(is_glob), "{}", source.path);
    }
}

/// Tests of a folder are in its `tests.rs` or `tests/`, or at the end of the file that they try.
#[test]
fn tests_are_where_one_looks_for_them() {
    for source in rust() {
        let path = &source.path;
        // But for what is generated.
        let elsewhere = source.text.replace(concat!("#[", "path = \"gen/"), "");
        let is_elsewhere = elsewhere.contains(concat!("#[", "path"));
        assert!(!is_elsewhere, "{path}: a module that is not where its name says");
        let name = path.rsplit('/').next().unwrap();
        let is_misnamed = name.ends_with("_test.rs") || name.ends_with("_tests.rs");
        assert!(!is_misnamed, "{path}: call it tests.rs, or put it into tests/");
    }
}

/// A test may be left out of a run only if another test of its file runs it, in a process of its
/// own.
#[test]
fn nothing_is_left_out_or_unfinished() {
    for source in rust() {
        let is_run =
            ["--ignored", "--include-ignored"].iter().any(|flag| source.text.contains(flag));
        let is_left_out = source.text.contains(concat!("#[", "ignore"));
        assert!(is_run || !is_left_out, "{}: nobody runs an ignored test", source.path);
        for mark in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")] {
            assert!(!source.text.contains(mark), "{}: {mark}", source.path);
        }
    }
}

#[test]
fn no_command_names_another_and_only_main_names_the_arguments() {
    for source in rust().iter().filter(|source| source.path.starts_with("cli/src/")) {
        let path = &source.path;
        let knows_arguments = source.text.contains("crate::args") && !source.is_test();
        // Its tests, at its end, try the whole command line.
        let in_tests = source.text.find("crate::args") > source.text.find("mod tests {");
        assert!(path == "cli/src/main.rs" || !knows_arguments || in_tests, "{path} names args");
        let Some(command) = path.strip_prefix("cli/src/commands/") else { continue };
        let command = command.split(['/', '.']).next().unwrap();
        for line in source.text.lines() {
            for (at, _) in line.match_indices("crate::commands::") {
                let other = &line[at + "crate::commands::".len()..];
                assert!(other.starts_with(command), "{path} names another command: {line}");
            }
        }
    }
}

/// The consumer is the loop and nothing else: who embeds it chooses a store, not features.
#[test]
fn the_consumer_has_no_features() {
    let manifest: toml::Table = read("consumer/Cargo.toml").parse().unwrap();
    assert!(!manifest.contains_key("features"), "{manifest:?}");
    for source in rust().iter().filter(|source| source.path.starts_with("consumer/src/")) {
        assert!(!source.text.contains("cfg(feature"), "{}", source.path);
    }
}
