//! What of an archive is older than what is to be kept.

use std::time::Duration;

use tipline_log::Ages;
use tipline_proto::Timestamp;

use super::index::Row;
use super::{Archive, ArchiveError, SegmentName};

impl Archive {
    /// The moment that ages of its entries are counted from. `path` are the segments that hold all
    /// of them, `now` is what the clock of this machine shows.
    pub(super) async fn ages(
        &self,
        path: &[&SegmentName],
        now: Timestamp,
    ) -> Result<Ages, ArchiveError> {
        let Some(newest) = path.last() else { return Ok(Ages::new(now, Timestamp::default())) };
        let time = match self.rows(newest).await?.as_deref() {
            Some([.., row]) => row.time,
            // An entry before it may be the latest.
            _ => self.outline(newest).await?.latest,
        };
        Ok(Ages::new(now, time))
    }

    /// Index up to which everything was committed before the time that is kept; 0 if nothing was.
    ///
    /// An entry whose time is ahead of the moment that ages are counted from was committed before
    /// the next one that is not, so it is as old as that; where there is none, it is not old. So one
    /// wrong time does not keep everything after it.
    pub(super) async fn old_to(
        &self,
        path: &[&SegmentName],
        keep_for: Duration,
        ages: &Ages,
    ) -> Result<u64, ArchiveError> {
        if keep_for.is_zero() {
            return Ok(path.last().map_or(0, |name| name.last));
        }
        let since = ages.since(keep_for);
        // The latest commit time never falls from one segment to the next.
        let sound = self.count(path, |latest| latest <= ages.from).await?;
        let old = self.count(&path[..sound], |latest| latest < since).await?;
        let mut old_to = old.checked_sub(1).and_then(|at| path.get(at)).map_or(0, |name| name.last);
        if old < sound {
            return Ok(old_to);
        }
        // From here on the latest time says nothing.
        for name in &path[sound..] {
            let Some(rows) = self.rows(name).await? else { break };
            for row in rows.iter().filter(|row| row.time <= ages.from) {
                if row.time >= since {
                    return Ok(old_to);
                }
                old_to = old_to.max(row.index);
            }
        }
        Ok(old_to)
    }

    /// How many segments from the first on have a latest commit time of which this is true.
    async fn count(
        &self,
        path: &[&SegmentName],
        is_so: impl Fn(Timestamp) -> bool,
    ) -> Result<usize, ArchiveError> {
        let (mut low, mut high) = (0, path.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let is_so = match path.get(middle) {
                Some(name) => is_so(self.outline(name).await?.latest),
                None => false,
            };
            if is_so { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// What a segment says about its entries; `None` if it is encrypted and no key opens it.
    async fn rows(&self, name: &SegmentName) -> Result<Option<Vec<Row>>, ArchiveError> {
        match self.index(name).await {
            Ok(index) => Ok(Some(index.rows)),
            Err(ArchiveError::NeedsKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
