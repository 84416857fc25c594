//! The archive as the sink of a consumer: each batch becomes a segment.

use std::sync::{Arc, Mutex};

use tipline_proto::{Event, LogIdentity};
use tipline_store::{Batch, ChainView, Sink, StoreError, StoreIdentity, StoredLinks};
use tokio::runtime::Handle;

use super::error::store_error;
use super::head::ArchiveHead;
use super::index::Row;
use super::reader::ArchiveView;
use super::state::{Opened, Shared, State, lock};
use super::{Archive, ArchiveError, SegmentIndex};
use crate::destination::{Destination, DestinationError};
use crate::keys::Keys;

/// An archive as a [`Sink`]: what a consumer applies becomes segments.
///
/// Its cursor is what the destination holds, asked when the consumer starts, never a file beside
/// it. A batch is applied when its segment was written, read back, and is what it should be. While
/// the destination is away, or refuses the credentials, calls fail with
/// [`StoreError::Unavailable`] and may be repeated.
///
/// Its view answers what verification asks, which is positions and blocks by height; for
/// anything else, restore it into a store.
#[derive(Debug)]
pub struct ArchiveStore {
    destination: Destination,
    keys: Keys,
    runtime: Handle,
    state: Shared,
}

impl ArchiveStore {
    /// The archive at a destination. Contacts nothing yet.
    ///
    /// `known` is the newest entry that this archive is known to have held, by its receipts: if
    /// it is not 0, an archive must be there. A directory that is empty because nothing is mounted
    /// on it then does not become a new one.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, on which the destination is reached. Other calls must not be
    /// made from a task of it: they block.
    pub fn new(destination: Destination, keys: Keys, known: u64) -> Self {
        let state = State { opened: None, known, read_to: Some(0), prepared: known > 0 };
        Self { destination, keys, runtime: Handle::current(), state: Arc::new(Mutex::new(state)) }
    }

    /// Everything up to this entry was read back at this very destination, by the receipts of
    /// archives that are kept there. What comes after it is read as a whole before it counts, and
    /// the newest segment in any case; all of it, if this is not said.
    pub fn read_back_to(self, index: u64) -> Self {
        lock(&self.state).read_to = Some(index);
        self
    }

    /// It is only read, and nobody is told that anything is safe there: what it says of itself is
    /// enough.
    pub fn only_read(self) -> Self {
        lock(&self.state).read_to = None;
        self
    }

    /// Opens what is there, and asks how far it is.
    async fn look(&self) -> Result<Option<Opened>, ArchiveError> {
        if !lock(&self.state).prepared {
            self.destination.prepare().await?;
            lock(&self.state).prepared = true;
        }
        let archive = match Archive::open(self.destination.clone(), self.keys.clone()).await {
            Err(ArchiveError::NotFound { place }) if lock(&self.state).opened.is_some() => {
                let what = "archive.json is not there any more: is it mounted?".to_owned();
                return Err(DestinationError::Unavailable { place, what, source: None }.into());
            }
            Err(ArchiveError::NotFound { .. }) => return Ok(None),
            archive => archive?,
        };
        let is_first_of_a_writer = {
            let state = lock(&self.state);
            state.opened.is_none() && state.read_to.is_some()
        };
        if is_first_of_a_writer {
            archive.check_conditions().await?;
        }
        let standing = match self.standing(&archive).await {
            // What was listed a moment ago may have been merged, or the whole place is away.
            Err(ArchiveError::Destination(DestinationError::NotFound { .. })) => {
                archive.present().await?;
                self.standing(&archive).await?
            }
            standing => standing?,
        };
        Ok(Some(Opened { archive, standing }))
    }

    /// Where it is, once all of it was read back.
    async fn standing(&self, archive: &Archive) -> Result<ArchiveHead, ArchiveError> {
        loop {
            let (read_to, is_first, near) = {
                let state = lock(&self.state);
                (state.read_to, state.opened.is_none(), state.known.max(state.read_to.unwrap_or(0)))
            };
            let standing = archive.head(near).await?;
            let Some(read_to) = read_to else { return Ok(standing) };
            let end = standing.cursor.position.index;
            if end <= read_to && !is_first {
                return Ok(standing);
            }
            // What was moved aside does not count; what another archiver added meanwhile does not
            // count yet.
            if archive.read_unread(read_to).await? == end {
                lock(&self.state).read_to = Some(read_to.max(end));
                return Ok(standing);
            }
        }
    }

    fn keep(&self, opened: Opened) {
        let mut state = lock(&self.state);
        // It was there: from now on it must not be created again.
        state.known = state.known.max(opened.standing.cursor.position.index).max(1);
        state.opened = Some(opened);
    }

    /// Asks something of where the archive is.
    fn get<T>(&self, what: impl FnOnce(&Opened) -> T) -> Result<T, StoreError> {
        lock(&self.state).opened.as_ref().map(what).ok_or_else(|| StoreError::Failed {
            place: self.place(),
            what: "it was not opened for a log before it was used".to_owned(),
            source: None,
        })
    }

    fn failed(&self, error: ArchiveError) -> StoreError {
        store_error(self.place(), error)
    }
}

impl Sink for ArchiveStore {
    fn place(&self) -> String {
        format!("archive:{}", self.destination.place())
    }

    /// Asks the destination anew where the archive is.
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        let found = self.runtime.block_on(self.look()).map_err(|error| self.failed(error))?;
        let Some(opened) = found else { return Ok(None) };
        let identity = opened.archive.identity().into();
        self.keep(opened);
        Ok(Some(identity))
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        let place = self.place();
        if let Ok(found) = self.get(|opened| StoreIdentity::from(opened.archive.identity())) {
            let expected = StoreIdentity::from(log);
            if found == expected {
                return Ok(());
            }
            let (found, expected) = (Box::new(found), Box::new(expected));
            return Err(StoreError::WrongLog { place, found, expected });
        }
        let known = lock(&self.state).known;
        if known > 0 {
            let why = format!(
                "its receipts say that it held everything up to entry {known}, but no archive is \
                 there: mount it, or correct the address; to start a new one there, say --new"
            );
            return Err(StoreError::Unusable { place, why, source: None });
        }
        let opened = self.runtime.block_on(async {
            let (destination, keys) = (self.destination.clone(), self.keys.clone());
            let archive = Archive::create(destination, log, keys).await?;
            let standing = self.standing(&archive).await?;
            Ok(Opened { archive, standing })
        });
        self.keep(opened.map_err(|error| self.failed(error))?);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let place = self.place();
        let (archive, index) = self.get(|Opened { archive, standing }| {
            batch.check_follows(Some(&standing.cursor), &place)?;
            Ok::<_, StoreError>((archive.clone(), index_of(archive, standing, batch)))
        })??;
        let written = self.runtime.block_on(async {
            // A directory that is no longer mounted must not be written into; and if it went
            // away meanwhile, the segment is somewhere else.
            archive.present().await?;
            let name = archive.write(&index, &batch.entries).await?;
            archive.present().await?;
            Ok(name)
        });
        let name = written.map_err(|error| self.failed(error))?;
        let mut state = lock(&self.state);
        if let Some(opened) = state.opened.as_mut() {
            opened.standing.advance(&index, name);
        }
        state.read_to = state.read_to.map(|read_to| read_to.max(index.last()));
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let (archive, cursor, newest) = self.get(|Opened { archive, standing }| {
            (archive.clone(), standing.cursor.position, standing.newest.clone())
        })?;
        let there = self.runtime.block_on(async {
            archive.present().await?;
            let Some(newest) = newest else { return Ok(()) };
            match archive.outline(&newest).await {
                Err(missing @ ArchiveError::Destination(DestinationError::NotFound { .. })) => {
                    // Another archiver may have merged and removed it.
                    let there = archive.head(cursor.index).await?.cursor.position.index;
                    if there < cursor.index { Err(missing) } else { Ok(()) }
                }
                looked => looked.map(drop),
            }
        });
        there.map_err(|error| self.failed(error))
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        let (runtime, opened) = (self.runtime.clone(), Arc::clone(&self.state));
        Ok(Box::new(ArchiveView::new(self.place(), runtime, opened)))
    }
}

fn index_of(archive: &Archive, standing: &ArchiveHead, batch: &Batch) -> SegmentIndex {
    SegmentIndex {
        log: archive.identity().into(),
        before: standing.cursor.position,
        after: batch.cursor.clone(),
        links: links_after(standing, batch),
        latest_before: standing.latest,
        rows: batch.entries.iter().map(Row::from).collect(),
    }
}

/// The links after a verified batch.
fn links_after(standing: &ArchiveHead, batch: &Batch) -> StoredLinks {
    let mut proven_above = standing.links.proven_above.clone();
    for entry in &batch.entries {
        match &entry.event {
            Event::BlockProven { height, .. } => {
                proven_above.insert(*height);
            }
            Event::RolledBack { to_height, .. } => {
                proven_above.remove_above(*to_height);
            }
            _ => {}
        }
    }
    if let Some(proven) = batch.cursor.proof_tip {
        proven_above.remove_up_to(proven);
    }
    StoredLinks { base: batch.base.clone(), proven_above }
}
