//! What a checkpoint is called.

use std::fmt;
use std::str::FromStr;

use tipline_proto::Timestamp;
use tipline_store::Snapshot;

/// Name of a checkpoint in its set: index of its cursor in 20 digits, `-`, and when it was made in
/// microseconds since 1970 in 16 digits or more. Names sort by position, then by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(String);

impl CheckpointId {
    fn new(index: u64, created: Timestamp) -> Self {
        Self(format!("{index:020}-{:016}", created.as_micros()))
    }

    /// Of a store that is snapshot.
    pub(super) fn from_snapshot(snapshot: &[Box<dyn Snapshot>], created: Timestamp) -> Self {
        let index = snapshot.last().map_or(0, |part| part.cursor().position.index);
        Self::new(index, created)
    }

    /// The name of one made a microsecond later.
    pub(super) fn next(&self) -> Self {
        let (index, time) = self.0.split_once('-').unwrap_or_default();
        let number = |digits: &str| digits.parse::<u64>().unwrap_or_default();
        Self::new(number(index), Timestamp::from_micros(number(time).saturating_add(1)))
    }

    /// When it was made, as its name says.
    pub(super) fn created(&self) -> Timestamp {
        let time = self.0.split_once('-').and_then(|(_, time)| time.parse().ok());
        Timestamp::from_micros(time.unwrap_or_default())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CheckpointId {
    type Err = NotAnId;

    fn from_str(name: &str) -> Result<Self, NotAnId> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        match name.split_once('-') {
            Some((index, time))
                if index.len() == 20
                    && (16..=20).contains(&time.len())
                    && digits(index)
                    && digits(time) =>
            {
                Ok(Self(name.to_owned()))
            }
            _ => Err(NotAnId),
        }
    }
}

/// It is not the name of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a checkpoint's name, which is 20 digits, - and 16 digits, as `tipline checkpoint list` shows it"
)]
pub struct NotAnId;
