//! Steps and pace.

use std::time::{Duration, Instant};

use crate::health::pace::Pace;
use crate::health::steps::Steps;

#[test]
fn steps_say_since_when_there_is_something_newer() {
    let start = Instant::now();
    let mut steps = Steps::default();
    assert_eq!((steps.above(0), steps.last()), (None, None));
    for (height, second) in [(5, 0), (6, 1), (6, 2), (9, 3)] {
        steps.reach(height, start + Duration::from_secs(second));
    }
    let above = |height| steps.above(height).map(|at| (at - start).as_secs());
    assert_eq!([4, 5, 6, 8, 9].map(above), [Some(0), Some(1), Some(3), Some(3), None]);
    // The chain went back.
    steps.reach(7, start + Duration::from_secs(4));
    assert_eq!(steps.above(6), Some(start + Duration::from_secs(4)));
    assert_eq!(steps.above(7), None);
}

#[test]
fn steps_are_bounded_and_make_nobody_look_better() {
    let start = Instant::now();
    let mut steps = Steps::default();
    for height in 1..=10_000 {
        steps.reach(height, start + Duration::from_secs(height));
    }
    for behind in 1..=9_999 {
        let since = (steps.above(10_000 - behind).unwrap() - start).as_secs();
        assert!(since <= 10_001 - behind, "{behind} behind, since {since}");
    }
    assert_eq!(steps.above(10_000), None);
    assert!(format!("{steps:?}").len() < 100_000);
}

#[test]
fn pace_needs_two_looks_and_something_gained() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut pace = Pace::default();
    assert_eq!(pace.time_left(10), None);
    pace.note(at(0), 1_000);
    assert_eq!(pace.time_left(1_000), None);
    pace.note(at(2), 800);
    assert_eq!(pace.time_left(800), Some(Duration::from_secs(8)));
    pace.note(at(3), 1_200);
    assert_eq!(pace.time_left(1_200), None);
    // What was long ago is forgotten.
    for second in 4..40 {
        pace.note(at(second), 1_200 - 10 * (second - 3));
    }
    let left = pace.time_left(840).unwrap().as_secs();
    assert!((83..=85).contains(&left), "{left}");
}
