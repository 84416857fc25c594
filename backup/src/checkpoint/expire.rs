//! Keeping checkpoints, and removing the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tipline_proto::{Timestamp, Trust};

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::manifest::{MANIFEST, Manifest};
use super::set::{Checkpoints, Listed, blocking};
use super::{engine, tree};
use crate::destination::DestinationError;
use crate::disk::Lock;
use crate::throttle::Throttle;

/// Folder of the names of pinned checkpoints. The name is older than the word: keep it.
const PINNED: &str = "kept";
/// Folder in it of the names of those that an archive pinned, because it starts with them.
const BY_ARCHIVE: &str = "kept/archive";
/// Content of a name in [`PINNED`] if an archive pinned it, as earlier versions did. The operator's
/// pins are empty.
const OF_ARCHIVE: &[u8] = b"archive";

/// What is kept of a set besides what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// This many of the newest, at least one.
    pub last: usize,
    /// All that were made within this time before now.
    pub within: Option<Duration>,
}

/// The three newest.
impl Default for Keep {
    fn default() -> Self {
        Self { last: 3, within: None }
    }
}

/// Who pinned a checkpoint. Each unpins it alone, and it is pinned until both have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinnedBy {
    /// The operator.
    Operator,
    /// An archive at the same place, which starts with it.
    Archive,
}

/// Whether a checkpoint stays, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointRetention {
    /// It stays until it is unpinned.
    Pinned,
    /// It stays: it is one of the newest.
    Last,
    /// It stays: nobody vouches for it, and not so many newer ones are vouched for as are kept.
    Unvouched,
    /// It stays: it is young.
    Within,
    /// It stays: no newer one is whole, byte for byte.
    LastGood,
    /// It is removed.
    Expired,
}

impl Checkpoints {
    /// The pinned checkpoints, whether they are there or not.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub async fn pinned(&self) -> Result<BTreeSet<CheckpointId>, CheckpointError> {
        let objects = self.destination().list(PINNED, None).await?;
        let id = |name: &str| name.rsplit('/').next().and_then(|name| name.parse().ok());
        Ok(objects.iter().filter_map(|object| id(&object.name)).collect())
    }

    /// Keeps a checkpoint until it is unpinned. Durable on return.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::Destination`].
    pub async fn pin(&self, id: &CheckpointId) -> Result<(), CheckpointError> {
        if !self.list().await?.iter().any(|listed| listed.id() == id) {
            return Err(self.missing(id));
        }
        let name = format!("{PINNED}/{id}");
        if self.pin_at(&name).await? == Some(PinnedBy::Archive) {
            // That one stays pinned when this one is not any more.
            self.destination().replace(&format!("{BY_ARCHIVE}/{id}"), Bytes::new()).await?;
        }
        Ok(self.destination().replace(&name, Bytes::new()).await?)
    }

    /// Ends the pin of the operator. `Ok` too if there was none. Gives who pins it still: an archive
    /// unpins what it starts with by itself, once it starts with another.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub async fn unpin(&self, id: &CheckpointId) -> Result<Option<PinnedBy>, CheckpointError> {
        let name = format!("{PINNED}/{id}");
        if self.pin_at(&name).await? == Some(PinnedBy::Operator) {
            self.destination().remove(&name).await?;
        }
        Ok(if self.is_pinned_by_archive(id).await? { Some(PinnedBy::Archive) } else { None })
    }

    /// Pins the checkpoint that an archive starts with, whoever else pins it. Durable on return. Gives
    /// whether an archive had not pinned it.
    pub(crate) async fn pin_for_archive(&self, id: &CheckpointId) -> Result<bool, CheckpointError> {
        if self.is_pinned_by_archive(id).await? {
            return Ok(false);
        }
        self.destination().replace(&format!("{BY_ARCHIVE}/{id}"), Bytes::new()).await?;
        Ok(true)
    }

    /// Unpins what archives pinned before this one. What another expiry pinned meanwhile is newer.
    pub(crate) async fn unpin_for_archive_before(
        &self,
        start: &CheckpointId,
    ) -> Result<(), CheckpointError> {
        for id in self.pinned().await?.iter().filter(|id| *id < start) {
            self.unpin_for_archive(id).await?;
        }
        Ok(())
    }

    /// Ends the pin of an archive, and nobody else's.
    pub(crate) async fn unpin_for_archive(&self, id: &CheckpointId) -> Result<(), CheckpointError> {
        let name = format!("{PINNED}/{id}");
        if self.pin_at(&name).await? == Some(PinnedBy::Archive) {
            self.destination().remove(&name).await?;
        }
        Ok(self.destination().remove(&format!("{BY_ARCHIVE}/{id}")).await?)
    }

    async fn is_pinned_by_archive(&self, id: &CheckpointId) -> Result<bool, CheckpointError> {
        let own = self.pin_at(&format!("{BY_ARCHIVE}/{id}")).await?;
        let earlier = self.pin_at(&format!("{PINNED}/{id}")).await?;
        Ok(own.is_some() || earlier == Some(PinnedBy::Archive))
    }

    /// Whose pin it is that has this name, as its content says.
    async fn pin_at(&self, name: &str) -> Result<Option<PinnedBy>, CheckpointError> {
        match self.destination().read_at_most(name, OF_ARCHIVE.len() as u64).await {
            Ok(content) if content == OF_ARCHIVE => Ok(Some(PinnedBy::Archive)),
            Ok(_) | Err(DestinationError::TooLong { .. }) => Ok(Some(PinnedBy::Operator)),
            Err(DestinationError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What [`Checkpoints::expire`] would do now, for each checkpoint, the newest first. Nothing
    /// is removed, and no file read but for manifests.
    ///
    /// A checkpoint whose manifest is damaged counts neither as one of the newest nor as young. It
    /// goes when there is a newer one. With [`Checkpoints::requiring`], one that nobody vouches for does
    /// not count as one of the newest either: it takes the place of none that somebody vouches for.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub async fn plan_expiry(
        &self,
        keep: &Keep,
        now: Timestamp,
    ) -> Result<Vec<(Listed, CheckpointRetention)>, CheckpointError> {
        // All as they are: what nobody vouches for is not damaged.
        let all = self.clone().requiring(Trust::default());
        let (listed, pinned) = (all.list().await?, self.pinned().await?);
        let (mut whole, mut planned) = (0, Vec::with_capacity(listed.len()));
        for listed in listed {
            let is_vouched = match &listed {
                Listed::Whole(manifest) => self.is_vouched(manifest).await?,
                Listed::Corrupt { .. } => false,
            };
            let retention = match &listed {
                listed if pinned.contains(listed.id()) => CheckpointRetention::Pinned,
                Listed::Whole(_) if whole < keep.last.max(1) => match is_vouched {
                    true => CheckpointRetention::Last,
                    false => CheckpointRetention::Unvouched,
                },
                Listed::Whole(manifest)
                    if keep.within.is_some_and(|within| now.since(manifest.created) <= within) =>
                {
                    CheckpointRetention::Within
                }
                Listed::Corrupt { .. } if whole == 0 => CheckpointRetention::LastGood,
                _ => CheckpointRetention::Expired,
            };
            whole += usize::from(is_vouched);
            planned.push((listed, retention));
        }
        Ok(planned)
    }

    /// Whether a trusted consumer vouches for it, if one must.
    async fn is_vouched(&self, manifest: &Manifest) -> Result<bool, CheckpointError> {
        if !self.trust().requires_checkpoints() {
            return Ok(true);
        }
        match self.check_signature(manifest, self.trust()).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_about_it() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what is not kept; gives what became of each, the newest first. Of those that stay,
    /// one is whole, byte for byte, and vouched for: `good` if it is said to be, or the first that is
    /// found to be by reading; if none is, the newest of the others that is stays too.
    ///
    /// One that is removed is no longer listed from the first instant on.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if one is being made; [`CheckpointError::Cancelled`] if `throttle`
    /// ends the reading: nothing was removed.
    pub async fn expire(
        &self,
        keep: &Keep,
        now: Timestamp,
        good: Option<&CheckpointId>,
        throttle: &Throttle,
    ) -> Result<Vec<(Listed, CheckpointRetention)>, CheckpointError> {
        // Elsewhere none are made; they are uploaded once they are whole.
        let local = self.destination().directory();
        let lock = if local.is_some() { Some(self.lock().await?) } else { None };
        let mut planned = self.plan_expiry(keep, now).await?;
        if !planned.iter().any(|(_, retention)| *retention == CheckpointRetention::Expired) {
            return Ok(planned);
        }
        self.spare_the_last_good(&mut planned, good, throttle).await?;
        for (listed, retention) in &mut planned {
            if *retention != CheckpointRetention::Expired {
                continue;
            }
            // Reading may have taken long: it may be pinned by now.
            if self.pinned().await?.contains(listed.id()) {
                *retention = CheckpointRetention::Pinned;
                continue;
            }
            self.remove(listed.id(), lock.clone()).await?;
        }
        if let Some(directory) = local {
            blocking(move || {
                let _lock = lock;
                engine::collect(&directory)
            })
            .await?;
        }
        Ok(planned)
    }

    async fn spare_the_last_good(
        &self,
        planned: &mut [(Listed, CheckpointRetention)],
        good: Option<&CheckpointId>,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        // Those that stay first, then the others, each the newest first.
        let order = |expired: bool| {
            let is = move |retention: CheckpointRetention| {
                (retention == CheckpointRetention::Expired) == expired
            };
            planned
                .iter()
                .enumerate()
                .filter(move |(_, (_, retention))| is(*retention))
                .map(|(at, _)| at)
        };
        let order: Vec<usize> = order(false).chain(order(true)).collect();
        let mut has_spared = false;
        for at in order {
            let (Listed::Whole(manifest), retention) = &mut planned[at] else { continue };
            // It is better than none, and whoever made it may make any number.
            let is_vouched = self.is_vouched(manifest).await?;
            if !is_vouched && (has_spared || *retention != CheckpointRetention::Expired) {
                continue;
            }
            let is_good = match good {
                Some(good) if *good == manifest.id => true,
                _ => match self.verify(manifest, throttle).await {
                    Ok(()) => true,
                    Err(CheckpointError::Corrupt { id, what, .. }) => {
                        tracing::error!(checkpoint = %id, place = self.place(), what, "a checkpoint is damaged");
                        false
                    }
                    Err(error) => return Err(error),
                },
            };
            if is_good {
                if *retention == CheckpointRetention::Expired {
                    *retention = CheckpointRetention::LastGood;
                }
                if is_vouched {
                    return Ok(());
                }
                has_spared = true;
            }
        }
        Ok(())
    }

    /// The manifest first: without it the rest is nothing.
    async fn remove(
        &self,
        id: &CheckpointId,
        lock: Option<Arc<Lock>>,
    ) -> Result<(), CheckpointError> {
        if let Some(directory) = self.destination().directory() {
            let id = id.clone();
            let removed = blocking(move || {
                let _lock = lock;
                tree::remove(&directory, &id)
            });
            return removed.await;
        }
        self.destination().remove(&format!("{id}/{MANIFEST}")).await?;
        for object in self.destination().list(id.as_str(), None).await? {
            match self.destination().remove(&object.name).await {
                Ok(()) | Err(DestinationError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
