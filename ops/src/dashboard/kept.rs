//! What is kept at the places of backups, and what the log may drop. Read again each minute.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tipline_backup::retention::{KeptRange, RetentionRule};
use tipline_backup::{
    Archive, Check, Checkpoints, Destination, DestinationError, Held, KnownHeads, KnownRecords,
    Listed, ListedHead, Record, RestoreError, Row, Sources,
};
use tipline_log::{Clock, Log, error_chain};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::window::restorable;
use crate::retention::decide;
use crate::sources::open_sources;

/// Destinations do not change often.
const AGAIN: Duration = Duration::from_secs(60);
/// How long a destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long listing all of an archive may take: a year of a segment a second takes a thousand requests
/// once it is merged.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(600);
/// All of an archive is listed each so many times, an hour; in between only what is new.
const ALL_EACH: u32 = 60;
/// So many checkpoints of a place are shown, the newest.
const MOST_CHECKPOINTS: usize = 100;
/// So many drills of a place are shown, the newest.
const MOST_DRILLS: usize = 20;
/// So many ranges of the log are shown, the oldest: what is kept by one more is in them.
const MOST_RANGES: usize = 50;

/// What is read there.
#[derive(Clone)]
pub struct Watched {
    /// The places.
    pub places: Vec<Destination>,
    /// Files of age identities that open what is encrypted.
    pub identity: Vec<PathBuf>,
    /// What the log may drop is decided by it.
    pub rule: RetentionRule,
    /// Our own clock.
    pub clock: Clock,
}

/// What is kept, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeptView {
    /// When it was read, in milliseconds since 1970; `null` before the first time.
    pub at_ms: Option<u64>,
    /// Every place that is named.
    pub places: Vec<PlaceView>,
    /// What the log may drop; `null` if the log was not read.
    pub retention: Option<RetentionView>,
}

/// What is at a place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlaceView {
    /// Its address.
    pub place: String,
    /// Its archive; `null` if there is none.
    pub archive: Option<ArchiveShown>,
    /// Its checkpoints, the newest first.
    pub checkpoints: Vec<CheckpointShown>,
    /// Everything in this range of events can be restored from the place by itself.
    pub restorable: Option<HeldRange>,
    /// Its drills, the newest first, as they were recorded there.
    pub drills: Vec<DrillShown>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// A drill that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillShown {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Nothing was wrong.
    pub ok: bool,
    /// The event that was restored.
    pub index: u64,
    /// How long restoring took; `null` if that failed.
    pub restored_ms: Option<u64>,
    /// What was found.
    pub summary: String,
}

/// Some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeldRange {
    /// The first event.
    pub first: u64,
    /// The last event.
    pub last: u64,
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveShown {
    /// Its oldest event.
    pub first: u64,
    /// Its newest event.
    pub last: u64,
    /// Gaps in between.
    pub gaps: Vec<HeldRange>,
    /// When its oldest event was committed, in milliseconds since 1970; `null` if it cannot be opened
    /// here.
    pub first_ms: Option<u64>,
    /// When its newest event was committed.
    pub last_ms: Option<u64>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointShown {
    /// Its name.
    pub id: String,
    /// Everything up to this event is in it; `null` if its manifest is corrupt.
    pub index: Option<u64>,
    /// Its newest block.
    pub height: Option<u64>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: Option<u64>,
    /// Its size.
    pub bytes: Option<u64>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What the log may drop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetentionView {
    /// The policy that it is decided by.
    pub policy: String,
    /// The oldest event that somebody keeps.
    pub keep_from: u64,
    /// How many events nobody keeps.
    pub free: u64,
    /// All of the log, from the oldest event on, and who keeps it.
    pub ranges: Vec<RangeShown>,
    /// Why it is not known; the rest is empty then.
    pub problem: Option<String>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RangeShown {
    /// Its first event.
    pub first: u64,
    /// Its last event.
    pub last: u64,
    /// Everyone who keeps it, and why, in a sentence each.
    pub kept_by: Vec<String>,
}

/// What was read of a place before.
#[derive(Debug, Clone, Default)]
struct Known {
    records: KnownRecords,
    archive: Option<Held>,
    /// Of each set of checkpoints, by its address.
    heads: Heads,
    /// How many times only what is new of the archive was listed since all of it was.
    times: u32,
}

/// Checkpoints that were listed before, of each set by its address.
type Heads = BTreeMap<String, KnownHeads>;

/// What is at a place, and what is to be known of it the next time.
type Opened = (PlaceView, Option<Held>, Heads, Sources);

/// Reads it each minute, and at once when `log` changes, for as long as there is a receiver.
pub fn follow_kept(
    watched: Watched,
    mut log: watch::Receiver<Option<Arc<dyn Log>>>,
) -> watch::Receiver<KeptView> {
    let (newest, views) = watch::channel(KeptView::default());
    tokio::spawn(async move {
        let mut known = vec![Known::default(); watched.places.len()];
        while !newest.is_closed() {
            let open = log.borrow_and_update().clone();
            newest.send_replace(read(&watched, open, &mut known).await);
            tokio::select! {
                () = sleep(AGAIN) => {}
                changed = log.changed() => if changed.is_err() { return },
            }
        }
    });
    views
}

async fn read(watched: &Watched, log: Option<Arc<dyn Log>>, known: &mut [Known]) -> KeptView {
    // At once: each may have to be waited for.
    let one = |(place, known): (&Destination, &mut Known)| {
        let (place, identity) = (place.clone(), watched.identity.clone());
        let before = known.archive.take().filter(|_| known.times < ALL_EACH);
        known.times = if before.is_some() { known.times + 1 } else { 0 };
        let heads = known.heads.clone();
        tokio::spawn(async move { open(place, identity, before, heads).await })
    };
    let reading: Vec<_> = watched.places.iter().zip(&mut *known).map(one).collect();
    let (mut places, mut opened) = (Vec::new(), Vec::new());
    for ((place, known), one) in watched.places.iter().zip(&mut *known).zip(reading) {
        let (view, sources) = match one.await {
            Ok(Ok((view, held, heads, sources))) => {
                (known.archive, known.heads) = (held, heads);
                (view, Ok(sources))
            }
            Ok(Err(why)) => (unread(place, &why), Err(why)),
            Err(_) => {
                let why = "internal error: reading it panicked".to_owned();
                (unread(place, &why), Err(why))
            }
        };
        places.push(view);
        opened.push((place.place().to_owned(), sources));
    }
    for ((place, view), known) in watched.places.iter().zip(&mut places).zip(known) {
        // One that cannot be read has said so.
        if let Ok(Ok(drills)) = timeout(PATIENCE, drills(place, &mut known.records)).await {
            view.drills = drills;
        }
    }
    let retention = match log {
        Some(log) => Some(retention(&*log, &opened, watched).await),
        None => None,
    };
    KeptView { at_ms: Some((watched.clock)().as_micros() / 1_000), places, retention }
}

fn unread(place: &Destination, why: &str) -> PlaceView {
    let (place, problems) = (place.place().to_owned(), vec![why.to_owned()]);
    PlaceView { place, problems, ..PlaceView::default() }
}

async fn open(
    place: Destination,
    identity: Vec<PathBuf>,
    before: Option<Held>,
    mut heads: Heads,
) -> Result<Opened, String> {
    let opening =
        async { open_sources(&place, &identity).await.map_err(|error| error_chain(&error)) };
    let sources = answered(PATIENCE, opening).await?;
    let mut view = PlaceView { place: place.place().to_owned(), ..PlaceView::default() };
    let mut all = None;
    for archive in &sources.archives {
        let patience = if before.is_some() { PATIENCE } else { PATIENCE_FOR_ALL };
        let holding = async { Ok(held(archive, before.as_ref()).await) };
        match answered(patience, holding).await? {
            Ok(Some(held)) => {
                view.archive = Some(answered(PATIENCE, shown(archive, &held)).await?);
                all = Some(held);
            }
            Ok(None) => {}
            Err(error) => view.problems.push(error_chain(&error)),
        }
    }
    answered(PATIENCE, add_others(&mut view, &sources, &mut heads)).await?;
    Ok((view, all, heads, sources))
}

async fn answered<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let silent = || format!("it has not answered for {} s", patience.as_secs());
    timeout(patience, work).await.unwrap_or_else(|_| Err(silent()))
}

async fn add_others(
    view: &mut PlaceView,
    sources: &Sources,
    heads: &mut Heads,
) -> Result<(), String> {
    view.problems.extend(sources.damaged.iter().map(|damaged| error_chain(&damaged.error())));
    for set in &sources.checkpoints {
        let known = heads.entry(set.place().to_owned()).or_default();
        view.checkpoints.extend(checkpoints(set, known).await?);
    }
    view.checkpoints.sort_by(|one, other| other.id.cmp(&one.id));
    let indexes: Vec<u64> = view.checkpoints.iter().filter_map(|one| one.index).collect();
    let entries = view.archive.as_ref().map(|archive| {
        // What comes after its last gap.
        let first = archive.gaps.last().map_or(archive.first, |gap| gap.last.saturating_add(1));
        (first, archive.last)
    });
    let window = restorable(entries, &indexes);
    view.restorable = window.map(|(first, last)| HeldRange { first, last });
    view.checkpoints.truncate(MOST_CHECKPOINTS);
    let nothing = view.archive.is_none() && view.checkpoints.is_empty();
    if nothing && view.problems.is_empty() {
        view.problems.push("there is neither an archive nor a checkpoint".to_owned());
    }
    Ok(())
}

/// Those that were read before are not read again.
async fn drills(
    place: &Destination,
    known: &mut KnownRecords,
) -> Result<Vec<DrillShown>, DestinationError> {
    let newest = known.newest(place, Check::Drill, MOST_DRILLS).await?;
    let shown = |record: Record| DrillShown {
        at_ms: record.time_us / 1_000,
        ok: record.ok,
        index: record.index,
        restored_ms: record.restored_ms,
        summary: record.summary,
    };
    Ok(newest.into_iter().map(shown).collect())
}

/// What an archive holds. If it is known what it held before, only what came after that is listed.
async fn held(archive: &Archive, before: Option<&Held>) -> Result<Option<Held>, RestoreError> {
    let alone = Sources { archives: vec![archive.clone()], ..Sources::default() };
    let after = before.map_or(0, |before| before.last);
    match alone.held_after(after).await {
        Ok(now) if now.last >= after => Ok(Some(continued(before, now))),
        // It is another one.
        Ok(_) => Ok(Some(alone.held().await?)),
        Err(RestoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// With the gaps that were found before, but for what expired since.
fn continued(before: Option<&Held>, mut now: Held) -> Held {
    let Some(before) = before else { return now };
    now.gaps.retain(|gap| gap.1 > before.last);
    let known = before.gaps.iter().filter(|gap| gap.0 > now.first).copied();
    now.gaps = known.chain(std::mem::take(&mut now.gaps)).collect();
    now
}

async fn shown(archive: &Archive, held: &Held) -> Result<ArchiveShown, String> {
    Ok(ArchiveShown {
        first: held.first,
        last: held.last,
        gaps: held.gaps.iter().map(|&(first, last)| HeldRange { first, last }).collect(),
        first_ms: rows(archive, held.first).await.first().map(millis),
        last_ms: rows(archive, held.last).await.last().map(millis),
    })
}

/// What is in the segment that holds an entry. Of one that cannot be opened here nothing: the times are
/// only shown.
async fn rows(archive: &Archive, index: u64) -> Vec<Row> {
    match archive.back().up_to(index).await {
        Ok(Some(name)) => archive.index(&name).await.map(|index| index.rows).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn millis(row: &Row) -> u64 {
    row.time.as_micros() / 1_000
}

/// Those that were read before are not read again.
async fn checkpoints(
    set: &Checkpoints,
    known: &mut KnownHeads,
) -> Result<Vec<CheckpointShown>, String> {
    let listed = set.list_heads(known).await.map_err(|error| error_chain(&error))?;
    let shown = |one: ListedHead| match one.listed {
        Listed::Whole(manifest) => CheckpointShown {
            id: manifest.id.to_string(),
            index: Some(manifest.cursor.position.index),
            height: manifest.cursor.block_tip.as_ref().map(|tip| tip.height),
            created_ms: Some(manifest.created.as_micros() / 1_000),
            bytes: Some(one.bytes),
            problem: None,
        },
        Listed::Corrupt { id, why } => CheckpointShown {
            id: id.to_string(),
            index: None,
            height: None,
            created_ms: None,
            bytes: None,
            problem: Some(why),
        },
    };
    Ok(listed.into_iter().map(shown).collect())
}

async fn retention(
    log: &dyn Log,
    opened: &[(String, Result<Sources, String>)],
    watched: &Watched,
) -> RetentionView {
    let policy = watched.rule.policy.to_string();
    match decide(log, opened, &watched.rule, &watched.clock).await {
        Ok(plan) => RetentionView {
            policy,
            keep_from: plan.first,
            free: plan.free(),
            ranges: plan.ranges.iter().take(MOST_RANGES).map(RangeShown::new).collect(),
            problem: None,
        },
        Err(why) => RetentionView { policy, problem: Some(why), ..RetentionView::default() },
    }
}

impl RangeShown {
    fn new(range: &KeptRange) -> Self {
        let kept_by = range.kept_by.iter().map(ToString::to_string).collect();
        Self { first: range.first, last: range.last, kept_by }
    }
}
