//! Checking what is kept, without restoring it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use tipline_log::{Board, Log, LogError, error_chain};
use tipline_proto::{Digest, Entry, Trust};
use tipline_store::{StoreIdentity, StoreReader};
use tokio_util::sync::CancellationToken;

use super::expected::Expected;
use super::report::{FailedPlace, PlaceKind, VerifiedPlace, VerifyReport};
use crate::archive::{Archive, ArchiveError, SegmentIndex, SegmentName};
use crate::checkpoint::{CheckpointError, CheckpointId, Checkpoints, Listed};
use crate::destination::{Destination, DestinationError};
use crate::error::RestoreError;
use crate::restore::{Target, plan_for};
use crate::sources::{OneLog, Sources};
use crate::store_check::StoreCheck;
use crate::throttle::Throttle;

/// How many indexes of segments are read at once.
const INDEXES_AT_ONCE: usize = 16;
/// How many segments are read at once, if some are read as a whole.
const SEGMENTS_AT_ONCE: usize = 2;

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

/// A destination, and what was found there when it was opened.
#[derive(Debug, Clone)]
pub struct CheckedPlace {
    /// The destination.
    pub destination: Destination,
    /// What is there.
    pub sources: Sources,
}

/// What is compared with what is kept.
#[derive(Debug, Default)]
pub struct Against<'a> {
    /// The log: places must be of its history, and hold what its receipts say.
    pub log: Option<&'a dyn Log>,
    /// A store, and the log that it was created for. It must hold what the entries say that are in
    /// the archives, and nothing else.
    pub store: Option<(Option<StoreIdentity>, Box<dyn StoreReader>)>,
}

/// Checks everything that is kept at the places, and that all is there that must be: an archive from
/// its first entry on, or from where it was shortened to; a way to its newest entry; what receipts
/// and earlier checks found.
///
/// `random` chooses what is read: it gives a number from 0 to 1 for each.
///
/// # Errors
/// [`RestoreError::NotFound`] if there is nothing at all, and nothing says that there should be;
/// [`RestoreError::WrongLog`]; [`RestoreError::Cancelled`]. Damage is not an error, nor is a place
/// that does not answer: both are in the report.
pub async fn verify(
    places: &[CheckedPlace],
    against: Against<'_>,
    sample: Sample,
    random: &mut (dyn FnMut() -> f64 + Send),
    stop: &CancellationToken,
) -> Result<VerifyReport, RestoreError> {
    let began = Instant::now();
    let Against { log, store } = against;
    let one = check_one_log(places, log, store.as_ref())?;
    let mut report = VerifyReport::default();
    let throttle = Throttle::new(stop.clone());
    let store = store.map(|(_, reader)| StoreRun::new(reader)).transpose()?;
    let mut run = VerifyRun { one, known: BTreeMap::new(), sample, random, throttle, store };
    // First: what is said to be there is there by then.
    let mut failed = None;
    let board = match log {
        Some(log) => log.board().await.map_err(|error| failed = Some(error)).ok(),
        None => None,
    };
    for place in places {
        match run.place(place, board.as_ref()).await {
            Ok(found) => report.places.extend(found),
            Err(
                error @ (RestoreError::Cancelled { .. }
                | RestoreError::Internal { .. }
                | RestoreError::WrongLog { .. }),
            ) => return Err(error),
            Err(error) => {
                report.failed.push(FailedPlace::new(place.destination.place(), error));
            }
        }
    }
    let is_nothing = |place: &VerifiedPlace| place.kind == PlaceKind::Nothing && place.is_new;
    if report.failed.is_empty() && report.places.iter().all(is_nothing) {
        let names: Vec<&str> = places.iter().map(|place| place.destination.place()).collect();
        let places = format!("neither an archive nor a checkpoint is at {}", names.join(", "));
        return Err(RestoreError::NotFound { places });
    }
    if let Some(log) = log {
        let failed = match failed {
            None => compare_with_log(log, &mut report.places).await.err(),
            failed => failed,
        };
        let name = format!("log {}", log.identity().name.as_str());
        report.failed.extend(failed.map(|error| FailedPlace::log(name, error)));
    }
    if let Some(store) = run.store.take() {
        report.places.push(store.finish(&run.known)?);
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Whether all that says so is of one log.
fn check_one_log(
    places: &[CheckedPlace],
    log: Option<&dyn Log>,
    store: Option<&(Option<StoreIdentity>, Box<dyn StoreReader>)>,
) -> Result<OneLog, RestoreError> {
    let mut one = OneLog::default();
    for archive in places.iter().flat_map(|place| &place.sources.archives) {
        one.admit(archive.place(), archive.identity().into())?;
    }
    if let Some(log) = log {
        one.admit(log.identity().name.as_str(), log.identity().into())?;
    }
    if let Some((Some(of), reader)) = store {
        one.admit(&reader.place(), of.clone())?;
    }
    Ok(one)
}

/// Whether what is there ends with what the log has there.
async fn compare_with_log(log: &dyn Log, places: &mut [VerifiedPlace]) -> Result<(), LogError> {
    for place in places {
        let Some(end) = place.end else { continue };
        let extent = log.extent().await?;
        if end.index > extent.last {
            place.problems.push(format!(
                "it ends at entry {}, and the log at entry {}: the log lost entries, or is another",
                end.index, extent.last
            ));
        } else if end.index >= extent.first.max(1) {
            match log.entry(end.index).await {
                Ok(entry) if entry.digest != end.digest => place.problems.push(format!(
                    "digest {} at entry {}, the log has {}",
                    end.digest, end.index, entry.digest
                )),
                // It was trimmed meanwhile.
                Ok(_) | Err(LogError::OutOfRange { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

struct VerifyRun<'a> {
    one: OneLog,
    /// The digest at each index that anything starts or ends at, and the source of it.
    known: BTreeMap<u64, (Digest, Arc<str>)>,
    sample: Sample,
    random: &'a mut (dyn FnMut() -> f64 + Send),
    throttle: Throttle,
    store: Option<StoreRun>,
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
    fn know(&mut self, index: u64, digest: Digest, source: &Arc<str>) -> Option<String> {
        match self.known.get(&index) {
            None => {
                self.known.insert(index, (digest, Arc::clone(source)));
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

    /// What is at a destination, with what must be there.
    async fn place(
        &mut self,
        place: &CheckedPlace,
        board: Option<&Board>,
    ) -> Result<Vec<VerifiedPlace>, RestoreError> {
        let CheckedPlace { destination, sources } = place;
        // First, too.
        let expected = Expected::at(destination, board).await?;
        let mut found = Vec::new();
        for damaged in &sources.damaged {
            let mut place = VerifiedPlace::new(damaged.place(), PlaceKind::Archive);
            place.problems.push(error_chain(&damaged.error()));
            found.push(place.at(destination));
        }
        for archive in &sources.archives {
            found.push(self.archive(archive).await?.at(destination));
        }
        for set in &sources.checkpoints {
            let mut checked = self.checkpoints(set).await?;
            checked.problems.extend(set.unvouched(&sources.trust).await?);
            found.push(checked.at(destination));
        }
        if found.is_empty() {
            let mut nothing = VerifiedPlace::new(destination.place(), PlaceKind::Nothing);
            nothing.has_records = expected.has_record();
            nothing.problems.push("neither an archive nor a checkpoint is there".to_owned());
            found.push(nothing.at(destination));
        }
        let is_archive = |place: &&VerifiedPlace| place.kind == PlaceKind::Archive;
        if board.is_some() && !expected.has_receipt() {
            for place in found.iter_mut().filter(|place| is_archive(&&**place)) {
                let note = "no receipt in the log names it by this address: what an archiver said of \
                            it is not known";
                place.notes.push(note.to_owned());
            }
        }
        let archived = found.iter().filter(is_archive).map(|place| place.last).max();
        let any = found.iter().map(|place| place.last).max().unwrap_or(0);
        let missing = expected.problem(archived.unwrap_or(any), any);
        let is_sound = found.iter().all(|place| place.problems.is_empty());
        let missing = match missing {
            None if is_sound => way_to_latest(sources).await?,
            missing => missing,
        };
        if let Some(first) = found.first_mut() {
            first.problems.extend(missing);
        }
        let is_new = any == 0 && sources.damaged.is_empty() && !expected.is_any();
        found.iter_mut().for_each(|place| place.is_new = is_new);
        Ok(found)
    }

    async fn archive(&mut self, archive: &Archive) -> Result<VerifiedPlace, RestoreError> {
        // What lies within merged ones is no more than a spare: of many it is passed by.
        let mut names = archive.longest().await.map_err(RestoreError::archive)?;
        let place = VerifiedPlace::new(archive.place(), PlaceKind::Archive);
        let first = names.iter().map(|name| name.first).min().unwrap_or(0);
        let last = names.iter().map(|name| name.last).max().unwrap_or(0);
        let place = VerifiedPlace { first, last, ..place };
        let mut pass =
            ArchivePass { place, seen: BTreeSet::new(), sound: Vec::new(), gone: vec![] };
        // What is merged while it is read is read again.
        while !names.is_empty() {
            self.segments(archive, &names, &mut pass).await?;
            if pass.gone.is_empty() {
                break;
            }
            names = archive.longest().await.map_err(RestoreError::archive)?;
            for name in std::mem::take(&mut pass.gone) {
                if names.contains(&name) {
                    pass.place.problems.push(format!("{name} is listed, and not there"));
                }
            }
            names.retain(|name| !pass.seen.contains(&name.to_string()));
        }
        // Nothing but retention removes the beginning, and it writes down to where, before it does.
        let begins = archive.from().await.map_err(RestoreError::archive)?.max(1);
        let (mut place, all) = (pass.finish(begins), self.sample == Sample::Full);
        place.problems.extend(archive.lost_receipts(all).await.map_err(RestoreError::archive)?);
        Ok(place)
    }

    async fn segments(
        &mut self,
        archive: &Archive,
        names: &[SegmentName],
        pass: &mut ArchivePass,
    ) -> Result<(), RestoreError> {
        let newest = pass.place.last;
        let wanted: Vec<(SegmentName, bool)> =
            names.iter().map(|name| (name.clone(), self.is_read(name.last == newest))).collect();
        let any_whole = wanted.iter().any(|(_, is_whole)| *is_whole);
        let at_once = if any_whole { SEGMENTS_AT_ONCE } else { INDEXES_AT_ONCE };
        let read = |(name, is_whole): (SegmentName, bool)| async move {
            let read = match is_whole {
                true => archive.entries(&name).await.map(|(index, all)| (index, Some(all))),
                false => archive.index(&name).await.map(|index| (index, None)),
            };
            (name, read)
        };
        let mut all = stream::iter(wanted).map(read).buffered(at_once);
        while let Some((name, read)) = all.next().await {
            self.check_stop()?;
            pass.seen.insert(name.to_string());
            pass.place.looked_at += 1;
            match read {
                Ok((index, entries)) => self.segment(name, &index, entries, pass)?,
                Err(error @ (ArchiveError::Corrupt { .. } | ArchiveError::Newer { .. })) => {
                    pass.place.problems.push(error_chain(&error));
                }
                Err(ArchiveError::Destination(DestinationError::NotFound { .. })) => {
                    pass.place.looked_at -= 1;
                    pass.gone.push(name);
                }
                Err(error) => return Err(RestoreError::archive(error)),
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        name: SegmentName,
        index: &SegmentIndex,
        entries: Option<Vec<Entry>>,
        pass: &mut ArchivePass,
    ) -> Result<(), RestoreError> {
        let source: Arc<str> = name.to_string().into();
        for position in [index.before, index.after.position] {
            pass.place.problems.extend(self.know(position.index, position.digest, &source));
        }
        if name.last == pass.place.last {
            pass.place.ends(index.after.position);
        }
        if let Some(entries) = &entries {
            pass.place.read_back += 1;
            pass.place.bytes += name.bytes;
            self.store.as_mut().map_or(Ok(()), |store| store.entries(entries))?;
        } else if let Some(store) = &mut self.store {
            store.check.as_mut().map_or(Ok(()), |check| check.rows(&index.rows))?;
        }
        pass.sound.push((name.first, name.last));
        Ok(())
    }

    async fn checkpoints(&mut self, set: &Checkpoints) -> Result<VerifiedPlace, RestoreError> {
        // Without their files: there may be millions of each.
        let head = |listed| match listed {
            Listed::Whole(manifest) => Ok(manifest.head()),
            Listed::Corrupt { id, why } => Err((id, why)),
        };
        let listed: Vec<_> = set.each().await?.map_ok(head).try_collect().await?;
        let mut place = VerifiedPlace::new(set.place(), PlaceKind::Checkpoints);
        place.looked_at = listed.len() as u64;
        for (at, listed) in listed.into_iter().enumerate() {
            self.check_stop()?;
            let manifest = match listed {
                Ok(manifest) => manifest,
                Err((id, why)) => {
                    place.problems.push(format!("checkpoint {id}: {why}"));
                    continue;
                }
            };
            let name = format!("checkpoint {} at {}", manifest.id, set.place());
            self.one.admit(&name, manifest.log.clone())?;
            let position = manifest.cursor.position;
            place.first = position.index;
            if place.end.is_none() {
                place.ends(position);
                place.newest = Some(manifest.id.clone());
            }
            let source: Arc<str> = format!("checkpoint {}", manifest.id).into();
            place.problems.extend(self.know(position.index, position.digest, &source));
            if !self.is_read(at == 0) {
                continue;
            }
            match self.read_back(set, &manifest.id).await {
                Ok(bytes) => {
                    place.read_back += 1;
                    place.bytes += bytes;
                }
                Err(error) if error.is_about_it() => place.problems.push(error_chain(&error)),
                Err(CheckpointError::Cancelled) => self.check_stop()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(place)
    }

    async fn read_back(
        &self,
        set: &Checkpoints,
        id: &CheckpointId,
    ) -> Result<u64, CheckpointError> {
        let manifest = set.get(id).await?;
        set.verify(&manifest, &self.throttle).await.map(|()| manifest.bytes())
    }
}

/// Why the newest entry cannot be reached by what is at a destination alone.
async fn way_to_latest(sources: &Sources) -> Result<Option<String>, RestoreError> {
    let sources = Sources { log: None, trust: Trust::default(), ..sources.clone() };
    match plan_for(&sources, &[], &Target::Latest, false).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_about_what_is_kept() => Ok(Some(error_chain(&error))),
        Err(error) => Err(error),
    }
}

/// An archive that is being read.
struct ArchivePass {
    place: VerifiedPlace,
    seen: BTreeSet<String>,
    /// Which entries are in segments that can be read.
    sound: Vec<(u64, u64)>,
    /// Segments that were removed meanwhile.
    gone: Vec<SegmentName>,
}

impl ArchivePass {
    /// `begins` is the index from which on everything must be there.
    fn finish(self, begins: u64) -> VerifiedPlace {
        let Self { mut place, mut sound, .. } = self;
        if place.last == 0 {
            place.problems.push("it is empty: no segment is there".to_owned());
            return place;
        }
        let (mut at, end) = (begins - 1, place.last);
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
        place
    }
}

/// A store that is compared.
struct StoreRun {
    place: VerifiedPlace,
    /// None: the store is empty.
    check: Option<StoreCheck>,
}

impl StoreRun {
    fn new(reader: Box<dyn StoreReader>) -> Result<Self, RestoreError> {
        let mut place = VerifiedPlace::new(&reader.place(), PlaceKind::Store);
        let cursor = reader.cursor()?;
        if let Some(cursor) = &cursor {
            place.ends(cursor.position);
        }
        let check = cursor.map(|cursor| StoreCheck::new(reader, cursor));
        Ok(Self { place, check })
    }

    fn entries(&mut self, entries: &[Entry]) -> Result<(), RestoreError> {
        let Some(check) = &mut self.check else { return Ok(()) };
        let before = check.seen();
        check.entries(entries)?;
        self.place.read_back += check.seen() - before;
        Ok(())
    }

    fn finish(
        self,
        known: &BTreeMap<u64, (Digest, Arc<str>)>,
    ) -> Result<VerifiedPlace, RestoreError> {
        let Self { mut place, check } = self;
        let Some(mut check) = check else {
            place.notes.push("it is empty: nothing was compared".to_owned());
            return Ok(place);
        };
        if let Some(end) = place.end
            && let Some((digest, source)) = known.get(&end.index)
            && *digest != end.digest
        {
            // Then every entry differs.
            let (index, own) = (end.index, end.digest);
            let text =
                format!("another history: digest {own} at entry {index}, {source} has {digest}");
            place.problems.push(text);
            return Ok(place);
        }
        let compared = check.finish()?;
        (place.looked_at, place.bytes) = (compared.entries, compared.bytes);
        place.problems.extend(compared.problems);
        place.notes.extend(compared.notes);
        Ok(place)
    }
}
