//! A link over which a large unit never gets through.

use tipline_log::{AppendError, LogError};
use tipline_proto::{Entry, Timestamp};

use super::{Input, Pending, Unit, World};

/// Rows that wait.
const ROWS: u64 = 2000;

/// Publishes all rows, prepared in units of 100, through a link that loses what has more entries than
/// `passes` says; how often something was sent, and how many entries got through at once at most.
fn publish(mut passes: impl FnMut(usize) -> usize) -> (usize, usize) {
    let mut world = World::new(0, false);
    world.faults = false;
    world.rows = ROWS;
    world.start_primary();
    let (mut sent, mut largest) = (0, 0);
    while world.primaries[0].told < ROWS {
        assert!(world.primaries[0].ended.is_none(), "{:?}", world.primaries[0].ended);
        assert!(sent < 5000, "row {} is logged, of {ROWS}", world.primaries[0].told);
        if world.primaries[0].pending.is_empty() {
            world.step(0, Input::Woken);
        }
        let input = match world.primaries[0].pending.remove(0) {
            Pending::Append { after, unit } => {
                sent += 1;
                let is_through = unit.len() <= passes(sent);
                largest = if is_through { unit.len().max(largest) } else { largest };
                match is_through {
                    true => Input::Appended(world.store(&after, &unit)),
                    false => Input::Appended(Err(AppendError::Doubt(LogError::Unavailable {
                        place: "sim".into(),
                        what: "append: no answer".into(),
                        source: None,
                    }))),
                }
            }
            Pending::Prepare { request, after, mut previous, epoch } => {
                let seal = |sequence| {
                    let time = Timestamp::from_micros(sequence);
                    let entry = Entry::seal(&previous, epoch, time, sequence, World::row(sequence));
                    previous = entry.position();
                    entry
                };
                let unit: Unit = (after + 1..=ROWS.min(after + 100)).map(seal).collect();
                Input::Prepared { request, unit: Ok(unit) }
            }
            other => world.answer(0, other),
        };
        world.step(0, input);
    }
    world.check();
    (sent, largest)
}

#[test]
fn units_become_so_small_that_they_get_through() {
    let (sent, _) = publish(|_| 1);
    assert!(sent < 2200, "one by one, and tried with more now and then: {sent}");
    let (sent, _) = publish(|_| 10);
    assert!(sent < 450, "{sent}");
}

#[test]
fn units_become_large_again() {
    let (sent, largest) = publish(|sent| if sent < 30 { 3 } else { usize::MAX });
    assert!(largest >= 24, "of {sent} units the largest had {largest} entries");
}
