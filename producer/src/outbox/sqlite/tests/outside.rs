//! What something else than SQLite writes to the database while it is open; and what SQLite writes.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::{Connection, TransactionBehavior};
use tipline_proto::Lineage;

use super::{Node, clock};
use crate::outbox::conformance::{Subject, block, genesis};
use crate::outbox::{Outbox, OutboxError, OutboxTable, SqliteOutbox};

/// Far more than it takes.
const WITHIN: Duration = Duration::from_secs(60);

/// The system's clock for files goes in steps: what is changed from now on has another time.
fn let_time_pass(path: &Path) {
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let other = path.with_extension("time");
    loop {
        fs::write(&other, "now").unwrap();
        if modified(&other) > modified(path) {
            return;
        }
    }
}

fn checkpoint(conn: &Connection, mode: &str) {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
}

/// A node with rows in the database, some of them in its write-ahead log too, and with pages that hold
/// nothing of the outbox. The publisher has seen it at rest.
fn at_rest() -> Node {
    let mut node = Node::new();
    node.conn
        .execute_batch("CREATE TABLE own (x); INSERT INTO own VALUES (zeroblob(40000))")
        .unwrap();
    node.enqueue(&block(1, 0, 0)).unwrap();
    checkpoint(&node.conn, "TRUNCATE");
    fs::copy(node.path(), node.path().with_extension("copy")).unwrap();
    // All that is compared of the outbox is in the write-ahead log from now on.
    node.enqueue(&block(2, 0, 0)).unwrap();
    node.publisher.bind(Lineage::from_bytes([1; 16])).unwrap();
    node.publisher.release(1).unwrap();
    assert_eq!(node.publisher.read(0, 9, 999).unwrap().len(), 2);
    let_time_pass(&node.path());
    node
}

fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

type Harm = fn(&Path);

#[test]
fn what_something_else_writes_to_the_database_is_named_whatever_it_is() {
    let harms: [(Harm, &str); 5] = [
        (|path| fs::copy(path.with_extension("copy"), path).map(drop).unwrap(), "copied over"),
        (|path| write_at(path, 3 * 4096, &[0; 512]), "zeroed"),
        (|path| write_at(path, fs::metadata(path).unwrap().len() - 9, &[3]), "flipped"),
        (|path| write_at(path, fs::metadata(path).unwrap().len(), &[3]), "longer"),
        (
            |path| {
                let bytes = fs::metadata(path).unwrap().len();
                File::options().write(true).open(path).unwrap().set_len(bytes - 4096).unwrap();
            },
            "cut",
        ),
    ];
    for (harm, how) in harms {
        let mut node = at_rest();
        harm(&node.path());
        let error = node.publisher.read(0, 9, 999).unwrap_err();
        assert!(matches!(error, OutboxError::Unusable { .. }), "{how}: {error:?}");
        let says =
            format!("something else than SQLite wrote to the database {}", node.path().display());
        assert!(error.to_string().contains(&says), "{how}: {error}");
        // It stays so.
        assert!(node.publisher.pending().is_err(), "{how}");
    }
}

/// SQLite compares the checksums of its log only when it begins with one.
#[test]
fn no_row_is_given_out_of_a_log_that_is_not_what_was_written() {
    let harms: [(Harm, &str); 3] = [
        (|path| write_at(path, fs::metadata(path).unwrap().len() - 9, &[3]), "flipped"),
        (|path| write_at(path, 32 + 24, &[7; 512]), "overwritten"),
        (
            |path| {
                let bytes = fs::metadata(path).unwrap().len();
                File::options().write(true).open(path).unwrap().set_len(bytes - 100).unwrap();
            },
            "cut",
        ),
    ];
    for (harm, how) in harms {
        let mut node = at_rest();
        let log = node.path().with_extension("db-wal");
        harm(&log);
        // It was compared a moment ago, and is again a second later.
        let began = Instant::now();
        let error = loop {
            match node.publisher.read(0, 9, 999) {
                Ok(_) | Err(OutboxError::Failed { .. }) => {
                    assert!(began.elapsed() < WITHIN, "{how}: it is not named");
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, OutboxError::Corrupt { .. }), "{how}: {error:?}");
        // What SQLite itself does not understand it says.
        assert!(error.to_string().contains("node.db"), "{how}: {error}");
        assert!(
            how == "overwritten" || error.to_string().contains("node.db-wal"),
            "{how}: {error}"
        );
    }
}

/// Whatever a node does through SQLite, at any moment of it.
#[test]
fn a_node_that_writes_checkpoints_and_vacuums_is_never_taken_for_something_else() {
    for seed in 0..3 {
        println!("seed {seed}");
        let node = Node::new();
        let path = node.path();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                work(&path, seed);
                is_over.store(true, Ordering::SeqCst);
            });
            let mut publisher = SqliteOutbox::open(&path).unwrap();
            let mut looks = 0;
            while !is_over.load(Ordering::SeqCst) || looks < 100 {
                looks += 1;
                match publisher.pending() {
                    // It waits for the node no longer than it must.
                    Ok(_) | Err(OutboxError::Failed { .. }) => {}
                    Err(error) => panic!("look {looks}: {error}"),
                }
            }
            println!("{looks} looks");
        });
    }
}

fn work(path: &Path, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut conn = Connection::open(path).unwrap();
    let reader = Connection::open(path).unwrap();
    // A checkpoint that a reader holds up is not waited for.
    conn.busy_timeout(Duration::from_millis(5)).unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE own (x)").unwrap();
    let table = OutboxTable::install(&conn, &genesis(), clock()).unwrap();
    let mut height = 0;
    for _ in 0..400 {
        match rng.random_range(0..12) {
            0 => checkpoint(&conn, "PASSIVE"),
            1 => checkpoint(&conn, "FULL"),
            2 => checkpoint(&conn, "RESTART"),
            3 => checkpoint(&conn, "TRUNCATE"),
            4 => drop(conn.execute_batch("VACUUM")),
            5 => {
                let pages = [0, 1, 5, 1000][rng.random_range(0..4)];
                conn.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(()))
                    .unwrap();
            }
            6 => conn.execute_batch("DELETE FROM own WHERE rowid % 3 = 0").unwrap(),
            // A reader that holds checkpoints up, or does no more.
            7 => drop(reader.execute_batch("BEGIN; SELECT count(*) FROM own")),
            8 => drop(reader.execute_batch("COMMIT")),
            9 => drop(
                Connection::open(path).unwrap().query_row("PRAGMA quick_check", [], |_| Ok(())),
            ),
            _ => {
                let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                tx.execute("INSERT INTO own VALUES (randomblob(?1))", [rng.random_range(0..9000)])
                    .unwrap();
                height += 1;
                table.enqueue(&tx, &block(height, 0, 0)).unwrap();
                tx.commit().unwrap();
            }
        }
    }
}
