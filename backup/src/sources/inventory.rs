//! Taking stock: what is kept at the places, all of it of one log.

use futures_util::{StreamExt, TryStreamExt};
use tipline_log::{Extent, error_chain};
use tipline_store::StoreIdentity;

use super::spans::{Coverage, Gap, Span};
use super::{DamagedArchive, ReadError, Sources};
use crate::archive::{Archive, Row};
use crate::checkpoint::{Checkpoints, Listed, Manifest, Sizes};
use crate::error::RestoreError;

/// How many entries of a log count as one span: this much of it is searched at once.
const LOG_SPAN: u64 = 10_000;
/// A log has not many more spans than this, whatever number of entries its broker says that it holds.
const MAX_LOG_SPANS: u64 = 100_000;

/// What is kept at the places.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) identity: StoreIdentity,
    pub(crate) coverage: Coverage,
    /// The newest first, each with the set that has it. Without files: there may be millions of each.
    pub(crate) checkpoints: Vec<(usize, Manifest, Sizes)>,
    /// What is there and cannot be used.
    pub(crate) notes: Vec<String>,
    /// What turned out to be damaged.
    pub(crate) bad: Vec<String>,
}

impl Inventory {
    /// Index of the newest entry that was kept anywhere, damaged or not.
    pub(crate) fn newest(&self) -> u64 {
        let checkpoint =
            self.checkpoints.first().map(|(_, manifest, _)| manifest.cursor.position.index);
        self.coverage.extent().map(|(_, newest)| newest).max(checkpoint).unwrap_or(0)
    }

    /// Why a target cannot be reached for which these entries are needed: they are damaged, if
    /// some of them turned out to be, or they are kept nowhere.
    pub(crate) fn missing(&self, target: String, gap: Gap) -> RestoreError {
        let Gap { first, last } = gap;
        if !self.coverage.is_given_up_within(gap) {
            return RestoreError::Gap { target, first, last };
        }
        RestoreError::Corrupt { target, needed: first, what: self.bad.join("; ") }
    }

    /// From now on as if the span were not there.
    pub(crate) fn give_up(&mut self, span: &Span, note: String) {
        self.coverage.give_up(span);
        self.bad.push(note.clone());
        self.notes.push(note);
    }
}

impl Sources {
    /// Takes stock of all places: what is there, and whether it is of one log.
    pub(crate) async fn inventory(&self) -> Result<Inventory, RestoreError> {
        self.inventory_within(0, u64::MAX).await
    }

    /// The same, without what archives hold before the entry `after` and at it, and after `to`, as far
    /// as that saves requests.
    pub(crate) async fn inventory_within(
        &self,
        after: u64,
        to: u64,
    ) -> Result<Inventory, RestoreError> {
        let mut one = OneLog::default();
        let mut spans = Vec::new();
        for (source, archive) in self.archives.iter().enumerate() {
            one.admit(archive.place(), archive.identity().into())?;
            let names = match (after, to) {
                (0, u64::MAX) => archive.longest().await,
                (after, u64::MAX) => archive.since(after).await,
                (after, to) => archive.within(after, to).await,
            };
            let names = names.map_err(RestoreError::archive)?;
            spans.extend(names.iter().map(|name| Span::of(source, name)));
        }
        if let Some(log) = &self.log {
            let identity = log.identity();
            one.admit(identity.name.as_str(), identity.into())?;
            spans.extend(log_spans(log.extent().await?, self.archives.len()));
        }
        let (mut checkpoints, mut notes) = (Vec::new(), Vec::new());
        for (set, place) in self.checkpoints.iter().enumerate() {
            let mut each = place.each().await?;
            while let Some(listed) = each.try_next().await? {
                match listed {
                    Listed::Whole(manifest) => {
                        let name = format!("checkpoint {} at {}", manifest.id, place.place());
                        one.admit(&name, manifest.log.clone())?;
                        checkpoints.push((set, manifest.head(), manifest.sizes()));
                    }
                    Listed::Corrupt { id, why } => {
                        notes.push(format!("checkpoint {id} at {}: {why}", place.place()));
                    }
                }
            }
        }
        checkpoints
            .sort_by_key(|(_, manifest, _)| std::cmp::Reverse(manifest.cursor.position.index));
        let lost = self.damaged.iter().flat_map(DamagedArchive::spans);
        let lost: Vec<Span> = lost.collect();
        spans.extend(lost.iter().cloned());
        let (mut coverage, places) = (Coverage::new(spans), self.places());
        lost.iter().for_each(|span| coverage.give_up(span));
        let bad = self.damaged.iter().map(|damaged| error_chain(&damaged.error()));
        let bad: Vec<String> = bad.collect();
        notes.extend(bad.iter().cloned());
        let Some((_, identity)) = one.of else {
            return Err(match self.damaged.first() {
                Some(damaged) => RestoreError::archive(damaged.error()),
                None => RestoreError::NotFound { places },
            });
        };
        let inventory = Inventory { identity, coverage, checkpoints, notes, bad };
        // An archive whose segments are gone is not an empty chain.
        if inventory.newest() == 0 && to == u64::MAX {
            if let (Some(log), [], []) = (&self.log, &*self.archives, &*self.checkpoints) {
                let places = format!("the log {} has no entries yet", log.identity().name.as_str());
                return Err(RestoreError::NotFound { places });
            }
            let notes = inventory.notes.join("; ");
            let places = format!("{places}: no segment and no usable checkpoint is there; {notes}");
            let places = places.trim_end_matches("; ").to_owned();
            return Err(RestoreError::NotFound { places });
        }
        Ok(inventory)
    }

    /// Lists what lies within a span that cannot be used: it was passed by, because that held all of it.
    pub(crate) async fn list_within(
        &self,
        span: &Span,
        coverage: &mut Coverage,
    ) -> Result<(), RestoreError> {
        let Some(archive) = self.archives.get(span.source) else { return Ok(()) };
        if span.first == span.last {
            return Ok(());
        }
        let names = archive.between(span.first, span.last).await.map_err(RestoreError::archive)?;
        coverage.add(names.iter().map(|name| Span::of(span.source, name)));
        Ok(())
    }

    /// Lists what may hold an entry and was left out, because it begins long before what is wanted.
    pub(crate) async fn list_before(
        &self,
        index: u64,
        coverage: &mut Coverage,
    ) -> Result<(), RestoreError> {
        for (source, archive) in self.archives.iter().enumerate() {
            let names = archive.begun_by(index).await.map_err(RestoreError::archive)?;
            coverage.add(names.iter().map(|name| Span::of(source, name)));
        }
        Ok(())
    }

    /// Gives every row of everything that was found, the oldest first. When something turns out to
    /// be damaged it begins again without that: a row may come twice.
    pub(crate) async fn each_row(
        &self,
        inventory: &mut Inventory,
        mut each: impl FnMut(Row),
    ) -> Result<(), RestoreError> {
        let target = || "everything".to_owned();
        'again: loop {
            let mut spans = inventory.coverage.newest_first();
            spans.reverse();
            if let Some(gap) = inventory.coverage.gaps().first() {
                return Err(inventory.missing(target(), *gap));
            }
            let mut at = 0;
            let mut rows_of = self.rows_of(spans);
            while let Some((span, rows)) = rows_of.next().await {
                match rows {
                    Ok(rows) => {
                        rows.into_iter().filter(|row| row.index > at).for_each(&mut each);
                        at = at.max(span.last);
                    }
                    Err(ReadError::Corrupt(why)) => {
                        drop(rows_of);
                        inventory.give_up(&span, why);
                        self.list_within(&span, &mut inventory.coverage).await?;
                        continue 'again;
                    }
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    Err(ReadError::ReceiverGone) => {}
                }
            }
            return Ok(());
        }
    }

    fn places(&self) -> String {
        let archives = self.archives.iter().map(Archive::place);
        let checkpoints = self.checkpoints.iter().map(Checkpoints::place);
        let log = self.log.iter().map(|log| log.identity().name.as_str());
        let places: Vec<&str> = archives.chain(checkpoints).chain(log).collect();
        if places.is_empty() { "no place was named".to_owned() } else { places.join(", ") }
    }
}

/// What a log holds, which is this source.
pub(super) fn log_spans(
    Extent { first, last }: Extent,
    source: usize,
) -> impl Iterator<Item = Span> {
    let count = last.saturating_sub(first).saturating_add(1);
    let each = LOG_SPAN.max(count.div_ceil(MAX_LOG_SPANS));
    (first..=last).step_by(usize::try_from(each).unwrap_or(usize::MAX)).map(move |first| {
        let last = last.min(first.saturating_add(each - 1));
        Span { first, last, source, name: format!("entries {first} to {last}"), bytes: 0 }
    })
}

/// Several places, all of them of one log.
#[derive(Default)]
pub(crate) struct OneLog {
    of: Option<(String, StoreIdentity)>,
}

impl OneLog {
    pub(crate) fn admit(&mut self, place: &str, found: StoreIdentity) -> Result<(), RestoreError> {
        match &self.of {
            None => self.of = Some((place.to_owned(), found)),
            Some((other, expected)) if *expected != found => {
                return Err(RestoreError::WrongLog {
                    place: place.to_owned(),
                    found: identity(&found),
                    other: other.clone(),
                    expected: identity(expected),
                });
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// The log of a store or a place, human-readable.
pub(crate) fn identity(of: &StoreIdentity) -> String {
    of.to_string()
}
