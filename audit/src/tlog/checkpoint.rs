//! The text of a checkpoint: origin, size, root.

use std::fmt;
use std::str::FromStr;

use super::hash::TreeHash;

/// A tree at one moment, as it is signed. It has no extension lines: no monitor could check them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: one line of text.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
}

/// Text that is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is no checkpoint: {0}")]
pub struct BadCheckpoint(pub(super) &'static str);

/// The text that is signed, with the newline at its end.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())
    }
}

impl FromStr for Checkpoint {
    type Err = BadCheckpoint;

    /// Reads the text of a note. Extension lines of another log are passed over: they are signed, and
    /// say nothing here.
    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let text =
            text.strip_suffix('\n').ok_or(BadCheckpoint("it does not end with a newline"))?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let origin = line().ok_or(BadCheckpoint("it has no origin"))?.to_owned();
        let size = line().and_then(number).ok_or(BadCheckpoint("its second line is no size"))?;
        let root = line().and_then(TreeHash::from_base64);
        let root = root.ok_or(BadCheckpoint("its third line is no hash"))?;
        if lines.any(str::is_empty) {
            return Err(BadCheckpoint("it has an empty line"));
        }
        Ok(Self { origin, size, root })
    }
}

/// A number without leading zeros or signs.
pub(super) fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
