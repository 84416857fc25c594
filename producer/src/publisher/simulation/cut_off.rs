//! A log that was cut off within a unit.

use tipline_log::AppendError;

use super::{Input, Pending, Unit, World};

/// A log that was cut off within the unit in flight keeps whole entries of it, and goes on after
/// them.
#[test]
fn a_unit_that_was_cut_off_is_continued_within() {
    let mut world = World::new(0, false);
    world.faults = false;
    world.start_primary();
    let (mut looks, mut stored) = (0, None);
    while world.primaries[0].told < 8 {
        assert!(world.primaries[0].ended.is_none(), "{:?}", world.primaries[0].ended);
        world.rows = 8;
        world.step(0, Input::Woken);
        if world.primaries[0].pending.is_empty() {
            continue;
        }
        let pending = world.primaries[0].pending.remove(0);
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
    assert!(stored.is_some() && looks > 1, "it was read more than once before");
    assert_eq!(world.tail().outbox_sequence, 8);
    world.check();
}
