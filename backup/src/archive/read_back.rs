//! Reading segments back as a whole, before anybody says that they are safe.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tipline_log::error_chain;

use super::format;
use super::index::Outline;
use super::name::FOLDER;
use super::segment::SegmentError;
use super::{Archive, ArchiveError, SegmentName, coverage};

/// The folder of what was not as written.
pub(super) const DAMAGED: &str = "damaged";
/// How many segments are read at once, each of up to 128 MiB.
const AT_ONCE: usize = 4;

impl Archive {
    /// Compares what is there with what should be. Another writer's bytes may differ, because
    /// encryption is random; what they say may not. What is damaged is moved aside.
    pub(super) async fn read_back(
        &self,
        name: SegmentName,
        written: Option<Bytes>,
        said: &Outline,
    ) -> Result<SegmentName, ArchiveError> {
        let found = self.whole(&name.to_string()).await?;
        let name = SegmentName { bytes: found.len() as u64, ..name };
        let corrupt = |what: &str| self.bad(&name, SegmentError::Corrupt(what.to_owned()));
        let is_ours = written.is_some();
        if written.is_some_and(|written| blake3::hash(&written) != blake3::hash(&found)) {
            let found = corrupt("what was read back is not what was written");
            return Err(self.set_aside(&name, found).await);
        }
        // Also what is as it was written: a restore must be able to read it.
        match self.check_whole(&name, found).await {
            Ok(outline) if outline == *said => Ok(name),
            Ok(_) if is_ours => Err(corrupt("it does not say what it was to say")),
            Ok(_) => Err(corrupt("another one has this name already, of other entries")),
            Err(found @ ArchiveError::Corrupt { .. }) => Err(self.set_aside(&name, found).await),
            Err(error) => Err(error),
        }
    }

    /// Whether these are the bytes of a segment of this name. Without a key its checksums are
    /// compared, and what is not encrypted.
    async fn check_whole(&self, name: &SegmentName, bytes: Bytes) -> Result<Outline, ArchiveError> {
        let keys = Arc::clone(&self.keys);
        let outline = self.compute(move || match format::decode(&bytes, &keys) {
            Ok((index, _)) => Ok(index.outline()),
            Err(SegmentError::NeedsKey) => format::check(&bytes),
            Err(bad) => Err(bad),
        });
        let outline = outline.await?.map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &outline)?;
        Ok(outline)
    }

    /// Reads as a whole the newest segment, and all that hold something after `read_to`: whoever
    /// wrote them may have been killed before it read them back. If the newest is not as it was
    /// written, and holds nothing up to `read_to`, it is moved aside, and the next one is the
    /// newest: its entries are in the log. Gives the index of the last entry that was read.
    pub(super) async fn read_unread(&self, read_to: u64) -> Result<u64, ArchiveError> {
        loop {
            let names = self.since(read_to).await?;
            let path = coverage::path(&names).map_err(|error| self.path_error(error))?;
            let Some(newest) = path.last() else { return Ok(0) };
            let is_unread = |name: &&&SegmentName| **name == *newest || name.last > read_to;
            let unread: Vec<SegmentName> =
                path.iter().rev().take_while(is_unread).map(|name| (*name).clone()).collect();
            if unread.len() > 1 {
                let (segments, place) = (unread.len(), self.place());
                tracing::info!(segments, place, "reading back what no receipt vouches for");
            }
            let read = |name: SegmentName| async move {
                let read = async {
                    let bytes = self.whole(&name.to_string()).await?;
                    self.check_whole(&name, bytes).await
                };
                (read.await, name)
            };
            let mut reads = stream::iter(unread).map(read).buffered(AT_ONCE);
            let mut bad = None;
            while let Some((read, name)) = reads.next().await {
                if let Err(error) = read {
                    bad = Some((error, name));
                    break;
                }
            }
            drop(reads);
            match bad {
                None => return Ok(newest.last),
                // What somebody vouched for may be nowhere else: it stays, for whoever repairs it.
                Some((error @ ArchiveError::Corrupt { .. }, name))
                    if name == **newest && name.first > read_to =>
                {
                    let error = self.set_aside(&name, error).await;
                    tracing::warn!(error = error_chain(&error), "it is written again");
                    if self.newest(name.last).await?.names.contains(&name) {
                        return Err(error);
                    }
                }
                Some((error, _)) => return Err(error),
            }
        }
    }

    /// Moves a segment that is damaged to where nothing looks for segments, and adds to its error
    /// where it is now.
    async fn set_aside(&self, name: &SegmentName, error: ArchiveError) -> ArchiveError {
        let ArchiveError::Corrupt { place, object, what } = error else { return error };
        let aside = object.replacen(FOLDER, DAMAGED, 1);
        let what = match self.destination.rename(&name.to_string(), &aside).await {
            Ok(()) => format!("{what}; it is {aside} now, and its entries are to be written again"),
            Err(error) => {
                let why = error_chain(&error);
                format!(
                    "{what}; move it out of {FOLDER}/, so that its entries are written again: \
                     moving it to {aside} failed: {why}"
                )
            }
        };
        ArchiveError::Corrupt { place, object, what }
    }
}
