//! How far a consumer is, at each level.

use proptest::{prop_assert_eq, proptest};

use super::arbitrary;
use crate::{Level, Position, Reached};

proptest! {
    #[test]
    fn a_level_counts_for_those_below_it(reached in arbitrary::reached()) {
        for level in Level::ALL {
            let said = Level::ALL.into_iter().filter(|l| *l >= level).filter_map(|l| reached.reported(l));
            let furthest = said.map(|position| position.index).max();
            prop_assert_eq!(reached.at(level).map(|position| position.index), furthest);
        }
        let highest = Level::ALL.into_iter().filter(|l| reached.reported(*l).is_some()).max();
        prop_assert_eq!(reached.highest().map(|(level, _)| level), highest);
    }

    #[test]
    fn what_is_said_of_one_level_leaves_the_others(
        before in arbitrary::reached(),
        level in arbitrary::level(),
        position in arbitrary::position(),
    ) {
        let mut after = before.clone();
        after.set(level, position);
        for other in Level::ALL {
            let expected = if other == level { Some(position) } else { before.reported(other) };
            prop_assert_eq!(after.reported(other), expected);
        }
    }
}

#[test]
fn levels_are_ordered_and_keep_their_numbers() {
    let numbers: Vec<(u8, &str)> = Level::ALL.into_iter().map(|l| (l as u8, l.as_str())).collect();
    let persisted = [(1, "applied"), (2, "durable"), (3, "verified"), (4, "offsite")];
    assert_eq!(numbers, persisted, "persisted: keep stable");
    assert!(Level::ALL.is_sorted());
    let numbers: Vec<(i32, &str)> =
        crate::Role::ALL.into_iter().map(|role| (role.number(), role.as_str())).collect();
    let persisted = [(1, "replica"), (2, "backup"), (3, "archive"), (4, "audit")];
    assert_eq!(numbers, persisted, "persisted: keep stable");
}

#[test]
fn verified_is_also_durable_but_not_offsite() {
    let position = Position { index: 7, digest: crate::Digest::from_bytes([1; 32]) };
    let reached = Reached::up_to(position, Level::Verified);
    assert_eq!(reached.at(Level::Applied), Some(position));
    assert_eq!(reached.at(Level::Durable), Some(position));
    assert_eq!(reached.at(Level::Verified), Some(position));
    assert_eq!(reached.at(Level::Offsite), None);
    assert_eq!(reached.reported(Level::Durable), None);
}
