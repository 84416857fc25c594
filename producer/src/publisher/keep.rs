//! Which logged rows stay in the outbox.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::outbox::Pending;
use crate::settings::Keep;

/// What a row takes besides its payload, roughly.
const ROW_BYTES: u64 = 128;
/// Ages are known to this part of the time that rows stay.
const MARKS: u32 = 64;

/// When rows became ones that may leave.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<(u64, Instant)>);

impl Ages {
    /// Rows up to `sequence` may leave from now on.
    pub(super) fn note(&mut self, sequence: u64, keep: &Keep, now: Instant) {
        match self.0.back_mut() {
            Some((newest, _)) if *newest >= sequence => {}
            // Younger than they are is on the safe side.
            Some((newest, at)) if now.duration_since(*at) < keep.time / MARKS => {
                (*newest, *at) = (sequence, now);
            }
            _ => self.0.push_back((sequence, now)),
        }
    }

    /// The newest row that has been there for this long; 0 if none has.
    fn older_than(&mut self, age: Duration, now: Instant) -> u64 {
        let mut found = 0;
        while let Some((sequence, at)) = self.0.front().copied() {
            if now.duration_since(at) < age {
                break;
            }
            found = sequence;
            // The newest one that is old enough stays, to be found again.
            if self.0.get(1).is_none_or(|(_, next)| now.duration_since(*next) < age) {
                break;
            }
            self.0.pop_front();
        }
        found
    }

    /// Up to which row to trim now, if at all. Trimming makes some room beyond what is asked for,
    /// so that the node's database is not written to for every unit.
    pub(super) fn trim_to(&mut self, pending: &Pending, keep: &Keep, now: Instant) -> Option<u64> {
        let gone = pending.first.saturating_sub(1);
        let rows = pending.released.saturating_sub(gone);
        if rows == 0 {
            return None;
        }
        let mut drop = 0;
        if rows > keep.rows {
            let surplus = rows - spared(keep.rows);
            let old = self.older_than(keep.time, now).saturating_sub(gone);
            drop = surplus.min(old);
        }
        let bytes = pending.bytes.saturating_sub(pending.counted_bytes) + rows * ROW_BYTES;
        let most = keep.bytes.min(pending.max_bytes / 2);
        if bytes > most {
            // As if all had the same size; it is looked at again until it fits.
            let surplus = u128::from(bytes - spared(most)) * u128::from(rows);
            let surplus = surplus.div_ceil(u128::from(bytes));
            drop = drop.max(u64::try_from(surplus).unwrap_or(rows).clamp(1, rows));
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
        assert_eq!(
            ages.trim_to(&pending(1, 100, 500), &keep, now),
            None,
            "what waits is no kept row"
        );
        assert_eq!(ages.trim_to(&pending(1, 101, 0), &keep, now), Some(101 - 88));
        assert_eq!(ages.trim_to(&pending(1, 0, 500), &keep, now), None);

        let few = Keep { bytes: 10 * 1128, ..keep };
        assert_eq!(ages.trim_to(&pending(5, 14, 3), &few, now), None, "exactly fits");
        assert_eq!(ages.trim_to(&pending(5, 15, 3), &few, now), Some(4 + 3));
        let none = Keep { bytes: 0, ..keep };
        assert_eq!(ages.trim_to(&pending(5, 15, 3), &none, now), Some(15), "nothing that waits");
        let small = Pending { max_bytes: 4 * 1128, ..pending(5, 7, 3) };
        assert_eq!(ages.trim_to(&small, &keep, now), Some(6), "no more than half of what may wait");
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
            let trimmed = ages.trim_to(&pending(1, logged, 0), &keep, now);
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
}
