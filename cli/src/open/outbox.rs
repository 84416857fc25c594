//! The node's blocks as an outbox.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::system_clock;
use tipline_producer::{Outbox, OutboxError, Producer};
use tipline_proto::Hash;
use tipline_sources::{
    BitcoinBlock, BlkSettings, BlockFormat, ContentHash, DatabaseOutbox, DirectorySettings,
    EthereumRlp, FileOutbox, Genesis, Marker,
};
use tokio::sync::{Notify, watch};

use crate::address::{Format, Source};
use crate::output::report::{Failure, Sentence};

/// An outbox over what the node writes, and what is notified when there is more in it.
pub(crate) struct Opened {
    pub(crate) outbox: Box<dyn Outbox>,
    pub(crate) wake: Arc<Notify>,
    /// Puts marks into it.
    pub(crate) marker: Marker,
    /// What is wrong with the node's files; `None` for a source without files.
    pub(crate) failure: Option<watch::Receiver<Option<String>>>,
}

/// Opens it; may take a while where there are many files.
pub(crate) async fn open(
    source: Source,
    index: Option<PathBuf>,
    genesis: Hash,
    tip_is_final: bool,
) -> Result<Opened, Failure> {
    if matches!(source, Source::Sqlite(_)) && index.is_some() {
        let text = "--index is for a source of files: a node's database has its outbox in itself";
        return Err(Sentence(text.into()).into());
    }
    let wake = Arc::new(Notify::new());
    let waker = Arc::clone(&wake);
    let open = move || -> Result<Opened, OutboxError> {
        let clock = system_clock();
        let files = match source {
            Source::Directory { path: root, format } => {
                let settings = DirectorySettings { root, index, genesis, tip_is_final };
                FileOutbox::directory(settings, read_as(format), clock, waker)?
            }
            Source::Blk(path) => {
                FileOutbox::blk(BlkSettings { path, index, genesis }, clock, waker)?
            }
            Source::Sqlite(path) => {
                let outbox = DatabaseOutbox::open(&path, &genesis, waker)?;
                let marker = outbox.marker();
                return Ok(Opened { outbox: Box::new(outbox), wake, marker, failure: None });
            }
        };
        let (marker, failure) = (files.marker(), Some(files.failure()));
        Ok(Opened { outbox: Box::new(files), wake, marker, failure })
    };
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// The genesis of the chain whose blocks are there; may take 2 s if they are just written.
pub(crate) async fn genesis(source: Source) -> Result<Genesis, Failure> {
    let find = move || match source {
        Source::Directory { path, format } => Genesis::in_directory(&path, &*read_as(format)),
        Source::Blk(path) => Genesis::in_blk(&path),
        Source::Sqlite(path) => Genesis::in_database(&path),
    };
    Ok(tokio::task::spawn_blocking(find).await??)
}

fn read_as(format: Format) -> Box<dyn BlockFormat> {
    match format {
        Format::Content => Box::new(ContentHash),
        Format::Bitcoin => Box::new(BitcoinBlock),
        Format::EthereumRlp => Box::new(EthereumRlp),
    }
}

/// Lets the primary announce what is wrong with the node's files, for ever.
pub(crate) async fn report(producer: &Producer, failure: Option<watch::Receiver<Option<String>>>) {
    if let Some(mut failure) = failure {
        loop {
            let now = failure.borrow_and_update().clone();
            producer.set_source_failure(now);
            if failure.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Wakes the publisher whenever there is more in the outbox, for ever.
pub(crate) async fn wake(producer: &Producer, wake: Arc<Notify>) {
    let publisher = producer.waker();
    loop {
        wake.notified().await;
        publisher.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, read_as};

    #[test]
    fn a_format_has_one_name() {
        for format in [Format::Content, Format::Bitcoin, Format::EthereumRlp] {
            assert_eq!(read_as(format).name(), format.to_string());
        }
    }
}
