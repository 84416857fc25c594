//! Names of files. [`super::FileStore`] documents them. Keep stable.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The index, in the store's directory.
pub(super) const INDEX: &str = "index.db";

/// Which file of a height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Block,
    Proof,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Block => "block",
            Part::Proof => "proof",
        }
    }
}

/// A payload by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) height: u64,
    pub(crate) part: Part,
}

impl Key {
    pub(crate) fn block(height: u64) -> Self {
        Self { height, part: Part::Block }
    }

    pub(crate) fn proof(height: u64) -> Self {
        Self { height, part: Part::Proof }
    }

    /// What a file in `blocks` is by its name; `None` if it is none of ours.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let (part, height) = name.strip_suffix(".dat")?.split_once('_')?;
        let part = [Part::Block, Part::Proof].into_iter().find(|known| known.name() == part)?;
        let key = Key { height: u64::from_str_radix(height, 16).ok()?, part };
        (format!("{key}.dat") == name).then_some(key)
    }

    pub(super) fn epoch(self) -> u64 {
        self.height >> 16
    }
}

/// What every name of its file starts with.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:08x}", self.part.name(), self.height)
    }
}

/// A file in `staging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Staged {
    /// The payload that came with the entry `index`, of a batch that may or may not be committed.
    Payload { key: Key, index: u64 },
    /// An empty file that says: a batch rolls back the blocks at these heights.
    RolledBack { heights: RangeInclusive<u64> },
    /// A payload that the index does not have any more, and a snapshot has.
    Retained { key: Key, number: u64 },
}

impl Staged {
    /// What a file is by its name; `None` if it is none of ours.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('_')?;
        let height = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let payload = |name: &str| {
            let (kind, rest) = name.split_once('_')?;
            let (digits, number) = rest.split_once('.')?;
            let part = [Part::Block, Part::Proof].into_iter().find(|part| part.name() == kind)?;
            Some((Key { height: height(digits)?, part }, number.parse().ok()?))
        };
        let staged = match kind {
            "rollback" => {
                let (lowest, highest) = rest.split_once('-')?;
                Staged::RolledBack { heights: height(lowest)?..=height(highest)? }
            }
            "aside" => {
                let (key, number) = payload(rest)?;
                Staged::Retained { key, number }
            }
            _ => {
                let (key, index) = payload(name)?;
                Staged::Payload { key, index }
            }
        };
        (staged.to_string() == name).then_some(staged)
    }
}

/// The file name.
impl fmt::Display for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Staged::Payload { key, index } => write!(f, "{key}.{index:020}"),
            Staged::RolledBack { heights } => {
                write!(f, "rollback_{:08x}-{:08x}", heights.start(), heights.end())
            }
            Staged::Retained { key, number } => write!(f, "aside_{key}.{number}"),
        }
    }
}

/// The directory of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join(INDEX)
    }

    pub(super) fn blocks(&self) -> PathBuf {
        self.root.join("blocks")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The epoch of a directory in `blocks`, by its name; `None` if it is none of ours.
    pub(super) fn epoch_of(name: &str) -> Option<u64> {
        let epoch = u64::from_str_radix(name, 16).ok()?;
        (format!("{epoch:04x}") == name).then_some(epoch)
    }

    pub(super) fn epoch(&self, epoch: u64) -> PathBuf {
        self.blocks().join(format!("{epoch:04x}"))
    }

    /// The place of a payload.
    pub(crate) fn file(&self, key: Key) -> PathBuf {
        self.epoch(key.epoch()).join(format!("{key}.dat"))
    }

    /// The place of a file on its way.
    pub(super) fn staged(&self, staged: &Staged) -> PathBuf {
        self.staging().join(staged.to_string())
    }

    /// A path as seen from the store's directory, for messages that name the store, too.
    pub(super) fn relative<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_nodes_write() {
        let layout = Layout::new("/data".into());
        for (key, path) in [
            (Key::block(1), "blocks/0000/block_00000001.dat"),
            (Key::block(0xffff), "blocks/0000/block_0000ffff.dat"),
            (Key::proof(0x1_0000), "blocks/0001/proof_00010000.dat"),
            (Key::block(0xabc_def0), "blocks/0abc/block_0abcdef0.dat"),
            (Key::block(1 << 32), "blocks/10000/block_100000000.dat"),
            (Key::block(u64::MAX), "blocks/ffffffffffff/block_ffffffffffffffff.dat"),
        ] {
            let found = layout.file(key);
            assert_eq!(layout.relative(&found).to_string(), path);
        }
    }

    #[test]
    fn staged_names_are_read_back() {
        for (staged, name) in [
            (
                Staged::Payload { key: Key::block(42), index: 17 },
                "block_0000002a.00000000000000000017",
            ),
            (
                Staged::Payload { key: Key::proof(u64::MAX), index: u64::MAX },
                "proof_ffffffffffffffff.18446744073709551615",
            ),
            (Staged::RolledBack { heights: 42..=47 }, "rollback_0000002a-0000002f"),
            (Staged::Retained { key: Key::proof(42), number: 10 }, "aside_proof_0000002a.10"),
        ] {
            assert_eq!(staged.to_string(), name);
            assert_eq!(Staged::from_name(name), Some(staged));
        }
        for name in [
            "block_0000002a.dat",
            "block_0000002a.17",
            "block_2a.00000000000000000017",
            "block_0000002A.00000000000000000017",
            "rollback_0000002a",
            "rollback_0000002a-0000002f.00000000000000000003",
            "block_0000002a",
            "aside_block_0000002a",
            "aside_rollback_0000002a-0000002f",
            "notes.txt",
        ] {
            assert_eq!(Staged::from_name(name), None, "{name}");
        }
    }
}
