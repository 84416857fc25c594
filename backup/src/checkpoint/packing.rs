//! Which small files of an upload lie in which pack. Pure.
//!
//! ```text
//! the newest checkpoint there    pack 0 [a b c d e f]   pack 1 [g h x x x x]   pack 2 [i]
//! this one                       stays: a b c d e f     goes: g h              goes: i
//!                                new, with what is new: [g h i j k]
//! ```
//! A pack that is there stays, unless less than half of it would be used, or it is less than half of a
//! full one. So what lies idle in packs is never more than what is used of them, each upload leaves one
//! small pack at most, and beyond what is new it sends less than what it frees, and half a pack.

use std::collections::BTreeMap;

use super::labels::Labels;
use super::manifest::{Manifest, ManifestFile, Pack, Packed};

/// How files are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackLimits {
    /// Files of at most this many bytes are packed.
    pub(super) small: u64,
    /// A pack has at most this many bytes, unless one file has more.
    pub(super) pack: u64,
}

impl Default for PackLimits {
    /// A pack is sent in one request, and four are in memory at once. A file of 1 MiB alone takes much
    /// longer to move than a request takes to be answered: there is nothing to win by packing it.
    fn default() -> Self {
        Self { small: 1 << 20, pack: 8 << 20 }
    }
}

/// What a checkpoint has in packs.
#[derive(Debug, Default)]
pub(super) struct Packs {
    pub(super) packs: Vec<Pack>,
    /// By path.
    files: Vec<ManifestFile>,
}

/// What is to be packed.
pub(super) struct Packing {
    /// Files that stay where they are, by their numbers in the checkpoint, each with its place in the
    /// packs that are there.
    pub(super) stay: Vec<(usize, Packed)>,
    /// The files of each new pack, by their numbers.
    pub(super) new: Vec<Vec<usize>>,
    /// Of each pack that is there, if it may be referred to.
    labels: Vec<Option<Labels>>,
}

/// A pack that was sent.
#[derive(Clone)]
pub(super) struct NewPack {
    pub(super) pack: Pack,
    pub(super) labels: Labels,
}

impl Packs {
    pub(super) fn new(packs: Vec<Pack>, mut files: Vec<ManifestFile>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { packs, files }
    }

    /// Where these small files go, each with its number, in their order. `labels` has those of each pack
    /// that may be referred to.
    pub(super) fn plan(
        &self,
        files: &[(usize, &ManifestFile)],
        limits: PackLimits,
        labels: impl Fn(&Pack) -> Option<Labels>,
    ) -> Packing {
        let labels: Vec<Option<Labels>> = self.packs.iter().map(labels).collect();
        let found = |file: &ManifestFile| self.find(file, &labels);
        let mut used = vec![0; self.packs.len()];
        for (packed, file) in files.iter().filter_map(|(_, file)| Some((found(file)?, file))) {
            used[packed.pack as usize] += file.bytes;
        }
        let stays = |((pack, used), labels): ((&Pack, u64), &Option<Labels>)| {
            let key = labels.map_or(0, |labels| labels.key().len() as u64);
            let length = pack.plain().saturating_sub(key);
            2 * used >= length && 2 * length >= limits.pack
        };
        let stays: Vec<bool> = self.packs.iter().zip(used).zip(&labels).map(stays).collect();
        let (mut stay, mut new): (_, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for &(number, file) in files {
            if let Some(packed) = found(file).filter(|packed| stays[packed.pack as usize]) {
                stay.push((number, packed));
                continue;
            }
            bytes += file.bytes;
            match new.last_mut() {
                Some(pack) if bytes <= limits.pack => pack.push(number),
                _ => {
                    new.push(vec![number]);
                    bytes = file.bytes;
                }
            }
        }
        Packing { stay, new, labels }
    }

    /// Where a file is, if it is as it was, in a pack that may be referred to.
    fn find(&self, file: &ManifestFile, labels: &[Option<Labels>]) -> Option<Packed> {
        let at = self.files.binary_search_by(|there| there.path.as_str().cmp(&file.path)).ok()?;
        let there = &self.files[at];
        let labels = labels[there.packed?.pack as usize]?;
        let is_same = there.bytes == file.bytes && there.blake3 == labels.label(file.blake3);
        there.packed.filter(|_| is_same)
    }
}

impl Packing {
    /// Says of each file of a checkpoint where it is: in one of the packs that are there, or in a new
    /// one. The packs are in the order in which files need them.
    pub(super) fn place(self, there: &[Pack], new: &[NewPack], of: &mut Manifest) {
        let mut places: Vec<(usize, Source, u32)> = Vec::new();
        for (number, packed) in &self.stay {
            places.push((*number, Source::There(packed.pack as usize), packed.offset));
        }
        for (pack, numbers) in self.new.iter().enumerate() {
            let mut offset = new[pack].labels.key().len() as u64;
            for &number in numbers {
                // No pack has 4 GiB.
                let at = u32::try_from(offset).unwrap_or(u32::MAX);
                places.push((number, Source::New(pack), at));
                offset += of.files[number].bytes;
            }
        }
        places.sort_by_key(|(number, ..)| *number);
        let mut numbers = BTreeMap::new();
        for (number, source, offset) in places {
            let (found, labels) = match source {
                Source::There(pack) => (&there[pack], self.labels[pack]),
                Source::New(pack) => (&new[pack].pack, Some(new[pack].labels)),
            };
            let pack = *numbers.entry(source).or_insert_with(|| {
                of.packs.push(found.clone());
                of.packs.len() as u32 - 1
            });
            let file = &mut of.files[number];
            file.blake3 = labels.map_or(file.blake3, |labels| labels.label(file.blake3));
            file.packed = Some(Packed { pack, offset });
        }
    }
}

/// Where a pack comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    There(usize),
    New(usize),
}
