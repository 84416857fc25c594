//! The heights that have their proof, as runs without a gap. The lowest run begins at 0 and ends at
//! the height up to which everything is proven.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rocksdb::WriteBatch;
use tipline_proto::limits::MAX_PROOF_RANGES;
use tipline_proto::{Event, LinkError};

use super::bytes::{Input, InvalidValue, Output};
use super::db::{Database, DbError};
use super::error::{damaged, failed};
use super::keys;
use crate::outbox::OutboxError;

/// What a unit that is not written yet changes about the runs in the database.
#[derive(Debug, Default)]
pub(super) struct Proven {
    /// The first height of each run, by its last; `None` of one that is in the database and is no
    /// run any more.
    changed: BTreeMap<u64, Option<u64>>,
    /// How many runs there are; `None` before that was looked up, or if it is not known yet.
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
}

/// What an event changes about the runs.
#[derive(Debug, Default)]
pub(super) struct Change {
    removed: Vec<Run>,
    added: Vec<Run>,
}

impl Proven {
    /// What an event that links changes, or why it may not be enqueued after all: nobody must remember
    /// too many runs. `tip` is the newest height before it.
    pub(super) fn change(
        &mut self,
        db: &dyn Database,
        event: &Event,
        tip: Option<u64>,
    ) -> Result<Result<Change, LinkError>, OutboxError> {
        let begin = |last| Change { added: vec![Run { first: 0, last }], ..Change::default() };
        let count = self.count(db)?;
        Ok(Ok(match (count, event, tip) {
            (None, Event::BlockCommitted { height, .. }, None) => begin(height.saturating_sub(1)),
            // An outbox of an earlier version does not know what is proven: all that there is by now
            // is taken for it.
            (None, Event::RolledBack { to_height, .. }, _) => begin(*to_height),
            (None, Event::BlockCommitted { .. } | Event::BlockProven { .. }, Some(tip)) => {
                begin(tip)
            }
            (Some(count), Event::BlockProven { height, .. }, _) => {
                return self.proof(db, *height, count);
            }
            (Some(_), Event::RolledBack { to_height, .. }, _) => {
                let removed = self.from(db, to_height.saturating_add(1), usize::MAX)?;
                let cut = removed.iter().filter(|run| run.first <= *to_height);
                let added = cut.map(|run| Run { last: *to_height, ..*run }).collect();
                Change { removed, added }
            }
            _ => Change::default(),
        }))
    }

    fn proof(
        &self,
        db: &dyn Database,
        height: u64,
        count: u64,
    ) -> Result<Result<Change, LinkError>, OutboxError> {
        let near = self.from(db, height.saturating_sub(1), 2)?;
        if near.iter().any(|run| run.first <= height && height <= run.last) {
            return Ok(Ok(Change::default()));
        }
        let is_beside = |run: &Run| run.last < height || height.checked_add(1) == Some(run.first);
        let removed: Vec<Run> = near.into_iter().filter(is_beside).collect();
        // The lowest is none of those above the proof tip.
        if removed.is_empty() && count > MAX_PROOF_RANGES as u64 {
            let lowest = self.from(db, 0, 1)?.first().map_or(0, |run| run.last + 1);
            return Ok(Err(LinkError::TooManyGaps { height, lowest }));
        }
        let first = removed.iter().map(|run| run.first).fold(height, u64::min);
        let last = removed.iter().map(|run| run.last).fold(height, u64::max);
        Ok(Ok(Change { removed, added: vec![Run { first, last }] }))
    }

    /// Makes the change.
    pub(super) fn admit(
        &mut self,
        db: &dyn Database,
        batch: &mut WriteBatch,
        change: &Change,
    ) -> Result<(), DbError> {
        let Change { removed, added } = change;
        for run in removed {
            db.delete(batch, &keys::proven(run.last))?;
            self.changed.insert(run.last, None);
        }
        for run in added {
            let first = Output::default().number(run.first).finish();
            db.put(batch, &keys::proven(run.last), &first)?;
            self.changed.insert(run.last, Some(run.first));
        }
        let before = self.count.unwrap_or(0);
        let count = (before + added.len() as u64).saturating_sub(removed.len() as u64);
        if count != before {
            db.put(batch, keys::PROVEN_RUNS, &Output::default().number(count).finish())?;
            self.count = Some(count);
        }
        Ok(())
    }

    /// How many runs there are; `None` if that is not known yet.
    fn count(&mut self, db: &dyn Database) -> Result<Option<u64>, OutboxError> {
        let (place, what) = (db.place(), "how many runs of proofs there are");
        if self.count.is_none()
            && let Some(value) = db.get(keys::PROVEN_RUNS).map_err(failed(&place, what))?
        {
            let mut input = Input(&value);
            let count = input.number().and_then(|count| input.end().map(|()| count));
            self.count = Some(count.map_err(damaged(&place, what))?);
        }
        Ok(self.count)
    }

    /// The lowest runs that end at `height` or above, at most `limit`.
    fn from(&self, db: &dyn Database, height: u64, limit: usize) -> Result<Vec<Run>, OutboxError> {
        let place = db.place();
        let (mut found, mut wrong) = (BTreeMap::new(), None);
        let scanned = db.scan(&keys::proven(height), keys::PROVEN_END, &mut |key, value| {
            match run(key, value) {
                Ok(run) if self.changed.contains_key(&run.last) => {}
                Ok(run) => drop(found.insert(run.last, run.first)),
                Err(error) => wrong = Some(error),
            }
            match wrong.is_none() && found.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        scanned.map_err(failed(&place, "looking for what is proven"))?;
        if let Some(error) = wrong {
            return Err(damaged(&place, "a run of proofs")(error));
        }
        let changed = self.changed.range(height..);
        found.extend(changed.filter_map(|(last, first)| first.map(|first| (*last, first))));
        Ok(found.into_iter().take(limit).map(|(last, first)| Run { first, last }).collect())
    }
}

fn run(key: &[u8], value: &[u8]) -> Result<Run, InvalidValue> {
    let (mut last, mut first) = (Input(key.get(1..).unwrap_or_default()), Input(value));
    let run = Run { first: first.number()?, last: last.number()? };
    last.end().and_then(|()| first.end()).map(|()| run)
}
