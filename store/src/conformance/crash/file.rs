//! What may be left of one file's content.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::super::Appends;

/// A medium writes this whole or not at all.
const SECTOR: u64 = 512;
/// How many of the changes that are kept are torn.
const TORN: f64 = 0.2;

/// How much of what is not durable is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Keep {
    Nothing,
    /// All names, none of the content.
    Names,
    Everything,
    /// Everything, but the last write to each file is torn.
    TornLast,
    /// Each change with this probability, and some of them torn; the names up to any point.
    Chance(f64),
}

impl Keep {
    pub(super) fn any(rng: &mut StdRng) -> Self {
        match rng.random_range(0..10) {
            0 | 1 => Keep::Nothing,
            2 | 3 => Keep::Names,
            4 => Keep::Everything,
            5 => Keep::TornLast,
            chance => Keep::Chance([0.1, 0.5, 0.5, 0.9][chance - 6]),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, data: Bytes },
    Resize(u64),
    Zero { offset: u64, length: u64 },
}

/// What is known of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It may be kept or not, in whole or in part. The next fsync makes it durable.
    Pending,
    /// An fsync failed: the system takes the pages for written and will not write them again.
    /// The change may be kept or not, whatever comes later.
    Doubtful,
    Durable,
}

/// The content at the last fsync, and what came after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    durable: Vec<u8>,
    changes: Vec<(Change, Fate)>,
}

impl Content {
    pub(super) fn durable(durable: Vec<u8>) -> Self {
        Self { durable, changes: vec![] }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.changes.push((change, Fate::Pending));
    }

    pub(super) fn sync(&mut self) {
        self.settle(Fate::Durable);
        // What is after a doubtful change waits with it, for the order of the two.
        let known = self.changes.iter().take_while(|(_, fate)| *fate == Fate::Durable).count();
        for (change, _) in self.changes.drain(..known) {
            apply(&mut self.durable, &change);
        }
    }

    pub(super) fn fail_to_sync(&mut self) {
        self.settle(Fate::Doubtful);
    }

    fn settle(&mut self, to: Fate) {
        let pending = self.changes.iter_mut().filter(|(_, fate)| *fate == Fate::Pending);
        pending.for_each(|(_, fate)| *fate = to);
    }

    /// How many changes may be lost.
    pub(super) fn unsettled(&self) -> usize {
        self.changes.iter().filter(|(_, fate)| *fate != Fate::Durable).count()
    }

    /// One of the contents that may be left.
    pub(super) fn survivor(&self, keep: Keep, appends: Appends, rng: &mut StdRng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for (at, (change, fate)) in self.changes.iter().enumerate() {
            let is_last = at + 1 == self.changes.len();
            match keep {
                _ if *fate == Fate::Durable => apply(&mut content, change),
                Keep::Nothing | Keep::Names => {}
                Keep::TornLast if is_last => tear(&mut content, change, appends, rng),
                Keep::Everything | Keep::TornLast => apply(&mut content, change),
                Keep::Chance(chance) if rng.random_bool(chance) => {
                    if rng.random_bool(TORN) {
                        tear(&mut content, change, appends, rng)
                    } else {
                        apply(&mut content, change)
                    }
                }
                Keep::Chance(_) => {}
            }
        }
        content
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => put(content, *offset as usize, data),
        Change::Resize(size) => content.resize(*size as usize, 0),
        Change::Zero { offset, length } => {
            let end = content.len().min((offset + length) as usize);
            if let Some(hole) = content.get_mut(*offset as usize..end) {
                hole.fill(0);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    content.resize(content.len().max(end), 0);
    content[offset..end].copy_from_slice(data);
}

/// Some sectors of a write are kept. The file may have its new size nevertheless.
fn tear(content: &mut Vec<u8>, change: &Change, appends: Appends, rng: &mut StdRng) {
    let Change::Write { offset, data } = change else {
        return apply(content, change);
    };
    let end = offset + data.len() as u64;
    let sectors: Vec<u64> = (offset / SECTOR..end.div_ceil(SECTOR)).collect();
    let prefix = rng.random_range(0..=sectors.len());
    let in_order = rng.random_bool(0.5);
    let length = content.len() as u64;
    for (at, sector) in sectors.iter().enumerate() {
        let from = (sector * SECTOR).max(*offset);
        let to = ((sector + 1) * SECTOR).min(end);
        // What makes the file longer, or makes it longer with the next sector.
        let is_prefix = in_order || (appends == Appends::InOrder && to > length);
        if if is_prefix { at < prefix } else { rng.random_bool(0.5) } {
            put(content, from as usize, &data[(from - offset) as usize..(to - offset) as usize]);
        }
    }
    if appends == Appends::Torn {
        let sizes = [content.len(), content.len().max(end as usize)];
        content.resize(*sizes.choose(rng).unwrap_or(&0), 0);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// What may be left of a file of 1,000 bytes that 3,000 more were appended to.
    fn left(appends: Appends, seed: u64) -> Vec<u8> {
        let mut content = Content::durable(vec![1; 1000]);
        content.change(Change::Write { offset: 1000, data: vec![2; 3000].into() });
        content.survivor(Keep::TornLast, appends, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn appends_in_order_leave_a_beginning_and_torn_ones_need_not() {
        let whole = [vec![1; 1000], vec![2; 3000]].concat();
        let is_beginning = |content: Vec<u8>| content.len() >= 1000 && whole.starts_with(&content);
        assert!((0..200).all(|seed| is_beginning(left(Appends::InOrder, seed))));
        assert!((0..200).any(|seed| left(Appends::InOrder, seed).len() == 2048));
        assert!(!(0..200).all(|seed| is_beginning(left(Appends::Torn, seed))));
    }
}
