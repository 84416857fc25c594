//! Any place, and any single file of it damaged in any way. Then what verifying says is right, what
//! is restored is the reference, and nothing that needs what is gone succeeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tipline_proto::LogIdentity;
use tipline_store::conformance::history::{History, log, log_with_lineage};

use super::super::{Target, plan_for};
use super::any::{cut, expected, target};
use super::{KINDS, Kept, Restored, place, run, settings};
use crate::checks::{Against, Check, CheckedPlace, Record, Sample, VerifyReport, verify};
use crate::error::RestoreError;
use crate::keys::{Keys, make_identity};
use crate::sources::Sources;
use tokio_util::sync::CancellationToken;

/// How many places are tried; `TIPLINE_PLACES` in the environment overrides it, and the time.
fn places() -> (u64, Duration) {
    match std::env::var("TIPLINE_PLACES") {
        Ok(text) => (text.parse().unwrap(), Duration::MAX),
        Err(_) => (40, Duration::from_secs(15)),
    }
}

/// How a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Missing,
    Truncated,
    Zeroed,
    Flipped,
    OfAnotherLog,
}

const HOW: [How; 5] = [How::Missing, How::Truncated, How::Zeroed, How::Flipped, How::OfAnotherLog];

/// A place, and what opens it.
struct Place {
    kept: Kept,
    keys: Keys,
    /// The same of another log.
    other: Kept,
    _key: TempDir,
}

impl Place {
    async fn random(seed: u64, random: &mut StdRng) -> Self {
        let key = tempfile::tempdir().unwrap();
        let (mut writes, mut keys) = (Keys::default(), Keys::default());
        if random.random_bool(0.4) {
            let file = key.path().join("key.txt");
            writes = writes.recipient(&make_identity(&file)).unwrap();
            keys = keys.identity_file(&file).unwrap();
        }
        let length = random.random_range(20..120);
        let (own, foreign, plain) = (log(), log_with_lineage(8), Keys::default());
        let kept = Self::filled(&own, seed, length, &writes, random).await;
        let other = Self::filled(&foreign, seed + 1, 20, &plain, random).await;
        Self { kept, keys, other, _key: key }
    }

    async fn filled(
        of: &LogIdentity,
        seed: u64,
        length: usize,
        keys: &Keys,
        random: &mut StdRng,
    ) -> Kept {
        let mut history = History::of(of, seed);
        history.claim();
        while history.entries.len() < length {
            history.step();
        }
        let kept = Kept::of_log(of, history, keys.clone()).await;
        let end = kept.entries().len() as u64;
        let names = cut(&kept, random).await;
        // Merged ones lie beside those that they were made of.
        for _ in 0..random.random_range(0..3) {
            let from = random.random_range(0..names.len());
            let to = random.random_range(from..names.len());
            kept.segment(names[from].first, names[to].last).await;
        }
        for _ in 0..random.random_range(1..4) {
            let kinds = KINDS[random.random_range(0..KINDS.len())];
            let at = random.random_range(1..=end);
            match kinds {
                ["rocksdb"] if random.random_bool(0.5) => kept.shared_checkpoint(kinds, at).await,
                _ => kept.checkpoint(kinds, at).await,
            };
        }
        let record = Record {
            time_us: 7,
            ok: true,
            index: end,
            summary: "so".to_owned(),
            checkpoint: None,
            restored_ms: None,
        };
        record.keep(&kept.destination(), Check::Verify).await.unwrap();
        kept
    }

    async fn verified(&self, sample: Sample) -> Result<VerifyReport, RestoreError> {
        let places = [self.kept.opened(&self.keys).await];
        verify(&places, Against::default(), sample, &mut || 0.0, &CancellationToken::new()).await
    }

    async fn sources(&self) -> Sources {
        let CheckedPlace { sources, .. } = self.kept.opened(&self.keys).await;
        sources
    }

    async fn restored(&self, target: &Target, exclusive: bool) -> Result<Restored, RestoreError> {
        let directory = tempfile::tempdir_in(self.kept.directory.path()).unwrap();
        let place = place(&["sqlite"], directory.path());
        let sources = self.sources().await;
        let report =
            run(sources.into(), place.clone(), settings(target.clone(), exclusive)).await?;
        Ok(Restored { directory, place, report })
    }

    /// Every file of the place, below it; without the locks, which mean nothing by themselves.
    fn files(of: &Kept) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![of.backup()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.file_name().unwrap() == "lock" => {}
                    false => files.push(path.strip_prefix(of.backup()).unwrap().to_owned()),
                }
            }
        }
        files.sort();
        files
    }

    /// What is like this file in a place of another log.
    fn of_another_log(&self, file: &Path) -> Option<Vec<u8>> {
        let kind = |file: &Path| {
            let folder = file.components().next().unwrap().as_os_str().to_owned();
            (folder, file.extension().map(ToOwned::to_owned))
        };
        let all = Self::files(&self.other);
        let alike = all.iter().find(|other| kind(other) == kind(file))?;
        Some(fs::read(self.other.backup().join(alike)).unwrap())
    }

    /// Damages a file. Gives what it was; none if it would be as it was.
    fn damage(&self, file: &Path, how: How, random: &mut StdRng) -> Option<Vec<u8>> {
        let path = self.kept.backup().join(file);
        let was = fs::read(&path).unwrap();
        let mut is = was.clone();
        match how {
            How::Missing => {
                fs::remove_file(path).unwrap();
                return Some(was);
            }
            _ if was.is_empty() => return None,
            How::Truncated => is.truncate(random.random_range(0..was.len())),
            How::Zeroed => is.fill(0),
            How::Flipped => {
                let at = random.random_range(0..was.len());
                is[at] ^= 1 << random.random_range(0..8);
            }
            How::OfAnotherLog => is = self.of_another_log(file)?,
        }
        // A document says the same without its last newline.
        let is_document = file.extension().is_some_and(|extension| extension == "json");
        if is == was || (is_document && is.trim_ascii_end() == was.trim_ascii_end()) {
            return None;
        }
        fs::write(path, is).unwrap();
        Some(was)
    }

    /// What is left when this file cannot be used: whether all entries from the first on are in
    /// segments, and the index of the newest entry that anything tells of.
    async fn left(&self, file: &Path, how: How) -> Left {
        let file = file.to_str().unwrap();
        let names = self.kept.archive.segments().await.unwrap();
        let is_hit = |name: &str| name == file;
        let usable: Vec<_> = names.iter().filter(|name| !is_hit(&name.to_string())).collect();
        let mut covered = BTreeSet::new();
        usable.iter().for_each(|name| covered.extend(name.first..=name.last));
        let mut checkpoints = Vec::new();
        let mut known = names.iter().map(|name| name.last).max().unwrap_or(0);
        for listed in self.kept.checkpoints.list().await.unwrap() {
            let crate::Listed::Whole(manifest) = listed else { continue };
            let index = manifest.cursor.position.index;
            known = known.max(index);
            let objects = manifest.files.iter().map(|found| manifest.object(found));
            if objects.clone().all(|object| format!("checkpoints/{object}") != file) {
                checkpoints.push(index);
            }
        }
        let description = file == "archive.json" && how != How::Flipped;
        Left { covered: if description { BTreeSet::new() } else { covered }, checkpoints, known }
    }
}

/// What can still be used.
struct Left {
    covered: BTreeSet<u64>,
    checkpoints: Vec<u64>,
    /// Index of the newest entry that is known of.
    known: u64,
}

impl Left {
    /// Whether everything up to this entry can be made of what is left.
    fn reaches(&self, index: u64) -> bool {
        let starts = self.checkpoints.iter().filter(|start| **start <= index).chain([&0]);
        starts.into_iter().any(|start| (start + 1..=index).all(|at| self.covered.contains(&at)))
    }
}

/// What must be noticed when everything is read: whatever is part of an archive or a checkpoint and
/// is not what was written. Of what is missing, what nothing else stands for.
fn is_noticed(
    place: &Place,
    file: &str,
    how: How,
    left: &Left,
    objects: &BTreeSet<String>,
) -> bool {
    if how == How::Missing {
        let end = place.kept.entries().len() as u64;
        // Where nobody says what the archiver wrote, a checkpoint of the end stands for the last segment.
        let is_at_end = left.checkpoints.contains(&end);
        let last = left.covered.last().copied().filter(|_| is_at_end).unwrap_or(end);
        let whole = (1..=last).all(|at| left.covered.contains(&at));
        return objects.contains(file) || file == "archive.json" || !whole;
    }
    // One letter of the log's name means nothing to what is kept.
    let is_description = file == "archive.json" && how != How::Flipped;
    let is_part = file.starts_with("segments/") || file.ends_with("manifest.json");
    is_description || is_part || objects.contains(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_is_refused_by_name_or_made_up_for() {
    let said = std::env::var("TIPLINE_SEED");
    let first: u64 =
        said.map_or_else(|_| rand::random_range(0..1 << 40), |seed| seed.parse().unwrap());
    let ((most, limit), began) = (places(), Instant::now());
    let (mut noticed, mut restored, mut refused) = (0, 0, 0);
    for seed in first..first + most {
        // Slow as the machine may be, each of them was seen.
        if began.elapsed() > limit && noticed > 0 && restored > 0 && refused > 0 {
            break;
        }
        let mut random = StdRng::seed_from_u64(seed);
        let place = Place::random(seed, &mut random).await;
        let report = place.verified(Sample::Full).await.unwrap();
        assert!(report.is_ok() && report.failed.is_empty(), "seed {seed}: {report:?}");
        let files = Place::files(&place.kept);
        let mut objects = BTreeSet::new();
        for listed in place.kept.checkpoints.list().await.unwrap() {
            let crate::Listed::Whole(manifest) = listed else { panic!("seed {seed}") };
            let names = manifest.files.iter().map(|file| manifest.object(file));
            objects.extend(names.map(|name| format!("checkpoints/{name}")));
        }
        for _ in 0..8 {
            let file = &files[random.random_range(0..files.len())];
            let how = HOW[random.random_range(0..HOW.len())];
            let Some(was) = place.damage(file, how, &mut random) else { continue };
            let name = file.to_str().unwrap();
            let context = format!("seed {seed}: {name}, {how:?}");
            let left = place.left(file, how).await;
            let found = place.verified(Sample::Full).await;
            let is_well = found.as_ref().is_ok_and(|found| found.is_ok());
            let must_be_noticed = is_noticed(&place, name, how, &left, &objects);
            if must_be_noticed {
                assert!(!is_well, "{context}: {found:?}");
                noticed += 1;
            }
            // A description is compared with what it describes.
            let is_description = name == "archive.json";
            for case in 0..6 {
                let kept = &place.kept;
                let target = target(kept, &mut random);
                let exclusive = random.random_bool(0.3);
                let context = format!("{context}: {target}, exclusive {exclusive}, well {is_well}");
                // Of what nothing tells any more nobody can know.
                let known = &kept.entries()[..left.known as usize];
                let wanted = expected(kept, known, &target, exclusive);
                let planned = plan_for(&place.sources().await, &[], &target, exclusive).await;
                if let Ok(plan) = &planned {
                    assert_eq!(Some(plan.index), wanted, "{context}: planned");
                }
                if case > 1 {
                    continue;
                }
                match (place.restored(&target, exclusive).await, wanted) {
                    (Ok(found), Some(index)) => {
                        found.assert_is(kept, index, &context);
                        assert!(is_description || left.reaches(index), "{context}");
                        restored += 1;
                    }
                    (Ok(found), None) => {
                        panic!("{context}: there is no such point: {:?}", found.report.achieved)
                    }
                    (Err(error), Some(index)) => {
                        assert!(!is_well || !must_be_noticed, "{context}: {error}");
                        let sought = !matches!(target, Target::Index(_) | Target::Latest);
                        // Places of two logs are never chosen from.
                        let is_mixed = matches!(error, RestoreError::WrongLog { .. });
                        let excused =
                            sought || is_description || (is_mixed && how == How::OfAnotherLog);
                        assert!(excused || !left.reaches(index), "{context}: {error}");
                        refused += 1;
                    }
                    (Err(_), None) => {}
                }
            }
            fs::write(place.kept.backup().join(file), was).unwrap();
        }
    }
    assert!(noticed > 0 && restored > 0 && refused > 0, "{noticed}, {restored}, {refused}");
}
