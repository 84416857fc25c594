//! Reading at the destinations what they hold.

use tipline_log::error_chain;
use tipline_proto::Position;

use super::proven::{NotProven, Proven, ProvenKind};
use crate::archive::{Archive, ArchiveError, SegmentName};
use crate::checkpoint::{CheckpointError, Checkpoints, Listed};
use crate::sources::Sources;
use crate::sources::spans::{Coverage, Span};
use crate::throttle::Throttle;

impl Sources {
    /// Finds out, by reading there, what each of these places can restore without the log.
    ///
    /// `from` is the oldest entry that the log holds: of an archive, everything from there on is
    /// read back as a whole with `read_back`, so that nothing is trimmed that was not read a
    /// moment before; without it indexes alone are read. What is older was read when it was
    /// trimmed. Of a set of checkpoints it is the newest that is whole: with `read_back` every
    /// file of it is hashed.
    ///
    /// An archive that does not begin with the log needs a checkpoint among these places to
    /// start from.
    pub async fn prove(&self, from: u64, read_back: bool) -> Vec<Proven> {
        let (mut proven, mut starts) = (Vec::new(), vec![0]);
        for set in &self.checkpoints {
            let covered = checkpoint(set, read_back).await;
            starts.extend(covered.iter().map(|position| position.index));
            let (kind, place) = (ProvenKind::Checkpoint, set.place().to_owned());
            proven.push(Proven { kind, place, covered });
        }
        for archive in &self.archives {
            let covered = archived(archive, &starts, from, read_back).await;
            let (kind, place) = (ProvenKind::Archive, archive.place().to_owned());
            proven.push(Proven { kind, place, covered });
        }
        proven
    }
}

/// The newest checkpoint that is what was written.
async fn checkpoint(set: &Checkpoints, read_back: bool) -> Result<Position, NotProven> {
    let mut why = NotProven::NoCheckpoint;
    for listed in set.list().await.map_err(unavailable)? {
        let manifest = match listed {
            Listed::Whole(manifest) => manifest,
            Listed::Corrupt { id, why: broken } => {
                why = NotProven::Corrupt { what: format!("checkpoint {id}: {broken}") };
                continue;
            }
        };
        let verified =
            if read_back { set.verify(&manifest, &Throttle::none()).await } else { Ok(()) };
        match verified {
            Ok(()) => return Ok(manifest.cursor.position),
            Err(error @ CheckpointError::Corrupt { .. }) => {
                why = NotProven::Corrupt { what: error_chain(&error) };
            }
            Err(error) => return Err(unavailable(error)),
        }
    }
    Err(why)
}

/// Up to where an archive has everything, from one of the starts on.
async fn archived(
    archive: &Archive,
    starts: &[u64],
    from: u64,
    read_back: bool,
) -> Result<Position, NotProven> {
    let names = archive.segments().await.map_err(unavailable)?;
    let span = |name: &SegmentName| Span {
        first: name.first,
        last: name.last,
        source: 0,
        name: name.to_string(),
        bytes: name.bytes,
    };
    let mut coverage = Coverage::new(names.iter().map(span).collect());
    let Some(newest) = coverage.newest() else { return Err(NotProven::Empty) };
    // The start from which it goes furthest.
    let reach = |start: u64| match coverage.cover(start, newest) {
        Ok(_) => newest,
        Err(gap) => gap.first - 1,
    };
    let start = starts.iter().copied().max_by_key(|start| (reach(*start), *start)).unwrap_or(0);
    let (mut at, mut reached, mut bad) = (start, None, None);
    while let Some(span) = coverage.next(at).cloned() {
        let Some(name) = SegmentName::parse(&span.name, span.bytes) else { break };
        let index = if read_back && span.last >= from {
            archive.entries(&name).await.map(|(index, _)| index)
        } else if span.last + 1 >= from || span.last == newest {
            archive.index(&name).await
        } else {
            // What the log no longer has is not what is decided about.
            at = span.last;
            continue;
        };
        match index {
            Ok(index) => {
                at = span.last;
                reached = Some(index.after.position);
            }
            Err(error) => {
                bad = Some(match error {
                    ArchiveError::Destination(error) => unavailable(error),
                    error => NotProven::Corrupt { what: error_chain(&error) },
                });
                coverage.give_up(&span);
            }
        }
    }
    match (reached, bad) {
        (Some(reached), _) => Ok(reached),
        (None, Some(bad)) => Err(bad),
        (None, None) => Err(NotProven::Gap { first: start + 1, last: from.max(start + 1) }),
    }
}

fn unavailable(error: impl std::error::Error) -> NotProven {
    NotProven::Unavailable { why: error_chain(&error) }
}
