//! The node's blocks as an outbox.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::system_clock;
use tipline_producer::{Outbox, OutboxError, Producer};
use tipline_proto::Hash;
use tipline_sources::{
    BitcoinBlock, BlkSettings, BlockFormat, ContentHash, DatabaseOutbox, DirectorySettings,
    EthereumRlp, FileOutbox, Genesis,
};
use tokio::sync::Notify;

use crate::address::{Format, Source};
use crate::output::report::{Failure, Sentence};

/// An outbox over what the node writes, and what is notified when there is more in it.
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
    if matches!(source, Source::Sqlite(_)) && index.is_some() {
        let text = "--index is for a source of files: a node's database has its outbox in itself";
        return Err(Sentence(text.into()).into());
    }
    let wake = Arc::new(Notify::new());
    let waker = Arc::clone(&wake);
    let open = move || -> Result<Box<dyn Outbox>, OutboxError> {
        let clock = system_clock();
        Ok(match source {
            Source::Directory { path: root, format } => {
                let settings = DirectorySettings { root, index, genesis, tip_is_final };
                Box::new(FileOutbox::directory(settings, read_as(format), clock, waker)?)
            }
            Source::Blk(path) => {
                Box::new(FileOutbox::blk(BlkSettings { path, index, genesis }, clock, waker)?)
            }
            Source::Sqlite(path) => Box::new(DatabaseOutbox::open(&path, &genesis, waker)?),
        })
    };
    let outbox = tokio::task::spawn_blocking(open).await??;
    Ok(Opened { outbox, wake })
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
