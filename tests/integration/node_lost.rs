//! A node is lost with its machine, and only what was archived elsewhere is left: how much of
//! what it had committed is gone. Beside it, for comparison, Litestream replicates the same
//! node's database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fmt, fs};

use tempfile::TempDir;
use tipline_proto::Event;
use tipline_store::{SqliteStore, Store, StoreReader};
use tipline_tests::{Process, Rng, Tipline, eventually, toy_history};

use crate::site::Site;

const DEADLINE: Duration = Duration::from_secs(60);
/// Blocks that the node commits in a second.
const RATE: &str = "100";
/// What the node waits for before it confirms a block.
const POLICY: &str = "any 1 of archive at verified";
/// What is committed is in the archive within so many seconds, on a machine that is busy too.
const BOUND: f64 = 10.0;

/// What a node had committed when it was lost, and told others.
struct Committed {
    events: Vec<Event>,
    /// Outbox sequences and when they were committed, in seconds, one for each block.
    times: Vec<(usize, f64)>,
    /// The newest that was confirmed, and how long each confirmation took.
    confirmed: usize,
    waits: Vec<f64>,
}

/// What of it could not be brought back.
#[derive(Clone, Copy)]
struct Lost {
    events: usize,
    blocks: usize,
    seconds: f64,
}

impl Committed {
    /// Looks at what the node leaves behind. It must not be running.
    fn read(db: &Path, journal: &Path) -> Committed {
        let (mut times, mut confirmed, mut waits) = (Vec::<(usize, f64)>::new(), 0, Vec::new());
        for line in fs::read_to_string(journal).unwrap().lines() {
            let mut words = line.split(' ');
            let what = words.next().unwrap();
            let sequence: usize = words.next().unwrap().parse().unwrap();
            let at = words.next().unwrap().parse::<f64>().unwrap() / 1e6;
            if what == "committed" {
                times.push((sequence, at));
                continue;
            }
            let place = times.binary_search_by_key(&sequence, |(sequence, _)| *sequence);
            waits.push(at - times[place.unwrap()].1);
            confirmed = confirmed.max(sequence);
        }
        Committed { events: toy_history(db), times, confirmed, waits }
    }

    /// What is gone if the first `kept` events are back.
    fn lost(&self, kept: usize) -> Lost {
        let gone = &self.events[kept..];
        let blocks = gone.iter().filter(|event| matches!(event, Event::BlockCommitted { .. }));
        // A kill may come between a commit and its line in the journal.
        let at = |sequence| self.times.iter().find(|(until, _)| *until >= sequence);
        let newest = self.times.last().unwrap();
        let seconds = newest.1 - at(kept).unwrap_or(newest).1;
        Lost { events: gone.len(), blocks: blocks.count(), seconds }
    }
}

/// How many of the node's events, the oldest of them, a store has. It has no others.
fn kept(store: &dyn StoreReader, events: &[Event]) -> usize {
    let has = |event: &Event| match event {
        Event::BlockCommitted { height, hash, payload, .. } => {
            let block = store.block(*height).unwrap();
            block.map(|block| assert_eq!((&block.hash, &block.payload), (hash, payload))).is_some()
        }
        Event::BlockProven { height, payload, .. } => {
            let proof = store.proof(*height).unwrap();
            proof.map(|proof| assert_eq!(proof.payload, *payload)).is_some()
        }
        // The toy has no others.
        _ => false,
    };
    let kept = events.iter().take_while(|event| has(event)).count();
    assert!(!events[kept..].iter().any(has), "there is a hole behind event {kept}");
    kept
}

/// Kills them all at once, with -9. They were running until then.
fn kill<'a>(processes: impl Iterator<Item = &'a mut Process>) {
    std::thread::scope(|threads| {
        for process in processes {
            threads.spawn(|| {
                assert_eq!(process.status(), None, "it runs until it is killed");
                process.kill();
            });
        }
    });
}

fn litestream() -> Option<PathBuf> {
    let found = std::env::var_os("TIPLINE_LITESTREAM").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: the comparison with Litestream; name it by TIPLINE_LITESTREAM");
    }
    found
}

/// Waits until there is a file with such an end somewhere below.
async fn wait_for(dir: &Path, end: &str) {
    let there = async || {
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            let Ok(entries) = fs::read_dir(dir) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    open.push(path);
                } else if path.to_str().unwrap().ends_with(end) {
                    return Ok(());
                }
            }
        }
        Err("not yet")
    };
    eventually(&format!("there is a {end} below {}", dir.display()), DEADLINE, there).await;
}

/// One node, from its first block to its end. Gives what is lost with Tipline, what with
/// Litestream, and how long confirmations took.
async fn round(rng: &mut Rng, litestream: Option<&Path>) -> (Lost, Option<Lost>, Vec<f64>) {
    let (site, elsewhere) = (Site::embedded(rng).await, TempDir::new().unwrap());
    let [archive, replica, journal, restored, compared] =
        ["archive", "replica", "journal", "restored.db", "compared.db"]
            .map(|name| elsewhere.path().join(name));
    let (to, url) = (format!("dir:{}", archive.display()), format!("file://{}", replica.display()));
    let policy = ["--policy", POLICY, "--journal", journal.to_str().unwrap()];
    let mut node = site.primary("node.db", &[["--rate", RATE].as_slice(), &policy].concat());
    let words = ["archive", "--to", &to, "--log", &site.address, "--accept-shortfalls"];
    let (mut archiver, mut other) = (Tipline::new(words).spawn(), None);
    if let Some(litestream) = litestream {
        site.wait_for_entries(2).await;
        let mut command = Command::new(litestream);
        command.arg("replicate").arg(site.file("node.db")).arg(&url);
        other = Some(Process::spawn("litestream", command, &site.file("litestream.log")));
        wait_for(&replica, ".ltx").await;
    }
    eventually("a block was confirmed", DEADLINE, async || {
        let told = fs::read_to_string(&journal).unwrap_or_default();
        if told.contains("confirmed") { Ok(()) } else { Err("not yet") }
    })
    .await;
    // Any moment of its life.
    tokio::time::sleep(Duration::from_millis(rng.within(1500..=4500))).await;
    kill([&mut node, &mut archiver.process].into_iter().chain(&mut other));

    let committed = Committed::read(&site.file("node.db"), &journal);
    // With its database, its log, and whatever programs kept beside them.
    drop((node, archiver, other, site));
    let store = format!("sqlite:{}", restored.display());
    let restore = ["restore", "--store", &store, "--from", &to, "--verify", "strict"];
    let done = Tipline::new(restore).finish(DEADLINE).await;
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    let reader = SqliteStore::open(&restored).unwrap().reader().unwrap();
    let kept = kept(&*reader, &committed.events);
    assert!(committed.confirmed > 0, "blocks were confirmed before");
    assert!(
        kept >= committed.confirmed,
        "event {} was confirmed, and only {kept} events are back",
        committed.confirmed
    );
    let compared = litestream.map(|program| {
        let mut command = Command::new(program);
        let out = command.arg("restore").arg("-o").arg(&compared).arg(&url).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let found = toy_history(&compared);
        assert!(committed.events.starts_with(&found), "Litestream's is the node's, to a point");
        committed.lost(found.len())
    });
    (committed.lost(kept), compared, committed.waits)
}

/// Mean and maximum.
struct Summary(f64, f64);

impl Summary {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Summary {
        let (count, sum) = (values.clone().count() as f64, values.clone().sum::<f64>());
        Summary(sum / count, values.fold(0.0, f64::max))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} | {:.2}", self.0, self.1)
    }
}

fn print(who: &str, lost: &[Lost]) {
    let blocks = Summary::of(lost.iter().map(|lost| lost.blocks as f64));
    let events = Summary::of(lost.iter().map(|lost| lost.events as f64));
    let seconds = Summary::of(lost.iter().map(|lost| lost.seconds));
    println!("| {who} | {blocks} | {events} | {seconds} |");
}

/// How often; `TIPLINE_LOST_ROUNDS` in the environment overrides it.
fn rounds() -> usize {
    std::env::var("TIPLINE_LOST_ROUNDS").map_or(2, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_with_a_node_is_seconds_and_nothing_that_was_confirmed() {
    let mut rng = Rng::from_env();
    let litestream = litestream();
    let (mut tipline, mut compared, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let (lost, other, waited) = round(&mut rng, litestream.as_deref()).await;
        assert!(lost.seconds < BOUND, "{:.1} s of commits are lost", lost.seconds);
        tipline.push(lost);
        compared.extend(other);
        waits.extend(waited);
    }
    println!("{} rounds, {RATE} blocks/s; lost when all was killed: mean and maximum", rounds());
    println!(
        "| | blocks | max | events | max | seconds | max |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    print("Tipline", &tipline);
    if !compared.is_empty() {
        print("Litestream", &compared);
    }
    let wait = Summary::of(waits.iter().copied());
    // Asserted in each round.
    println!("| Tipline, confirmed at `{POLICY}` | 0 | 0 | 0 | 0 | 0 | 0 |");
    println!("{} confirmations, of which each took, in seconds: | {wait} |", waits.len());
}
