//! A node that is killed at any instant, again and again: afterwards the outbox has what the node
//! has committed, exactly, and everything that was given out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt, SeedableRng};
use rocksdb::{DB, IteratorMode, WriteBatch, WriteOptions};
use tipline_proto::Event;

use super::{BLOCKS, clock, open, options};
use crate::outbox::conformance::{block, genesis, proof, rollback};
use crate::outbox::{Outbox, OutboxFamily, OutboxUnit};

const KILLS: u32 = 60;

/// Tells the test below that it is the child, where its database is, and its seed.
const CHILD: &str = "TIPLINE_KILLED_NODE";
const SEED: &str = "TIPLINE_SEED";

/// The rows that were given out, by one line of text for each.
const PUBLISHED: &str = "published";

/// What the node committed, as it keeps it itself: kind, height, variant, variant of the parent.
type Commit = [u8; 11];

fn commit(kind: u8, height: u64, variant: u8, parent: u8) -> Commit {
    let mut commit = [kind; 11];
    commit[1..9].copy_from_slice(&height.to_be_bytes());
    commit[9..].copy_from_slice(&[variant, parent]);
    commit
}

fn event(commit: Commit) -> Event {
    let [kind, height @ .., variant, parent] = commit;
    let height = u64::from_be_bytes(height);
    match kind {
        b'b' => {
            let Event::BlockCommitted { hash, parent_hash, .. } = block(height, variant, parent)
            else {
                unreachable!()
            };
            // Some in one piece of the write-ahead log, some in several.
            let payload = vec![variant; (height % 7 * 9_000) as usize].into();
            Event::BlockCommitted { height, hash, parent_hash, payload }
        }
        b'p' => proof(height, variant),
        _ => rollback(height, variant),
    }
}

fn open_node(dir: &Path) -> (Arc<DB>, OutboxFamily) {
    let mut options = options();
    // What is not synced is lost with the process, as it would be with the machine.
    options.set_manual_wal_flush(true);
    // Small, so that tables are written and compacted all the time.
    options.set_db_write_buffer_size(256 << 10);
    let db: Arc<DB> = open(dir, &options);
    let outbox = OutboxFamily::open(Arc::clone(&db), &genesis(), clock()).unwrap();
    (db, outbox)
}

/// What the node has, by its own number, from 1.
fn history(db: &DB) -> Vec<Commit> {
    let entries = db.iterator_cf(db.cf_handle(BLOCKS).unwrap(), IteratorMode::Start);
    let entries = entries.map(Result::unwrap).filter(|(key, _)| key.len() == 8);
    let numbered = (1_u64..).zip(entries).map(|(number, (key, value))| {
        assert_eq!(key[..], number.to_be_bytes(), "the node's own numbers are dense");
        value[..].try_into().unwrap()
    });
    numbered.collect()
}

/// A node: its chain is known by the variant of each block.
struct Node {
    db: Arc<DB>,
    outbox: OutboxFamily,
    rng: StdRng,
    variants: BTreeMap<u64, u8>,
    number: u64,
}

impl Node {
    fn new(dir: &Path, seed: u64) -> Self {
        let (db, outbox) = open_node(dir);
        let history = history(&db);
        let (rng, number) = (StdRng::seed_from_u64(seed), history.len() as u64);
        let mut node = Self { db, outbox, rng, variants: BTreeMap::new(), number };
        history.into_iter().for_each(|commit| node.apply(commit));
        node
    }

    fn apply(&mut self, commit: Commit) {
        match event(commit) {
            Event::BlockCommitted { height, .. } => {
                self.variants.insert(height, commit[9]);
            }
            Event::RolledBack { to_height, .. } => {
                self.variants.split_off(&(to_height + 1));
            }
            _ => {}
        }
    }

    fn tip(&self) -> (u64, u8) {
        let tip = self.variants.last_key_value();
        tip.map_or((0, 0), |(height, variant)| (*height, *variant))
    }

    /// One to four things that happen to the chain.
    fn next(&mut self) -> Vec<Commit> {
        let (height, variant) = self.tip();
        let new = self.rng.random_range(0..=255);
        let mut unit = vec![commit(b'b', height + 1, new, variant)];
        if height > 3 && self.rng.random_ratio(1, 8) {
            let back = height - self.rng.random_range(1..=3);
            let kept = self.variants[&back];
            unit = vec![commit(b'r', back, kept, 0), commit(b'b', back + 1, new, kept)];
        }
        let (tip, below) = (unit[unit.len() - 1], height.min(2));
        if self.rng.random_ratio(1, 2) {
            unit.push(commit(b'p', u64::from_be_bytes(tip[1..9].try_into().unwrap()), new, 0));
        }
        if below > 0 && unit.len() == 1 {
            unit.push(commit(b'p', height, variant, 0));
        }
        unit
    }

    fn run(mut self) {
        loop {
            let events = self.next();
            let mut batch = WriteBatch::default();
            let outbox = self.outbox.clone();
            let mut unit = outbox.begin().unwrap();
            for (number, commit) in (self.number + 1..).zip(&events) {
                self.put(&mut batch, &mut unit, number, *commit);
            }
            if self.rng.random_ratio(1, 10) {
                continue;
            }
            let mut options = WriteOptions::default();
            options.set_sync(self.rng.random_ratio(1, 4));
            unit.commit_opt(batch, options).unwrap();
            self.number += events.len() as u64;
            events.into_iter().for_each(|commit| self.apply(commit));
        }
    }

    fn put(&self, batch: &mut WriteBatch, unit: &mut OutboxUnit<'_>, number: u64, commit: Commit) {
        let (own, event) = (self.db.cf_handle(BLOCKS).unwrap(), event(commit));
        batch.put_cf(own, number.to_be_bytes(), commit);
        let sequence = if commit[9].is_multiple_of(2) && commit[0] == b'b' {
            let key = [&number.to_be_bytes()[..], b"block"].concat();
            batch.put_cf(own, &key, event.payload());
            unit.enqueue_reference(batch, &event, BLOCKS, &key)
        } else {
            unit.enqueue(batch, &event)
        };
        assert_eq!(sequence.unwrap(), number);
    }
}

/// Publishes to a file, and trims with a lag of some rows.
fn publish(dir: &Path, outbox: &OutboxFamily) {
    let path = dir.join(PUBLISHED);
    let mut published = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    // A line that a kill has cut off was not reported.
    let text = fs::read(&path).unwrap();
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    published.set_len(whole as u64).unwrap();
    let mut publisher = outbox.publisher();
    let pending = publisher.pending().unwrap();
    let mut after = pending.first - 1;
    loop {
        let rows = publisher.read(after, 50, 100_000).unwrap();
        let Some(last) = rows.last() else {
            thread::yield_now();
            continue;
        };
        after = last.sequence;
        let lines: String =
            rows.iter().map(|row| format!("{} {}\n", row.sequence, row.event)).collect();
        published.write_all(lines.as_bytes()).unwrap();
        publisher.trim(after.saturating_sub(30)).unwrap();
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn node() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir).to_owned();
    // It does not outlive the test, however that ends.
    thread::spawn(|| {
        _ = std::io::stdin().read(&mut [0]);
        std::process::exit(3);
    });
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let node = Node::new(&dir.join("db"), seed);
    thread::spawn({
        let outbox = node.outbox.clone();
        move || {
            publish(&dir, &outbox);
        }
    });
    println!("ready");
    node.run();
}

fn spawn(dir: &Path, seed: u64) -> Child {
    let name = format!("{}::node", module_path!().split_once("::").unwrap().1);
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(CHILD, dir)
        .env(SEED, seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(dir.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// The outbox is what the node has; what was given out is there.
fn check(dir: &Path, round: u32) -> u64 {
    let (db, outbox) = open_node(&dir.join("db"));
    let history = history(&db);
    let mut publisher = outbox.publisher();
    let pending = publisher.pending().unwrap();
    assert_eq!(pending.last, history.len() as u64, "round {round}: rows, and the node's commits");
    let rows = publisher.read(pending.first - 1, usize::MAX, usize::MAX).unwrap();
    assert!(rows.iter().map(|row| row.sequence).eq(pending.first..=pending.last), "round {round}");
    let mut bytes = 0;
    for row in &rows {
        let own = event(history[row.sequence as usize - 1]);
        assert_eq!(row.event, own, "round {round}: row {}", row.sequence);
        bytes += own.payload().len() as u64;
    }
    assert_eq!(pending.bytes, bytes, "round {round}");
    let published = fs::read_to_string(dir.join(PUBLISHED)).unwrap_or_default();
    for line in published.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let (sequence, text) = line.trim_end().split_once(' ').unwrap();
        let number: usize = sequence.parse().unwrap();
        let own = history.get(number - 1);
        let own = own
            .unwrap_or_else(|| panic!("round {round}: row {sequence} was given out and is lost"));
        assert_eq!(
            text,
            event(*own).to_string(),
            "round {round}: row {sequence} is another one now"
        );
    }
    pending.last
}

#[test]
fn a_node_that_is_killed_has_in_its_outbox_what_it_committed() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::rng().next_u64(), |s| s.parse().unwrap());
    println!("to repeat: {SEED}={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut last, mut grown) = (0, 0);
    for round in 0..KILLS {
        let mut child = spawn(dir.path(), rng.next_u64());
        // Some die before they have opened their database.
        if !rng.random_ratio(1, 6) {
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ready = lines.map_while(Result::ok).any(|line| line.contains("ready"));
            let stderr = || fs::read_to_string(dir.path().join("stderr")).unwrap();
            assert!(ready, "round {round}: {}", stderr());
        }
        thread::sleep(Duration::from_micros(rng.random_range(0..80_000)));
        assert!(child.try_wait().unwrap().is_none(), "round {round}: it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let now = check(dir.path(), round);
        grown += u32::from(now > last);
        last = now;
    }
    println!("{KILLS} kills, {last} rows, more of them after {grown} kills");
    assert!(grown > KILLS / 2, "it did something between the kills: {grown}");
}
