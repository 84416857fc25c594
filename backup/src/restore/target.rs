//! Points of a history to restore to.

use std::fmt;

use tipline_proto::{Hash, Label, Timestamp};

use crate::time::{TimeDigits, time_text};

/// A point of a log's history, by what an operator knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everything that is kept.
    Latest,
    /// The block at this height, of the chain as it stands at the end of what is known.
    Height(u64),
    /// The block with this hash, its bytes in either order, also one that was rolled back later.
    Hash(Hash),
    /// The last entry before the first one that was committed later than this.
    Time(Timestamp),
    /// The entry with this index.
    Index(u64),
    /// The newest mark of this name.
    Mark(Label),
}

/// As it is written in settings: `height:512`, `time:2026-11-21T15:04:05Z`, `mark:upgrade`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Latest => f.write_str("latest"),
            Target::Height(height) => write!(f, "height:{height}"),
            Target::Hash(hash) => write!(f, "hash:{hash}"),
            Target::Time(time) => write!(f, "time:{}", time_text(*time, TimeDigits::AsNeeded)),
            Target::Index(index) => write!(f, "index:{index}"),
            Target::Mark(name) => write!(f, "mark:{}", name.as_str()),
        }
    }
}
