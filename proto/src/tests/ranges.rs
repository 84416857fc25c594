//! Ranges of heights against a plain set of heights.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::strategy::Strategy;
use proptest::{prop_oneof, proptest};

use crate::HeightRanges;

#[derive(Debug, Clone)]
enum Step {
    Insert(u64),
    InsertRange(RangeInclusive<u64>),
    RemoveUpTo(u64),
    RemoveAbove(u64),
}

/// Few heights, so that ranges meet; at both ends of the numbers there are.
fn step() -> impl Strategy<Value = Step> {
    let height = || 0..40_u64;
    prop_oneof![
        8 => height().prop_map(Step::Insert),
        3 => (height(), height()).prop_map(|(first, last)| Step::InsertRange(first..=last)),
        1 => height().prop_map(Step::RemoveUpTo),
        1 => height().prop_map(Step::RemoveAbove),
    ]
}

/// The ranges of a set, by the definition.
fn ranges_of(heights: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let starts = |height: &&u64| **height == 0 || !heights.contains(&(**height - 1));
    let last = |first: u64| (first..=u64::MAX).take_while(|height| heights.contains(height)).last();
    let first = heights.iter().filter(starts);
    first.map(|first| *first..=last(*first).unwrap()).collect()
}

proptest! {
    #[test]
    fn ranges_hold_what_a_set_does(top in any::<bool>(), steps in vec(step(), 1..80)) {
        // The numbers of the steps, or their distance from the largest number there is.
        let at = |height: u64| if top { u64::MAX - 39 + height } else { height };
        let (mut ranges, mut set) = (HeightRanges::default(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Insert(height) => {
                    let apart = ranges.is_apart(at(height));
                    let before = ranges.count();
                    ranges.insert(at(height));
                    assert_eq!(apart, ranges.count() > before);
                    set.insert(at(height));
                }
                Step::InsertRange(range) => {
                    let range = at(*range.start())..=at(*range.end());
                    ranges.insert_range(range.clone());
                    set.extend(range);
                }
                Step::RemoveUpTo(height) => {
                    ranges.remove_up_to(at(height));
                    set.retain(|kept| *kept > at(height));
                }
                Step::RemoveAbove(height) => {
                    ranges.remove_above(at(height));
                    set.retain(|kept| *kept <= at(height));
                }
            }
            let expected = ranges_of(&set);
            assert_eq!(ranges.ranges().collect::<Vec<_>>(), expected);
            assert_eq!(ranges.lowest(), expected.first().cloned());
            assert_eq!((ranges.count(), ranges.is_empty()), (expected.len(), set.is_empty()));
            for height in (0..40).map(at) {
                assert_eq!(ranges.contains(height), set.contains(&height));
            }
            assert_eq!(set.iter().copied().collect::<HeightRanges>(), ranges);
        }
    }
}
