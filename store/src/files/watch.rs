//! Whether the payloads are still there, without reading them.

use std::time::{Duration, Instant};

use super::read::FileReader;
use crate::error::StoreError;
use crate::reader::ChainView;

/// The files of so many heights are looked at each time, in turn.
const MOST: u64 = 1000;
/// A store that applies one batch after the other looks this often.
const EVERY: Duration = Duration::from_secs(5);

/// Goes through the files of a store again and again, a part of them each time: there may be
/// millions.
#[derive(Debug)]
pub(super) struct PayloadWatch {
    /// The height to look at next.
    next: u64,
    looked: Instant,
}

impl PayloadWatch {
    /// Looks at the first part.
    ///
    /// # Errors
    /// Those of [`PayloadWatch::look`].
    pub(super) fn start(reader: &FileReader) -> Result<Self, StoreError> {
        let mut watch = Self { next: 0, looked: Instant::now() };
        watch.look(reader)?;
        Ok(watch)
    }

    pub(super) fn is_due(&self) -> bool {
        self.looked.elapsed() >= EVERY
    }

    /// Looks at the next part, and at the newest height in any case.
    ///
    /// # Errors
    /// Those of [`FileReader::check_files`].
    pub(super) fn look(&mut self, reader: &FileReader) -> Result<(), StoreError> {
        self.looked = Instant::now();
        let Some((lowest, highest)) = reader.heights()? else { return Ok(()) };
        let from = if (lowest..=highest).contains(&self.next) { self.next } else { lowest };
        let to = highest.min(from.saturating_add(MOST - 1));
        reader.check_files(from..=to)?;
        reader.check_files(highest..=highest)?;
        // After the highest it begins again.
        self.next = to.saturating_add(1);
        Ok(())
    }
}
