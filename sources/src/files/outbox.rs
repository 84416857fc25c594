//! The publisher's side of an outbox over files.

use std::path::Path;
use std::sync::Arc;

use tipline_producer::{Outbox, OutboxError, Pending, Row, SqliteOutbox, Waiting};
use tipline_proto::{Hash, Lineage, OutboxId};
use tokio::sync::{Notify, watch};

use super::follow::{FileMarks, Follower, Scan, Watched};
use super::seal::Seal;
use super::source::FileSource;

/// An outbox that is a view over the files that a node keeps anyway. What is published is not stored
/// twice, and the node needs no line of code. Made by [`FileOutbox::directory`] and
/// [`FileOutbox::blk`].
///
/// A thread of its own follows the files until this is dropped. If it finds something that it
/// must not publish, the outbox stops. What was enqueued before is still given out, and then
/// every read answers the error.
#[derive(Debug)]
pub struct FileOutbox {
    index: SqliteOutbox,
    /// Dropped after the connection.
    seal: Arc<Seal>,
    follower: Follower,
}

impl FileOutbox {
    /// Reads what is in the index at `path`, and follows the files into it.
    pub(crate) fn start(
        path: &Path,
        seal: Arc<Seal>,
        place: &str,
        source: FileSource,
        watched: Watched,
        scan: Box<dyn Scan>,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        let index = SqliteOutbox::open_named(path, Box::new(source), place)?;
        let follower = Follower::start(watched, place, scan, wake)?;
        Ok(Self { index, seal, follower })
    }

    /// What has stopped following the files, if anything has. Start again when it is mended.
    pub fn ended(&self) -> Option<OutboxError> {
        self.follower.ended()
    }

    /// For whoever puts marks into it.
    pub(crate) fn marks(&self) -> FileMarks {
        self.follower.marks(self.index.place())
    }

    /// What is wrong with the node's files, in words for an operator; `None` while nothing is.
    /// It says what publishing waits for, and, in the end, what has stopped it. What a node does
    /// while it writes is not wrong: a file has to be so for some seconds.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.follower.failure()
    }
}

impl Outbox for FileOutbox {
    fn id(&self) -> OutboxId {
        self.index.id()
    }

    fn place(&self) -> String {
        self.index.place()
    }

    fn genesis(&self) -> Hash {
        self.index.genesis()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        self.index.lineage()
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.index.bind(lineage)
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        self.index.pending()
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        // Asked first. Whatever was enqueued before the failure is then in the rows.
        let failure = self.follower.ended();
        let rows = self.index.read(after, max_rows, max_bytes)?;
        // Asked last. What it vouches for is what was read.
        self.seal.check()?;
        match failure {
            Some(failure) if rows.is_empty() && max_rows > 0 => Err(failure),
            _ => Ok(rows),
        }
    }

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        self.index.waiting(after)
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.index.release(sequence)
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.index.trim(sequence)
    }
}
