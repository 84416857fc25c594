//! Flushing a file while it is being filled: a commit finds most of its pages on the medium.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};

use super::error::store_error;
use crate::disk::failed;
use crate::error::StoreError;

/// So much is written before the next flush is asked for.
#[cfg(not(test))]
const FLUSH_BYTES: usize = 4 << 20;
#[cfg(test)]
const FLUSH_BYTES: usize = 16 << 10;

/// A thread that flushes a file over and over while it is written to. It promises nothing: what is
/// durable is still for each commit to say. It only has less to wait for then.
///
/// When the file is closed, the system drops the locks that this process has on it, those of SQLite
/// too. So it is closed by [`Flusher::end`], or after the connection.
#[derive(Debug)]
pub(super) struct Flusher {
    /// One flush may wait: it covers whatever is written until it begins. `None` once it ends.
    asked: Option<SyncSender<()>>,
    thread: Option<JoinHandle<io::Result<File>>>,
    unflushed: usize,
}

impl Flusher {
    /// Of this file.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let (asked, next) = sync_channel(1);
        let flush = move || {
            while next.recv().is_ok() {
                file.sync_data()?;
            }
            Ok(file)
        };
        let thread = thread::Builder::new().name("tipline-flush".to_owned()).spawn(flush)?;
        Ok(Self { asked: Some(asked), thread: Some(thread), unflushed: 0 })
    }

    /// So much more is being written.
    ///
    /// # Errors
    /// A flush failed: nobody knows what of the file is on the medium.
    pub(super) fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        self.unflushed += bytes;
        if self.unflushed < FLUSH_BYTES {
            return Ok(());
        }
        self.unflushed = 0;
        match self.asked.as_ref().map(|asked| asked.try_send(())) {
            Some(Ok(()) | Err(TrySendError::Full(()))) => Ok(()),
            Some(Err(TrySendError::Disconnected(()))) | None => {
                let ended = self.ended().and_then(|file| file.sync_data());
                Err(ended.err().unwrap_or_else(|| io::Error::other("the flushing has ended")))
            }
        }
    }

    /// Waits until it has ended.
    fn ended(&mut self) -> io::Result<File> {
        self.asked = None;
        let thread = self.thread.take();
        let gone = || io::Error::other("the thread that flushes it has ended");
        thread.ok_or_else(gone)?.join().map_err(|_| gone())?
    }

    /// Ends it, and closes the file while nobody in this process can have a lock on it but the
    /// connection, which does nothing with its own.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if somebody reads it for too long: it goes on. [`StoreError::Failed`]
    /// if a flush failed.
    pub(super) fn end(
        this: &mut Option<Self>,
        connection: &mut Connection,
        place: &str,
    ) -> Result<(), StoreError> {
        if this.is_none() {
            return Ok(());
        }
        let lock = connection
            .transaction_with_behavior(TransactionBehavior::Exclusive)
            .map_err(|e| store_error(place, "locking it", e))?;
        if let Some(mut flusher) = this.take() {
            drop(flusher.ended().map_err(|e| failed(place, "flushing it", e))?);
        }
        lock.rollback().map_err(|e| store_error(place, "unlocking it", e))
    }
}

impl Drop for Flusher {
    /// The file must not be closed at some time later on.
    fn drop(&mut self) {
        self.ended().ok();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Linux does not flush this one.
    #[test]
    fn a_flush_that_failed_is_said_to_whoever_writes_and_to_whoever_ends_it() {
        let path = Path::new("/dev/null");
        let mut flusher = Flusher::start(path).unwrap();
        let failed = (0..).find_map(|_| {
            thread::yield_now();
            flusher.wrote(FLUSH_BYTES).err()
        });
        assert_eq!(failed.unwrap().kind(), io::ErrorKind::InvalidInput);
        let mut flusher = Some(Flusher::start(path).unwrap());
        flusher.as_mut().unwrap().wrote(FLUSH_BYTES).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        let ended = Flusher::end(&mut flusher, &mut connection, "test").unwrap_err();
        assert!(matches!(ended, StoreError::Failed { .. }), "{ended:?}");
    }
}
