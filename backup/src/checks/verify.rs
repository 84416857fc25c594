//! Checking what is kept, without restoring it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use tipline_log::error_chain;
use tipline_proto::Digest;
use tipline_store::StoreReader;
use tokio_util::sync::CancellationToken;

use crate::archive::{Archive, ArchiveError};
use crate::checkpoint::{CheckpointError, Checkpoints, Listed};
use crate::error::RestoreError;
use crate::restore::compare_with_store;
use crate::sources::Sources;
use crate::throttle::Throttle;

/// How much is read back. The structure is always checked: that everything listed has its
/// manifest or index, that nothing is missing in between, and that all agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Nothing more.
    Structure,
    /// Each segment and each checkpoint with this probability, the newest of each in any case.
    Share(f64),
    /// Everything.
    Full,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// By place.
    pub places: Vec<VerifiedPlace>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.places.iter().all(|place| place.problems.is_empty())
    }

    /// Index up to which any place reaches.
    pub fn index(&self) -> u64 {
        self.places.iter().map(|place| place.last).max().unwrap_or(0)
    }
}

/// What is kept at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PlaceKind {
    /// Segments.
    Archive,
    /// A set of checkpoints.
    Checkpoints,
    /// A store.
    Store,
}

impl fmt::Display for PlaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlaceKind::Archive => "archive",
            PlaceKind::Checkpoints => "checkpoints",
            PlaceKind::Store => "store",
        })
    }
}

/// What was found at a place.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedPlace {
    /// Which place.
    pub place: String,
    /// What is there.
    #[serde(rename = "what")]
    pub kind: PlaceKind,
    /// How many segments, checkpoints or entries were checked.
    pub looked_at: u64,
    /// How many of them were read back as a whole.
    pub read_back: u64,
    /// Bytes that were read back.
    pub bytes: u64,
    /// Index of the oldest entry there.
    pub first: u64,
    /// Index of the newest.
    pub last: u64,
    /// What is wrong, each with its name.
    pub problems: Vec<String>,
}

impl VerifiedPlace {
    fn new(place: String, kind: PlaceKind) -> Self {
        Self {
            place,
            kind,
            looked_at: 0,
            read_back: 0,
            bytes: 0,
            first: 0,
            last: 0,
            problems: Vec::new(),
        }
    }
}

/// Checks everything that is kept at the places, and a store if one is given. The store is compared
/// with the entries of the segments that are read back.
///
/// `random` chooses what is read: it gives a number from 0 to 1 for each.
///
/// # Errors
/// A place does not answer. Damage is not an error: it is in the report.
pub async fn verify(
    sources: &Sources,
    store: Option<Box<dyn StoreReader>>,
    sample: Sample,
    random: &mut (dyn FnMut() -> f64 + Send),
    stop: &CancellationToken,
) -> Result<VerifyReport, RestoreError> {
    let began = Instant::now();
    let throttle = Throttle::new(stop.clone());
    let mut run = VerifyRun { known: BTreeMap::new(), sample, random, throttle };
    let mut report = VerifyReport::default();
    let mut compared = match store {
        Some(reader) => Some(Compared::new(reader)?),
        None => None,
    };
    for archive in &sources.archives {
        report.places.push(run.archive(archive, compared.as_mut()).await?);
    }
    for set in &sources.checkpoints {
        report.places.push(run.checkpoints(set).await?);
    }
    if let Some(compared) = compared {
        report.places.push(compared.finish(&run.known));
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

struct VerifyRun<'a> {
    /// The digest at each index that anything starts or ends at, and the source of it.
    known: BTreeMap<u64, (Digest, String)>,
    sample: Sample,
    random: &'a mut (dyn FnMut() -> f64 + Send),
    throttle: Throttle,
}

impl VerifyRun<'_> {
    fn is_read(&mut self, newest: bool) -> bool {
        match self.sample {
            Sample::Structure => false,
            Sample::Share(share) => newest || (self.random)() < share,
            Sample::Full => true,
        }
    }

    /// Remembers a digest; gives a problem if another source has a different one there.
    fn know(&mut self, index: u64, digest: Digest, source: &str) -> Option<String> {
        match self.known.get(&index) {
            None => {
                self.known.insert(index, (digest, source.to_owned()));
                None
            }
            Some((known, _)) if *known == digest => None,
            Some((known, other)) => {
                Some(format!("{source}: digest {digest} at entry {index}, {other} has {known}"))
            }
        }
    }

    fn check_stop(&self) -> Result<(), RestoreError> {
        if self.throttle.is_cancelled() { Err(RestoreError::Cancelled { at: 0 }) } else { Ok(()) }
    }

    async fn archive(
        &mut self,
        archive: &Archive,
        mut compared: Option<&mut Compared>,
    ) -> Result<VerifiedPlace, RestoreError> {
        let names = archive.segments().await.map_err(RestoreError::archive)?;
        let mut place = VerifiedPlace {
            looked_at: names.len() as u64,
            first: names.iter().map(|name| name.first).min().unwrap_or(0),
            last: names.iter().map(|name| name.last).max().unwrap_or(0),
            ..VerifiedPlace::new(archive.place().to_owned(), PlaceKind::Archive)
        };
        let mut sound = Vec::new();
        for name in &names {
            self.check_stop()?;
            let object = name.to_string();
            let index = if self.is_read(name.last == place.last) {
                match archive.entries(name).await {
                    Ok((index, entries)) => {
                        place.read_back += 1;
                        place.bytes += name.bytes;
                        if let Some(compared) = &mut compared {
                            compared.with(&entries);
                        }
                        Ok(index)
                    }
                    Err(error) => Err(error),
                }
            } else {
                archive.index(name).await
            };
            match index {
                Ok(index) => {
                    let ends = [index.before, index.after.position];
                    for position in ends {
                        place.problems.extend(self.know(position.index, position.digest, &object));
                    }
                    sound.push((name.first, name.last));
                }
                Err(error @ (ArchiveError::Corrupt { .. } | ArchiveError::Newer { .. })) => {
                    place.problems.push(error_chain(&error));
                }
                Err(error) => return Err(RestoreError::archive(error)),
            }
        }
        let (mut at, end) = (place.first.saturating_sub(1), place.last);
        sound.sort_unstable();
        for (first, last) in sound {
            if first > at + 1 {
                place.problems.push(format!("entries {} to {} are missing", at + 1, first - 1));
            }
            at = at.max(last);
        }
        if at < end {
            place.problems.push(format!("entries {} to {end} are missing", at + 1));
        }
        Ok(place)
    }

    async fn checkpoints(&mut self, set: &Checkpoints) -> Result<VerifiedPlace, RestoreError> {
        let listed = set.list().await?;
        let mut place = VerifiedPlace {
            looked_at: listed.len() as u64,
            ..VerifiedPlace::new(set.place().to_owned(), PlaceKind::Checkpoints)
        };
        for (at, listed) in listed.into_iter().enumerate() {
            self.check_stop()?;
            let manifest = match listed {
                Listed::Whole(manifest) => manifest,
                Listed::Corrupt { id, why } => {
                    place.problems.push(format!("checkpoint {id}: {why}"));
                    continue;
                }
            };
            let position = manifest.cursor.position;
            place.first = position.index;
            place.last = place.last.max(position.index);
            let source = format!("checkpoint {}", manifest.id);
            place.problems.extend(self.know(position.index, position.digest, &source));
            if !self.is_read(at == 0) {
                continue;
            }
            match set.verify(&manifest, &self.throttle).await {
                Ok(()) => {
                    place.read_back += 1;
                    place.bytes += manifest.bytes();
                }
                Err(error @ CheckpointError::Corrupt { .. }) => {
                    place.problems.push(error_chain(&error))
                }
                Err(CheckpointError::Cancelled) => self.check_stop()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(place)
    }
}

/// A store, compared with entries as they are read.
struct Compared {
    reader: Box<dyn StoreReader>,
    place: VerifiedPlace,
    cursor: Option<tipline_proto::Cursor>,
}

impl Compared {
    fn new(reader: Box<dyn StoreReader>) -> Result<Self, RestoreError> {
        let cursor = reader.cursor()?;
        let place = VerifiedPlace {
            last: cursor.as_ref().map_or(0, |cursor| cursor.position.index),
            ..VerifiedPlace::new(reader.place(), PlaceKind::Store)
        };
        Ok(Self { reader, place, cursor })
    }

    fn with(&mut self, entries: &[tipline_proto::Entry]) {
        for entry in entries.iter().filter(|entry| entry.index <= self.place.last) {
            self.place.looked_at += 1;
            self.place.read_back += 1;
            self.place.bytes += entry.event.payload().len() as u64;
            if let Err(error) = compare_with_store(&*self.reader, entry) {
                self.place.problems.push(error_chain(&error));
            }
        }
    }

    fn finish(mut self, known: &BTreeMap<u64, (Digest, String)>) -> VerifiedPlace {
        if let Some(cursor) = &self.cursor
            && let Some((digest, source)) = known.get(&cursor.position.index)
            && *digest != cursor.position.digest
        {
            let (index, own) = (cursor.position.index, cursor.position.digest);
            self.place
                .problems
                .push(format!("the cursor: digest {own} at entry {index}, {source} has {digest}"));
        }
        self.place
    }
}
