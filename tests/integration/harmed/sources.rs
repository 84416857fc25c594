//! The files of each kind of source, and of the outbox over it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tipline_proto::Event;
use tipline_tests::{
    RawBlock, Rng, Running, Tipline, bitcoin_blocks, bitcoin_blocks_path, eventually, open_log,
    read_log, toy_payload,
};

use super::harm::Harm;
use super::place::{NAMED, Watch, assert_one_history, copy_of, kinds, replica, status, words};
use crate::deployment::{Deployment, place, stop};

/// So many places at once: most of the time each of them waits.
const AT_ONCE: usize = 12;
/// A primary that is started on a busy machine, and what it then needs to name it.
const STARTED: Duration = Duration::from_secs(45);

/// A file of a source or of its outbox, by its path.
#[derive(Clone, Copy)]
struct Part {
    path: &'static str,
    /// While everything runs it is named, whatever is done to it but these.
    unless: &'static [Harm],
    /// What may make no difference while nothing runs.
    stopped: &'static [Harm],
}

const fn part(path: &'static str, unless: &'static [Harm], stopped: &'static [Harm]) -> Part {
    Part { path, unless, stopped }
}

const IN_PLACE: &[Harm] = &[Harm::Zeroed, Harm::Flipped];

/// A source, and how its node goes on.
struct Kind {
    /// As `primary` takes it.
    options: &'static str,
    genesis: &'static str,
    parts: &'static [Part],
    /// The newest block when it is harmed.
    tip: u64,
    /// Writes the blocks up to this height; says whether it could.
    write: fn(&Deployment, u64) -> bool,
    /// What the node has as the block at a height.
    payload: fn(u64) -> Bytes,
    /// The node itself publishes.
    is_embedded: bool,
}

/// The index of an outbox over files.
macro_rules! index {
    ($directory:literal) => {
        [
            // After a kill the digest of it may not be known.
            part(concat!($directory, ".tipline-outbox.sqlite"), &[], IN_PLACE),
            // Only the beginning of it is in use. After a kill a shorter one is as good.
            part(concat!($directory, ".tipline-outbox.sqlite-wal"), IN_PLACE, &Harm::ALL),
            // It is made again from the WAL. If it is cut, whoever has it open ends at once.
            part(concat!($directory, ".tipline-outbox.sqlite-shm"), IN_PLACE, &Harm::ALL),
            // What it says is for the next start.
            part(concat!($directory, ".tipline-outbox.sqlite.lock"), CONTENT, &Harm::ALL),
        ]
    };
}

const CONTENT: &[Harm] = &[Harm::Truncated, Harm::Zeroed, Harm::Flipped];

const DIRECTORY_PARTS: &[Part] = {
    let [index, wal, shm, lock] = index!("node/");
    &[
        part("node/blocks/0000/block_0000000a.dat", &[], &[]),
        part("node/blocks/0000/block_00000005.dat", &[], &[]),
        // A node may remove a proof that was published, or replace it.
        part("node/blocks/0000/proof_00000003.dat", &Harm::ALL, &Harm::ALL),
        part("node/blocks/0000", &[], &[]),
        part("node/blocks", &[], &[]),
        index,
        wal,
        shm,
        lock,
    ]
};

const DIRECTORY: Kind = Kind {
    options: "dir:node --final-blocks",
    genesis: "00",
    parts: DIRECTORY_PARTS,
    tip: 10,
    write: |site, to| {
        // All of them at first; a node that goes on writes the next one.
        let first = if site.path("node").exists() { to } else { 1 };
        (first..=to).for_each(|height| site.block("node", height, &block(height)));
        true
    },
    payload: block,
    is_embedded: false,
};

fn block(height: u64) -> Bytes {
    toy_payload(height, 3000)
}

const BLK_PARTS: &[Part] = {
    let [index, wal, shm, lock] = index!("node/");
    &[
        part("node/blk00000.dat", &[], &[]),
        part("node/blk00001.dat", &[], &[]),
        part("node", &[], &[]),
        index,
        wal,
        shm,
        lock,
    ]
};

const BLK: Kind = Kind {
    options: "blk:node",
    genesis: "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000",
    parts: BLK_PARTS,
    tip: 250,
    write: blk,
    payload: |height| BLOCKS[usize::try_from(height).unwrap() - 1].bytes.clone(),
    is_embedded: false,
};

static BLOCKS: LazyLock<Vec<RawBlock>> = LazyLock::new(bitcoin_blocks);

/// The blocks up to 200 are in the first file, the others in the second.
fn blk(site: &Deployment, to: u64) -> bool {
    let file = fs::read(bitcoin_blocks_path()).unwrap();
    let end = |height: u64| {
        let blocks = &BLOCKS[..usize::try_from(height).unwrap()];
        blocks.iter().map(|block| 8 + block.bytes.len()).sum::<usize>()
    };
    if !site.path("node").exists() {
        fs::create_dir(site.path("node")).unwrap();
        fs::write(site.path("node/blk00000.dat"), &file[..end(200)]).unwrap();
        fs::write(site.path("node/blk00001.dat"), &file[end(200)..end(to)]).unwrap();
        return true;
    }
    // The node has the file open, whatever became of its name.
    use std::io::Write;
    let open = fs::OpenOptions::new().append(true).open(site.path("node/blk00001.dat"));
    open.and_then(|mut open| open.write_all(&file[end(to - 1)..end(to)])).is_ok()
}

const DATABASE: Kind = Kind {
    options: "sqlite:node.db",
    // BLAKE3 of eight zeros: the toy's.
    genesis: "",
    parts: &[
        // While nothing runs the node alone notices what nobody else reads.
        part("node.db", &[], &Harm::ALL),
        part("node.db-wal", &[], &Harm::ALL),
        // SQLite makes it again from the log, if it sees it.
        part("node.db-shm", CONTENT, &Harm::ALL),
        // Nothing is in it: who has it locked has it.
        part("node.db.tipline-lock", &Harm::ALL, &Harm::ALL),
    ],
    tip: 10,
    write: toy_node,
    payload: |height| toy_payload(height, 3000),
    is_embedded: false,
};

/// The same database, of a node with the producer in it.
const EMBEDDED: Kind = Kind { is_embedded: true, ..DATABASE };

const TOY: &str = env!("CARGO_BIN_EXE_toy-primary");

fn toy_node(site: &Deployment, to: u64) -> bool {
    let mut node = Command::new(TOY);
    node.args(["--commit", "only", "--blocks", &to.to_string(), "--payload", "3000"]);
    // It is done at once, or fails.
    node.arg("--db").arg(site.path("node.db")).output().unwrap().status.success()
}

/// Everything is at the tip, and nothing runs any more. Some of it was killed.
async fn prepare(kind: &Kind) -> Deployment {
    let site = Deployment::new();
    assert!((kind.write)(&site, kind.tip));
    if kind.options.starts_with("dir:") {
        place(&site.path("node/blocks/0000/proof_00000003.dat"), &[3; 2000]);
    }
    let genesis = match kind.genesis {
        "" => format!("--source {}", kind.options),
        genesis => format!("--genesis {genesis}"),
    };
    let made = site.run(&format!("init --chain test {genesis}")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let (mut primary, mut replica) = start(&site, kind);
    site.status("", |status| is_well(status, kind.tip)).await;
    primary.process.kill();
    stop(&mut replica).await;
    site
}

fn start(site: &Deployment, kind: &Kind) -> (Running, Running) {
    let primary = if kind.is_embedded {
        let log = site.address();
        let args = ["--db", "node.db", "--name", "node", "--commit", "no", "--log", &log];
        Tipline::of(TOY, args).current_dir(&site.path(""))
    } else {
        site.tipline(&format!("primary --name node --source {}", kind.options))
    };
    (primary.spawn(), replica(site, "r", "sqlite:r.db").spawn())
}

fn is_well(status: &Value, tip: u64) -> bool {
    let replica = &status["consumers"][0];
    status["verdict"] == "well" && status["tip"]["height"] == tip && replica["block"] == tip
}

/// One file, harmed in one way, in a place of its own.
struct Case<'a> {
    kind: &'a Kind,
    part: &'a Part,
    harm: Harm,
    site: Deployment,
    rng: Rng,
    done: String,
}

impl Case<'_> {
    fn file(&self) -> &str {
        self.part.path.rsplit('/').next().unwrap()
    }

    fn is_named_in(&self, status: &Value) -> bool {
        let unwell = ["source_failed", "primary_failed", "outbox_held_up"];
        let is_unwell = kinds(status).iter().any(|kind| unwell.contains(&kind.as_str()));
        is_unwell && status["verdict"] != "well" && self.is_told(&words(status))
    }

    /// Whether whoever ends says which file is wrong. A database is named by its main file; an index
    /// that was made anew shows by what the log says of it.
    fn is_told(&self, text: &str) -> bool {
        let file = self.file();
        let main = ["-wal", "-shm", ".lock"].iter().find_map(|end| file.strip_suffix(end));
        let is_of_index = file.contains(".tipline-outbox");
        [file, main.unwrap_or(file)].iter().any(|one| text.contains(one))
            || is_of_index && text.contains("this outbox")
    }

    async fn while_it_runs(&mut self) -> &'static str {
        let (mut primary, mut replica) = start(&self.site, self.kind);
        let watch = Watch::start(&self.site);
        let newest = || watch.newest().ok_or_else(|| "nothing is said yet".to_owned());
        let tip = self.kind.tip;
        eventually("all is well", STARTED, async || match newest()? {
            // By this primary, and not by the one that prepared all of it.
            status if is_well(&status, tip) && status["primary"]["epoch"] == 2 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
        let path = self.site.path(self.part.path);
        assert!(path.exists(), "{} is not there", path.display());
        if !self.harm.applies_to(&path) {
            return "nothing to harm";
        }
        self.done = format!("while it runs: {}", self.harm.does(&path, &mut self.rng));
        let must = !self.part.unless.contains(&self.harm);
        if must {
            let what = format!("{}: it is named", self.done);
            let status = eventually(&what, NAMED, async || match newest()? {
                status if self.is_named_in(&status) => Ok(status),
                status => Err(format!("{}; {}", words(&status), primary.stderr())),
            })
            .await;
            assert_one_history(&status, &self.done);
            self.is_said_everywhere().await;
        }
        let goes_on = (self.kind.write)(&self.site, tip + 1);
        let outcome = match (must, goes_on) {
            (true, _) => "named",
            // A node that ends for it is not alone in noticing.
            (false, goes_on) => self.settled(&mut primary, &watch, !goes_on).await,
        };
        replica.process.kill();
        primary.process.kill();
        self.assert_nothing_wrong(&watch.newest().unwrap()).await;
        outcome
    }

    /// What comes of it: it is named, or everything goes on as if nothing was.
    async fn settled(&self, primary: &mut Running, watch: &Watch, must: bool) -> &'static str {
        let what = format!("{}: it is named, or goes on", self.done);
        eventually(&what, STARTED, async || {
            if let Some(ended) = primary.process.status() {
                let told = primary.stderr();
                // Whoever has a cut index of a WAL open is ended by the system.
                let is_cut = self.harm == Harm::Truncated && self.part.path.ends_with("-shm");
                let is_named = self.is_told(&told);
                assert!(!ended.success() && (is_named || is_cut), "{}: {ended} {told}", self.done);
                return Ok(if is_named { "named" } else { "ended by the system" });
            }
            match watch.newest().ok_or("nothing is said yet")? {
                status if self.is_named_in(&status) => Ok("named"),
                status if !must && is_well(&status, self.kind.tip + 1) => Ok("same"),
                status => Err(format!("{}; {}", words(&status), primary.stderr())),
            }
        })
        .await
    }

    async fn while_it_is_stopped(&mut self) -> &'static str {
        let path = self.site.path(self.part.path);
        if !path.exists() || !self.harm.applies_to(&path) {
            return "nothing to harm";
        }
        self.done = format!("while it is stopped: {}", self.harm.does(&path, &mut self.rng));
        let (mut primary, mut replica) = start(&self.site, self.kind);
        let watch = Watch::start(&self.site);
        if !(self.kind.write)(&self.site, self.kind.tip + 1) {
            return "the node itself ends";
        }
        let must = !self.part.stopped.contains(&self.harm);
        let outcome = self.settled(&mut primary, &watch, must).await;
        replica.process.kill();
        primary.process.kill();
        self.assert_nothing_wrong(&status(&self.site).await).await;
        outcome
    }

    /// In text, exit code and metrics.
    async fn is_said_everywhere(&self) {
        let run = self.site.run("status --metrics m.prom").await;
        assert_eq!(run.status.code(), Some(1), "{}: {run:?}", self.done);
        let is_said = run.stdout.starts_with("DEGRADED: ") && self.is_told(&run.stdout);
        assert!(is_said, "{}: {}", self.done, run.stdout);
        let metrics = fs::read_to_string(self.site.path("m.prom")).unwrap();
        let kinds = ["source_failed", "primary_failed", "outbox_held_up"];
        let line = |kind: &&str| {
            metrics.contains(&format!("tipline_finding{{kind=\"{kind}\",name=\"node\"}} 1.0"))
        };
        assert!(kinds.iter().any(line), "{}: {metrics}", self.done);
        assert!(metrics.contains("tipline_verdict{verdict=\"well\"} 0.0"), "{metrics}");
    }

    /// Every block that was ever published is the node's, byte for byte.
    async fn assert_nothing_wrong(&self, status: &Value) {
        assert_one_history(status, &self.done);
        let entries = read_log(&*open_log(&self.site.address()).await.unwrap()).await;
        for entry in entries {
            if let Event::BlockCommitted { height, payload, .. } = entry.event {
                let right = (self.kind.payload)(height);
                assert!(payload == right, "{}: block {height} is another", self.done);
            }
        }
    }
}

async fn harmed(kind: &Kind) {
    let mut rng = Rng::from_env();
    let prepared = prepare(kind).await;
    let mut cases = vec![];
    for part in kind.parts {
        for harm in Harm::ALL {
            for runs in [true, false] {
                if kind.is_embedded && !runs {
                    // The same as of one that is not.
                    continue;
                }
                if harm == Harm::Truncated && runs && part.path.ends_with("-shm") {
                    // The system ends it: that is one case, of the log.
                    continue;
                }
                cases.push((part, harm, runs, rng.fork()));
            }
        }
    }
    let prepared = &prepared;
    let cases = cases.into_iter().map(|(part, harm, runs, rng)| async move {
        let site = copy_of(prepared);
        let mut case = Case { kind, part, harm, site, rng, done: String::new() };
        let outcome = match runs {
            true => case.while_it_runs().await,
            false => case.while_it_is_stopped().await,
        };
        println!("{}: {outcome}", case.done);
        outcome
    });
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ended = stream::iter(cases).buffer_unordered(AT_ONCE);
    while let Some(outcome) = ended.next().await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{}, embedded {}: {outcomes:?}", kind.options, kind.is_embedded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_directory_of_blocks() {
    harmed(&DIRECTORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_bitcoin_core() {
    harmed(&BLK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_nodes_database() {
    harmed(&DATABASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_database_of_a_node_that_publishes_itself() {
    harmed(&EMBEDDED).await;
}
