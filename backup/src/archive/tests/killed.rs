//! Archiver and merging, killed at any moment: nothing listed that is not whole, nothing whole
//! lost, nothing in the way of the next run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tipline_consumer::StoreHandle;
use tipline_proto::{Entry, Timestamp};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::{apply, everything, filled, open, runtime, store};
use crate::disk::STAGED;
use crate::throttle::Throttle;
use crate::{Checkpoints, Destination, Job, Listed};

/// The directory of a child, which knows what to do by which test it is.
const DIRECTORY: &str = "TIPLINE_TEST_ARCHIVE";
const SEED: &str = "TIPLINE_TEST_SEED";

fn kills() -> u64 {
    env::var("TIPLINE_KILLS").map_or(20, |text| text.parse().unwrap())
}

/// A test of this module as a child; it has said that it begins.
fn child(test: &str, directory: &Path, seed: u64) -> (Child, BufReader<impl Read>) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{test}"), "--ignored", "--nocapture"]);
    command.env(DIRECTORY, directory).env(SEED, seed.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    wait_for("begins", &mut output);
    (child, output)
}

fn wait_for(what: &str, output: &mut impl BufRead) {
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended before it {what}");
    }
}

/// What a child is given. It ends with its parent.
fn given() -> (PathBuf, u64) {
    thread::spawn(|| {
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(1);
    });
    let directory = env::var_os(DIRECTORY).expect("it is started by another test");
    (directory.into(), env::var(SEED).unwrap().parse().unwrap())
}

fn tell(text: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").unwrap();
    output.flush().unwrap();
}

/// Kills the child after some time, and gives what it has said until then.
fn kill(child: Child, output: BufReader<impl Read>, after: Duration) -> Vec<String> {
    let mut child = child;
    // The moment is what the test chooses by chance; nothing is waited for.
    let until = Instant::now() + after;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    output.lines().map_while(Result::ok).collect()
}

/// The objects that are listed, with their content.
fn listed(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = runtime().block_on(async { open(directory).await.segments().await.unwrap() });
    let read = |name: crate::SegmentName| {
        let name = name.to_string();
        let bytes = fs::read(directory.join(&name)).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn a_killed_archiver_leaves_whole_segments_and_loses_none() {
    let mut within = tempfile::tempdir().unwrap();
    let mut before = BTreeMap::new();
    let (mut reached, mut told) = (0, 0);
    for round in 0..kills() {
        let seed = round / 5;
        if round % 5 == 0 {
            (within, before) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        }
        let directory = within.path().join("archive");
        let mut rng = StdRng::seed_from_u64(round);
        let (archiver, output) = child("archiver", &directory, seed);
        let said = kill(archiver, output, Duration::from_micros(rng.random_range(0..100_000)));
        let applied =
            said.iter().rev().find_map(|line| line.strip_prefix("applied ")?.parse().ok());
        let applied: usize = applied.unwrap_or(0);
        if !directory.join("archive.json").exists() {
            assert_eq!(applied, 0, "round {round}");
            continue;
        }
        let now = listed(&directory);
        for (name, bytes) in &before {
            assert_eq!(now.get(name), Some(bytes), "round {round}: {name}");
        }
        let found = runtime().block_on(async { everything(&open(&directory).await).await });
        let found = found.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let history = history(seed);
        assert!(found.len() >= applied, "round {round}: {applied} were acknowledged");
        assert_eq!(found, history.entries[..found.len()], "round {round}");
        (reached, told, before) = (reached + found.len(), told + applied, now);
    }
    println!("{reached} entries found, {told} acknowledged");
    assert!(told > 0, "no kill was late enough to try anything");
}

fn history(seed: u64) -> History {
    History::random_of(seed, 1500, 2_000)
}

#[test]
#[ignore = "started by the test above, to be killed"]
fn archiver() {
    let (directory, seed) = given();
    let (runtime, history) = (runtime(), history(seed));
    tell("begins");
    let mut store = store(&runtime, &directory);
    store.identity().unwrap();
    store.create(&log()).unwrap();
    let at = store.view().unwrap().cursor().unwrap().unwrap().position.index;
    let mut model = Model::of(&log(), &history.entries[..at as usize]);
    while model.cursor.position != history.model.cursor.position {
        let at = model.cursor.position.index as usize;
        apply(
            &mut store,
            &mut model,
            &history.entries[..(at + 7).min(history.entries.len())],
            7,
            1,
        );
        tell(&format!("applied {}", model.cursor.position.index));
    }
    tell("done");
    loop {
        thread::park();
    }
}

#[test]
fn killed_merging_leaves_whole_segments_and_loses_none() {
    let history = History::blocks(60, 20_000);
    let template = tempfile::tempdir().unwrap();
    filled(&runtime(), template.path(), &history.entries, 2, 1);
    let whole = undisturbed(template.path());
    let (mut merged, mut removing) = (0, 0);
    for round in 0..kills() {
        let directory = copy(template.path());
        let segments = listed(directory.path()).len();
        let mut rng = StdRng::seed_from_u64(round);
        let (merging, mut output) = child("merging", directory.path(), round);
        if round % 2 == 1 {
            wait_for("merged", &mut output);
        }
        kill(merging, output, whole.mul_f64(rng.random_range(0.0..1.1)));
        let runtime = runtime();
        runtime.block_on(async {
            let archive = open(directory.path()).await;
            let found = everything(&archive).await;
            let found = found.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(found, history.entries, "round {round}");
            let left = archive.segments().await.unwrap().len();
            merged += u64::from(left == segments + 1);
            removing += u64::from(left < segments && left > 2);
            // Nothing is in the way of the next run.
            archive.merge(true).await.unwrap();
            assert_eq!(archive.segments().await.unwrap().len(), 2, "round {round}");
            assert_eq!(everything(&archive).await.unwrap(), history.entries, "round {round}");
        });
    }
    println!("{merged} were killed when they had merged, {removing} while they removed");
    assert!(merged + removing > 0, "no kill was at a moment that matters");
}

/// A copy of an archive.
fn copy(template: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("segments")).unwrap();
    let description = "archive.json";
    fs::copy(template.join(description), directory.path().join(description)).unwrap();
    for (name, bytes) in listed(template) {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// How long merging takes that nobody kills.
fn undisturbed(template: &Path) -> Duration {
    let directory = copy(template);
    let (merging, mut output) = child("merging", directory.path(), 0);
    let begun = Instant::now();
    wait_for("done", &mut output);
    let whole = begun.elapsed();
    kill(merging, output, Duration::ZERO);
    whole
}

#[test]
#[ignore = "started by the test above, to be killed"]
fn merging() {
    let (directory, _) = given();
    let runtime = runtime();
    tell("begins");
    runtime.block_on(async {
        let archive = open(&directory).await;
        archive.merge(false).await.unwrap();
        tell("merged");
        archive.merge(true).await.unwrap();
    });
    tell("done");
    loop {
        thread::park();
    }
}

#[test]
fn killed_retention_leaves_everything_that_is_to_be_kept() {
    let history = History::blocks(120, 20_000);
    let template = tempfile::tempdir().unwrap();
    let runtime = runtime();
    filled(&runtime, template.path(), &history.entries[..70], 2, 1);
    // Merged segments, and those that they were made of.
    runtime.block_on(async { open(template.path()).await.merge(false).await.unwrap() });
    let mut store = store(&runtime, template.path());
    store.identity().unwrap();
    apply(&mut store, &mut Model::of(&log(), &history.entries[..70]), &history.entries, 2, 1);
    let start = runtime.block_on(checkpoint(template.path(), &history.entries[..100]));
    let begun = Instant::now();
    runtime.block_on(expire(copy_all(template.path()).path()));
    let whole = begun.elapsed();
    let (mut begun, mut between) = (0, 0);
    for round in 0..kills() {
        let directory = copy_all(template.path());
        let segments = in_folder(directory.path(), "segments");
        let mut rng = StdRng::seed_from_u64(round);
        let (retention, output) = child("retention", directory.path(), round);
        kill(retention, output, whole.mul_f64(rng.random_range(0.0..1.3)));
        let left = in_folder(directory.path(), "segments");
        begun += u64::from(left < segments);
        let done = runtime.block_on(async {
            kept_from(directory.path(), start, &history.entries, round).await;
            expire(directory.path()).await;
            kept_from(directory.path(), start, &history.entries, round).await
        });
        between += u64::from(left < segments && left > in_folder(directory.path(), "segments"));
        assert!(done > 1, "round {round}: nothing was removed in the end");
        assert_eq!(in_folder(directory.path(), "from"), 1, "round {round}");
    }
    println!("{begun} were killed when they had removed some, {between} of them before the end");
    assert!(begun > 0, "no kill was at a moment that matters");
}

#[test]
#[ignore = "started by the test above, to be killed"]
fn retention() {
    let (directory, _) = given();
    tell("begins");
    runtime().block_on(expire(&directory));
    tell("done");
    loop {
        thread::park();
    }
}

/// Removes all that may go, whatever its age.
async fn expire(directory: &Path) {
    let later = Timestamp::from_micros(1_900_000_000_000_000);
    open(directory).await.expire(Duration::ZERO, later, &Throttle::none()).await.unwrap();
}

/// Every entry from the start on is there, in an archive without a gap, with its checkpoint.
/// Gives the first entry that counts.
async fn kept_from(directory: &Path, start: u64, entries: &[Entry], round: u64) -> u64 {
    let archive = open(directory).await;
    let cursor = archive.cursor().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    assert_eq!(cursor.position, entries.last().unwrap().position(), "round {round}");
    let names = archive.segments().await.unwrap();
    let first = names.first().unwrap().first;
    assert!(first <= start, "round {round}: {first} is the first that is left");
    let mut found = BTreeMap::new();
    for name in &names {
        let (_, entries) = archive.entries(name).await.unwrap();
        found.extend(entries.into_iter().map(|entry| (entry.index, entry)));
    }
    assert!(found.into_values().eq(entries[first as usize - 1..].iter().cloned()), "round {round}");
    let set = checkpoints(directory);
    let [Listed::Whole(manifest)] = &set.list().await.unwrap()[..] else {
        panic!("round {round}: the checkpoint is gone");
    };
    set.verify(manifest, &Throttle::none()).await.unwrap();
    first
}

fn checkpoints(directory: &Path) -> Checkpoints {
    let folder = directory.join("checkpoints");
    Checkpoints::at(Destination::open(&format!("dir:{}", folder.display())).unwrap())
}

/// A checkpoint at the place of an archive; gives its index.
async fn checkpoint(directory: &Path, entries: &[Entry]) -> u64 {
    let within = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(within.path().join("store.db")).unwrap();
    store.create(&log()).unwrap();
    store.apply(&Model::new(&log()).batch(entries)).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let job = Arc::new(Job::new(CancellationToken::new(), None));
    let created = Timestamp::from_micros(1_800_000_000_000_000);
    let made = checkpoints(directory).create(&handle, created, &job).await.unwrap();
    made.cursor.position.index
}

/// How many objects there are; those that were being written have another name.
fn in_folder(directory: &Path, folder: &str) -> usize {
    let Ok(found) = fs::read_dir(directory.join(folder)) else { return 0 };
    let names = found.map(|file| file.unwrap().file_name().into_string().unwrap());
    // What was being written when the writer was killed has no name yet.
    names.filter(|name| !name.starts_with(STAGED)).count()
}

/// A copy of everything at a place.
fn copy_all(template: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-a").arg(template.join(".")).arg(directory.path()).status();
    assert!(done.unwrap().success());
    directory
}
