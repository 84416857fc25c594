//! The sources of the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The packages whose sources are checked, by their folders.
pub(super) const PACKAGES: [&str; 11] = [
    "proto", "log", "store", "producer", "sources", "consumer", "backup", "audit", "ops", "cli",
    "tests",
];

/// A file: its path from the root of the repository, with `/` between folders, and its text.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// Whether it is a test, by where it is: a file of tests, a folder of them, or the package
    /// of the integration tests.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/examples/")
    }

    /// The syntax tree.
    pub(super) fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Text of a file, by its path from the root of the repository.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the repository's packages with this extension; generated code is left out.
pub(super) fn with_extension(extension: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for package in PACKAGES {
        collect(&root(), &root().join(package), extension, &mut sources);
    }
    assert!(!sources.is_empty(), "the sources are not where they should be");
    sources
}

/// Every Rust file.
pub(super) fn rust() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| with_extension("rs"));
    &SOURCES
}

fn collect(root: &Path, folder: &Path, extension: &str, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "gen", "generate"].contains(&name) {
                collect(root, &path, extension, into);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            into.push(Source { path, text });
        }
    }
}
