//! `dir:PATH`, `dir:PATH?format=NAME`, `blk:PATH` or `sqlite:PATH`

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::kind::{did_you_mean, split};
use crate::settings::nearest;

const KINDS: &[&str] = &["dir", "blk", "sqlite"];

/// Where a primary without code of its own finds the node's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A node's block store: `blocks/<epoch hex>/block_<height hex>.dat`, `proof_…`.
    Directory { path: PathBuf, format: Format },
    /// A file in the form of Bitcoin Core's `blk*.dat`, or a directory of them.
    Blk(PathBuf),
    /// A node's SQLite database, with the outbox's table in it.
    Sqlite(PathBuf),
}

/// How the hash of a block is found in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// BLAKE3 of the file.
    #[default]
    Content,
    /// Double SHA-256 of the first 80 bytes.
    Bitcoin,
    /// Keccak-256 of the header's RLP.
    EthereumRlp,
}

const FORMATS: [(&str, Format); 3] = [
    ("content", Format::Content),
    ("bitcoin", Format::Bitcoin),
    ("ethereum-rlp", Format::EthereumRlp),
];

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMATS.iter().find(|(_, format)| format == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// Text that names no source of blocks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSource {
    #[error(
        "unknown source {given:?}: use dir:PATH for a directory of block files, blk:PATH for Bitcoin Core's blk*.dat or sqlite:PATH for a node's database with an outbox{hint}"
    )]
    Unknown { given: String, hint: String },
    #[error("the source {given:?} has no path: use dir:PATH, blk:PATH or sqlite:PATH")]
    NoPath { given: String },
    #[error(
        "unknown option {option:?} of the source: dir:PATH takes ?format=content, ?format=bitcoin or ?format=ethereum-rlp{hint}"
    )]
    UnknownOption { option: String, hint: String },
    #[error(
        "{option:?} is not for {kind}:PATH: only a directory of block files is read in a format"
    )]
    NoOptions { option: String, kind: String },
}

impl FromStr for Source {
    type Err = BadSource;

    fn from_str(given: &str) -> Result<Self, BadSource> {
        let (kind, rest) =
            split(given).filter(|(kind, _)| KINDS.contains(kind)).ok_or_else(|| unknown(given))?;
        // A name of a file may have a question mark; what follows one of ours has an equals sign.
        let (path, option) = match rest.rsplit_once('?') {
            Some((path, option)) if option.contains('=') => (path, Some(option)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err(BadSource::NoPath { given: given.to_owned() });
        }
        match (kind, option) {
            ("dir", option) => {
                let format = option.map(format).transpose()?.unwrap_or_default();
                Ok(Self::Directory { path: path.into(), format })
            }
            (kind, Some(option)) => {
                Err(BadSource::NoOptions { option: option.to_owned(), kind: kind.to_owned() })
            }
            ("blk", None) => Ok(Self::Blk(path.into())),
            (_, None) => Ok(Self::Sqlite(path.into())),
        }
    }
}

fn unknown(given: &str) -> BadSource {
    let (kind, rest) = split(given).unwrap_or((given, ""));
    let hint = did_you_mean(kind, rest, KINDS);
    BadSource::Unknown { given: given.to_owned(), hint }
}

/// `format=NAME`
fn format(option: &str) -> Result<Format, BadSource> {
    let named = option.strip_prefix("format=");
    if let Some((_, format)) = FORMATS.iter().find(|(name, _)| Some(*name) == named) {
        return Ok(*format);
    }
    let value = option.split_once('=').map_or(option, |(_, value)| value);
    let hint = nearest(value, FORMATS.iter().map(|(name, _)| *name))
        .map(|near| format!("; did you mean format={near}?"))
        .unwrap_or_default();
    Err(BadSource::UnknownOption { option: option.to_owned(), hint })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, format: Format::Content } => {
                write!(f, "dir:{}", path.display())
            }
            Self::Directory { path, format } => {
                write!(f, "dir:{}?format={format}", path.display())
            }
            Self::Blk(path) => write!(f, "blk:{}", path.display()),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, Format, Source};

    #[test]
    fn a_source_is_a_directory_files_or_a_database() {
        let directory = |path: &str, format| Source::Directory { path: path.into(), format };
        assert_eq!("dir:/node".parse(), Ok(directory("/node", Format::Content)));
        assert_eq!("blk:blk00000.dat".parse(), Ok(Source::Blk("blk00000.dat".into())));
        assert_eq!("sqlite:node.db".parse(), Ok(Source::Sqlite("node.db".into())));
        for (name, format) in FORMATS {
            let given = format!("dir:/node?format={name}");
            assert_eq!(given.parse(), Ok(directory("/node", format)));
            let printed = given.parse::<Source>().unwrap().to_string();
            assert_eq!(printed.parse::<Source>(), given.parse(), "{printed}");
        }
        assert_eq!(
            "dir:what?".parse(),
            Ok(directory("what?", Format::Content)),
            "a name of a file"
        );
    }

    #[test]
    fn what_is_no_source_is_told_what_would_be_one() {
        let refused = |given: &str| given.parse::<Source>().unwrap_err().to_string();
        let usage = "use dir:PATH for a directory of block files, blk:PATH for Bitcoin Core's \
                     blk*.dat or sqlite:PATH for a node's database with an outbox";
        assert_eq!(refused("/node"), format!("unknown source \"/node\": {usage}"));
        assert_eq!(
            refused("blk0:f.dat"),
            format!("unknown source \"blk0:f.dat\": {usage}; did you mean blk:f.dat?")
        );
        assert_eq!(
            refused("dir:"),
            "the source \"dir:\" has no path: use dir:PATH, blk:PATH or sqlite:PATH"
        );
        assert!(refused("dir:?format=bitcoin").contains("has no path"));
        assert_eq!(
            refused("dir:/node?format=ethereum-rpl"),
            "unknown option \"format=ethereum-rpl\" of the source: dir:PATH takes \
             ?format=content, ?format=bitcoin or ?format=ethereum-rlp; did you mean \
             format=ethereum-rlp?"
        );
        assert!(refused("dir:/node?fromat=bitcoin").contains("unknown option \"fromat=bitcoin\""));
        assert_eq!(
            refused("blk:/b?format=bitcoin"),
            "\"format=bitcoin\" is not for blk:PATH: only a directory of block files is read in a \
             format"
        );
    }
}
