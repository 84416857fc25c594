//! The process that makes checkpoints, and removes old ones, is killed at random moments.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_consumer::{StoreHandle, StoreThread};
use tipline_store::Store;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;

use super::{Open, at, check, job, set, whole};
use crate::throttle::Throttle;
use crate::{CheckpointId, Checkpoints, Keep, Listed};

/// Tells the child where, and that it is one.
const CHILD: &str = "TIPLINE_CHECKPOINT_CHILD";
const KEEP: Keep = Keep { last: 3, within: None };
/// A child whose parent is gone ends by itself.
const LIFE: Duration = Duration::from_secs(60);
const SEED: u64 = 77;
const ENTRIES: usize = 2000;
const BATCH: usize = 2;
/// Batches of one life, so that there is something left for the last one.
const BATCHES: usize = 8;

macro_rules! killed {
    ($($(#[$when:meta])* $name:ident;)*) => {
        $(
            $(#[$when])*
            #[test]
            fn $name() {
                let test = concat!("checkpoint::tests::killed::", stringify!($name));
                run(test, super::$name, false);
            }
        )*
    };
}

killed! {
    sqlite;
    composite;
    #[cfg(feature = "rocksdb")]
    rocksdb;
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_sharing() {
    run("checkpoint::tests::killed::rocksdb_sharing", super::rocksdb, true);
}

/// The set whose checkpoints share files, or the one of which they do not.
fn set_of(directory: &Path, shares: bool) -> Checkpoints {
    if shares { set(directory).sharing() } else { set(directory) }
}

fn run(test: &str, open: Open, shares: bool) {
    if let Ok(directory) = env::var(CHILD) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(make(Path::new(&directory), open, shares));
    }
    let kills: usize = env::var("TIPLINE_KILLS").map_or(25, |kills| kills.parse().unwrap());
    let seed = rand::random();
    println!("seed {seed}, {kills} kills");
    let mut rng = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acknowledged = BTreeSet::new();
    // How long the slowest first checkpoint of a life took: longer on a machine that is busy.
    let mut first = Duration::ZERO;
    for round in 0..kills {
        let (mut child, lines) = start(test, directory.path());
        // Not before the store is open: what that does when it is killed has a suite of its own.
        assert_eq!(lines.recv_timeout(LIFE).unwrap(), "open");
        let opened = Instant::now();
        // In the first checkpoint, or after some. Until one was made nobody knows how long it takes.
        let within = if rng.random_bool(0.5) { first } else { first * 10 };
        let life = if round == 0 { LIFE } else { within.mul_f64(rng.random()) };
        let mut made = 0;
        while let Ok(line) = lines.recv_timeout(life.saturating_sub(opened.elapsed())) {
            acknowledged.insert(line.parse().unwrap());
            made += 1;
            if made == 1 {
                first = first.max(opened.elapsed());
            }
            if round == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died.
        acknowledged.extend(lines.iter().map(|line| line.parse::<CheckpointId>().unwrap()));
        runtime.block_on(look(directory.path(), &acknowledged));
    }
    let made = acknowledged.len();
    assert!(made * 25 > kills, "only {made} were made in all: nothing was shown");
    runtime.block_on(go_on(directory.path(), open, shares));
}

fn start(test: &str, directory: &Path) -> (Child, Receiver<String>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let (send, lines) = sync_channel(100_000);
    thread::spawn(move || {
        // The harness of the test says something, too.
        while let Some(Ok(line)) = output.next() {
            if let Some((_, line)) = line.split_once("child: ") {
                send.send(line.to_owned()).unwrap();
            }
        }
    });
    (child, lines)
}

/// The child: it applies, makes checkpoints, and removes old ones, for as long as it lives.
async fn make(directory: &Path, open: Open, shares: bool) {
    let say = |line: &str| {
        let mut output = std::io::stdout();
        writeln!(output, "child: {line}").unwrap();
        output.flush().unwrap();
    };
    let history = History::random_of(SEED, ENTRIES, 2000);
    let (store, applied) = open_in_step(directory, open, &history);
    let thread = StoreThread::start(store).unwrap();
    let handle = StoreHandle::unattached(thread.place().to_owned());
    handle.attach(&thread);
    say("open");
    let applying = async {
        let mut model = Model::of(&log(), &history.entries[..applied]);
        for entries in history.entries[applied..].chunks(BATCH).take(BATCHES) {
            let batch = model.batch(entries);
            // A pace, not a wait for anything: so that they spread over the checkpoints.
            tokio::time::sleep(Duration::from_millis(10)).await;
            thread.call(move |store| store.apply(&batch)).get().await.unwrap().unwrap();
        }
        std::future::pending().await
    };
    let making = async {
        let set = set_of(directory, shares);
        let now = fs::read_dir(directory.join("set")).map_or(0, Iterator::count) as u64;
        for number in 0.. {
            let made = set.create(&handle, at(now + number), &job()).await.unwrap();
            say(made.id.as_str());
            if number % 2 == 1 {
                set.expire(&KEEP, at(now + number), Some(&made.id), &Throttle::none())
                    .await
                    .unwrap();
            }
        }
    };
    tokio::select! {
        () = applying => {}
        () = making => {}
        () = tokio::time::sleep(LIFE) => {}
    }
}

/// Opens the store; the parts of a composite may be a batch apart, and are in step after the next
/// one. Also gives how many entries it has.
fn open_in_step(directory: &Path, open: Open, history: &History) -> (Box<dyn Store>, usize) {
    let mut store = open(directory);
    store.create(&log()).unwrap();
    let cursor = store.reader().unwrap().cursor().unwrap().unwrap();
    let applied = usize::try_from(cursor.position.index).unwrap();
    let (before, rest) = history.entries.split_at(applied);
    let next = &rest[..rest.len().min(2 * BATCH)];
    if !next.is_empty() {
        store.apply(&Model::of(&log(), before).batch(next)).unwrap();
    }
    (store, applied + next.len())
}

/// Whatever is listed is whole, and whatever was made is listed, unless newer ones took its place.
async fn look(directory: &Path, acknowledged: &BTreeSet<CheckpointId>) {
    if !directory.join("set").is_dir() {
        assert!(acknowledged.is_empty());
        return;
    }
    let set = set(directory);
    let mut listed = BTreeSet::new();
    for found in set.list().await.unwrap() {
        let Listed::Whole(manifest) = &found else { panic!("{found:?}") };
        set.verify(manifest, &Throttle::none()).await.unwrap();
        listed.insert(whole(found));
    }
    for id in acknowledged.difference(&listed) {
        let newer = listed.iter().filter(|newer| *newer > id).count();
        assert!(newer >= KEEP.last, "{id} is lost: there are {listed:?}");
    }
}

/// The next one is made as if nothing had been, nothing else is left, and it is what the entries
/// came to.
async fn go_on(directory: &Path, open: Open, shares: bool) {
    let history = History::random_of(SEED, ENTRIES, 2000);
    let handle = StoreHandle::new(open_in_step(directory, open, &history).0).unwrap();
    let set = set_of(directory, shares);
    let made = set.create(&handle, at(1 << 40), &job()).await.unwrap();
    let names = super::names(&directory.join("set"));
    let listed: BTreeSet<_> = set.list().await.unwrap().into_iter().map(whole).collect();
    let expected = listed.iter().map(ToString::to_string).chain(["lock".to_owned()]);
    let expected = expected.chain(shares.then(|| "shared".to_owned()));
    assert_eq!(names, expected.collect::<Vec<_>>());
    let into = directory.join("fetched");
    set.fetch(&made, &into, &Throttle::none()).await.unwrap();
    check(&made, &into, &history.entries);
}
