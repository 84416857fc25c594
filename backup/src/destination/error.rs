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
        /// As given; of one that may hold credentials the scheme alone.
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
    /// The object is longer than any of its kind: it is something else. Take another source.
    #[error("{place}: {name} has {bytes} bytes, and should have {most} at most")]
    TooLong {
        /// Which destination.
        place: String,
        /// The name.
        name: String,
        /// Its length.
        bytes: u64,
        /// The longest that it may have.
        most: u64,
    },
    /// There is an object of this name already. Nothing was changed.
    #[error("{place}: {what}: the name is taken")]
    Exists {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
    },
    /// It does not answer, or its directory is not there. Try again; mount it, or check the
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
    /// The clock of this machine and that of the server are too far apart: it refuses every request.
    /// Set the clock; the same call succeeds then.
    #[error(
        "{place} refuses access: {what}: the clock of this machine is wrong, or that of the server: set it"
    )]
    ClockSkew {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It cannot do what is needed there, now or later. Give another destination.
    #[error("{place} cannot be used: {what}: give another destination")]
    Unsupported {
        /// Which destination.
        place: String,
        /// What was being done, and what it did instead.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// No space is left. Nothing was written under a name. Free some, and try again.
    #[error("no space left at {place}: {what}: free some, and try again")]
    NoSpace {
        /// Which destination.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A file or directory of this machine, which is not at the destination, cannot be read or
    /// written. See the cause: the destination is not to blame.
    #[error("{place}: {what} failed on this machine")]
    File {
        /// Which destination.
        place: String,
        /// What was being done, with which file.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// It was cancelled. Nothing was written under a name.
    #[error("{place}: {what}: cancelled")]
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
        use DestinationError::{ClockSkew, Denied, NoSpace, Unavailable};
        matches!(self, Unavailable { .. } | Denied { .. } | ClockSkew { .. } | NoSpace { .. })
    }
}

/// What answers for a destination. Only its word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// The file system of this machine.
    Directory,
    /// A server, through its client.
    ObjectStorage,
}

/// What is being done, for the error if it fails.
pub(super) struct Doing {
    pub(super) place: String,
    pub(super) what: String,
    pub(super) medium: Medium,
}

impl Doing {
    /// An error of the destination's client.
    pub(super) fn store(self, error: object_store::Error) -> DestinationError {
        use object_store::Error as Store;
        let refusal = match self.medium {
            Medium::Directory => None,
            Medium::ObjectStorage => Refusal::from_error(&error),
        };
        match error {
            error if refusal == Some(Refusal::NoBucket) => self.unavailable(Box::new(error)),
            error if refusal == Some(Refusal::ClockSkew) => {
                let (place, what) = (self.place, self.what);
                DestinationError::ClockSkew { place, what, source: Some(Box::new(error)) }
            }
            error if refusal == Some(Refusal::Unsupported) => {
                self.unsupported("the server does not support this request", Some(Box::new(error)))
            }
            error if refusal == Some(Refusal::NeedsChecksum) => {
                let why = "the server takes only writes with a checksum";
                self.unsupported(why, Some(Box::new(error)))
            }
            Store::NotFound { .. } => {
                DestinationError::NotFound { place: self.place, name: self.what }
            }
            Store::AlreadyExists { .. } | Store::Precondition { .. } => {
                DestinationError::Exists { place: self.place, what: self.what }
            }
            error if refusal == Some(Refusal::NoAccess) => {
                let (place, what) = (self.place, self.what);
                DestinationError::Denied { place, what, source: Some(Box::new(error)) }
            }
            error => match (self.medium, system_kind(&error)) {
                (Medium::Directory, Some(kind)) => self.by_kind(kind, Box::new(error)),
                // Below a client the system speaks of this machine's network, not of the server.
                _ => self.unavailable(Box::new(error)),
            },
        }
    }

    /// An error of the destination's own directory.
    pub(super) fn directory(self, error: io::Error) -> DestinationError {
        self.by_kind(error.kind(), Box::new(error))
    }

    /// An error of a file that is not at the destination.
    pub(super) fn file(self, error: io::Error) -> DestinationError {
        DestinationError::File { place: self.place, what: self.what, source: error }
    }

    /// It did not answer in time, or not as a whole.
    pub(super) fn unanswered(self, error: io::Error) -> DestinationError {
        self.unavailable(Box::new(error))
    }

    pub(super) fn cancelled(self) -> DestinationError {
        DestinationError::Cancelled { place: self.place, what: self.what }
    }

    /// It cannot be done there, for this reason.
    pub(super) fn unsupported(
        self,
        why: &str,
        source: Option<Box<dyn Error + Send + Sync>>,
    ) -> DestinationError {
        let what = format!("{}: {why}", self.what);
        DestinationError::Unsupported { place: self.place, what, source }
    }

    fn unavailable(self, source: Box<dyn Error + Send + Sync>) -> DestinationError {
        let Self { place, what, .. } = self;
        DestinationError::Unavailable { place, what, source: Some(source) }
    }

    fn by_kind(
        self,
        kind: io::ErrorKind,
        source: Box<dyn Error + Send + Sync>,
    ) -> DestinationError {
        use io::ErrorKind::{
            AlreadyExists, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
            Unsupported,
        };
        if kind == Unsupported {
            return self.unsupported("its file system does not support it", Some(source));
        }
        let Self { place, what, .. } = self;
        let source = Some(source);
        match kind {
            AlreadyExists => DestinationError::Exists { place, what },
            StorageFull | QuotaExceeded => DestinationError::NoSpace { place, what, source },
            PermissionDenied | ReadOnlyFilesystem => {
                DestinationError::Denied { place, what, source }
            }
            _ => DestinationError::Unavailable { place, what, source },
        }
    }
}

/// Reasons for which a server refuses every request, or every one of a kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoBucket,
    NoAccess,
    ClockSkew,
    /// It does not know this kind of request, and will not learn it.
    Unsupported,
    /// It takes writes only with a checksum of their content, as buckets with Object Lock do.
    NeedsChecksum,
}

impl Refusal {
    /// The one place where text decides: for listings, uploads in parts and removals the client
    /// has no error kinds, and does not give out the reply. It renders it as one cause of its
    /// error, and of that cause alone the text is read: never of an address or a name of ours. A
    /// wrong guess changes only what is advised, and whether it is tried again.
    pub(super) fn from_error(error: &object_store::Error) -> Option<Self> {
        use object_store::Error as Store;
        const NO_BUCKET: &[&str] =
            &["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
        const NO_ACCESS: &[&str] =
            &["status code: 401 ", "status code: 403 ", "<Code>AccessDenied</Code>"];
        const CLOCK_SKEW: &[&str] = &[
            "RequestTimeTooSkewed",
            "Signature not yet current",
            "Signature expired",
            "Request date header too old",
        ];
        const UNSUPPORTED: &[&str] = &["status code: 501 ", "<Code>NotImplemented</Code>"];
        // The names of both headers, as AWS writes them, or of one, as others do.
        const NEEDS_CHECKSUM: &[&str] = &[
            "Content-MD5 OR x-amz-checksum",
            "Missing required header for this request: Content-M",
            "<Code>MissingContentMD5</Code>",
        ];
        let reply = causes(error).map(ToString::to_string).find(|text| is_reply(text));
        let replied = |texts: &[&str]| {
            reply.as_ref().is_some_and(|reply| texts.iter().any(|text| reply.contains(text)))
        };
        match error {
            _ if replied(CLOCK_SKEW) => Some(Self::ClockSkew),
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Some(Self::NoAccess),
            Store::NotFound { .. } | Store::Generic { .. } if replied(NO_BUCKET) => {
                Some(Self::NoBucket)
            }
            Store::Generic { .. } if replied(NO_ACCESS) => Some(Self::NoAccess),
            Store::Generic { .. } if replied(UNSUPPORTED) => Some(Self::Unsupported),
            Store::Generic { .. } if replied(NEEDS_CHECKSUM) => Some(Self::NeedsChecksum),
            Store::NotImplemented { .. } | Store::NotSupported { .. } => Some(Self::Unsupported),
            _ => None,
        }
    }
}

/// Whether this is how the client renders a server's reply: status and body, and nothing before.
fn is_reply(text: &str) -> bool {
    const FORMS: [&str; 2] =
        ["Server returned non-2xx status code: ", "Server returned error response: "];
    FORMS.into_iter().any(|form| text.starts_with(form))
}

/// What the system said, as the client of a directory passes it on.
fn system_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}
