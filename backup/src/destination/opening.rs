//! Writing a file of this machine that comes from a destination, decrypted on the way if it is
//! encrypted.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::blocking::blocking;
use crate::keys::Keys;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It was written and fsynced.
    Whole,
    /// No key opens it.
    NoKey,
    /// It is not what was encrypted.
    Corrupt(String),
}

/// A file that is being written.
pub(super) enum Writing {
    Plain(File),
    /// A thread of its own decrypts what it is given.
    Sealed {
        pieces: mpsc::Sender<Vec<u8>>,
        task: JoinHandle<io::Result<Opened>>,
    },
}

impl Writing {
    /// Makes the file. What it is given is decrypted with these keys, if there are any.
    pub(super) async fn create(path: &Path, keys: Option<&Arc<Keys>>) -> io::Result<Self> {
        let path = path.to_owned();
        let mut file = blocking(move || File::create_new(path)).await?;
        let Some(keys) = keys else { return Ok(Writing::Plain(file)) };
        let (pieces, receiver) = mpsc::channel(1);
        let keys = Arc::clone(keys);
        let task = tokio::task::spawn_blocking(move || {
            let from = FromChannel { receiver, piece: Vec::new(), read: 0 };
            let mut opened = match keys.open_reader(BufReader::new(from)) {
                Ok(Some(opened)) => opened,
                Ok(None) => return Ok(Opened::NoKey),
                Err(error) => return Ok(Opened::Corrupt(error.to_string())),
            };
            let mut piece = vec![0; 1 << 20];
            loop {
                match opened.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => file.write_all(&piece[..read])?,
                    Err(error) => return Ok(Opened::Corrupt(error.to_string())),
                }
            }
            file.sync_all()?;
            Ok(Opened::Whole)
        });
        Ok(Writing::Sealed { pieces, task })
    }

    /// Writes a piece, or hands it on. Whether it is what it should be shows at the end.
    pub(super) async fn write(&mut self, piece: Vec<u8>) -> io::Result<()> {
        match self {
            Writing::Plain(file) => {
                let mut to = file.try_clone()?;
                blocking(move || to.write_all(&piece)).await
            }
            Writing::Sealed { pieces, .. } => {
                // A thread that has gone says why at the end.
                _ = pieces.send(piece).await;
                Ok(())
            }
        }
    }

    pub(super) async fn finish(self) -> io::Result<Opened> {
        match self {
            Writing::Plain(file) => {
                blocking(move || file.sync_all()).await?;
                Ok(Opened::Whole)
            }
            Writing::Sealed { pieces, task } => {
                drop(pieces);
                task.await.unwrap_or_else(|e| Err(io::Error::other(e)))
            }
        }
    }
}

/// Reads what is handed on.
struct FromChannel {
    receiver: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    /// How much of the piece was read.
    read: usize,
}

impl Read for FromChannel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.read) = (piece, 0),
                None => return Ok(0),
            }
        }
        let read = into.len().min(self.piece.len() - self.read);
        into[..read].copy_from_slice(&self.piece[self.read..self.read + read]);
        self.read += read;
        Ok(read)
    }
}
