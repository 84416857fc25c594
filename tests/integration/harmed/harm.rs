//! What can happen to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tipline_tests::Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// A directory with all that is in it.
    Removed,
    /// By another file, of the same size. A directory by an empty one.
    Replaced,
    /// To a part of it, in its place.
    Truncated,
    /// A range in the middle, in its place.
    Zeroed,
    /// One bit, in its place.
    Flipped,
}

use Harm::{Flipped, Removed, Replaced, Truncated, Zeroed};

impl Harm {
    pub(super) const ALL: [Harm; 5] = [Removed, Replaced, Truncated, Zeroed, Flipped];

    /// Whether only reading all of it shows it: it has its name, its length and its inode.
    pub(super) fn is_in_place(self) -> bool {
        matches!(self, Zeroed | Flipped)
    }

    /// Whether there is something that it could change.
    pub(super) fn applies_to(self, path: &Path) -> bool {
        let found = fs::metadata(path).unwrap();
        matches!(self, Removed | Replaced) || found.is_file() && found.len() > 0
    }

    /// Does it, and says where.
    pub(super) fn does(self, path: &Path, rng: &mut Rng) -> String {
        let bytes = fs::metadata(path).unwrap().len();
        let open = || OpenOptions::new().write(true).open(path).unwrap();
        let at = rng.within(0..=bytes.saturating_sub(1));
        match self {
            Removed | Replaced if path.is_dir() => {
                fs::remove_dir_all(path).unwrap();
                if self == Replaced {
                    fs::create_dir(path).unwrap();
                }
            }
            Removed => fs::remove_file(path).unwrap(),
            Replaced => {
                let other = path.with_extension("other");
                fs::write(&other, rng.bytes(usize::try_from(bytes).unwrap())).unwrap();
                fs::rename(other, path).unwrap();
            }
            // Only the beginning of a WAL may be in use, and no more than its first frame.
            Truncated if path.to_str().unwrap().ends_with("-wal") => {
                open().set_len(at % 4096).unwrap();
            }
            Truncated => open().set_len(at).unwrap(),
            Zeroed => {
                // From a byte on that is none yet.
                let was = fs::read(path).unwrap();
                let from = usize::try_from(bytes / 3 + at / 3).unwrap();
                let other = (from..was.len()).chain(0..from).find(|at| was[*at] != 0);
                let from = other.unwrap_or(from) as u64;
                let length = rng.within(1..=4096).min(bytes - from);
                write_at(&open(), from, &vec![0; usize::try_from(length).unwrap()]);
                return format!("{self:?} {} from {from} for {length} of {bytes}", path.display());
            }
            Flipped => {
                let was = fs::read(path).unwrap()[usize::try_from(at).unwrap()];
                write_at(&open(), at, &[was ^ (1 << rng.within(0..=7))]);
            }
        }
        format!("{self:?} {} at {at} of {bytes}", path.display())
    }
}

fn write_at(mut file: &File, at: u64, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}
