//! Reading the entries of the places in their order, for whoever checks them rather than restoring.

use std::sync::Arc;

use tipline_proto::Entry;
use tipline_store::StoreIdentity;
use tokio_util::sync::CancellationToken;

use super::read_ahead::{ReadAhead, ReadOutcome, ReplaySource, Wanted};
use super::{DigestCheck, Sources};
use crate::error::RestoreError;

/// Which entries the places hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The log that they are of.
    pub identity: StoreIdentity,
    /// Index of the oldest entry.
    pub first: u64,
    /// Index of the newest entry.
    pub last: u64,
    /// The first and the last index of each gap in between.
    pub gaps: Vec<(u64, u64)>,
    /// How many segments the archives list, those that hold the same entries included. 0 for a log.
    pub segments: u64,
}

/// Entries as they are read, in their order. Dropping it ends the reading.
pub struct Entries {
    source: ReplaySource,
    reading: ReadAhead,
    /// Sources from this number on are no archives.
    archives: usize,
}

/// How reading them ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntriesRead {
    /// How many segments of archives they were taken from.
    pub segments: u64,
    /// What turned out to be corrupt and was found elsewhere, human-readable.
    pub corrupt: Vec<String>,
}

impl Sources {
    /// Which entries the places hold now. Checkpoints hold none.
    ///
    /// # Errors
    /// [`RestoreError::NotFound`] if there are none; [`RestoreError::WrongLog`] if the places are
    /// of different logs; those of the places.
    pub async fn held(&self) -> Result<Held, RestoreError> {
        self.held_after(0).await
    }

    /// The same for whoever asks only about what comes after an entry: what archives hold before it is
    /// not listed, as far as that saves requests. So the gaps there are not found, nor its segments
    /// counted. The oldest entry is right.
    ///
    /// # Errors
    /// Those of [`Sources::held`].
    pub async fn held_after(&self, after: u64) -> Result<Held, RestoreError> {
        let inventory = self.inventory_within(after, u64::MAX).await?;
        let coverage = &inventory.coverage;
        let Some((mut first, last)) = coverage.extent() else {
            let places = "checkpoints are there, and no entries".to_owned();
            return Err(RestoreError::NotFound { places });
        };
        for archive in self.archives.iter().filter(|_| after > 0) {
            match archive.first().await.map_err(RestoreError::archive)? {
                // It has no entries.
                0 => {}
                oldest => first = first.min(oldest),
            }
        }
        let gaps = coverage.gaps().iter().map(|gap| (gap.first, gap.last)).collect();
        let is_segment = |source: usize| source < self.archives.len();
        let segments = coverage.count(is_segment) as u64;
        Ok(Held { identity: inventory.identity, first, last, gaps, segments })
    }

    /// Reads the entries after `after` up to `to`, ahead of the receiver: of archives two segments
    /// of pieces, some MiB each; of a log two batches.
    ///
    /// That the bytes of a segment are those that were written is compared. **That the digests
    /// chain is for the receiver to check**: what is corrupt in a segment may show only after
    /// entries from it were given.
    ///
    /// # Errors
    /// Those of [`Sources::held`].
    pub async fn entries(self: &Arc<Self>, after: u64, to: u64) -> Result<Entries, RestoreError> {
        let coverage = self.inventory_within(after, to).await?.coverage;
        let (notes, target) = (Vec::new(), format!("entry {to}"));
        let check = DigestCheck::ByReceiver;
        let wanted = Wanted { coverage, notes, after, to, target, check };
        let done = CancellationToken::new();
        let (reading, source) = ReadAhead::start(Arc::clone(self), wanted, done);
        Ok(Entries { source, reading, archives: self.archives.len() })
    }

    /// Index of the newest entry that the places hold now; 0 if they hold none. Checkpoints hold none.
    ///
    /// # Errors
    /// Those of the places.
    pub async fn newest_entry(&self) -> Result<u64, RestoreError> {
        let mut newest = match &self.log {
            Some(log) => log.extent().await?.last,
            None => 0,
        };
        for archive in &self.archives {
            let last = archive.last().await.map_err(RestoreError::archive)?;
            newest = newest.max(last);
        }
        Ok(newest)
    }
}

impl Entries {
    /// The next entries; `None` after the last, or if there are no more: ask
    /// [`Entries::finish`] which.
    pub async fn next(&mut self) -> Option<Vec<Entry>> {
        self.source.receive().await
    }

    /// Ends the reading, and says what is wrong with the segments that an entry was taken from, each
    /// with its name; nothing for a log. They are read again.
    ///
    /// # Errors
    /// A place does not answer.
    pub async fn damage_at(
        self,
        sources: &Sources,
        index: u64,
    ) -> Result<Vec<String>, RestoreError> {
        let Self { source, reading, .. } = self;
        drop(source);
        let mut found = Vec::new();
        for span in reading.ended().await?.given {
            if (span.first..=span.last).contains(&index) {
                found.extend(sources.damage(&span).await?);
            }
        }
        Ok(found)
    }

    /// Ends the reading, and says how it went.
    ///
    /// # Errors
    /// [`RestoreError::Corrupt`] if an entry is corrupt wherever it is kept, or is not there;
    /// those of the places.
    pub async fn finish(self) -> Result<EntriesRead, RestoreError> {
        let (read, result) = self.end().await?;
        result.map(|()| read)
    }

    /// Ends the reading early: what came is enough, and whether more could be read does not matter.
    ///
    /// # Errors
    /// Reading panicked.
    pub async fn stop(self) -> Result<EntriesRead, RestoreError> {
        self.end().await.map(|(read, _)| read)
    }

    async fn end(self) -> Result<(EntriesRead, Result<(), RestoreError>), RestoreError> {
        let Self { source, reading, archives } = self;
        drop(source);
        let ReadOutcome { given, notes, result, .. } = reading.ended().await?;
        let segments = given.iter().filter(|span| span.source < archives).count() as u64;
        Ok((EntriesRead { segments, corrupt: notes }, result))
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
