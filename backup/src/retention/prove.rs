//! Reading at the destinations what they hold.

use futures_util::TryStreamExt;
use tipline_log::{Extent, error_chain};
use tipline_proto::{Entry, Position};
use tipline_store::StoreIdentity;

use super::proven::{NotProven, Proven, ProvenKind};
use crate::archive::{Archive, ArchiveError, SegmentIndex, SegmentName};
use crate::checkpoint::{CheckpointError, CheckpointId, Checkpoints, Listed, Manifest};
use crate::sources::Sources;
use crate::sources::spans::{Coverage, Gap, Span};
use crate::throttle::Throttle;

impl Sources {
    /// What each of these places says that it can restore without the log: of checkpoints the
    /// manifests are read, of archives the indexes of everything from `from` on, the oldest entry
    /// that the log holds. It is enough to say what may go, and not to remove it:
    /// [`Sources::read_back`] is.
    ///
    /// Where the history must be signed, a checkpoint counts only if a trusted consumer vouches for it.
    ///
    /// An archive must hold all of it, without a gap and as one history, and something to start
    /// from: everything before `from`, or what comes after one of the checkpoints among these
    /// places. What was removed from it on purpose, by its own retention, is not asked for.
    pub async fn prove(&self, from: u64) -> Vec<Proven> {
        self.covered(Wanted { goes: Extent { first: from, last: u64::MAX }, whole: false }).await
    }

    /// The same of what is about to be removed from the log, and only of that, by reading all of
    /// it: every segment that holds some of it, every file of the newest checkpoint, and of the
    /// checkpoint that an archive is restored from. What is older was read when it was removed.
    pub async fn read_back(&self, goes: Extent) -> Vec<Proven> {
        self.covered(Wanted { goes, whole: true }).await
    }

    async fn covered(&self, wanted: Wanted) -> Vec<Proven> {
        let (mut proven, mut starts) = (Vec::new(), Vec::new());
        // What a restore refuses proves nothing.
        let requiring = |set: &Checkpoints| set.clone().requiring(self.trust.clone());
        let sets: Vec<Checkpoints> = self.checkpoints.iter().map(requiring).collect();
        for set in &sets {
            let covered = newest_whole(set, wanted.whole, &mut starts).await;
            let (kind, place) = (ProvenKind::Checkpoint, set.place().to_owned());
            proven.push(Proven { kind, place, covered });
        }
        for damaged in &self.damaged {
            let (kind, place) = (ProvenKind::Archive, damaged.place().to_owned());
            proven.push(Proven { kind, place, covered: Err(corrupt(damaged.error())) });
        }
        starts.sort_by_key(|start| start.position.index);
        for archive in &self.archives {
            let covered = archived(archive, &starts, wanted).await;
            let (kind, place) = (ProvenKind::Archive, archive.place().to_owned());
            proven.push(Proven { kind, place, covered });
        }
        proven
    }
}

/// What is to be known, and how well.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// The entries that the log is to forget.
    goes: Extent,
    /// Every byte is read.
    whole: bool,
}

/// A checkpoint that an archive may be restored from, without its manifest: that names every file.
struct Start<'a> {
    set: &'a Checkpoints,
    id: CheckpointId,
    log: StoreIdentity,
    position: Position,
}

/// The newest checkpoint that is what was written. Adds each of the set to `starts`.
async fn newest_whole<'a>(
    set: &'a Checkpoints,
    whole: bool,
    starts: &mut Vec<Start<'a>>,
) -> Result<Position, NotProven> {
    let (mut newest, mut why) = (None, NotProven::NoCheckpoint);
    let mut each = set.each().await.map_err(unavailable)?;
    while let Some(listed) = each.try_next().await.map_err(unavailable)? {
        let checked = match listed {
            Listed::Whole(manifest) => {
                let checked = match newest {
                    None => check(set, &manifest, whole).await,
                    Some(_) => Ok(manifest.cursor.position),
                };
                let Manifest { id, log, cursor, .. } = manifest;
                starts.push(Start { set, id, log, position: cursor.position });
                checked
            }
            Listed::Corrupt { id, why } => {
                Err(NotProven::Corrupt { what: format!("checkpoint {id}: {why}") })
            }
        };
        match checked {
            Err(corrupt @ NotProven::Corrupt { .. }) => why = corrupt,
            checked => _ = newest.get_or_insert(checked),
        }
    }
    newest.unwrap_or(Err(why))
}

/// Where a checkpoint is, if it is what was written.
async fn check(set: &Checkpoints, manifest: &Manifest, whole: bool) -> Result<Position, NotProven> {
    let verified = if whole { set.verify(manifest, &Throttle::none()).await } else { Ok(()) };
    match verified {
        Ok(()) => Ok(manifest.cursor.position),
        Err(error @ CheckpointError::Corrupt { .. }) => Err(corrupt(error)),
        Err(error) => Err(unavailable(error)),
    }
}

/// Up to where an archive has everything that goes.
async fn archived(
    archive: &Archive,
    starts: &[Start<'_>],
    wanted: Wanted,
) -> Result<Position, NotProven> {
    let shortened_to = archive.from().await.map_err(unavailable)?;
    let after = wanted.goes.first.max(shortened_to).saturating_sub(1);
    let of = StoreIdentity::from(archive.identity());
    let is_early = |start: &&Start<'_>| start.log == of && start.position.index <= after;
    let early = starts.iter().rfind(is_early).map(|start| start.position.index);
    let mut names = match early {
        // What is before a checkpoint is not needed.
        Some(index) if !wanted.whole => archive.since(index).await.map_err(of_archive)?,
        // To list all is less than to read the checkpoint.
        _ => archive.longest().await.map_err(of_archive)?,
    };
    let mut coverage = Coverage::new(names.iter().map(span).collect());
    let Some(newest) = coverage.newest() else { return Err(NotProven::Empty) };
    let first = after.saturating_add(1);
    let is_shortened = shortened_to > wanted.goes.first;
    let start = start(archive, &coverage, starts, after, is_shortened, wanted.whole).await?;
    if newest <= after {
        // The log holds nothing of what it has.
        let last = names.iter().find(|name| name.last == newest).ok_or(NotProven::Empty)?;
        return archive.index(last).await.map(|index| index.after.position).map_err(of_archive);
    }
    // What was removed on purpose is not there: then what comes after it says which history it is.
    let to = wanted.goes.last.max(first).min(newest);
    let mut reached = Reached { at: after, start, last: None };
    let mut bad = None;
    while reached.at < to {
        let Some(span) = coverage.next(reached.at).cloned() else {
            let gap = coverage.cover(reached.at, newest).err();
            return Err(bad.or(gap.map(missing)).unwrap_or(NotProven::Empty));
        };
        match read(archive, &names, &span, &reached, wanted.whole).await {
            Ok(position) => {
                reached.at = position.index;
                reached.last = Some(position);
            }
            Err(corrupt @ NotProven::Corrupt { .. }) => {
                bad.get_or_insert(corrupt);
                coverage.give_up(&span);
                // It was passed by, because the corrupt one held all of it.
                let within = archive.between(span.first, span.last).await.map_err(of_archive)?;
                coverage.add(within.iter().map(self::span));
                names.extend(within);
            }
            Err(error) => return Err(error),
        }
    }
    reached.last.ok_or(NotProven::Empty)
}

/// The lowest position that an archive can be restored from, so that everything after `after` can
/// be reached.
async fn start(
    archive: &Archive,
    coverage: &Coverage,
    starts: &[Start<'_>],
    after: u64,
    is_shortened: bool,
    whole: bool,
) -> Result<Position, NotProven> {
    let mut why = match coverage.cover(0, after) {
        Ok(_) => return Ok(Position::origin(archive.identity())),
        Err(gap) => missing(gap),
    };
    let of = StoreIdentity::from(archive.identity());
    for Start { set, id, position, .. } in starts.iter().filter(|start| start.log == of) {
        let index = position.index;
        let reaches = match coverage.cover(index, after) {
            Ok(_) => index <= after || is_shortened,
            Err(gap) => {
                why = missing(gap);
                false
            }
        };
        if !reaches {
            continue;
        }
        let checked = match whole {
            true => match set.get(id).await {
                Ok(manifest) => check(set, &manifest, whole).await,
                Err(error @ CheckpointError::Corrupt { .. }) => Err(corrupt(error)),
                Err(error) => Err(unavailable(error)),
            },
            false => Ok(*position),
        };
        match checked {
            Err(corrupt @ NotProven::Corrupt { .. }) => why = corrupt,
            checked => return checked,
        }
    }
    Err(why)
}

/// How far the reading is.
struct Reached {
    at: u64,
    /// What the archive is restored from: of the history that is read.
    start: Position,
    /// The end of what was read last: likewise.
    last: Option<Position>,
}

/// Reads a segment, and gives where it ends, if it continues the history.
async fn read(
    archive: &Archive,
    names: &[SegmentName],
    span: &Span,
    reached: &Reached,
    whole: bool,
) -> Result<Position, NotProven> {
    let name = SegmentName::parse(&span.name, span.bytes).ok_or(NotProven::Empty)?;
    let (index, entries) = match whole {
        true => archive.entries(&name).await.map_err(of_archive)?,
        false => (archive.index(&name).await.map_err(of_archive)?, Vec::new()),
    };
    let mut before = names.iter().filter(|name| name.last == index.before.index).peekable();
    let follows = before.peek().is_none() || before.any(|name| name.ends_at(&index.before));
    let differs = |known: &&Position| {
        position_at(known.index, &index, &entries).is_some_and(|found| found != **known)
    };
    let known = [Some(reached.start), reached.last];
    let at = known.iter().flatten().find(differs).map(|known| known.index);
    match at.or((!follows).then_some(index.before.index)) {
        None => Ok(index.after.position),
        Some(at) => Err(NotProven::Corrupt {
            what: format!("{name} holds another history than what is before it, at entry {at}"),
        }),
    }
}

/// The position at an index, as a segment says.
fn position_at(at: u64, index: &SegmentIndex, entries: &[Entry]) -> Option<Position> {
    let ends = [index.before, index.after.position];
    let within = entries.iter().find(|entry| entry.index == at).map(Entry::position);
    ends.into_iter().find(|position| position.index == at).or(within)
}

fn span(name: &SegmentName) -> Span {
    let SegmentName { first, last, bytes, .. } = *name;
    Span { first, last, source: 0, name: name.to_string(), bytes }
}

fn missing(gap: Gap) -> NotProven {
    NotProven::Gap { first: gap.first, last: gap.last }
}

fn corrupt(error: impl std::error::Error) -> NotProven {
    NotProven::Corrupt { what: error_chain(&error) }
}

fn of_archive(error: ArchiveError) -> NotProven {
    match error {
        ArchiveError::Destination(error) => unavailable(error),
        error => corrupt(error),
    }
}

fn unavailable(error: impl std::error::Error) -> NotProven {
    NotProven::Unavailable { why: error_chain(&error) }
}
