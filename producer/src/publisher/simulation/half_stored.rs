//! A unit of which the log keeps a part.

use tipline_log::AppendError;
use tipline_proto::Entry;

use super::{Input, Pending, Unit, World};
use crate::end_reason::EndReason;

/// A log that kept only a part of a unit, for good, is no log to continue.
#[test]
fn a_unit_that_stays_half_stored_halts() {
    let mut world = World::new(0, false);
    world.faults = false;
    world.start_primary();
    let (mut looks, mut stored) = (0, None);
    while world.primaries[0].ended.is_none() {
        world.rows = 8;
        world.step(0, Input::Woken);
        let Some(pending) = world.primaries[0].pending.pop() else { continue };
        let input = match pending {
            Pending::Append { after, unit } if unit.len() > 1 && stored.is_none() => {
                let half: Unit = [unit[0].clone()].into();
                world.store(&after, &half).unwrap();
                stored = Some(half[0].position());
                Input::Appended(Err(AppendError::Conflict))
            }
            Pending::ReadTail => {
                looks += 1;
                world.answer(0, Pending::ReadTail)
            }
            other => world.answer(0, other),
        };
        world.step(0, input);
    }
    assert!(matches!(world.primaries[0].ended, Some(EndReason::Halted { .. })));
    assert_eq!(world.log.last().map(Entry::position), stored, "nothing was published after it");
    assert!(looks > 1, "it was read more than once before");
}
