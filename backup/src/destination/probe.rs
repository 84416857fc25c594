//! Whether a destination does what is relied on, found out by trying.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use super::blocking::blocking;
use super::{Destination, DestinationError};

/// The folder of what is written to try it.
const FOLDER: &str = "probe";

/// What a destination turned out to do. It creates, refuses to create twice, reads and lists; that
/// much is needed, and without it there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationProbe {
    /// Where it is, human-readable.
    pub place: String,
    /// Whether it lets objects be removed. Merging, expiring and what an upload leaves need that;
    /// nothing else does.
    pub removes: bool,
    /// Whether it takes only writes with a checksum of their content, as buckets with Object Lock
    /// do. They are sent with one, then.
    pub needs_checksums: bool,
}

impl Destination {
    /// Tries what is relied on, with objects of its own in the folder `probe`: four conditional
    /// writes of which two must fail, one after the other and two at once; reading and listing what
    /// was written at once; removing it. Where removing is refused, two objects of a few bytes
    /// stay.
    ///
    /// # Errors
    /// [`DestinationError::Unsupported`] says what it does not do; those of every call.
    pub async fn probe(&self) -> Result<DestinationProbe, DestinationError> {
        // Random without being asked for: nobody else has these names.
        let id = RandomState::new().hash_one(std::process::id());
        let (first, second) = (format!("{FOLDER}/{id:016x}-1"), format!("{FOLDER}/{id:016x}-2"));
        let probed = self.try_all(&first, &second).await;
        let removed = self.remove_both(&first, &second).await;
        probed?;
        let place = self.place().to_owned();
        Ok(DestinationProbe { place, removes: removed?, needs_checksums: self.has_checksums() })
    }

    /// The same before a destination is first used. A directory needs no trial: this program writes
    /// it itself, and what its file system cannot do shows with the first object.
    ///
    /// # Errors
    /// Those of [`Destination::probe`].
    pub(crate) async fn probe_once(&self) -> Result<(), DestinationError> {
        if self.directory().is_none() {
            self.probe().await?;
        }
        Ok(())
    }

    async fn try_all(&self, first: &str, second: &str) -> Result<(), DestinationError> {
        const ONE: Bytes = Bytes::from_static(b"one");
        const OTHER: Bytes = Bytes::from_static(b"other");
        self.create(first, ONE).await?;
        if self.is_created(first, OTHER).await? {
            return Err(self.ignores_conditions(first));
        }
        let (one, other) =
            tokio::join!(self.is_created(second, ONE), self.is_created(second, OTHER));
        let won = match (one?, other?) {
            (true, false) => ONE,
            (false, true) => OTHER,
            (true, true) => return Err(self.ignores_conditions(second)),
            (false, false) => return Err(self.refuses_both(second)),
        };
        for (name, expected) in [(first, ONE), (second, won)] {
            if self.read(name).await? != expected {
                let why = "it gives back other bytes than were written";
                return Err(self.doing(format!("reading {name}")).unsupported(why, None));
            }
        }
        let listed = self.list(FOLDER, None).await?;
        match [first, second].iter().find(|name| !listed.iter().any(|found| found.name == **name)) {
            None => Ok(()),
            Some(name) => {
                let why = format!("it does not list {name}, which was written before");
                Err(self.doing(format!("listing {FOLDER}")).unsupported(&why, None))
            }
        }
    }

    async fn is_created(&self, name: &str, bytes: Bytes) -> Result<bool, DestinationError> {
        match self.create(name, bytes).await {
            Ok(()) => Ok(true),
            Err(DestinationError::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it removes what was written.
    async fn remove_both(&self, first: &str, second: &str) -> Result<bool, DestinationError> {
        for name in [first, second] {
            match self.remove(name).await {
                Ok(()) => {}
                Err(DestinationError::Denied { .. } | DestinationError::Unsupported { .. }) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        let listed = self.list(FOLDER, None).await?;
        if let Some(directory) = self.directory() {
            // Others may be trying it, too: then it stays for them.
            _ = blocking(move || std::fs::remove_dir(directory.join(FOLDER))).await;
        }
        Ok(!listed.iter().any(|found| found.name == first || found.name == second))
    }

    /// It gave a name to neither of two, which loses nothing.
    fn refuses_both(&self, name: &str) -> DestinationError {
        let (place, what) = (self.place().to_owned(), format!("writing {name} twice at once"));
        let source = Some(Box::from("both were refused"));
        DestinationError::Unavailable { place, what, source }
    }

    /// It gave the same name to two.
    pub(crate) fn ignores_conditions(&self, name: &str) -> DestinationError {
        let why = "a name that was taken was given again: it ignores conditional writes \
                   (If-None-Match: *), so that writers would replace what others wrote";
        self.doing(format!("writing {name}")).unsupported(why, None)
    }
}
