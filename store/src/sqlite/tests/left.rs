//! A new store is not begun beside what is left of another, and a second writer is noticed.

use super::{History, Model, Sink, SqliteStore, Store, StoreError, created, fs, log, place};

#[test]
fn no_store_is_begun_beside_the_wal_of_another() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(20, 100).entries)).unwrap();
    // As a killed process leaves it.
    let names = ["", "-wal", "-shm"].map(|suffix| path.with_extension(format!("db{suffix}")));
    let content = names.clone().map(|name| fs::read(name).unwrap());
    drop(store);
    for (kept, what) in [(1, "missing"), (2, "missing"), (1, "empty")] {
        names.iter().for_each(|name| drop(fs::remove_file(name)));
        fs::write(&names[kept], &content[kept]).unwrap();
        if what == "empty" {
            fs::write(&path, "").unwrap();
        }
        let refused = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(refused, StoreError::Unusable { .. }), "{refused:?}");
        let says = refused.to_string();
        assert!(says.contains(what) && says.contains(names[kept].to_str().unwrap()), "{says}");
        assert_eq!(fs::read(&names[kept]).unwrap(), content[kept], "it is left as it is");
    }
    // With its file it is the store that it was.
    (0..2).for_each(|at| fs::write(&names[at], &content[at]).unwrap());
    let store = SqliteStore::open(&path).unwrap();
    model.assert_is(&*store.reader().unwrap(), "put back");
}

#[test]
fn what_a_creation_that_was_cut_off_left_is_no_obstacle() {
    let (_directory, path) = place();
    fs::write(&path, "").unwrap();
    fs::write(path.with_extension("db-journal"), "half of a page").unwrap();
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.identity().unwrap(), None);
    store.create(&log()).unwrap();
}

/// What is in the WAL is written again when it is opened: that must not be over what somebody else
/// has put there since.
#[test]
fn a_store_that_another_program_writes_to_is_not_opened() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(5, 100).entries)).unwrap();
    let other = super::Connection::open(&path).unwrap();
    drop(store);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    model.assert_is(&*SqliteStore::open(&path).unwrap().reader().unwrap(), "it has ended");
}

/// The lock is a file: who removes it lets a second writer in.
#[test]
fn a_second_writer_that_went_past_the_lock_is_noticed_and_the_cursor_never_goes_back() {
    let (_directory, path) = place();
    let (mut first, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(20, 100).entries;
    first.apply(&model.batch(&entries[..5])).unwrap();
    fs::remove_file(path.with_extension("db.lock")).unwrap();
    let mut second = SqliteStore::open(&path).unwrap();
    let before = model.clone();
    second.apply(&model.batch(&entries[5..15])).unwrap();
    let refused = first.apply(&before.clone().batch(&entries[5..8])).unwrap_err();
    assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
    // The rows are the same already; with other rows it is the cursor that tells.
    let refused = first.probe().unwrap_err();
    assert!(refused.to_string().contains("stopped earlier"), "{refused}");
    model.assert_is(&*second.reader().unwrap(), "the second one continues");
    second.apply(&model.batch(&entries[15..])).unwrap();
    model.assert_is(&*second.reader().unwrap(), "to the end");
}

#[test]
fn a_cursor_that_another_writer_has_moved_is_named() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(9, 100).entries;
    store.apply(&model.batch(&entries[..5])).unwrap();
    let other = super::Connection::open(&path).unwrap();
    other.execute("UPDATE store SET cursor_index = 3", []).unwrap();
    let refused = store.apply(&model.batch(&entries[5..])).unwrap_err();
    assert!(refused.to_string().contains("another writer has changed it"), "{refused}");
    assert!(refused.to_string().contains("stopped earlier") || !refused.is_retryable());
    let row = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    assert_eq!(other.query_row("SELECT cursor_index FROM store", [], row).unwrap(), 3);
}
