//! Writing objects as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::{Destination, DestinationError, InPieces};
use crate::disk::Existing;

/// How often a name is tried again that was taken for a moment, and after which pause, which
/// doubles.
const CONFLICTS: u32 = 4;
const AFTER_CONFLICT: Duration = Duration::from_millis(100);

/// What became of an attempt to take a name.
enum Created {
    Done,
    /// Somebody else was about to take it, and has not.
    Conflict,
}

impl Destination {
    /// Writes an object under a name that is not taken. Durable on return: a directory is
    /// fsynced, object storage has acknowledged it. It is there as a whole or not at all.
    ///
    /// # Errors
    /// [`DestinationError::Exists`] if the name is taken: nothing changed, unless an earlier attempt
    /// of this very call wrote it and its answer was lost.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Result<(), DestinationError> {
        let mut pause = AFTER_CONFLICT;
        for _ in 1..CONFLICTS {
            match self.create_once(name, bytes.clone()).await? {
                Created::Done => return Ok(()),
                Created::Conflict => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        match self.create_once(name, bytes).await? {
            Created::Done => Ok(()),
            Created::Conflict => {
                let (place, what) = (self.place.clone(), format!("writing {name}"));
                let source = Some(Box::from("its name was taken, and is free again"));
                Err(DestinationError::Unavailable { place, what, source })
            }
        }
    }

    async fn create_once(&self, name: &str, bytes: Bytes) -> Result<Created, DestinationError> {
        let taken = match self.put(name, bytes, Existing::Keep).await {
            Err(taken @ DestinationError::Exists { .. }) => taken,
            put => return put.map(|()| Created::Done),
        };
        if self.directory.is_some() {
            return Err(taken);
        }
        // A server gives the same answer while another attempt to take the name is under way, which
        // may come to nothing.
        let path = self.path(name);
        match self.within(format!("writing {name}"), 0, self.store.head(&path)).await {
            Ok(_) => Err(taken),
            Err(DestinationError::NotFound { .. }) => Ok(Created::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, and replaces one of the same name. As durable and as whole as by
    /// [`Destination::create`].
    ///
    /// # Errors
    /// Those of every call.
    pub async fn replace(&self, name: &str, bytes: Bytes) -> Result<(), DestinationError> {
        self.put(name, bytes, Existing::Replace).await
    }

    pub(super) async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        self.check_there().await?;
        if let Some(path) = self.file(name) {
            return self.write_file(name, path?, bytes, existing).await;
        }
        let had_checksums = self.has_checksums();
        match self.put_object(name, bytes.clone(), existing).await {
            // Now it is known that they are needed.
            Err(_) if self.has_checksums() && !had_checksums => {
                self.put_object(name, bytes, existing).await
            }
            put => put,
        }
    }

    async fn put_object(
        &self,
        name: &str,
        bytes: Bytes,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        let mode = match existing {
            Existing::Keep => PutMode::Create,
            Existing::Replace => PutMode::Overwrite,
        };
        let (path, length) = (self.path(name), bytes.len() as u64);
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.for_writing().put_opts(&path, bytes.into(), options);
        self.within(format!("writing {name}"), length, put).await.map(drop)
    }

    /// The client to write with.
    pub(super) fn for_writing(&self) -> &Arc<dyn ObjectStore> {
        match &self.with_checksums {
            Some(with) if self.has_checksums() => &with.store,
            _ => &self.store,
        }
    }

    /// The client to send pieces with.
    pub(super) fn in_pieces(&self) -> Option<&dyn InPieces> {
        match &self.with_checksums {
            Some(with) if self.has_checksums() => Some(&*with.in_pieces),
            _ => self.in_pieces.as_deref(),
        }
    }

    pub(super) fn has_checksums(&self) -> bool {
        self.needs_checksums.load(Ordering::Relaxed)
    }
}
