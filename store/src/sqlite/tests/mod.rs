//! The store in one SQLite file, on real files.

mod damage;
mod left;
mod outside;
mod wal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::conformance::history::{History, late_log, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::reader::ChainView;
use crate::spec::{Sink, Store};
use crate::sqlite::{SqliteReader, SqliteStore};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    (directory, path)
}

fn created(path: &Path) -> SqliteStore {
    let mut store = SqliteStore::open(path).unwrap();
    store.create(&log()).unwrap();
    store
}

fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(SqliteStore::open(directory.join("store.db"))?))
}

crate::store_conformance!(open);

/// While a restore fills it, readers may wait, and see what failed for good; the rest is the same.
mod filling {
    use std::time::Duration;

    use super::{Path, Sink, SqliteStore, Store, StoreError, fs};
    use crate::conformance::{Appends, run};

    /// The suite holds snapshots while it applies, which then waits in vain: 5 s, but for this.
    const WAIT: Duration = Duration::from_millis(20);

    fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
        let mut store = SqliteStore::open(directory.join("store.db"))?;
        store.begin_bulk_load()?;
        store.wait_at_most(WAIT);
        Ok(Box::new(store))
    }

    /// Filled at every second opening: what a killed restore left, opened as an ordinary store.
    fn open_in_turn(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
        let path = directory.join("store.db");
        let header = fs::read(&path).unwrap_or_default();
        // 2: it has a WAL.
        let was_filled = header.get(18).is_some_and(|mode| *mode != 2);
        let mut store = SqliteStore::open(path)?;
        if !was_filled {
            store.begin_bulk_load()?;
            store.wait_at_most(WAIT);
        }
        Ok(Box::new(store))
    }

    macro_rules! cases {
        ($($case:ident),+) => { $(
            #[test]
            fn $case() {
                let test = concat!(module_path!(), "::", stringify!($case));
                run(test, stringify!($case), open, Appends::Torn);
            }
        )+ };
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn power_cut_in_turn() {
        let test = concat!(module_path!(), "::power_cut_in_turn");
        run(test, "power_cut", open_in_turn, Appends::Torn);
    }

    cases!(any_history, any_batches, large_payloads, of_another_log, out_of_order, killed);
    #[cfg(target_os = "linux")]
    cases!(power_cut);
}

#[test]
fn a_store_that_was_being_filled_is_an_ordinary_one_when_it_is_opened_again() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let history = History::blocks(20, 50_000).entries;
    store.begin_bulk_load().unwrap();
    store.apply(&model.batch(&history[..10])).unwrap();
    assert!(!has_wal(&path));
    // As a killed restore leaves it.
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    store.apply(&model.batch(&history[10..])).unwrap();
    assert!(has_wal(&path));
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

/// As its header says.
fn has_wal(path: &Path) -> bool {
    fs::read(path).unwrap()[18] == 2
}

fn tables(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_content_digest_that_is_told_to_stop_stops() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(20, 50).entries)).unwrap();
    let (reader, mut asked) = (store.reader().unwrap(), 0);
    let ended = crate::content::content_digest_while(&*reader, || {
        asked += 1;
        match asked {
            5 => Err(StoreError::NoSpace { place: "told".to_owned(), source: None }),
            _ => Ok(()),
        }
    });
    assert!(matches!(ended, Err(StoreError::NoSpace { .. })), "{ended:?}");
    assert_eq!(asked, 5);
}

#[test]
fn content_digest_notices_one_changed_byte() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(20, 5000).entries)).unwrap();
    let before = content_digest(&*store.reader().unwrap()).unwrap();
    let changed = Connection::open(&path).unwrap();
    let sql = "UPDATE blocks SET payload = zeroblob(5000) WHERE log_index = 7";
    assert_eq!(changed.execute(sql, []).unwrap(), 1);
    assert_ne!(content_digest(&*store.reader().unwrap()).unwrap(), before);
}

#[test]
fn there_is_one_writer_and_its_lock_ends_with_it() {
    let (directory, path) = place();
    let store = created(&path);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse { .. })));
    #[cfg(unix)]
    {
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(SqliteStore::open(link), Err(StoreError::InUse { .. })));
    }
    let indirect = directory.path().join(".").join("store.db");
    assert!(matches!(SqliteStore::open(indirect), Err(StoreError::InUse { .. })));
    drop(store);
    assert!(path.with_extension("db.lock").exists(), "the file stays, and means nothing");
    SqliteStore::open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn its_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(9, 10).entries)).unwrap();
    let mut names = vec![];
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file:?}");
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["store.db", "store.db-shm", "store.db-wal", "store.db.lock"]);
}

#[test]
fn what_is_not_a_store_is_refused_and_left_as_it_is() {
    let (directory, path) = place();
    let refused = |path: &Path, says: &str| {
        let before = fs::read(path).ok();
        for error in [SqliteStore::open(path).unwrap_err(), SqliteReader::open(path).unwrap_err()] {
            assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        }
        let message = SqliteStore::open(path).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert_eq!(fs::read(path).ok(), before);
    };
    refused(directory.path(), "directory");
    refused(&directory.path().join("none").join("store.db"), "make it first");

    fs::write(&path, "not a database at all, but long enough to have a header ".repeat(50))
        .unwrap();
    refused(&path, "not an SQLite file");

    for wal in ["delete", "wal"] {
        let foreign = directory.path().join(format!("foreign-{wal}.db"));
        let other = Connection::open(&foreign).unwrap();
        other.pragma_update(None, "journal_mode", wal).unwrap();
        other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        refused(&foreign, "not a store of Tipline");
        drop(other);
        refused(&foreign, "not a store of Tipline");
        assert_eq!(tables(&foreign), 1);
    }

    let newer = directory.path().join("newer.db");
    drop(created(&newer));
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 3).unwrap();
    refused(&newer, "version 3");
}

/// An older program refuses what it would count wrongly, by the version, and reads everything else.
#[test]
fn only_a_store_whose_proofs_begin_late_has_the_newer_version() {
    for (log, version) in [(log(), 1), (late_log(5_000_000), 2)] {
        let (_directory, path) = place();
        SqliteStore::open(&path).unwrap().create(&log).unwrap();
        let file = Connection::open(&path).unwrap();
        let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(number("PRAGMA user_version"), Ok(version));
        let proofs_from = number("SELECT proofs_from FROM store");
        assert_eq!(proofs_from.ok(), log.chain.proofs_from.late().map(u64::cast_signed));
        // The two are never apart.
        file.pragma_update(None, "user_version", 3 - version).unwrap();
        for error in [SqliteStore::open(&path).unwrap_err(), SqliteReader::open(&path).unwrap_err()]
        {
            assert!(error.to_string().contains("but not the columns of that version"), "{error}");
        }
    }
}

#[test]
fn reading_what_is_not_there_makes_nothing() {
    let (directory, path) = place();
    let message = SqliteReader::open(&path).unwrap_err().to_string();
    assert!(message.contains("no such file"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_loses_nothing_and_the_handle_goes_on_when_there_is_room() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(199, 40_000).entries;
    store.apply(&model.batch(&entries[..20])).unwrap();
    let before = model.clone();

    let pages = |count: u32| {
        store.connection().pragma_update_and_check(None, "max_page_count", count, |_| Ok(()))
    };
    let used: u32 =
        store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    // It runs out of room in the middle of the batch.
    pages(used + 300).unwrap();
    let large = model.batch(&entries[20..]);
    for _ in 0..3 {
        let error = store.apply(&large).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
        before.assert_is(&*store.reader().unwrap(), "after a full disk");
    }
    let pages = |count: u32| {
        store.connection().pragma_update_and_check(None, "max_page_count", count, |_| Ok(()))
    };
    pages(u32::MAX >> 1).unwrap();
    store.apply(&large).unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    model.assert_is(&*store.reader().unwrap(), "with room again");
}

#[test]
fn a_failed_write_poisons_the_handle_and_nothing_of_the_batch_is_visible() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(19, 100).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let before = model.clone();
    // Somebody's trigger stands for a write that fails in the middle.
    let sql = "CREATE TRIGGER t BEFORE INSERT ON blocks WHEN new.log_index = 15 \
        BEGIN SELECT raise(ABORT, 'no'); END";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let rest = model.batch(&entries[10..]);
    let error = store.apply(&rest).unwrap_err();
    assert!(error.to_string().contains("entry 15 (block"), "{error}");
    before.assert_is(&*store.reader().unwrap(), "after a failed write");
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER t").unwrap();
    let poisoned = store.apply(&rest).unwrap_err();
    assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    before.assert_is(&*store.reader().unwrap(), "opened again");
    store.apply(&rest).unwrap();
    model.assert_is(&*store.reader().unwrap(), "and gone on");
}

#[test]
fn a_number_that_sqlite_does_not_have_is_refused() {
    let (_directory, path) = place();
    let mut store = created(&path);
    let mut writer = History::new(1);
    writer.claim();
    writer.block_at(1 << 63);
    let error = store.apply(&Model::new(&log()).batch(&writer.entries)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("9223372036854775808"), "{source}");
    Model::new(&log()).assert_is(&*store.reader().unwrap(), "nothing was written");
}

#[test]
fn readers_see_whole_batches_and_are_not_held_up_by_a_transaction_under_way() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(2000, 2000).entries;
    store.apply(&model.batch(&entries[..1])).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| store.reader().unwrap())
            .map(|reader| {
                let done = &done;
                scope.spawn(move || {
                    let mut seen = std::collections::BTreeSet::new();
                    while !done.load(Ordering::Relaxed) {
                        let cursor = reader.cursor().unwrap().unwrap();
                        seen.insert(cursor.position.index);
                        if let Some(tip) = cursor.block_tip {
                            assert_eq!(reader.block_hash(tip.height).unwrap(), Some(tip.hash));
                        }
                    }
                    seen
                })
            })
            .collect();
        for chunk in entries[1..].chunks(100) {
            store.apply(&model.batch(chunk)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let seen = reader.join().unwrap();
            assert!(seen.iter().all(|index| (index - 1) % 100 == 0), "half a batch: {seen:?}");
        }
    });
    // Not even while the writer holds its lock and has written, without having committed.
    let reader = store.reader().unwrap();
    store.connection().execute_batch("BEGIN IMMEDIATE; DELETE FROM blocks").unwrap();
    assert_eq!(reader.cursor().unwrap(), Some(model.cursor.clone()));
    assert!(reader.block(model.cursor.block_tip.unwrap().height).unwrap().is_some());
    store.connection().execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_store_whose_writer_vanished_in_the_middle_is_as_after_its_last_batch() {
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(99, 3000).entries;
    store.apply(&model.batch(&entries[..50])).unwrap();
    // A copy of the files as they stand while a transaction is under way, and spilled into
    // the WAL: what a kill leaves behind.
    store.connection().execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE").unwrap();
    let sql = "INSERT INTO blocks VALUES (5000 + ?, x'01', x'01', 1, 1, 1, zeroblob(9000))";
    for at in 0..50 {
        store.connection().execute(sql, [at]).unwrap();
    }
    let left = directory.path().join("left.db");
    fs::copy(&path, &left).unwrap();
    fs::copy(path.with_extension("db-wal"), left.with_extension("db-wal")).unwrap();
    let mut left = SqliteStore::open(&left).unwrap();
    model.assert_is(&*left.reader().unwrap(), "what was left");
    left.apply(&model.batch(&entries[50..])).unwrap();
    model.assert_is(&*left.reader().unwrap(), "and gone on");
}

#[test]
fn blocks_are_found_by_hash_through_the_index() {
    let (_directory, path) = place();
    let store = created(&path);
    let sql = format!("EXPLAIN QUERY PLAN {}", crate::sqlite::BLOCK_BY_HASH);
    let plan: String =
        store.connection().query_row(&sql, [[1_u8; 32]], |row| row.get("detail")).unwrap();
    assert!(plan.contains("USING INDEX blocks_by_hash"), "{plan}");
}

#[test]
fn somebody_elses_transaction_holds_it_up_and_loses_nothing() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let all = model.batch(&History::blocks(5, 10).entries);
    store.connection().busy_timeout(std::time::Duration::from_millis(1)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.apply(&all).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.is_retryable());
    drop(other);
    store.apply(&all).unwrap();
    model.assert_is(&*store.reader().unwrap(), "when it is over");
}
