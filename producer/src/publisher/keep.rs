//! Which logged rows stay in the outbox.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::outbox::Pending;
use crate::settings::Keep;

/// What a row takes besides its payload, roughly.
const ROW_BYTES: u64 = 128;
/// Ages are known to this part of the time that rows stay.
const MARKS: u32 = 64;

/// When rows became ones that may leave: stretches of rows, each as old as its newest row.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<Stretch>);

#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// Its newest row.
    last: u64,
    /// When it began. It is continued for a part of the time that rows stay, and no longer: under a
    /// steady load it would never grow old.
    began: Instant,
    /// When its newest row came.
    at: Instant,
}

impl Ages {
    /// Rows up to `sequence` may leave from now on.
    pub(super) fn note(&mut self, sequence: u64, keep: &Keep, now: Instant) {
        match self.0.back_mut() {
            Some(newest) if newest.last >= sequence => {}
            // Younger than they are is on the safe side.
            Some(newest) if now.duration_since(newest.began) < keep.time / MARKS => {
                (newest.last, newest.at) = (sequence, now);
            }
            _ => self.0.push_back(Stretch { last: sequence, began: now, at: now }),
        }
        // The newest one that is old enough stands for those before it.
        let old = self.old(keep.time, now).count();
        self.0.drain(..old.saturating_sub(1));
    }

    fn old(&self, age: Duration, now: Instant) -> impl Iterator<Item = &Stretch> {
        self.0.iter().take_while(move |stretch| now.duration_since(stretch.at) >= age)
    }

    /// The newest row that has been there for this long; 0 if none has.
    fn older_than(&self, age: Duration, now: Instant) -> u64 {
        self.old(age, now).last().map_or(0, |stretch| stretch.last)
    }

    /// Up to which row to trim now, if at all: never further than `held`, up to which the log holds
    /// rows for certain. Trimming makes some room beyond what is asked for, so that the node's
    /// database is not written to for every unit.
    pub(super) fn trim_to(
        &self,
        pending: &Pending,
        held: u64,
        keep: &Keep,
        now: Instant,
    ) -> Option<u64> {
        let gone = pending.first.saturating_sub(1);
        let rows = pending.released.saturating_sub(gone);
        // A log that lost some holds fewer than were released.
        let most_rows = rows.min(held.saturating_sub(gone));
        if most_rows == 0 {
            return None;
        }
        let mut drop = 0;
        if rows > keep.rows {
            let surplus = rows - spared(keep.rows);
            let old = self.older_than(keep.time, now).saturating_sub(gone);
            drop = surplus.min(old).min(most_rows);
        }
        let bytes = pending.bytes.saturating_sub(pending.counted_bytes) + rows * ROW_BYTES;
        let most = keep.bytes.min(pending.max_bytes / 2);
        if bytes > most {
            // As if all had the same size; it is looked at again until it fits.
            let surplus = u128::from(bytes - spared(most)) * u128::from(rows);
            let surplus = surplus.div_ceil(u128::from(bytes));
            let surplus = u64::try_from(surplus).unwrap_or(rows).clamp(1, most_rows);
            drop = drop.max(surplus);
        }
        (drop > 0).then(|| gone + drop)
    }
}

fn spared(limit: u64) -> u64 {
    limit - limit / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows `first..=released` are logged, and `waiting` more are not; each has 1,000 bytes.
    fn pending(first: u64, released: u64, waiting: u64) -> Pending {
        Pending {
            first,
            last: released + waiting,
            bytes: (released + waiting + 1 - first) * 1000,
            released,
            counted_bytes: waiting * 1000,
            max_events: 10,
            max_bytes: 1 << 40,
        }
    }

    #[test]
    fn the_newest_rows_stay_and_no_more_than_the_bytes() {
        let keep = Keep { rows: 100, time: Duration::ZERO, bytes: u64::MAX };
        let (mut ages, now) = (Ages::default(), Instant::now());
        ages.note(1000, &keep, now);
        let all = u64::MAX;
        assert_eq!(
            ages.trim_to(&pending(1, 100, 500), all, &keep, now),
            None,
            "what waits is no kept row"
        );
        assert_eq!(ages.trim_to(&pending(1, 101, 0), all, &keep, now), Some(101 - 88));
        assert_eq!(ages.trim_to(&pending(1, 0, 500), all, &keep, now), None);

        let few = Keep { bytes: 10 * 1128, ..keep };
        assert_eq!(ages.trim_to(&pending(5, 14, 3), all, &few, now), None, "exactly fits");
        assert_eq!(ages.trim_to(&pending(5, 15, 3), all, &few, now), Some(4 + 3));
        let none = Keep { bytes: 0, ..keep };
        assert_eq!(
            ages.trim_to(&pending(5, 15, 3), all, &none, now),
            Some(15),
            "nothing that waits"
        );
        let small = Pending { max_bytes: 4 * 1128, ..pending(5, 7, 3) };
        assert_eq!(
            ages.trim_to(&small, all, &keep, now),
            Some(6),
            "no more than half of what may wait"
        );
    }

    #[test]
    fn young_rows_stay_however_many_they_are() {
        let minute = Duration::from_secs(60);
        let keep = Keep { rows: 10, time: minute, bytes: u64::MAX };
        let (mut ages, start) = (Ages::default(), Instant::now());
        for second in 0..600_u64 {
            let now = start + Duration::from_secs(second);
            let logged = (second + 1) * 100;
            ages.note(logged, &keep, now);
            let trimmed = ages.trim_to(&pending(1, logged, 0), logged, &keep, now);
            let young = 100 * second.saturating_sub(59);
            match trimmed {
                None => assert!(second < 61, "{second}"),
                Some(trimmed) => {
                    assert!(trimmed <= young && trimmed + 300 > young, "{second}: {trimmed}")
                }
            }
        }
        assert!(ages.0.len() < 70, "{} ages are remembered", ages.0.len());
    }
    /// A chain that never pauses: new rows come far more often than ages are told apart.
    #[test]
    fn rows_grow_old_under_a_steady_load() {
        let hour = Duration::from_secs(3600);
        let keep = Keep { rows: 10, time: hour, bytes: u64::MAX };
        let (mut ages, start) = (Ages::default(), Instant::now());
        for logged in 1..=20_000 {
            let now = start + Duration::from_secs(logged);
            ages.note(logged, &keep, now);
            let trimmed = ages.trim_to(&pending(1, logged, 0), logged, &keep, now).unwrap_or(0);
            let old = logged.saturating_sub(3600);
            assert!(trimmed <= old, "{logged}: {trimmed}");
            assert!(trimmed + 2 * 3600 / u64::from(MARKS) >= old, "{logged}: {trimmed}");
        }
        assert!(ages.0.len() < 70, "{} ages are remembered", ages.0.len());
    }

    /// Whether the newest rows are asked for or not, and however short they stay.
    #[test]
    fn few_ages_are_remembered() {
        for time in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            let keep = Keep { rows: u64::MAX, time, bytes: u64::MAX };
            let (mut ages, start) = (Ages::default(), Instant::now());
            for logged in 1..=10_000 {
                ages.note(logged, &keep, start + Duration::from_millis(logged));
            }
            assert!(ages.0.len() < 70, "{time:?}: {} ages are remembered", ages.0.len());
        }
    }

    #[test]
    fn nothing_is_trimmed_that_the_log_does_not_hold() {
        let keep = Keep { rows: 10, time: Duration::ZERO, bytes: 0 };
        let (mut ages, now) = (Ages::default(), Instant::now());
        ages.note(1000, &keep, now);
        for held in [0, 1, 4] {
            let pending = pending(5, 1000, 3);
            assert_eq!(ages.trim_to(&pending, held, &keep, now), None, "it holds {held}");
        }
        assert_eq!(ages.trim_to(&pending(5, 1000, 3), 20, &keep, now), Some(20));
        assert_eq!(ages.trim_to(&pending(5, 1000, 3), 2000, &keep, now), Some(1000));
        let rows_only = Keep { bytes: u64::MAX, ..keep };
        assert_eq!(ages.trim_to(&pending(5, 1000, 3), 20, &rows_only, now), Some(20));
    }
}
