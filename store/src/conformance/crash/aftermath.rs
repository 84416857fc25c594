//! A look at what a power cut left.

use tempfile::TempDir;

use super::check::{Expected, Promise};
use super::disk::Tree;
use super::file::Keep;
use super::mark::Mark;
use super::{Context, Open};

/// What a power cut left, and how much of what was not durable.
pub(super) struct Left<'a> {
    pub(super) tree: &'a Tree,
    pub(super) keep: Keep,
}

/// Opens what is left, some of what was unsettled, checks it, and continues to the end. What it
/// promised by being opened.
pub(super) fn open_and_finish(
    open: Open,
    unsettled: &str,
    left: Left<'_>,
    promise: &Promise,
    expected: &mut Expected,
) -> Promise {
    let Left { tree, keep } = left;
    let _context = Context(format!("kept: {keep:?}, of: {unsettled}\npromised: {promise:?}"));
    let directory = in_memory();
    tree.write(directory.path());
    let store = expected.check(open, directory.path(), promise);
    let cursor = store.reader().unwrap().cursor().unwrap();
    let mut found = promise.clone();
    found.hear(&Mark::Opened(cursor.map(|cursor| cursor.position.index)));
    expected.finish(store, 40);
    found
}

/// Where states are made: none of them has to outlive anything.
pub(super) fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
