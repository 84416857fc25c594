//! The places to restore from.
//!
//! `impl Sources` is spread over the folders that use it: reading is here, planning and resolving a
//! target in `restore/`, the sign floor in `restore/sign_floor.rs`, proofs in `retention/prove.rs`.
//! Likewise `impl Archive` over the files of `archive/`.

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

use self::spans::{Coverage, Span};
use crate::archive::{Archive, ArchiveError, Row, SegmentName};
use crate::checkpoint::{Checkpoints, Listed, Manifest};
use crate::destination::DestinationError;
use crate::error::RestoreError;

/// How many entries of a log count as one span: this much of it is searched at once.
const LOG_SPAN: u64 = 10_000;
/// How many spans are read at once.
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
    /// The place is unavailable.
    Unavailable(RestoreError),
    /// Nobody waits for it any more.
    ReceiverGone,
}

/// A segment that is being read. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct SegmentRead {
    entries: mpsc::Receiver<Vec<Entry>>,
    task: AbortOnDropHandle<Result<(), ReadError>>,
}

/// Where the digests of a segment are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DigestCheck {
    /// By the receiver of the entries. The segment is read once.
    ByReceiver,
    /// By the reader, before it sends the first entry.
    BeforeSending,
}

/// What is kept at the places.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) identity: StoreIdentity,
    pub(crate) coverage: Coverage,
    /// The newest first, each with the set that has it.
    pub(crate) checkpoints: Vec<(usize, Manifest)>,
    /// What is there and cannot be used.
    pub(crate) notes: Vec<String>,
    /// What turned out to be damaged.
    pub(crate) bad: Vec<String>,
}

impl Sources {
    /// Takes stock of all places: what is there, and whether it is of one log.
    pub(crate) async fn inventory(&self) -> Result<Inventory, RestoreError> {
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
        let (coverage, places) = (Coverage::new(spans), self.places());
        let identity = one.of.map(|(_, identity)| identity);
        let identity = identity.ok_or_else(|| RestoreError::NotFound { places: places.clone() })?;
        let inventory = Inventory { identity, coverage, checkpoints, notes, bad: Vec::new() };
        // An archive whose segments are gone is not an empty chain.
        if inventory.newest() == 0 {
            let notes = inventory.notes.join("; ");
            let places = format!("{places}: no segment and no usable checkpoint is there; {notes}");
            let places = places.trim_end_matches("; ").to_owned();
            return Err(RestoreError::NotFound { places });
        }
        Ok(inventory)
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

    /// A span with its place, human-readable.
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
        inventory: &mut Inventory,
        mut each: impl FnMut(Row),
    ) -> Result<(), RestoreError> {
        let target = || "everything".to_owned();
        'again: loop {
            let mut spans = inventory.coverage.newest_first();
            spans.reverse();
            if let Some(gap) = inventory.coverage.gaps().first() {
                let (first, last) = (gap.first, gap.last);
                if inventory.bad.is_empty() {
                    return Err(RestoreError::Gap { target: target(), first, last });
                }
                let what = inventory.bad.join("; ");
                return Err(RestoreError::Corrupt { target: target(), needed: first, what });
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
                        continue 'again;
                    }
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    Err(ReadError::ReceiverGone) => {}
                }
            }
            return Ok(());
        }
    }

    /// Sends the entries of a span after `after` up to `to`, in pieces of the size of a batch.
    pub(crate) async fn read(
        &self,
        span: &Span,
        mut after: u64,
        to: u64,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ReadError> {
        self.finish(self.begin(span, DigestCheck::BeforeSending), span, &mut after, to, into).await
    }

    /// Begins to read a segment of an archive, a piece ahead. A span of the log needs no
    /// beginning: the log pushes.
    pub(crate) fn begin(&self, span: &Span, checks: DigestCheck) -> Option<SegmentRead> {
        let archive = self.archives.get(span.source)?.clone();
        let segment = segment(span);
        let (sender, entries) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let segment = segment?;
            if checks == DigestCheck::ByReceiver {
                match archive.pieces(&segment, sender.clone()).await {
                    Err(ArchiveError::Corrupt { .. }) => {}
                    read => return read.map_err(trouble),
                }
            }
            // This names the damage best.
            let (_, entries) = archive.entries(&segment).await.map_err(trouble)?;
            sender.send(entries).await.map_err(|_| ReadError::ReceiverGone)
        });
        Some(SegmentRead { entries, task: AbortOnDropHandle::new(task) })
    }

    /// [`Sources::read`] of a span that was begun. `at` is the newest entry that was sent.
    pub(crate) async fn finish(
        &self,
        begun: Option<SegmentRead>,
        span: &Span,
        at: &mut u64,
        to: u64,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ReadError> {
        let Some(mut begun) = begun else {
            return self.read_log(at, to.min(span.last), into).await;
        };
        while let Some(mut entries) = begun.entries.recv().await {
            let is_past = entries.last().is_some_and(|entry| entry.index > to);
            entries.retain(|entry| *at < entry.index && entry.index <= to);
            while !entries.is_empty() {
                let rest = entries.split_off(piece(&entries));
                *at = entries.last().map_or(*at, |entry| entry.index);
                into.send(entries).await.map_err(|_| ReadError::ReceiverGone)?;
                entries = rest;
            }
            if is_past {
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

/// The log of a store or a place, human-readable.
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

impl Inventory {
    /// Index of the newest entry that is kept anywhere.
    pub(crate) fn newest(&self) -> u64 {
        let checkpoint =
            self.checkpoints.first().map(|(_, manifest)| manifest.cursor.position.index);
        self.coverage.newest().max(checkpoint).unwrap_or(0)
    }

    /// From now on as if the span were not there.
    pub(crate) fn give_up(&mut self, span: &Span, note: String) {
        self.coverage.give_up(span);
        self.bad.push(note.clone());
        self.notes.push(note);
    }
}
