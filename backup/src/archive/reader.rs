//! The chain as an archive holds it.

use tipline_proto::{Cursor, Event, Hash};
use tipline_store::{ChainView, StoreError, StoredBlock, StoredLinks};
use tokio::runtime::Handle;

use super::error::store_error;
use super::head::LocatedBlock;
use super::listing::{REACH, holding};
use super::state::{Opened, Shared, lock};

/// Reads from an archive while it is written to. What it does not remember it looks up at the
/// destination.
#[derive(Debug)]
pub(super) struct ArchiveView {
    place: String,
    runtime: Handle,
    state: Shared,
}

impl ArchiveView {
    pub(super) fn new(place: String, runtime: Handle, state: Shared) -> Self {
        Self { place, runtime, state }
    }

    fn get<T>(&self, what: impl FnOnce(&Opened) -> T) -> Option<T> {
        lock(&self.state).opened.as_ref().map(what)
    }

    fn find(&self, height: u64) -> Result<Option<LocatedBlock>, StoreError> {
        let known = self.get(|opened| match &opened.standing {
            standing if !standing.has_height(height) => Some(None),
            standing => standing.remembered(height).map(Some),
        });
        match known {
            None => return Ok(None),
            Some(Some(found)) => return Ok(found),
            Some(None) => {}
        }
        // Without the lock: applying must not wait for a search.
        let Some(Opened { archive, mut standing }) = self.get(Opened::clone) else {
            return Ok(None);
        };
        let found = self.runtime.block_on(archive.find_block(&mut standing, height));
        let found = found.map_err(|error| store_error(self.place.clone(), error))?;
        if let Some(opened) = lock(&self.state).opened.as_mut()
            && opened.standing.cursor == standing.cursor
        {
            opened.standing = standing;
        }
        Ok(found)
    }
}

impl ChainView for ArchiveView {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        Ok(self.get(|opened| opened.standing.cursor.clone()))
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        Ok(self.get(|opened| opened.standing.links.clone()).unwrap_or_default())
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.find(height)?.map(|found| found.hash))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let Some(found) = self.find(height)? else { return Ok(None) };
        let Some(archive) = self.get(|opened| opened.archive.clone()) else { return Ok(None) };
        let entries = self.runtime.block_on(async {
            let names = archive.around(found.index, REACH).await?;
            match holding(&names, found.index) {
                Some(name) => Ok(archive.entries(name).await?.1),
                None => Ok(Vec::new()),
            }
        });
        let entries = entries.map_err(|error| store_error(self.place.clone(), error))?;
        let entry = entries.into_iter().find(|entry| entry.index == found.index);
        let missing = || StoreError::Corrupt {
            place: self.place.clone(),
            at: format!("entry {}: no segment holds block {height}", found.index),
            source: None,
        };
        let entry = entry.ok_or_else(missing)?;
        match entry.event {
            Event::BlockCommitted { height, hash, parent_hash, payload } => Ok(Some(StoredBlock {
                height,
                hash,
                parent_hash,
                index: entry.index,
                epoch: entry.epoch,
                time: entry.time,
                payload,
            })),
            _ => Err(missing()),
        }
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let Some(Opened { archive, standing }) = self.get(Opened::clone) else { return Ok(None) };
        let Some(highest) = standing.tip().map(|tip| tip.height) else { return Ok(None) };
        let lowest = match (standing.first, standing.links.base) {
            (0 | 1, base) => Some(base.map_or(0, |base| base.height.saturating_add(1))),
            // What was before has expired.
            _ => self
                .runtime
                .block_on(archive.first_height())
                .map_err(|error| store_error(self.place.clone(), error))?,
        };
        Ok(lowest.filter(|lowest| *lowest <= highest).map(|lowest| (lowest, highest)))
    }
}
