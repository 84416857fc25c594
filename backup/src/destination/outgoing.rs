//! A file of this machine on its way to a destination, encrypted on the way if that is asked for.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};

use super::Sent;
use crate::keys::Keys;

/// Encrypted bytes are handed on in pieces of this size.
const PIECE: usize = 1 << 20;
/// An age file of n bytes has fewer than this much more: a tag of 16 bytes for each 64 KiB, and
/// the header.
const HEADER: u64 = 64 << 10;

/// What is sent.
pub(super) struct Outgoing {
    origin: Origin,
    /// How many bytes it has at most.
    pub(super) most: u64,
}

enum Origin {
    Plain(File),
    Sealed {
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        rest: Bytes,
        /// The BLAKE3 of what was encrypted.
        plain: oneshot::Receiver<blake3::Hash>,
    },
}

impl Outgoing {
    /// A file as it is, or encrypted to the recipients of `keys`.
    pub(super) async fn open(path: &Path, keys: Option<&Arc<Keys>>) -> io::Result<Self> {
        let file = File::open(path).await?;
        let length = file.metadata().await?.len();
        let Some(keys) = keys else {
            return Ok(Self { origin: Origin::Plain(file), most: length });
        };
        let (sender, pieces) = mpsc::channel(2);
        let (hashed, plain) = oneshot::channel();
        let (keys, file) = (Arc::clone(keys), file.into_std().await);
        tokio::task::spawn_blocking(move || {
            let mut to = ToChannel { sender, piece: Vec::with_capacity(PIECE) };
            // Whoever has gone needs no answer.
            match seal(file, &keys, &mut to) {
                Ok(hash) => _ = hashed.send(hash),
                Err(error) => _ = to.sender.blocking_send(Err(error)),
            }
        });
        let most = length + length / 4096 + HEADER;
        Ok(Self { origin: Origin::Sealed { pieces, rest: Bytes::new(), plain }, most })
    }

    /// Appends some bytes, `most` at most, and gives how many. There are none at the end.
    pub(super) async fn read(&mut self, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.origin {
            Origin::Plain(file) => {
                AsyncReadExt::take(&mut *file, most as u64).read_to_end(into).await
            }
            Origin::Sealed { pieces, rest, .. } => {
                if rest.is_empty() {
                    match pieces.recv().await {
                        Some(piece) => *rest = piece?,
                        None => return Ok(0),
                    }
                }
                let read = most.min(rest.len());
                into.extend_from_slice(&rest[..read]);
                rest.advance(read);
                Ok(read)
            }
        }
    }

    /// After the end, what was sent, which has this BLAKE3 and length.
    pub(super) async fn sent(self, blake3: blake3::Hash, bytes: u64) -> io::Result<Sent> {
        let plain_blake3 = match self.origin {
            Origin::Plain(_) => blake3,
            Origin::Sealed { plain, .. } => plain.await.map_err(io::Error::other)?,
        };
        Ok(Sent { blake3, bytes, plain_blake3 })
    }
}

fn seal(file: std::fs::File, keys: &Keys, to: &mut ToChannel) -> io::Result<blake3::Hash> {
    let mut file = Hashing { file, hasher: blake3::Hasher::new() };
    keys.encrypt_from(&mut file, &mut *to)?;
    to.flush()?;
    Ok(file.hasher.finalize())
}

/// Hashes what is read.
struct Hashing {
    file: std::fs::File,
    hasher: blake3::Hasher,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.hasher.update(&into[..read]);
        Ok(read)
    }
}

/// Hands on what is written to it.
struct ToChannel {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for ToChannel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| ErrorKind::BrokenPipe.into())
    }
}
