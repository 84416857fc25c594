//! Segments from an entry back, for whoever looks for something without knowing how old it is. What it
//! lists grows with how far back it gets.

use std::cmp::Reverse;

use super::listing::{REACH, Within, holding};
use super::{Archive, ArchiveError, SegmentName};

/// So far back it lists at first.
const FIRST: u64 = 4 * REACH;
/// With so many names at once it lists no farther back than before: 10 MiB.
const MANY: usize = 1 << 16;

/// The segments of an archive from one entry back, as [`Archive::back`] gives them.
#[derive(Debug)]
pub struct SegmentsBack {
    archive: Archive,
    /// Those that begin with `from` or after it, up to `to`.
    names: Vec<SegmentName>,
    from: u64,
    to: u64,
    reach: u64,
}

impl Archive {
    /// The segments from one entry back, which are listed as they are asked for.
    pub fn back(&self) -> SegmentsBack {
        let (archive, names) = (self.clone(), Vec::new());
        SegmentsBack { archive, names, from: 0, to: 0, reach: FIRST }
    }
}

impl SegmentsBack {
    /// The segment that holds an entry, and much before it. If none holds it, the one that ends last
    /// before it; `None` if there is none. Each entry that is asked for is to be before the last one.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn up_to(&mut self, index: u64) -> Result<Option<SegmentName>, ArchiveError> {
        if index == 0 {
            return Ok(None);
        }
        loop {
            let is_all = self.from == 0;
            // A longer one may begin before what is listed. So the older half does not count.
            if index <= self.to && (is_all || index - self.from >= self.reach / 2) {
                match holding(&self.names, index) {
                    Some(found) => return Ok(Some(found.clone())),
                    None if is_all => return Ok(self.before(index)),
                    None => self.reach = self.reach.saturating_mul(4),
                }
            } else if self.to > 0 && self.names.len() < MANY {
                self.reach = self.reach.saturating_mul(2);
            }
            (self.from, self.to) = (index.saturating_sub(self.reach), index);
            let listed = self.archive.stretch(self.from, index, usize::MAX, Within::Skipped);
            self.names = listed.await?.names;
        }
    }

    fn before(&self, index: u64) -> Option<SegmentName> {
        let before = self.names.iter().filter(|name| name.last < index);
        before.max_by_key(|name| (name.last, Reverse(name.first))).cloned()
    }
}
