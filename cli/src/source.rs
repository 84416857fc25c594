//! The node's blocks as an outbox.

use std::sync::Arc;

use tipline_producer::Outbox;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::address::Source;
use crate::place::Place;
use crate::report::{Failure, Sentence};

/// An outbox, and what tells it of new files.
pub(crate) struct Opened {
    pub(crate) outbox: Box<dyn Outbox>,
    pub(crate) wake: Wake,
}

/// Wakes the publisher when files come.
pub(crate) struct Wake;

impl Wake {
    pub(crate) fn by(self, _waker: Arc<Notify>) {}
}

/// Opens it; `None` if it was asked to stop before the log was there.
pub(crate) async fn open(
    source: &Source,
    _place: &Place,
    _stop: &CancellationToken,
) -> Result<Option<Opened>, Failure> {
    Err(Sentence(format!("the source {source} is not in this build")).into())
}
