//! What goes wrong at a destination, by what the caller must do.

use std::error::Error;
use std::io;

/// Why a destination did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The address cannot be used. Correct it.
    #[error("{address:?} is no destination: {why}")]
    BadAddress {
        /// As given.
        address: String,
        /// What is wrong, and what to write.
        why: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// There is no object of this name.
    #[error("{place} has no {name}")]
    NotFound {
        /// Which destination.
        place: String,
        /// The name, or what was being done with it.
        name: String,
    },
    /// The object ends before what was to be read of it: it is not whole. Take another source.
    #[error("{place}: {name} is shorter than it should be")]
    Short {
        /// Which destination.
        place: String,
        /// The name.
        name: String,
    },
    /// There is an object of this name already. Nothing was changed.
    #[error("{place}: {what}: the name is taken")]
    Exists {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
    },
    /// It does not answer, or its directory is not there. Try again; mount it, or look at the
    /// network. Whether something was written is unknown.
    #[error("{place} is out of reach: {what}")]
    Unavailable {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It refuses the credentials, or what they may do. Correct them.
    #[error("{place} refuses access: {what}: check the credentials and permissions")]
    Denied {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// No room is left. Nothing was written under a name. Make room, and try again.
    #[error("no room is left at {place}: {what}")]
    NoSpace {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It was told to stop. Nothing was written under a name.
    #[error("{place}: {what}: stopped when asked")]
    Cancelled {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
    },
}

impl DestinationError {
    /// Whether the same call may succeed later, with nothing lost until then. Credentials too
    /// may be put right while it is tried again.
    pub fn is_retryable(&self) -> bool {
        use DestinationError::{Denied, NoSpace, Unavailable};
        matches!(self, Unavailable { .. } | Denied { .. } | NoSpace { .. })
    }
}

/// What is being done, for the error if it fails.
pub(super) struct Doing {
    pub(super) place: String,
    pub(super) what: String,
}

impl Doing {
    pub(super) fn store(self, error: object_store::Error) -> DestinationError {
        use object_store::Error as Store;
        let Self { place, what } = self;
        let refusal = Refusal::of(&error);
        match error {
            error if refusal == Some(Refusal::NoBucket) => {
                DestinationError::Unavailable { place, what, source: Some(Box::new(error)) }
            }
            Store::NotFound { .. } => DestinationError::NotFound { place, name: what },
            Store::AlreadyExists { .. } | Store::Precondition { .. } => {
                DestinationError::Exists { place, what }
            }
            error if refusal == Some(Refusal::NoAccess) => {
                DestinationError::Denied { place, what, source: Some(Box::new(error)) }
            }
            error => match io_kind(&error) {
                Some(kind) => by_kind(place, what, kind, Box::new(error)),
                None => {
                    DestinationError::Unavailable { place, what, source: Some(Box::new(error)) }
                }
            },
        }
    }

    pub(super) fn io(self, error: io::Error) -> DestinationError {
        by_kind(self.place, self.what, error.kind(), Box::new(error))
    }

    pub(super) fn cancelled(self) -> DestinationError {
        DestinationError::Cancelled { place: self.place, what: self.what }
    }
}

fn by_kind(
    place: String,
    what: String,
    kind: io::ErrorKind,
    source: Box<dyn Error + Send + Sync>,
) -> DestinationError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let source = Some(source);
    match kind {
        StorageFull | QuotaExceeded => DestinationError::NoSpace { place, what, source },
        PermissionDenied | ReadOnlyFilesystem => DestinationError::Denied { place, what, source },
        _ => DestinationError::Unavailable { place, what, source },
    }
}

/// What the server says of all that is asked of it.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoBucket,
    NoAccess,
}

impl Refusal {
    /// The client has kinds of its own for some calls, but not for listings, uploads in parts
    /// and removals: there it is told in the text alone, as the reply's status and body. No name
    /// of an object has these texts, and a wrong guess changes only what is advised.
    fn of(error: &object_store::Error) -> Option<Self> {
        use object_store::Error as Store;
        const NO_BUCKET: [&str; 3] =
            ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
        const NO_ACCESS: [&str; 3] =
            ["status code: 401 ", "status code: 403 ", "<Code>AccessDenied</Code>"];
        let told = |what: &str| causes(error).any(|cause| cause.to_string().contains(what));
        match error {
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Some(Self::NoAccess),
            Store::NotFound { .. } | Store::Generic { .. } if NO_BUCKET.into_iter().any(told) => {
                Some(Self::NoBucket)
            }
            Store::Generic { .. } if NO_ACCESS.into_iter().any(told) => Some(Self::NoAccess),
            _ => None,
        }
    }
}

/// The kind of the error of the system that is the cause.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}
