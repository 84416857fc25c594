//! The places to restore from.
//!
//! `impl Sources` is spread over the folders that use it: reading is here, planning and resolving a
//! target in `restore/`, the sign floor in `restore/sign_floor.rs`, proofs in `retention/prove.rs`.
//! Likewise `impl Archive` over the files of `archive/`.

mod damaged;
mod entries;
mod inventory;
pub(crate) mod read_ahead;
pub(crate) mod spans;
#[cfg(test)]
mod tests;

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tipline_log::{Log, LogError, error_chain};
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{Entry, Trust};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

pub use damaged::DamagedArchive;
pub use entries::{Entries, EntriesRead, Held};
pub(crate) use inventory::{Inventory, OneLog, identity};

use self::spans::Span;
use crate::archive::{Archive, ArchiveError, Row, SegmentName};
use crate::checkpoint::Checkpoints;
use crate::destination::DestinationError;
use crate::error::RestoreError;

/// How long a log may take for an entry that it holds: for one of 64 MiB, a network of 5 Mbit/s.
const SILENT: Duration = Duration::from_secs(120);
/// How many spans are read at once.
const AT_ONCE: usize = 16;

/// Where to restore from: any number of places of one log.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Archives; of what several have, it is taken from the first.
    pub archives: Vec<Archive>,
    /// Sets of checkpoints.
    pub checkpoints: Vec<Checkpoints>,
    /// Archives that cannot be opened. They do not keep the others from being used.
    pub damaged: Vec<DamagedArchive>,
    /// The log itself, as far back as it goes.
    pub log: Option<Arc<dyn Log>>,
    /// Whose signatures the history must have that is restored; by default, nobody's.
    pub trust: Trust,
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

impl Sources {
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

    /// The entry with this index, of the span that has it.
    pub(crate) async fn entry(&self, span: &Span, index: u64) -> Result<Option<Entry>, ReadError> {
        let (sender, mut receiver) = mpsc::channel(1);
        let read = self.read(span, index.saturating_sub(1), index, sender);
        let find = async {
            let mut found = None;
            while let Some(entries) = receiver.recv().await {
                found = found.or(entries.into_iter().find(|entry| entry.index == index));
            }
            found
        };
        let (read, entry) = tokio::join!(read, find);
        read.map(|()| entry)
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
        while let Some(entries) = begun.entries.recv().await {
            let is_past = entries.last().is_some_and(|entry| entry.index > to);
            let wanted = *at + 1..=to;
            let mut entries =
                entries.into_iter().filter(|entry| wanted.contains(&entry.index)).peekable();
            while entries.peek().is_some() {
                let batch = batch(&mut entries);
                *at = batch.last().map_or(*at, |entry| entry.index);
                into.send(batch).await.map_err(|_| ReadError::ReceiverGone)?;
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
            // A log may fall silent for good.
            let mut entries = tokio::select! {
                biased;
                () = into.closed() => return Err(ReadError::ReceiverGone),
                arrived = timeout(SILENT, subscription.next()) => {
                    arrived.map_err(|_| silent(&**log, *at + 1))?.map_err(log_away)?
                }
            };
            // Where entries are missing the last one that is wanted may never come. What is void or
            // comes again has an older index.
            *at = entries.iter().map(|entry| entry.index).fold(*at, u64::max);
            entries.retain(|entry| entry.index <= to);
            into.send(entries).await.map_err(|_| ReadError::ReceiverGone)?;
        }
        Ok(())
    }
}

/// The log holds an entry, as it says itself, and does not send it.
fn silent(log: &dyn Log, index: u64) -> ReadError {
    let what = format!("entry {index}, which it says it holds, did not come for {SILENT:?}");
    let place = log.identity().name.as_str().to_owned();
    ReadError::Unavailable(LogError::Unavailable { place, what, source: None }.into())
}

/// The next entries, as many as a store applies at once; one at least, if there is one.
fn batch(entries: &mut Peekable<impl Iterator<Item = Entry>>) -> Vec<Entry> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(entry) = entries.next_if(|entry| {
        bytes += entry.event.payload().len();
        batch.is_empty() || (batch.len() < MAX_APPLY_EVENTS && bytes <= MAX_APPLY_BYTES)
    }) {
        batch.push(entry);
    }
    batch
}

pub(super) fn panicked(ended: tokio::task::JoinError) -> RestoreError {
    RestoreError::internal("reading entries panicked", ended)
}

fn segment(span: &Span) -> Result<SegmentName, ReadError> {
    SegmentName::parse(&span.name, span.bytes)
        .ok_or_else(|| ReadError::Corrupt(format!("{} is not the name of a segment", span.name)))
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
        error => ReadError::Unavailable(RestoreError::archive(error)),
    }
}
