//! The index, and the thread that follows the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::Connection;
use tempfile::TempDir;
use tipline_log::memory::MemoryLog;
use tipline_log::{Accepted, Appender, Log, error_chain, system_clock};
use tipline_producer::{
    EndReason, Outbox, OutboxError, PayloadSource as _, Producer, ProducerSettings,
};
use tipline_proto::{Chain, Event, Hash, Label, Lineage, LogIdentity};
use tokio::sync::Notify;

use super::follow::{Follower, Look, Scan, UNWATCHED, Watched};
use super::index::{Index, Item};
use super::seal::Seal;
use super::source::FileSource;
use super::{FileChanges, FileOutbox};

fn hash(height: u64) -> Hash {
    Hash::new([u8::try_from(height).unwrap(); 32]).unwrap()
}

fn block(height: u64) -> Item {
    let (hash, parent_hash) = (hash(height), hash(height - 1));
    let payload = vec![7; 300].into();
    Item { event: Event::BlockCommitted { height, hash, parent_hash, payload }, reference: None }
}

fn open(path: &Path) -> Result<Index, OutboxError> {
    Index::open(path, "dir:here", "", &hash(0), system_clock(), Arc::new(Notify::new()))
}

/// An index with two blocks in it, and one that is only in its write-ahead log.
fn index() -> (TempDir, PathBuf, Index) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.sqlite");
    let mut index = open(&path).unwrap();
    index.enqueue(&[block(1), block(2)], None, |_, _| Ok(())).unwrap();
    drop(index);
    let mut index = open(&path).unwrap();
    index.enqueue(&[block(3)], None, |_, _| Ok(())).unwrap();
    (directory, path, index)
}

/// What a process left that was killed is made durable before SQLite, or anybody, reads it.
#[test]
fn the_write_ahead_log_is_made_durable_before_the_index_is_opened() {
    let (directory, path, index) = index();
    drop(index);
    let wal = directory.path().join("index.sqlite-wal");
    fs::rename(&wal, directory.path().join("aside")).unwrap();
    // Nothing can be written to it.
    fs::create_dir(&wal).unwrap();
    let refused = error_chain(&open(&path).err().unwrap());
    assert!(refused.contains("index.sqlite has cannot be made durable"), "{refused}");
    fs::remove_dir(&wal).unwrap();
    fs::rename(directory.path().join("aside"), &wal).unwrap();
    assert_eq!(open(&path).unwrap().tip().unwrap().map(|tip| tip.height), Some(3));
}

/// Writes a file, at a time that it did not have before.
fn put(path: &Path, bytes: &[u8]) {
    static WRITES: AtomicU64 = AtomicU64::new(1);
    fs::write(path, bytes).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(WRITES.fetch_add(1, Ordering::Relaxed));
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Everything that could become of the bytes of a file.
fn damaged(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let flipped = (0..whole.len()).step_by(61).map(|at| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 8;
        (format!("byte {at} flipped"), bytes)
    });
    let cut = ("cut in half".to_owned(), whole[..whole.len() / 2].to_vec());
    let zeroed = ("zeros".to_owned(), vec![0; whole.len()]);
    flipped.chain([cut, ("empty".to_owned(), Vec::new()), zeroed]).collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    super::seal::with_suffix(path, suffix)
}

#[test]
fn every_byte_of_the_index_is_missed_while_it_is_in_use() {
    let (_directory, path, index) = index();
    index.check().unwrap();
    for path in [path.clone(), with_suffix(&path, "-wal")] {
        let whole = fs::read(&path).unwrap();
        assert!(whole.len() > 1000, "{}", path.display());
        for (how, bytes) in damaged(&whole) {
            put(&path, &bytes);
            let found = index.check();
            let is_named = matches!(&found, Err(error @ OutboxError::Corrupt { .. })
                if error.to_string().contains("index.sqlite"));
            assert!(is_named, "{} {how}: {found:?}", path.display());
            put(&path, &whole);
            index.check().unwrap();
        }
    }
}

#[test]
fn every_byte_of_the_index_is_missed_at_the_next_start() {
    let (_directory, path, index) = index();
    drop(index);
    assert_eq!(fs::metadata(with_suffix(&path, "-wal")).unwrap().len(), 0, "all is in the index");
    let whole = fs::read(&path).unwrap();
    for (how, bytes) in damaged(&whole) {
        put(&path, &bytes);
        let found = open(&path);
        assert!(matches!(found, Err(OutboxError::Corrupt { .. })), "{how}: {found:?}");
        put(&path, &whole);
    }
    assert_eq!(open(&path).unwrap().tip().unwrap().unwrap().height, 3);
}

/// Whatever was done to it since the last look.
#[test]
fn no_row_is_given_from_an_index_that_was_changed() {
    let (_directory, path, index) = index();
    let (seal, wake) = (index.seal(), Arc::new(Notify::new()));
    let scan = Panicking { index, looks: usize::MAX };
    let mut outbox = start(&path, seal, scan, &wake);
    assert_eq!(outbox.read(0, 9, usize::MAX).unwrap().len(), 3);
    let whole = fs::read(&path).unwrap();
    let at = whole.windows(32).position(|bytes| bytes == [2; 32]).expect("the hash of block 2");
    let mut bytes = whole.clone();
    bytes[at] ^= 1;
    put(&path, &bytes);
    let refused = outbox.read(1, 9, usize::MAX).unwrap_err();
    assert!(error_chain(&refused).contains("something else than Tipline"), "{refused:?}");
}

/// A process that is killed leaves nothing that a later one would take for damage.
#[test]
fn what_a_killed_process_left_is_opened() {
    let (_directory, path, mut index) = index();
    let left = |name: &str| {
        let copy = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal", ".lock"] {
            let to = with_suffix(&copy.path().join("index.sqlite"), suffix);
            fs::copy(with_suffix(&path, suffix), to).unwrap();
        }
        let tip = open(&copy.path().join("index.sqlite")).unwrap().tip().unwrap();
        (name.to_owned(), tip.map(|tip| tip.height))
    };
    assert_eq!(left("with a write-ahead log").1, Some(3));
    index.enqueue(&[block(4)], None, |_, _| Ok(())).unwrap();
    assert_eq!(left("and more in it").1, Some(4));
    // Killed after the index was written, and before that was noted.
    let lock = with_suffix(&path, ".lock");
    drop(index);
    fs::write(&lock, "").unwrap();
    assert_eq!(open(&path).unwrap().tip().unwrap().unwrap().height, 4);
}

/// Where the index is that [`child`] reads.
const INDEX: &str = "TIPLINE_TEST_INDEX";

/// If this process held no locks any more, the other one would take itself for the last.
#[test]
fn another_process_that_closes_the_index_removes_nothing() {
    let (_directory, path, mut index) = index();
    index.check().unwrap();
    let lengths =
        || ["-wal", "-shm"].map(|suffix| fs::metadata(with_suffix(&path, suffix)).unwrap().len());
    let before = lengths();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "files::tests::child"])
        .env(INDEX, &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    assert_eq!(lengths(), before);
    index.check().unwrap();
    index.enqueue(&[block(4)], None, |_, _| Ok(())).unwrap();
    drop(index);
    assert_eq!(open(&path).unwrap().tip().unwrap().unwrap().height, 4);
}

/// The other process: reads the index, and closes it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(INDEX) else { return };
    let conn = Connection::open(path).unwrap();
    let rows = conn.query_row("SELECT count(*) FROM tipline_outbox", [], |row| row.get(0));
    assert_eq!(rows, Ok(3));
}

/// What was there is written over, so that it takes no space.
#[test]
fn the_lock_file_never_shrinks() {
    let (_directory, path, index) = index();
    let lock = || fs::read(with_suffix(&path, ".lock")).unwrap();
    assert_eq!(lock().len(), 64);
    let conn = Connection::open(&path).unwrap();
    // Nothing is moved within a transaction.
    conn.execute_batch("BEGIN; SELECT * FROM tipline_outbox").unwrap();
    index.seal().write_all(&conn).unwrap_err();
    assert_eq!(lock(), [b'-'; 64]);
    conn.execute_batch("COMMIT").unwrap();
    index.seal().write_all(&conn).unwrap();
    assert_ne!(lock(), [b'-'; 64]);
    index.check().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_may_pass() {
    let (_directory, path, index) = index();
    drop(index);
    let full = fs::File::options().read(true).write(true).open("/dev/full").unwrap();
    let seal = Seal::open(&path, "dir:here", full).unwrap();
    let failed = seal.write_all(&Connection::open(&path).unwrap()).unwrap_err();
    assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
}

#[cfg(unix)]
#[test]
fn an_index_that_cannot_be_looked_at_may_pass() {
    let (directory, path, index) = index();
    for suffix in ["", "-wal"] {
        let (path, aside) = (with_suffix(&path, suffix), directory.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let failed = index.seal().check().unwrap_err();
        assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
        fs::remove_file(&path).unwrap();
        if suffix.is_empty() {
            let gone = index.seal().check().unwrap_err();
            assert!(matches!(gone, OutboxError::Corrupt { .. }), "{gone:?}");
        }
        fs::rename(&aside, &path).unwrap();
        index.check().unwrap();
    }
}

/// Looks, and panics in the end.
struct Panicking {
    index: Index,
    looks: usize,
}

impl Scan for Panicking {
    fn scan(&mut self, _changes: &mut FileChanges) -> Result<Look, OutboxError> {
        self.looks = self.looks.checked_sub(1).expect("it was made to panic");
        let mut look = Look::when_changed();
        if self.looks == 0 {
            self.index.enqueue(&[block(4)], None, |_, _| Ok(()))?;
            look.within(Duration::ZERO);
        }
        Ok(look)
    }

    fn mark(&mut self, name: &Label) -> Result<(), OutboxError> {
        self.index.mark(name)
    }
}

fn start(path: &Path, seal: Arc<Seal>, scan: Panicking, wake: &Arc<Notify>) -> FileOutbox {
    let root = path.parent().unwrap().to_owned();
    let source = FileSource::new(root.clone());
    let watched = Watched { root, recursive: false, relevant: Box::new(|_| true) };
    FileOutbox::start(path, seal, "dir:here", source, watched, Box::new(scan), Arc::clone(wake))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_panics_ends_the_primary_and_says_so() {
    let (_directory, path, index) = index();
    let (seal, wake) = (index.seal(), Arc::new(Notify::new()));
    let outbox = start(&path, seal, Panicking { index, looks: 1 }, &wake);
    let marker = outbox.marker();
    let failure = outbox.failure();
    let chain = Chain::new("test".parse().unwrap(), hash(0));
    let lineage = Lineage::from_bytes([3; 16]);
    let log = MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage });
    let connected = log.clone();
    let connect = move || {
        let log: Arc<dyn Log> = Arc::new(connected.clone());
        async move { Ok(log) }
    };
    let mut settings = ProducerSettings::new("node-1".parse().unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    let producer = Producer::start(connect, Box::new(outbox), settings, system_clock()).unwrap();
    let waker = producer.waker();
    let forward = tokio::spawn(async move {
        loop {
            wake.notified().await;
            waker.notify_one();
        }
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), producer.ended()).await;
    let ended = ended.expect("it does not hang");
    forward.abort();
    assert!(matches!(ended, EndReason::Outbox(_)), "{ended:?}");
    assert!(error_chain(&ended).contains("panicked: report it"), "{}", error_chain(&ended));
    assert!(failure.borrow().as_ref().is_some_and(|said| said.contains("panicked")));
    // What was enqueued before is published.
    assert_eq!(log.tail().await.unwrap().outbox_sequence, 4);
    // Nobody waits for a mark that will never be there.
    let refused = tokio::task::spawn_blocking(move || marker.mark(&"here".parse().unwrap()));
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await.expect("it answers");
    assert!(matches!(refused.unwrap(), Err(OutboxError::Internal { .. })));
}

/// Says when everything is looked at.
struct Looking(mpsc::SyncSender<()>);

impl Scan for Looking {
    fn scan(&mut self, changes: &mut FileChanges) -> Result<Look, OutboxError> {
        if changes.take_everything() {
            self.0.send(()).unwrap();
        }
        Ok(Look::when_changed())
    }

    fn mark(&mut self, _name: &Label) -> Result<(), OutboxError> {
        Ok(())
    }
}

/// Other programs of this machine may have used them up.
#[test]
fn without_notification_the_files_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let (looked, looks) = mpsc::sync_channel(100);
    let start = |watcher: fn() -> notify::Error| {
        let root = directory.path().to_owned();
        let watched = Watched { root, recursive: false, relevant: Box::new(|_| true) };
        let scan = Box::new(Looking(looked.clone()));
        Follower::start_by(move |_, _, _| Err(watcher()), watched, "dir:here", scan, Arc::default())
    };
    let limits: [fn() -> notify::Error; 2] = [
        || notify::Error::new(notify::ErrorKind::MaxFilesWatch),
        || notify::Error::io(std::io::Error::from_raw_os_error(24)),
    ];
    for limit in limits {
        let follower = start(limit).unwrap();
        for _ in 0..2 {
            looks.recv_timeout(4 * UNWATCHED).expect("the files are looked at again");
        }
        drop(follower);
    }
    let gone = start(|| notify::Error::new(notify::ErrorKind::PathNotFound)).unwrap_err();
    assert!(error_chain(&gone).contains("watching"), "{gone:?}");
}

/// Nothing but the thread that follows the files writes to the index: it would be found damaged.
#[test]
fn a_mark_is_enqueued_after_what_was_there_and_leaves_the_index_as_it_must_be() {
    let (_directory, path, index) = index();
    let (seal, wake) = (index.seal(), Arc::new(Notify::new()));
    let mut outbox = start(&path, seal, Panicking { index, looks: usize::MAX }, &wake);
    let marker = outbox.marker();
    for name in ["one", "two"] {
        marker.mark(&name.parse().unwrap()).unwrap();
    }
    let rows = outbox.read(3, 9, usize::MAX).unwrap();
    let events: Vec<_> = rows.into_iter().map(|row| (row.sequence, row.event)).collect();
    let mark = |name: &str| Event::Marked { name: name.parse().unwrap() };
    assert_eq!(events, [(4, mark("one")), (5, mark("two"))]);
    drop(outbox);
    assert!(matches!(marker.mark(&"three".parse().unwrap()), Err(OutboxError::Failed { .. })));
}

/// As with stores.
#[test]
fn an_fsync_of_the_index_reaches_the_medium() {
    let (_directory, _path, index) = index();
    for pragma in ["fullfsync", "checkpoint_fullfsync"] {
        let value =
            index.read(|conn| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)));
        assert_eq!(value.unwrap(), 1, "{pragma}");
    }
}

/// A source is known by its address, and its index is another file.
#[test]
fn an_error_of_the_index_names_its_file() {
    let (_directory, path, mut index) = index();
    let other = Connection::open(&path).unwrap();
    // As if it had been put there by something else: the tables are not what they were.
    other.execute_batch("DROP TABLE tipline_block; DROP TABLE tipline_outbox_released").unwrap();
    let next = index.enqueue(&[block(4)], None, |_, _| Ok(())).unwrap_err();
    let errors = [
        next,
        index.tip().unwrap_err(),
        index.block(2).unwrap_err(),
        index.read(|conn| conn.execute_batch("SELECT * FROM nothing")).unwrap_err(),
        index.write(|tx| tx.execute_batch("DELETE FROM nothing")).unwrap_err(),
    ];
    for error in errors {
        let told = error_chain(&error);
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(told.contains("dir:here"), "{told}");
    }
}

#[test]
fn a_payload_that_is_not_there_is_named_by_its_whole_path() {
    let directory = tempfile::tempdir().unwrap();
    let source = FileSource::new(directory.path().to_owned());
    fs::write(directory.path().join("short"), [1; 10]).unwrap();
    for file in ["gone", "short"] {
        let error = source.read(&format!("{file}:0:20")).unwrap_err();
        let path = directory.path().join(file);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
