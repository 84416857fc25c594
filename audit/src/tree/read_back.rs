//! What a mirror has read back, and where: it is kept beside what was cosigned.

use std::fmt;
use std::str::FromStr;

use crate::tlog::Checkpoint;

const FIRST_LINE: &str = "tipline read-back v1";

/// What was read back at one location.
///
/// ```text
/// tipline read-back v1
/// at "dir:/offsite"
/// whole 1727964367
///
/// <the checkpoint, without signatures>
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadBack {
    /// Where, as one line that is only compared.
    pub(super) at: String,
    /// When the last reading of all of it began, in seconds since 1970.
    pub(super) whole: u64,
    /// Up to where, and what was found.
    pub(super) upto: Checkpoint,
}

impl fmt::Display for ReadBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, whole, upto } = self;
        write!(f, "{FIRST_LINE}\nat {at}\nwhole {whole}\n\n{upto}")
    }
}

impl FromStr for ReadBack {
    /// Whatever is wrong with it, all is read again.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (head, upto) = text.split_once("\n\n").ok_or(())?;
        let lines: Vec<&str> = head.split('\n').collect();
        let [FIRST_LINE, at, whole] = lines[..] else { return Err(()) };
        let at = at.strip_prefix("at ").ok_or(())?.to_owned();
        let whole = whole.strip_prefix("whole ").and_then(|whole| whole.parse().ok());
        Ok(Self { at, whole: whole.ok_or(())?, upto: upto.parse().map_err(|_| ())? })
    }
}
