//! A process that appends and trims is killed at any moment, again and again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tipline_proto::{Entry, Event, Label, OutboxId, Timestamp};

use super::{identity, unit};
use crate::embedded::EmbeddedLog;
use crate::spec::{Appender, Extent, Reader, Tail, Trimmer};

/// Tells the child which log to write.
const LOG: &str = "TIPLINE_TEST_TRIM";
const ROUNDS: usize = 100;
/// What the child leaves when it trims.
const KEPT: u64 = 700;

/// What is killed. By itself it does nothing.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(LOG) else { return };
    let log = EmbeddedLog::open(path).await.unwrap();
    let mut tail = log.tail().await.unwrap();
    loop {
        // A claim, so that what the tail names is trimmed away each time.
        tail = log.append(&tail, &[claim(&tail)]).await.unwrap();
        for _ in 0..3 {
            tail = log.append(&tail, &after_claim(&tail, 1000)).await.unwrap();
        }
        println!("trims {}", tail.position.index);
        log.trim(tail.position.index.saturating_sub(KEPT - 1)).await.unwrap();
        println!("trimmed {}", tail.position.index);
    }
}

/// A claim whose outbox has the number of its epoch.
fn claim(tail: &Tail) -> Entry {
    let epoch = tail.epoch + 1;
    let outbox = OutboxId::from_bytes([epoch as u8; 16]);
    let event = Event::EpochStarted { primary: Label::new("primary").unwrap(), outbox };
    Entry::seal(&tail.position, epoch, Timestamp::from_micros(1), tail.outbox_sequence, event)
}

fn after_claim(tail: &Tail, count: usize) -> Vec<Entry> {
    let mut position = tail.position;
    let sealed = unit(tail, &vec![100; count]).into_iter().map(|entry| {
        let sequence = entry.outbox_sequence;
        let sealed = Entry::seal(&position, tail.epoch, entry.time, sequence, entry.event);
        position = sealed.position();
        sealed
    });
    sealed.collect()
}

#[tokio::test]
async fn killed_while_trimming() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    drop(EmbeddedLog::create(&path, &identity()).await.unwrap());
    let mut seed = RandomState::new().build_hasher().finish() | 1;
    println!("seed {seed}");
    let (mut reached, mut within) = (Extent { first: 1, last: 0 }, 0);
    for round in 0..ROUNDS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        kill_while_it_trims(&path, Duration::from_micros(seed % 60_000)).await;
        let held = check(&path, round).await;
        assert!(held.first >= reached.first, "round {round}: {held:?} behind {reached:?}");
        assert!(held.last >= reached.last, "round {round}: {held:?} behind {reached:?}");
        reached = held;
        within += usize::from(held.last - held.first >= KEPT);
    }
    println!("killed before it was trimmed to the end in {within} of {ROUNDS} rounds");
    assert!(within > ROUNDS / 20, "the kills came too late to show anything: {within}");
}

/// Starts a child, and kills it a moment after it has begun to trim.
async fn kill_while_it_trims(path: &Path, moment: Duration) {
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::killed::child", "--nocapture"])
            .env(LOG, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut said = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let began = said.any(|line| line.unwrap().contains("trims"));
    assert!(began, "the child ended by itself");
    // At random, not to wait for anything.
    tokio::time::sleep(moment).await;
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What is held is whole, ends in the tail, and can be continued.
async fn check(path: &Path, round: usize) -> Extent {
    let log = EmbeddedLog::open(path).await.unwrap();
    let tail = log.tail().await.unwrap();
    let outbox = tail.outbox.unwrap_or_else(|| panic!("round {round}: no outbox"));
    assert_eq!(outbox.as_bytes()[0], tail.epoch as u8, "round {round}");
    let held = log.extent().await.unwrap();
    assert_eq!(held.last, tail.position.index, "round {round}");
    // The reader checks that each entry chains to the one before.
    let mut subscription = log.subscribe(None, held.first - 1).await.unwrap();
    let mut at = held.first - 1;
    while at < held.last {
        for entry in subscription.next().await.unwrap() {
            assert_eq!(entry.index, at + 1, "round {round}");
            at = entry.index;
        }
    }
    // Never more than was asked for.
    assert!(held.first <= 1.max((held.last + 1).saturating_sub(KEPT)), "round {round}: {held:?}");
    held
}
