//! What other programs do to its files while they are open is named.

use std::cell::RefCell;
use std::fs::File;

use super::{
    Connection, History, Model, Path, Sink, SqliteStore, Store, StoreError, created, fs, log, place,
};

/// A store with a few blocks, which are in its WAL.
fn filled(path: &Path) -> (SqliteStore, Model, Vec<tipline_proto::Entry>) {
    let (mut store, mut model) = (created(path), Model::new(&log()));
    let entries = History::blocks(20, 1000).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    (store, model, entries)
}

fn cut(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

thread_local! {
    static OURS: RefCell<Option<SqliteStore>> = const { RefCell::new(None) };
    static PROBED: RefCell<Vec<StoreError>> = const { RefCell::new(Vec::new()) };
}

/// Called in the middle of a checkpoint that waits for a reader: cuts the WAL, and has the store look.
fn cut_and_probe(_tries: i32) -> bool {
    let probed = OURS.with_borrow_mut(|ours| {
        let ours = ours.as_mut().unwrap();
        cut(Path::new(&format!("{}-wal", ours.place().trim_start_matches("sqlite:"))), 100);
        ours.probe().unwrap_err()
    });
    PROBED.with_borrow_mut(|probes| probes.push(probed));
    false
}

#[test]
fn a_wal_that_is_cut_while_another_program_makes_a_checkpoint_is_not_taken_for_whole() {
    let (_directory, path) = place();
    let (store, model, entries) = filled(&path);
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM store").unwrap();
    #[allow(unused_mut, reason = "the oldest rusqlite of the range does not need it")]
    let mut other = Connection::open(&path).unwrap();
    other.busy_handler(Some(cut_and_probe as fn(i32) -> bool)).unwrap();
    OURS.set(Some(store));
    other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    let mut store = OURS.take().unwrap();
    let probed = PROBED.take();
    assert!(matches!(probed[..], [StoreError::InUse { .. }]), "not known yet: {probed:?}");
    let refused = store.apply(&model.clone().batch(&entries[10..])).unwrap_err();
    assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("store.db-wal was cut from"), "{refused}");
}

/// SQLite has it in memory: who reads there what was cut away from the file is ended by the system.
#[test]
fn an_index_of_the_wal_that_is_cut_is_named_before_it_is_read() {
    let (_directory, path) = place();
    let (mut store, mut model, entries) = filled(&path);
    let reader = store.reader().unwrap();
    let next = model.batch(&entries[10..]);
    cut(&path.with_extension("db-shm"), 0);
    for refused in [
        reader.cursor().unwrap_err(),
        reader.block(1).unwrap_err(),
        store.reader().unwrap_err(),
        store.snapshot().unwrap_err(),
        store.probe().unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
        assert!(refused.to_string().contains("store.db-shm was cut from"), "{refused}");
    }
    let poisoned = store.apply(&next).unwrap_err();
    assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
    drop((store, reader));
    let mut store = SqliteStore::open(&path).unwrap();
    store.apply(&next).unwrap();
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

#[test]
fn a_journal_that_another_program_switches_is_named() {
    let (_directory, path) = place();
    let (mut store, mut model, entries) = filled(&path);
    let switch = |mode: &str| {
        let other = Connection::open(&path).unwrap();
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        let sql = format!("PRAGMA journal_mode = {mode}");
        other.query_row(&sql, [], |row| row.get::<_, String>(0))
    };
    // With a WAL nobody can, while it is open.
    assert_ne!(switch("delete").as_deref(), Ok("delete"));
    store.begin_bulk_load().unwrap();
    store.apply(&model.batch(&entries[10..15])).unwrap();
    assert_eq!(switch("wal").as_deref(), Ok("wal"));
    let next = model.batch(&entries[15..]);
    let refused = store.apply(&next).unwrap_err();
    assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("its journal mode is wal, not truncate"), "{refused}");
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    store.apply(&next).unwrap();
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

/// By its path, which leads to nothing, or to something else.
#[test]
fn what_is_removed_or_replaced_gives_no_snapshot_and_no_reader_and_is_named() {
    for (suffix, replaced) in [("", false), ("", true), ("-wal", false), ("-wal", true)] {
        let (directory, path) = place();
        let (store, _, _) = filled(&path);
        let lost = path.with_extension(format!("db{suffix}"));
        let other = directory.path().join("other.db");
        drop(created(&other));
        fs::rename(&lost, directory.path().join("aside")).unwrap();
        if replaced && suffix.is_empty() {
            fs::rename(&other, &lost).unwrap();
        } else if replaced {
            fs::write(&lost, "").unwrap();
        }
        let how = if replaced { "was replaced by another" } else { "was removed" };
        let says = format!("store.db{suffix} {how} while it was open");
        for refused in [store.snapshot().unwrap_err(), store.reader().unwrap_err()] {
            assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
            assert!(refused.to_string().contains(&says), "{refused}");
        }
    }
}
