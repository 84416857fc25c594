//! `dir:PATH` or `blk:FILE`

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::kind::{did_you_mean, split};

const KINDS: &[&str] = &["dir", "blk"];

/// Where a primary without code of its own finds the node's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A node's block store: `blocks/<epoch hex>/block_<height hex>.dat`, `proof_…`.
    Directory(PathBuf),
    /// A file in the form of Bitcoin Core's `blk*.dat`.
    Blk(PathBuf),
}

/// Text that names no source of blocks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSource {
    #[error(
        "unknown source {given:?}: use dir:PATH for a directory of block files or blk:FILE for Bitcoin Core's blk*.dat{hint}"
    )]
    Unknown { given: String, hint: String },
    #[error("the source {given:?} has no path: use dir:PATH or blk:FILE")]
    NoPath { given: String },
}

impl FromStr for Source {
    type Err = BadSource;

    fn from_str(given: &str) -> Result<Self, BadSource> {
        match split(given) {
            Some(("dir" | "blk", "")) => Err(BadSource::NoPath { given: given.to_owned() }),
            Some(("dir", path)) => Ok(Self::Directory(path.into())),
            Some(("blk", path)) => Ok(Self::Blk(path.into())),
            other => {
                let (kind, rest) = other.unwrap_or((given, ""));
                let hint = did_you_mean(kind, rest, KINDS);
                Err(BadSource::Unknown { given: given.to_owned(), hint })
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Blk(path) => write!(f, "blk:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn a_source_is_a_directory_or_a_file() {
        assert_eq!("dir:/node".parse(), Ok(Source::Directory("/node".into())));
        assert_eq!("blk:blk00000.dat".parse(), Ok(Source::Blk("blk00000.dat".into())));
    }

    #[test]
    fn what_is_no_source_is_told_what_would_be_one() {
        let refused = |given: &str| given.parse::<Source>().unwrap_err().to_string();
        let usage =
            "use dir:PATH for a directory of block files or blk:FILE for Bitcoin Core's blk*.dat";
        assert_eq!(refused("/node"), format!("unknown source \"/node\": {usage}"));
        assert_eq!(
            refused("blk0:f.dat"),
            format!("unknown source \"blk0:f.dat\": {usage}; did you mean blk:f.dat?")
        );
        assert_eq!(refused("dir:"), "the source \"dir:\" has no path: use dir:PATH or blk:FILE");
    }
}
