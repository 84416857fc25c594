//! The files of each kind of store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tipline_store::{StoreReader, content_digest};
use tipline_tests::{Finished, Medium, Rng, Running, check_store, eventually};

use super::harm::Harm;
use super::place::{NAMED, Watch, assert_one_history, copy_all, kinds, replica};
use crate::deployment::{Deployment, WITHIN, place, stop};

/// Blocks, of which some are in the store that is copied, some come while everything runs, and one
/// afterwards.
const BEFORE: u64 = 12;
const AFTER: u64 = BEFORE + 2;
/// A consumer that is started, one of many at once, on a busy machine.
const STARTED: Duration = Duration::from_secs(60);

/// A store that has nothing to do looks every 5 s.
const LOOKED: Duration = Duration::from_secs(7);

/// A file of a store.
struct Part {
    /// A name by which the cases call it.
    name: &'static str,
    is: fn(&str) -> bool,
    counts: Counts,
}

/// What a store makes of a file that is harmed while it is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// It is named, unless only its content is another one.
    ByName,
    /// It is named, whatever is done to it.
    ByContent,
    /// Its length is known, and not what it was when it was opened.
    ByLength,
    /// It makes no difference.
    Not,
}

use Counts::{ByContent, ByLength, ByName, Not};

impl Part {
    const fn new(name: &'static str, is: fn(&str) -> bool, counts: Counts) -> Part {
        Part { name, is, counts }
    }

    /// Whether it is to be named while the store is open and nobody reads it.
    fn is_named(&self, harm: Harm) -> bool {
        match self.counts {
            ByName => !harm.is_in_place(),
            ByContent => true,
            ByLength => matches!(harm, Harm::Removed | Harm::Truncated),
            Not => false,
        }
    }
}

const SQLITE: &[Part] = &[
    Part::new("database", |name| name == "store.db", ByName),
    Part::new("wal", |name| name == "store.db-wal", ByName),
    Part::new("shm", |name| name == "store.db-shm", ByName),
    Part::new("lock", |name| name == "store.db.lock", ByName),
];

const ROCKSDB: &[Part] = &[
    Part::new("current", |name| name == "rocksdb/CURRENT", ByContent),
    Part::new("manifest", |name| name.starts_with("rocksdb/MANIFEST-"), ByContent),
    Part::new("log", |name| name.ends_with(".log"), ByName),
    Part::new("rows", |name| name.ends_with(".sst"), ByName),
    Part::new("payloads", |name| name.ends_with(".blob"), ByName),
    Part::new("lock", |name| name == "rocksdb/LOCK", ByName),
    Part::new("notes", |name| ["rocksdb/LOG", "rocksdb/IDENTITY"].contains(&name), Not),
    Part::new("options", |name| name.starts_with("rocksdb/OPTIONS-"), Not),
    Part::new("directory", |name| name == "rocksdb", ByName),
];

const FILES: &[Part] = &[
    Part::new("index", |name| name == "files/index.db", ByName),
    Part::new("wal", |name| name == "files/index.db-wal", ByName),
    Part::new("shm", |name| name == "files/index.db-shm", ByName),
    Part::new("lock", |name| name == "files/index.db.lock", ByName),
    Part::new("block", |name| name.contains("/block_") && name.ends_with(".dat"), ByLength),
    Part::new("proof", |name| name.contains("/proof_") && name.ends_with(".dat"), ByLength),
    Part::new("blocks", |name| name == "files/blocks", ByName),
    Part::new("epoch", |name| name == "files/blocks/0000", ByLength),
    Part::new("staging", |name| name == "files/staging", ByName),
];

/// What there is in a directory, at any depth, by its path from there.
fn names(directory: &Path) -> Vec<String> {
    let (mut found, mut open) = (vec![], vec![directory.to_owned()]);
    while let Some(next) = open.pop() {
        for file in fs::read_dir(next).unwrap() {
            let path = file.unwrap().path();
            found.push(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

/// One file of one store, and what becomes of it.
struct Case {
    name: String,
    directory: PathBuf,
    part: &'static Part,
    harm: Harm,
    /// The path of the file from the directory, and what was done to it.
    file: String,
    done: String,
}

impl Case {
    /// Harms one of the files that the part stands for; `None` if there is nothing to harm.
    fn harm(&mut self, rng: &mut Rng) -> Option<()> {
        let mut files = names(&self.directory);
        files.retain(|name| (self.part.is)(name));
        assert!(!files.is_empty(), "{}: there is none", self.name);
        // Only the newest log and the present list count.
        let newest = matches!(self.part.name, "log" | "manifest");
        let file = if newest { files.last()?.clone() } else { rng.pick(&files).clone() };
        let path = self.directory.join(&file);
        if !self.harm.applies_to(&path) {
            return None;
        }
        self.done = format!("{}: {}", self.name, self.harm.does(&path, rng));
        println!("{}", self.done);
        self.file = file;
        Some(())
    }

    /// Whether this says which file it is.
    fn is_named_in(&self, text: &str) -> bool {
        let name = self.file.rsplit('/').next().unwrap();
        // A directory that is gone is missed by what was in it.
        text.contains(name) || text.contains(&format!("{}/", self.file))
    }
}

struct Place {
    site: Deployment,
    medium: Medium,
    /// What an unharmed store has in the end.
    digests: Vec<String>,
    primary: Running,
    archive: Running,
    /// A consumer whose store is not harmed.
    good: Running,
}

impl Place {
    fn block(site: &Deployment, height: u64) {
        // Of up to 13 KB: RocksDB keeps the small ones with their rows.
        let bytes = vec![u8::try_from(height).unwrap(); usize::try_from(height * 900).unwrap()];
        site.block("node", height, &bytes);
    }

    fn proof(site: &Deployment, height: u64) {
        let path = site.path(&format!("node/blocks/0000/proof_{height:08x}.dat"));
        place(&path, &[7; 5000]);
    }

    /// A log, an archive of it, and a store that was killed, in `original`.
    async fn prepare(medium: Medium) -> Place {
        let site = Deployment::with_log("00").await;
        (1..=BEFORE - 2).for_each(|height| Place::block(&site, height));
        (1..=4).for_each(|height| Place::proof(&site, height));
        let primary = site.tipline("primary --name node --source dir:node").spawn();
        let archive = site.tipline("archive --to dir:archive").spawn();
        let original = site.path("original");
        fs::create_dir(&original).unwrap();
        let store = medium.address(&original);
        let has = |height: u64| {
            move |status: &Value| {
                let consumers = status["consumers"].as_array().unwrap();
                // Everyone is at the log's end, proofs included.
                let last = &status["log"]["last"];
                consumers.len() == 2
                    && status["tip"]["height"] == height
                    && consumers.iter().all(|one| one["index"] == *last)
                    && status["log"]["last"].as_u64() >= Some(height + 5)
            }
        };
        let mut first = replica(&site, "original", &store).spawn();
        site.status("", has(BEFORE - 2)).await;
        first.process.kill();
        // Opening it again carries RocksDB's log into files.
        let mut second = replica(&site, "original", &store).spawn();
        (BEFORE - 1..=BEFORE).for_each(|height| Place::block(&site, height));
        site.status("", has(BEFORE)).await;
        second.process.kill();
        let good = site.path("good");
        copy_all(&original, &good);
        let good = replica(&site, "original", &medium.address(&good)).spawn();
        Place { site, medium, digests: vec![], primary, archive, good }
    }

    /// Every file, harmed in every way, each in a store of its own.
    fn cases(&self, kind: &str, rng: &mut Rng) -> Vec<Case> {
        let parts = match self.medium {
            Medium::Sqlite => SQLITE,
            Medium::RocksDb => ROCKSDB,
            _ => FILES,
        };
        let mut cases = vec![];
        for part in parts {
            // What does not count is harmed in one way each time.
            let harms = match part.counts {
                Not => vec![*rng.pick(&Harm::ALL)],
                _ => Harm::ALL.to_vec(),
            };
            for harm in harms {
                let name = format!("{kind}-{}-{harm:?}", part.name).to_lowercase();
                let directory = self.site.path(&name);
                copy_all(&self.site.path("original"), &directory);
                let (file, done) = (String::new(), String::new());
                cases.push(Case { name, directory, part, harm, file, done });
            }
        }
        cases
    }

    fn spawn(&self, case: &Case) -> Running {
        replica(&self.site, &case.name, &self.medium.address(&case.directory)).spawn()
    }

    /// What the stores of this medium hold; why not, if they cannot be read.
    fn read(&self, directory: &Path) -> Result<Vec<String>, String> {
        let digest = |reader: &dyn StoreReader| {
            let digest = content_digest(reader).map_err(|error| error.to_string())?;
            let cursor = reader.cursor().map_err(|error| error.to_string())?;
            Ok(format!("{digest:?} at {cursor:?}"))
        };
        let readers = self.medium.readers(directory).map_err(|error| error.to_string())?;
        readers.iter().map(|reader| digest(&**reader)).collect()
    }

    /// Started after it was harmed, a store is refused with a word that says which it is, or it has
    /// everything in the end, or comparing it with the archive says what is wrong.
    async fn judge(&self, case: &Case, running: &mut Running) -> &'static str {
        let place = case.directory.to_str().unwrap();
        let what = format!("{}: it is at the tip, or ended", case.done);
        let ended = eventually(&what, STARTED, async || {
            if let Some(ended) = running.process.status() {
                return Ok(Some(ended));
            }
            let board = tipline_tests::open_log(&self.site.address()).await;
            let board = board.map_err(|error| error.to_string())?;
            let (last, receipts) = at(&*board).await?;
            match receipts.get(&case.name) {
                Some(index) if *index == last => Ok(None),
                other => Err(format!("{other:?} of {last}")),
            }
        })
        .await;
        // At the tip it may have noticed meanwhile.
        if let Some(ended) = ended.or_else(|| running.process.status()) {
            let told = running.stderr();
            assert!(!ended.success() && told.contains(place), "{}: {ended}, {told}", case.done);
            return "named";
        }
        running.process.terminate();
        let ended = running.process.wait(WITHIN).await;
        match self.read(&case.directory) {
            Ok(found) if found == self.digests => "same",
            found => {
                let told = self.verify(&case.directory).await;
                let said = format!("{}{}", told.stdout, told.stderr);
                let case = format!("{}, ended with {ended}: {found:?}: {said}", case.done);
                // If the store itself cannot be read there, the comparison is not made.
                assert!(matches!(told.status.code(), Some(2 | 13)), "{case}");
                // The height, or the file and the place in it.
                assert!(said.contains("block") || said.contains(place), "{case}");
                "found"
            }
        }
    }

    async fn verify(&self, directory: &Path) -> Finished {
        let store = self.medium.address(directory);
        let words = format!("verify --from dir:archive --full --no-record --store {store}");
        self.site.run(&words).await
    }
}

/// The log's last entry, and how far everyone is.
async fn at(log: &dyn tipline_log::Log) -> Result<(u64, BTreeMap<String, u64>), String> {
    let last = log.tail().await.map_err(|error| error.to_string())?.position.index;
    let board = log.board().await.map_err(|error| error.to_string())?;
    let receipts = board.receipts.iter().map(|receipt| {
        let reached = receipt.reached.highest().map_or(0, |(_, position)| position.index);
        (receipt.consumer.to_string(), reached)
    });
    Ok((last, receipts.collect()))
}

fn consumer<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut consumers = status["consumers"].as_array().unwrap().iter();
    consumers.find(|one| one["name"] == name).unwrap_or(&Value::Null)
}

/// Harms a store while its consumer runs, one of each file in each way. Gives those that went on.
async fn while_it_runs(place: &Place, rng: &mut Rng) -> Vec<Case> {
    let mut cases = place.cases("run", rng);
    let mut running: Vec<Running> = cases.iter().map(|case| place.spawn(case)).collect();
    let count = cases.len();
    let watch = Watch::start(&place.site);
    eventually("everyone is at the tip", STARTED, async || {
        let status = watch.newest().ok_or("nothing is said yet")?;
        let all = status["consumers"].as_array().unwrap();
        let well = all.iter().filter(|one| one["state"] == "well" && one["block"] == BEFORE);
        match well.count() == count + 2 && status["verdict"] == "well" {
            true => Ok(()),
            false => Err("some are not"),
        }
    })
    .await;
    // What nobody has looked at yet cannot be missed.
    let since = Instant::now();
    eventually("everyone has looked once", STARTED, async || match since.elapsed() > LOOKED {
        true => Ok(()),
        false => Err("not yet"),
    })
    .await;
    let harmed: Vec<bool> = cases.iter_mut().map(|case| case.harm(rng).is_some()).collect();
    let named = |case: &Case, status: &Value| {
        let failure = consumer(status, &case.name)["failure"].to_string();
        case.is_named_in(&failure)
    };
    let is_named = |(case, harmed): &(&Case, &bool)| **harmed && case.part.is_named(case.harm);
    let must = cases.iter().zip(&harmed).filter(is_named);
    let must: Vec<&Case> = must.map(|(case, _)| case).collect();
    let status = eventually("what must be named is", NAMED, async || {
        let status = watch.newest().ok_or("nothing is said")?;
        let missing = must.iter().filter(|case| !named(case, &status));
        let missing: Vec<String> = missing
            .map(|case| format!("{}: {}", case.done, consumer(&status, &case.name)["failure"]))
            .collect();
        if missing.is_empty() { Ok(status) } else { Err(missing.join("\n")) }
    })
    .await;
    assert_eq!(status["verdict"], "degraded");
    assert_one_history(&status, "while it runs");
    is_said_everywhere(place, must[0], &kinds(&status)).await;
    // Nothing more is receipted by who failed; the others go on.
    (BEFORE + 1..=AFTER).for_each(|height| Place::block(&place.site, height));
    let went_on = eventually("the others go on, or fail", NAMED, async || {
        let status = watch.newest().ok_or("nothing is said")?;
        let is_settled = |case: &&Case| {
            let one = consumer(&status, &case.name);
            one["block"] == AFTER || !one["failure"].is_null() || one["state"] == "silent"
        };
        let open = cases.iter().filter(|case| !is_settled(case));
        let open: Vec<&str> = open.map(|case| case.done.as_str()).collect();
        if open.is_empty() { Ok(status) } else { Err(open.join("\n")) }
    })
    .await;
    assert_one_history(&went_on, "while it runs");
    for case in must {
        let one = consumer(&went_on, &case.name);
        assert_eq!(one["block"], BEFORE, "{}: {one}", case.done);
    }
    for running in &mut running {
        running.process.kill();
    }
    let mut left = vec![];
    for ((case, harmed), running) in cases.into_iter().zip(harmed).zip(&running) {
        if !harmed {
            continue;
        }
        assert!(!running.stderr().contains("panicked"), "{}: {}", case.done, running.stderr());
        if !case.part.is_named(case.harm) {
            left.push(case);
        }
    }
    left
}

/// In text, JSON, exit code and metrics.
async fn is_said_everywhere(place: &Place, case: &Case, kinds: &[String]) {
    assert!(kinds.iter().any(|kind| kind == "failed"), "{kinds:?}");
    let run = place.site.run("status --metrics m.prom").await;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let says = format!("{} has failed", case.name);
    assert!(run.stdout.starts_with("DEGRADED: ") && run.stdout.contains(&says), "{}", run.stdout);
    assert!(case.is_named_in(&run.stdout), "{}: {}", case.done, run.stdout);
    let metrics = fs::read_to_string(place.site.path("m.prom")).unwrap();
    let line = format!("tipline_finding{{kind=\"failed\",name=\"{}\"}} 1.0", case.name);
    assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    assert!(metrics.contains("tipline_verdict{verdict=\"well\"} 0.0"), "{metrics}");
}

/// Harms each file of a store in each way, while it is open and while it is not.
async fn harmed(medium: Medium) {
    let mut rng = Rng::from_env();
    let mut place = Place::prepare(medium).await;
    let mut judged = while_it_runs(&place, &mut rng).await;
    // What a store is to be in the end.
    let good = place.site.path("good");
    place.site.status("", |status| consumer(status, "original")["block"] == AFTER).await;
    stop(&mut place.good).await;
    let log = tipline_tests::open_log(&place.site.address()).await.unwrap();
    let entries = tipline_tests::read_log(&*log).await;
    medium.readers(&good).unwrap().iter().for_each(|reader| check_store(&**reader, &entries));
    place.digests = place.read(&good).unwrap();

    for mut case in place.cases("stop", &mut rng) {
        if case.harm(&mut rng).is_some() {
            judged.push(case);
        }
    }
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut started: Vec<Running> = judged.iter().map(|case| place.spawn(case)).collect();
    for (case, running) in judged.iter().zip(&mut started) {
        let outcome = place.judge(case, running).await;
        // One of the same length in its place says nothing while nobody reads it.
        let by_length = case.part.counts == ByLength || case.part.name == "payloads";
        let by_reading = case.harm.is_in_place() || case.harm == Harm::Replaced && by_length;
        assert!(outcome != "found" || by_reading, "{}: found only by a check", case.done);
        println!("{}: {outcome}", case.done);
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{medium}: {outcomes:?}");
    assert_one_history(&place.site.status("", |_| true).await, "in the end");
    assert!(["named", "same"].iter().all(|one| outcomes.contains_key(one)), "{outcomes:?}");
    stop(&mut place.archive).await;
    stop(&mut place.primary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_store_in_sqlite() {
    harmed(Medium::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_store_in_rocksdb() {
    harmed(Medium::RocksDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_store_in_block_files() {
    harmed(Medium::Files).await;
}
