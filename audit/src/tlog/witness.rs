//! What a log asks of a witness, and when a witness agrees.

use std::fmt;
use std::str::FromStr;

use super::checkpoint::{Checkpoint, number};
use super::hash::TreeHash;
use super::note::MAX_NOTE_BYTES;
use super::proof::verify_consistency;

/// As many as the specification allows.
const MAX_HASHES: usize = 63;

/// What an answer 409 of a witness is, in its header `Content-Type`: the size of the checkpoint that it
/// has cosigned last.
pub const TLOG_SIZE: &str = "text/x.tlog.size";

/// The body of a request `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the newest checkpoint that the witness cosigned, as the log knows.
    pub old: u64,
    /// That the new one continues it.
    pub hashes: Vec<TreeHash>,
    /// The new one, a signed note.
    pub note: String,
}

/// A body that is no such request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no request add-checkpoint: {0}")]
pub struct BadRequest(&'static str);

/// A checkpoint that does not continue the one that was cosigned before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotContinued {
    /// The request contradicts itself.
    #[error("the new checkpoint has {new} entries, the old one that it is to continue {old}")]
    Backwards {
        /// What the request says.
        old: u64,
        /// Size of the new one.
        new: u64,
    },
    /// Another one was cosigned meanwhile. Ask again, with a proof from there.
    #[error("{kept} entries were cosigned, not {old}")]
    Behind {
        /// What the request says.
        old: u64,
        /// Size of the checkpoint that was cosigned last.
        kept: u64,
    },
    /// Two checkpoints of one size.
    #[error("another checkpoint of {size} entries was cosigned before")]
    Forked {
        /// Size of both.
        size: u64,
    },
    /// The proof does not lead from the old one to the new one.
    #[error("it is not proven that the {new} entries begin with the {old} that were cosigned")]
    Inconsistent {
        /// Size of the old one.
        old: u64,
        /// Size of the new one.
        new: u64,
    },
}

impl AddCheckpoint {
    /// Bytes of the longest one: a note, and a proof of less than 3 KiB.
    pub const MAX_BYTES: usize = MAX_NOTE_BYTES + (4 << 10);
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for AddCheckpoint {
    type Err = BadRequest;

    fn from_str(text: &str) -> Result<Self, BadRequest> {
        let (head, note) = text.split_once("\n\n").ok_or(BadRequest("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| number(line.strip_prefix("old ")?));
        let old = old.ok_or(BadRequest("its first line is not `old SIZE`"))?;
        let hashes: Option<Vec<TreeHash>> =
            lines.take(MAX_HASHES + 1).map(TreeHash::from_base64).collect();
        let hashes = hashes.ok_or(BadRequest("a line of its proof is no hash"))?;
        match hashes.len() > MAX_HASHES {
            true => Err(BadRequest("its proof has more than 63 lines")),
            false => Ok(Self { old, hashes, note: note.to_owned() }),
        }
    }
}

/// The size in an answer 409.
pub(crate) fn answered_size(kind: &str, body: &str) -> Option<u64> {
    let is_size = kind.split(';').next()?.trim().eq_ignore_ascii_case(TLOG_SIZE);
    number(body.strip_suffix('\n')?).filter(|_| is_size)
}

/// Whether a checkpoint continues the one that was cosigned last, in the order of the checks of
/// c2sp.org/tlog-witness.
///
/// # Errors
/// See [`NotContinued`].
pub fn check_continues(
    kept: Option<&Checkpoint>,
    request: &AddCheckpoint,
    new: &Checkpoint,
) -> Result<(), NotContinued> {
    let (old, size) = (request.old, new.size);
    if old > size {
        return Err(NotContinued::Backwards { old, new: size });
    }
    let known = kept.map_or(0, |kept| kept.size);
    if old != known {
        return Err(NotContinued::Behind { old, kept: known });
    }
    let inconsistent = Err(NotContinued::Inconsistent { old, new: size });
    match kept {
        Some(kept) if kept.size == size && kept.root != new.root => {
            Err(NotContinued::Forked { size })
        }
        Some(kept) if kept.size > 0 && kept.size < size => {
            let proven = verify_consistency((old, kept.root), (size, new.root), &request.hashes);
            proven.or(inconsistent)
        }
        _ if size == 0 && new.root != TreeHash::empty() => inconsistent,
        // Nothing is to be proven of a tree that is the same, or was empty.
        _ if !request.hashes.is_empty() => inconsistent,
        _ => Ok(()),
    }
}
