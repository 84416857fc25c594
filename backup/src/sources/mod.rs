//! The places to restore from.

pub(crate) mod read_ahead;
pub(crate) mod spans;

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tipline_log::{Log, LogError, error_chain};
use tipline_proto::Entry;
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_store::StoreIdentity;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::spans::{Holdings, Span};
use crate::archive::{Archive, ArchiveError, Row, SegmentName};
use crate::checkpoint::{Checkpoints, Listed, Manifest};
use crate::destination::DestinationError;
use crate::error::RestoreError;

/// How many entries of a log count as one span: so much of it is looked through at once.
const LOG_SPAN: u64 = 10_000;
/// How many spans are looked into at once.
const AT_ONCE: usize = 16;

/// Where to restore from: any number of places of one log.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Archives; of what several have, it is taken from the first.
    pub archives: Vec<Archive>,
    /// Sets of checkpoints.
    pub checkpoints: Vec<Checkpoints>,
    /// The log itself, as far back as it goes.
    pub log: Option<Arc<dyn Log>>,
}

/// What is wrong with a span, or with the place that has it.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not what it should be: do without it. Says which span, where, and what is wrong.
    Corrupt(String),
    /// The place does not answer.
    Unavailable(RestoreError),
    /// Whoever wanted it has gone.
    ReceiverGone,
}

/// A segment that is being read. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Begun {
    entries: mpsc::Receiver<Vec<Entry>>,
    task: AbortOnDropHandle<Result<(), ReadError>>,
}

/// Who looks at the digests of what is read of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Whoever gets the entries: the segment is read once.
    Taker,
    /// Who reads it, before the first entry is given.
    Reader,
}

/// What is at the places.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) identity: StoreIdentity,
    pub(crate) holdings: Holdings,
    /// The newest first, each with the set that has it.
    pub(crate) checkpoints: Vec<(usize, Manifest)>,
    /// What is there and cannot be used.
    pub(crate) notes: Vec<String>,
    /// What turned out to be damaged.
    pub(crate) bad: Vec<String>,
}

impl Sources {
    /// Looks at all places: what is there, and whether it is of one log.
    pub(crate) async fn look(&self) -> Result<Found, RestoreError> {
        let mut one = OneLog::default();
        let mut spans = Vec::new();
        for (source, archive) in self.archives.iter().enumerate() {
            one.admit(archive.place(), archive.identity().into())?;
            for name in archive.segments().await.map_err(away)? {
                let (first, last, bytes) = (name.first, name.last, name.bytes);
                spans.push(Span { first, last, source, name: name.to_string(), bytes });
            }
        }
        if let Some(log) = &self.log {
            let identity = log.identity();
            one.admit(identity.name.as_str(), identity.into())?;
            spans.extend(self.log_spans(&**log).await?);
        }
        let (mut checkpoints, mut notes) = (Vec::new(), Vec::new());
        for (set, place) in self.checkpoints.iter().enumerate() {
            for listed in place.list().await? {
                match listed {
                    Listed::Whole(manifest) => {
                        let name = format!("checkpoint {} at {}", manifest.id, place.place());
                        one.admit(&name, manifest.log.clone())?;
                        checkpoints.push((set, manifest));
                    }
                    Listed::Corrupt { id, why } => {
                        notes.push(format!("checkpoint {id} at {}: {why}", place.place()));
                    }
                }
            }
        }
        checkpoints.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.cursor.position.index));
        let (holdings, places) = (Holdings::new(spans), self.places());
        let identity = one.of.map(|(_, identity)| identity);
        let identity = identity.ok_or_else(|| RestoreError::NotFound { places: places.clone() })?;
        let found = Found { identity, holdings, checkpoints, notes, bad: Vec::new() };
        // An archive whose segments are gone is not an empty chain.
        if found.newest() == 0 {
            let notes = found.notes.join("; ");
            let places = format!("{places}: no segment and no usable checkpoint is there; {notes}");
            let places = places.trim_end_matches("; ").to_owned();
            return Err(RestoreError::NotFound { places });
        }
        Ok(found)
    }

    async fn log_spans(&self, log: &dyn Log) -> Result<Vec<Span>, RestoreError> {
        let extent = log.extent().await?;
        let source = self.archives.len();
        let starts = (extent.first..=extent.last).step_by(LOG_SPAN as usize);
        let span = |first: u64| {
            let last = extent.last.min(first + LOG_SPAN - 1);
            Span { first, last, source, name: format!("entries {first} to {last}"), bytes: 0 }
        };
        Ok(starts.map(span).collect())
    }

    fn places(&self) -> String {
        let archives = self.archives.iter().map(Archive::place);
        let checkpoints = self.checkpoints.iter().map(Checkpoints::place);
        let places: Vec<&str> = archives.chain(checkpoints).collect();
        if places.is_empty() { "no place was named".to_owned() } else { places.join(", ") }
    }

    /// A span with its place, for people.
    pub(crate) fn name(&self, span: &Span) -> String {
        match self.archives.get(span.source) {
            Some(archive) => format!("{} of {}", span.name, archive.place()),
            None => format!("{} of the log", span.name),
        }
    }

    /// What is in a span, by entry, without the payloads where the place can do that.
    pub(crate) async fn rows(&self, span: &Span) -> Result<Vec<Row>, ReadError> {
        if let Some(archive) = self.archives.get(span.source) {
            let index = archive.index(&segment(span)?).await.map_err(trouble)?;
            return Ok(index.rows);
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let read = self.read(span, span.first - 1, span.last, sender);
        let collect = async {
            let mut rows = Vec::new();
            while let Some(entries) = receiver.recv().await {
                rows.extend(entries.iter().map(Row::from));
            }
            rows
        };
        let (read, rows) = tokio::join!(read, collect);
        read.map(|()| rows)
    }

    /// What is in each of these spans, in their order; several are asked for at once.
    pub(crate) fn rows_of(
        &self,
        spans: Vec<Span>,
    ) -> BoxStream<'_, (Span, Result<Vec<Row>, ReadError>)> {
        let rows = move |span: Span| async move {
            let rows = self.rows(&span).await;
            (span, rows)
        };
        stream::iter(spans).map(rows).buffered(AT_ONCE).boxed()
    }

    /// Gives every row of everything that was found, the oldest first. When something turns out to
    /// be damaged it begins again without that: a row may come twice.
    pub(crate) async fn each_row(
        &self,
        found: &mut Found,
        mut each: impl FnMut(Row),
    ) -> Result<(), RestoreError> {
        let target = || "everything".to_owned();
        'again: loop {
            let mut spans = found.holdings.backwards();
            spans.reverse();
            if let Some(hole) = found.holdings.holes().first() {
                let (first, last) = (hole.first, hole.last);
                return match found.bad.is_empty() {
                    true => Err(RestoreError::Gap { target: target(), first, last }),
                    false => {
                        let what = found.bad.join("; ");
                        Err(RestoreError::Corrupt { target: target(), needed: first, what })
                    }
                };
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
                        found.give_up(&span, why);
                        continue 'again;
                    }
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    Err(ReadError::ReceiverGone) => {}
                }
            }
            return Ok(());
        }
    }

    /// Sends the entries of a span behind `after` up to `to`, in pieces of the size of a batch.
    pub(crate) async fn read(
        &self,
        span: &Span,
        mut after: u64,
        to: u64,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ReadError> {
        self.finish(self.begin(span, Checks::Reader), span, &mut after, to, into).await
    }

    /// Begins to read a segment of an archive, a piece ahead. There is nothing to begin with a
    /// span of the log: that one pushes.
    pub(crate) fn begin(&self, span: &Span, checks: Checks) -> Option<Begun> {
        let archive = self.archives.get(span.source)?.clone();
        let segment = segment(span);
        let (sender, entries) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let segment = segment?;
            if checks == Checks::Taker {
                match archive.pieces(&segment, sender.clone()).await {
                    Err(ArchiveError::Corrupt { .. }) => {}
                    read => return read.map_err(trouble),
                }
            }
            // It says best what is wrong.
            let (_, entries) = archive.entries(&segment).await.map_err(trouble)?;
            sender.send(entries).await.map_err(|_| ReadError::ReceiverGone)
        });
        Some(Begun { entries, task: AbortOnDropHandle::new(task) })
    }

    /// [`Sources::read`] of a span that was begun. `at` is the newest entry that was sent.
    pub(crate) async fn finish(
        &self,
        begun: Option<Begun>,
        span: &Span,
        at: &mut u64,
        to: u64,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ReadError> {
        let Some(mut begun) = begun else {
            return self.read_log(at, to.min(span.last), into).await;
        };
        while let Some(mut entries) = begun.entries.recv().await {
            let is_behind = entries.last().is_some_and(|entry| entry.index > to);
            entries.retain(|entry| *at < entry.index && entry.index <= to);
            while !entries.is_empty() {
                let rest = entries.split_off(piece(&entries));
                *at = entries.last().map_or(*at, |entry| entry.index);
                into.send(entries).await.map_err(|_| ReadError::ReceiverGone)?;
                entries = rest;
            }
            if is_behind {
                return Ok(());
            }
        }
        begun.task.await.map_err(|e| ReadError::Unavailable(panicked(e)))?
    }

    /// What is wrong with a segment of an archive, if anything is.
    pub(crate) async fn damage(&self, span: &Span) -> Result<Option<String>, RestoreError> {
        let Some(archive) = self.archives.get(span.source) else { return Ok(None) };
        let read = match segment(span) {
            Ok(segment) => archive.entries(&segment).await.map_err(trouble),
            Err(trouble) => Err(trouble),
        };
        match read {
            Err(ReadError::Corrupt(why)) => Ok(Some(why)),
            Err(ReadError::Unavailable(error)) => Err(error),
            Ok(_) | Err(ReadError::ReceiverGone) => Ok(None),
        }
    }

    async fn read_log(
        &self,
        at: &mut u64,
        to: u64,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ReadError> {
        let log_away = |error: LogError| ReadError::Unavailable(error.into());
        let Some(log) = &self.log else { return Ok(()) };
        let mut subscription = log.subscribe(None, *at).await.map_err(log_away)?;
        while *at < to {
            let mut entries = subscription.next().await.map_err(log_away)?;
            entries.retain(|entry| entry.index <= to);
            *at = entries.last().map_or(*at, |entry| entry.index);
            into.send(entries).await.map_err(|_| ReadError::ReceiverGone)?;
        }
        Ok(())
    }
}

/// Several places, all of them of one log.
#[derive(Default)]
struct OneLog {
    of: Option<(String, StoreIdentity)>,
}

impl OneLog {
    fn admit(&mut self, place: &str, found: StoreIdentity) -> Result<(), RestoreError> {
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

/// What a store or a place is of, for people.
pub(crate) fn identity(of: &StoreIdentity) -> String {
    format!("chain {:?} with lineage {}", of.chain.name.as_str(), of.lineage)
}

/// How many of the entries make a batch.
fn piece(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.event.payload().len();
        bytes <= MAX_APPLY_BYTES
    };
    entries.iter().take(MAX_APPLY_EVENTS).take_while(fits).count().max(1)
}

pub(super) fn panicked(ended: tokio::task::JoinError) -> RestoreError {
    RestoreError::internal("reading entries panicked", ended)
}

fn segment(span: &Span) -> Result<SegmentName, ReadError> {
    SegmentName::parse(&span.name, span.bytes)
        .ok_or_else(|| ReadError::Corrupt(format!("{} is not the name of a segment", span.name)))
}

fn away(error: ArchiveError) -> RestoreError {
    match error {
        ArchiveError::Destination(error) => error.into(),
        error => RestoreError::Archive(error),
    }
}

fn trouble(error: ArchiveError) -> ReadError {
    match error {
        error @ (ArchiveError::Corrupt { .. } | ArchiveError::Newer { .. }) => {
            ReadError::Corrupt(error_chain(&error))
        }
        // Listed a moment ago.
        ArchiveError::Destination(error @ DestinationError::NotFound { .. }) => {
            ReadError::Corrupt(error_chain(&error))
        }
        error => ReadError::Unavailable(away(error)),
    }
}

impl Found {
    /// Index of the newest entry that is kept anywhere.
    pub(crate) fn newest(&self) -> u64 {
        let checkpoint =
            self.checkpoints.first().map(|(_, manifest)| manifest.cursor.position.index);
        self.holdings.newest().max(checkpoint).unwrap_or(0)
    }

    /// From now on as if the span were not there.
    pub(crate) fn give_up(&mut self, span: &Span, note: String) {
        self.holdings.give_up(span);
        self.bad.push(note.clone());
        self.notes.push(note);
    }
}
