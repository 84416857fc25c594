//! Where a block and its proof are.
//!
//! ```text
//! <root>/[blocks/]<epoch, 4 hex digits>/block_<height, 8 hex digits>.dat
//!                                      /proof_<height, 8 hex digits>.dat
//! ```
//! The epoch is the height divided by 65,536. Digits are lower case; there are more of them
//! where the number needs more.

use std::fmt;
use std::path::{Path, PathBuf};

use tipline_proto::Kind;

/// Which file of a height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Block,
    Proof,
}

impl Part {
    /// The kind of its event.
    pub(super) fn kind(self) -> Kind {
        match self {
            Part::Block => Kind::BlockCommitted,
            Part::Proof => Kind::BlockProven,
        }
    }
}

/// A file by what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) height: u64,
    pub(super) part: Part,
}

impl Key {
    pub(super) fn block(height: u64) -> Self {
        Self { height, part: Part::Block }
    }

    pub(super) fn proof(height: u64) -> Self {
        Self { height, part: Part::Proof }
    }

    /// The key of a file name; `None` for every other file, temporary ones among them.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let (part, digits) = match name.strip_prefix("block_") {
            Some(rest) => (Part::Block, rest),
            None => (Part::Proof, name.strip_prefix("proof_")?),
        };
        let height = u64::from_str_radix(digits.strip_suffix(".dat")?, 16).ok()?;
        let key = Self { height, part };
        (key.to_string() == name).then_some(key)
    }
}

/// The file name.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Block => "block",
            Part::Proof => "proof",
        };
        write!(f, "{part}_{:08x}.dat", self.height)
    }
}

/// The epoch that a height is in.
pub(super) fn epoch(height: u64) -> u64 {
    height >> 16
}

/// The tree of files.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    prefix: &'static str,
}

impl Layout {
    /// The blocks are in `root/blocks` if there is such a directory, otherwise in `root` itself.
    pub(super) fn below(root: &Path) -> Self {
        let prefix = if root.join("blocks").is_dir() { "blocks/" } else { "" };
        Self { root: root.to_owned(), prefix }
    }

    /// What it is below.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that the epochs are in.
    pub(super) fn base(&self) -> PathBuf {
        self.root.join(self.prefix)
    }

    /// The directory of an epoch.
    pub(super) fn epoch(&self, epoch: u64) -> PathBuf {
        self.base().join(format!("{epoch:04x}"))
    }

    /// The path of a file below the root, as rows refer to it.
    pub(super) fn relative(&self, key: Key) -> String {
        format!("{}{:04x}/{key}", self.prefix, epoch(key.height))
    }

    /// The path of a file.
    pub(super) fn path(&self, key: Key) -> PathBuf {
        self.root.join(self.relative(key))
    }

    /// The file that a path is, if it is at its place.
    pub(super) fn key(&self, path: &Path) -> Option<Key> {
        let key = Key::of_name(path.file_name()?.to_str()?)?;
        (self.path(key) == path).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_nodes_write_and_read_back() {
        let layout = Layout::below(Path::new("/data"));
        for (key, path) in [
            (Key::block(1), "0000/block_00000001.dat"),
            (Key::proof(0x1_0000), "0001/proof_00010000.dat"),
            (Key::block(0xabc_def0), "0abc/block_0abcdef0.dat"),
            (Key::block(u64::MAX), "ffffffffffff/block_ffffffffffffffff.dat"),
        ] {
            assert_eq!(layout.relative(key), path);
            assert_eq!(layout.key(&Path::new("/data").join(path)), Some(key));
        }
    }

    #[test]
    fn other_files_are_none_of_ours() {
        for name in [
            "block_00000001.dat.tmp",
            ".block_00000001.dat",
            "block_1.dat",
            "block_0000000A.dat",
            "block_000000001.dat",
            "block_+0000001.dat",
            "proof_.dat",
            "chunk_00000001.dat",
        ] {
            assert_eq!(Key::of_name(name), None, "{name}");
        }
        let layout = Layout::below(Path::new("/data"));
        assert_eq!(layout.key(Path::new("/data/0001/block_00000001.dat")), None, "wrong epoch");
    }
}
