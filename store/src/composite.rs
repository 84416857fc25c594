//! Several media at once.

use tipline_proto::limits::MAX_APPLY_EVENTS;
use tipline_proto::{Cursor, LogIdentity, Position};

use crate::batch::Batch;
use crate::error::{Disagreement, StoreError};
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::Snapshot;
use crate::spec::{Sink, Store};
use crate::stored::StoreIdentity;

/// Several stores that hold the same, in a declared order: what a node keeps in more than one
/// medium, kept in step.
///
/// Each part is a whole store by itself, with a cursor of its own, and can be read, checked or
/// used alone. The cursor of the composite is the last part's: the composite is where that one
/// is, and is read from it.
///
/// # How it is kept
/// - A batch is applied to the parts in their order, each one atomically and fsynced. When the
///   last one has it, the composite has it; only then is it acknowledged.
/// - After a crash, or an error in the middle, earlier parts may be ahead of the last by one
///   batch. The log gives the same entries again, in whatever batches; each part takes what it
///   does not have yet. What it has already is compared by digest: by a consumer before it
///   applies anything ([`Sink::ahead`]), and again when the log comes to it.
/// - Parts that differ by more than that are refused, naming the part and both positions: one
///   was restored, exchanged or is new. None is changed.
///
/// What is durable on return of `apply` is durable in every part. It costs the sum of what the
/// parts cost.
#[derive(Debug)]
pub struct CompositeStore {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    store: Box<dyn Store>,
    /// Where it is; none before it is created for a log.
    cursor: Option<Cursor>,
}

impl CompositeStore {
    /// Puts stores together, in this order; the last has the cursor. Compares them, changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Disagree`] if they are not of one history, [`StoreError::WrongLog`] if not
    /// of one log, [`StoreError::Unusable`] if there are fewer than two.
    pub fn new(parts: Vec<Box<dyn Store>>) -> Result<Self, StoreError> {
        let part = |store: Box<dyn Store>| {
            let cursor = store.reader()?.cursor()?;
            Ok(Part { store, cursor })
        };
        let parts = parts.into_iter().map(part).collect::<Result<Vec<_>, StoreError>>()?;
        let composite = Self { parts };
        if composite.parts.len() < 2 {
            let why = "it needs two parts or more: use the one store by itself";
            return Err(StoreError::unusable(&composite.place(), why, None));
        }
        composite.check_logs()?;
        composite.check_cursors()?;
        Ok(composite)
    }

    fn last(&self) -> Option<&Part> {
        self.parts.last()
    }

    /// All parts are of one log, but for those that are new.
    fn check_logs(&self) -> Result<(), StoreError> {
        let mut known: Option<StoreIdentity> = None;
        for part in self.parts.iter().rev() {
            let Some(found) = part.store.identity()? else { continue };
            match &known {
                Some(expected) if *expected != found => {
                    return Err(StoreError::WrongLog {
                        place: part.store.place(),
                        found: Box::new(found),
                        expected: Box::new(expected.clone()),
                    });
                }
                _ => known = Some(found),
            }
        }
        Ok(())
    }

    /// Each part is where the last one is, or ahead by what one batch may be.
    fn check_cursors(&self) -> Result<(), StoreError> {
        let last = self.last().and_then(|last| last.cursor.as_ref()).map(|last| last.position);
        for part in &self.parts {
            let found = part.cursor.as_ref().map(|cursor| cursor.position);
            let (at, of) = (index(found), index(last));
            let why = match (found, last) {
                // Creating was cut off: it is done again.
                _ if at == 0 && of == 0 => continue,
                (Some(_), None) if at > 0 => "the last part is new",
                _ if at < of => "it lags: it is new, or was restored",
                _ if at > of + MAX_APPLY_EVENTS as u64 => {
                    "it is ahead by more than one batch: the last part is new, or was restored"
                }
                (Some(found), Some(last)) if at == of && found != last => {
                    "it holds another history"
                }
                _ => continue,
            };
            return Err(self.disagree(part, why));
        }
        Ok(())
    }

    fn disagree(&self, part: &Part, why: &str) -> StoreError {
        let last = self.last();
        StoreError::Disagree(Box::new(Disagreement {
            place: self.place(),
            part: part.store.place(),
            found: position(Some(part)),
            last: last.map_or_else(String::new, |last| last.store.place()),
            cursor: position(last),
            why: why.to_owned(),
        }))
    }

    /// The batch starts directly after the cursor, and continues what each part has of it.
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let cursor = self.last().and_then(|last| last.cursor.as_ref());
        batch.check_follows(cursor, &self.place())?;
        if batch.entries.len() > MAX_APPLY_EVENTS {
            let what = format!("a batch has more than {MAX_APPLY_EVENTS} entries");
            return Err(self.failed(&what));
        }
        for part in &self.parts {
            let found = position(Some(part));
            let same = batch.entries.iter().find(|entry| entry.index == index(found));
            if same.is_some_and(|entry| Some(entry.position()) != found) {
                return Err(self.disagree(part, "the log has another entry there"));
            }
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> StoreError {
        StoreError::Failed { place: self.place(), what: what.to_owned(), source: None }
    }
}

impl Part {
    /// Applies what it does not have yet.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let at = index(position(Some(self)));
        let new = batch.entries.iter().position(|entry| entry.index > at);
        let Some(new) = new else { return Ok(()) };
        if new == 0 {
            self.store.apply(batch)?;
        } else {
            let entries = batch.entries[new..].to_vec();
            self.store.apply(&Batch { entries, ..batch.clone() })?;
        }
        self.cursor = Some(batch.cursor.clone());
        Ok(())
    }
}

fn position(part: Option<&Part>) -> Option<Position> {
    part?.cursor.as_ref().map(|cursor| cursor.position)
}

fn index(position: Option<Position>) -> u64 {
    position.map_or(0, |position| position.index)
}

impl Sink for CompositeStore {
    fn place(&self) -> String {
        let places: Vec<String> = self.parts.iter().map(|part| part.store.place()).collect();
        format!("composite:{}", places.join("+"))
    }

    /// That of the last part: while it has none, creating was cut off and is to be done again.
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.last().map_or(Ok(None), |last| last.store.identity())
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        for part in &mut self.parts {
            part.store.create(log)?;
            part.cursor.get_or_insert_with(|| Cursor::origin(log));
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check(batch)?;
        self.parts.iter_mut().try_for_each(|part| part.apply(batch))
    }

    fn begin_bulk_load(&mut self) -> Result<(), StoreError> {
        self.parts.iter_mut().try_for_each(|part| part.store.begin_bulk_load())
    }

    fn end_bulk_load(&mut self) -> Result<(), StoreError> {
        self.parts.iter_mut().try_for_each(|part| part.store.end_bulk_load())
    }

    /// Asks every part.
    fn probe(&mut self) -> Result<(), StoreError> {
        self.parts.iter_mut().try_for_each(|part| part.store.probe())
    }

    fn ahead(&self) -> Vec<Position> {
        let cursor = index(position(self.last()));
        let found = self.parts.iter().filter_map(|part| position(Some(part)));
        found.filter(|found| found.index > cursor).collect()
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        let snapshot = self.parts.iter().map(|part| part.store.snapshot());
        let snapshot = snapshot.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let snapshot: Vec<_> = snapshot.collect();
        let last = snapshot.last().map(|last| last.cursor());
        match snapshot.iter().all(|part| Some(part.cursor()) == last) {
            true => Ok(snapshot),
            false => Err(self.failed(
                "its parts are not in step, a batch was cut off: the next batch brings them in step",
            )),
        }
    }
}

impl Store for CompositeStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        match self.last() {
            Some(last) => last.store.reader(),
            None => Err(self.failed("it has no parts")),
        }
    }
}
