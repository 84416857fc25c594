//! The node's blocks as an outbox.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::system_clock;
use tipline_producer::{Outbox, OutboxError, Producer};
use tipline_proto::Hash;
use tipline_sources::{BlkSettings, ContentHash, DirectorySettings, FileOutbox};
use tokio::sync::Notify;

use crate::address::Source;
use crate::output::report::Failure;

/// An outbox over the node's files, and what is notified when there is more in it.
pub(crate) struct Opened {
    pub(crate) outbox: Box<dyn Outbox>,
    pub(crate) wake: Arc<Notify>,
}

/// Opens it; may take a while where there are many files.
pub(crate) async fn open(
    source: Source,
    index: Option<PathBuf>,
    genesis: Hash,
    tip_is_final: bool,
) -> Result<Opened, Failure> {
    let wake = Arc::new(Notify::new());
    let waker = Arc::clone(&wake);
    let open = move || -> Result<FileOutbox, OutboxError> {
        let clock = system_clock();
        match source {
            Source::Directory(root) => {
                let settings = DirectorySettings { root, index, genesis, tip_is_final };
                FileOutbox::directory(settings, Box::new(ContentHash), clock, waker)
            }
            Source::Blk(path) => {
                FileOutbox::blk(BlkSettings { path, index, genesis }, clock, waker)
            }
        }
    };
    let outbox = tokio::task::spawn_blocking(open).await??;
    Ok(Opened { outbox: Box::new(outbox), wake })
}

/// Wakes the publisher whenever there is more in the outbox, for ever.
pub(crate) async fn wake(producer: &Producer, wake: Arc<Notify>) {
    let publisher = producer.waker();
    loop {
        wake.notified().await;
        publisher.notify_one();
    }
}
