//! A set of heights, kept as ranges.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A set of heights. Its size is the number of runs of heights without a gap, not the number of
/// heights: all heights but one are two ranges.
///
/// Two sets with the same heights have the same ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeightRanges {
    /// The last height of each range, by its first. Between two of them is a gap.
    lasts: BTreeMap<u64, u64>,
}

impl HeightRanges {
    /// Whether there is no height in it.
    pub fn is_empty(&self) -> bool {
        self.lasts.is_empty()
    }

    /// How many ranges it is kept as.
    pub fn count(&self) -> usize {
        self.lasts.len()
    }

    /// The ranges, from the lowest on.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.lasts.iter().map(|(first, last)| *first..=*last)
    }

    /// The lowest range.
    pub fn lowest(&self) -> Option<RangeInclusive<u64>> {
        self.lasts.first_key_value().map(|(first, last)| *first..=*last)
    }

    /// Whether the height is in it.
    pub fn contains(&self, height: u64) -> bool {
        self.around(height).is_some()
    }

    /// Whether a height that is not in it would be a range of its own.
    pub(crate) fn is_apart(&self, height: u64) -> bool {
        let below = height.checked_sub(1).is_some_and(|below| self.contains(below));
        let above = height.checked_add(1).is_some_and(|above| self.lasts.contains_key(&above));
        !self.contains(height) && !below && !above
    }

    /// Adds a height.
    pub fn insert(&mut self, height: u64) {
        self.insert_range(height..=height);
    }

    /// Adds every height of a range, both ends included. An empty one adds nothing.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        // Everything that overlaps with it or touches it becomes one range with it.
        let highest = last.saturating_add(1);
        while let Some((start, end)) = self.lasts.range(..=highest).next_back() {
            let (start, end) = (*start, *end);
            if end.saturating_add(1) < first {
                break;
            }
            (first, last) = (first.min(start), last.max(end));
            self.lasts.remove(&start);
        }
        self.lasts.insert(first, last);
    }

    /// Removes every height up to this one.
    pub fn remove_up_to(&mut self, height: u64) {
        let Some(from) = height.checked_add(1) else {
            return self.lasts.clear();
        };
        let cut = self.around(height).map(|range| *range.end()).filter(|last| *last > height);
        self.lasts = self.lasts.split_off(&from);
        if let Some(last) = cut {
            self.lasts.insert(from, last);
        }
    }

    /// Removes every height above this one.
    pub fn remove_above(&mut self, height: u64) {
        let Some(from) = height.checked_add(1) else { return };
        // What is dropped starts above it.
        drop(self.lasts.split_off(&from));
        if let Some((_, last)) = self.lasts.iter_mut().next_back() {
            *last = height.min(*last);
        }
    }

    /// The range that a height is in.
    fn around(&self, height: u64) -> Option<RangeInclusive<u64>> {
        let (first, last) = self.lasts.range(..=height).next_back()?;
        (height <= *last).then_some(*first..=*last)
    }
}

impl FromIterator<u64> for HeightRanges {
    fn from_iter<I: IntoIterator<Item = u64>>(heights: I) -> Self {
        let mut ranges = Self::default();
        ranges.extend(heights);
        ranges
    }
}

impl Extend<u64> for HeightRanges {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, heights: I) {
        heights.into_iter().for_each(|height| self.insert(height));
    }
}
