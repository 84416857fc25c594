//! Whole files, to and from a destination, in pieces, so that little of them is in memory.

use std::io::{self, Read, Write};
use std::path::Path as FilePath;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::{GetResultPayload, ObjectStoreExt, WriteMultipart};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::{Destination, DestinationError};
use crate::throttle::Throttle;

/// How much is read at once.
const PIECE: usize = 8 << 20;
/// How many pieces are on their way.
const CONCURRENT: usize = 4;

/// How long the pieces that are on their way may take to arrive when no more will follow.
const LAST_PIECES: Duration = Duration::from_secs(5);

impl Destination {
    /// Writes a file of this machine as an object, and gives the BLAKE3 of what was sent. Durable
    /// on return; in memory are at most 40 MiB of it.
    ///
    /// # Errors
    /// [`DestinationError::Cancelled`] if `throttle` ends it: there is no object then.
    pub async fn upload(
        &self,
        name: &str,
        file: &FilePath,
        throttle: &Throttle,
    ) -> Result<blake3::Hash, DestinationError> {
        let doing = || self.doing(format!("writing {name} from {}", file.display()));
        self.check_there().await?;
        let mut file = File::open(file).await.map_err(|e| doing().file(e))?;
        let (what, path) = (doing().what, self.path(name));
        let begun = self.within(&what, 0, self.store.put_multipart(&path)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(begun, PIECE);
        let on_their_way = (PIECE * CONCURRENT) as u64;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = match file.read(&mut piece).await {
                Ok(read) => read,
                Err(e) => {
                    give_up(upload).await;
                    return Err(doing().file(e));
                }
            };
            if read == 0 {
                break;
            }
            if !throttle.proceed(read as u64).await {
                give_up(upload).await;
                return Err(doing().cancelled());
            }
            hasher.update(&piece[..read]);
            let room = upload.wait_for_capacity(CONCURRENT);
            if let Err(e) = self.within(&what, on_their_way, room).await {
                give_up(upload).await;
                return Err(e);
            }
            upload.write(&piece[..read]);
        }
        self.within(&what, on_their_way, upload.finish()).await?;
        Ok(hasher.finalize())
    }

    /// Writes an object into a new file of this machine, and gives the BLAKE3 of what came. The
    /// file is fsynced on return, its name in the directory is not. In memory are at most 16 MiB.
    ///
    /// # Errors
    /// [`DestinationError::Cancelled`] if `throttle` ends it. After any error the file may be there,
    /// and is not whole.
    pub async fn download(
        &self,
        name: &str,
        file: &FilePath,
        throttle: &Throttle,
    ) -> Result<blake3::Hash, DestinationError> {
        let doing = || self.doing(format!("reading {name} into {}", file.display()));
        let mut incoming = self.incoming(name).await?;
        let path = file.to_owned();
        let mut to =
            blocking(move || std::fs::File::create_new(path)).await.map_err(|e| doing().file(e))?;
        let mut hasher = blake3::Hasher::new();
        let mut next = incoming.next(self).await?;
        while let Some(piece) = next.take() {
            if !throttle.proceed(piece.len() as u64).await {
                return Err(doing().cancelled());
            }
            let write = blocking(move || {
                hasher.update(&piece);
                to.write_all(&piece)?;
                Ok((hasher, to))
            });
            // The next piece comes while this one is hashed and written.
            let (written, coming) = tokio::join!(write, incoming.next(self));
            (hasher, to) = written.map_err(|e| doing().file(e))?;
            next = coming?;
        }
        blocking(move || to.sync_all()).await.map_err(|e| doing().file(e))?;
        Ok(hasher.finalize())
    }

    /// Reads an object to its end, and gives its BLAKE3 and its length.
    ///
    /// # Errors
    /// Those of [`Destination::read`]; [`DestinationError::Cancelled`] if `throttle` ends it.
    pub async fn hash(
        &self,
        name: &str,
        throttle: &Throttle,
    ) -> Result<(blake3::Hash, u64), DestinationError> {
        let doing = || self.doing(format!("reading {name}"));
        let mut incoming = self.incoming(name).await?;
        let mut hasher = blake3::Hasher::new();
        let mut next = incoming.next(self).await?;
        while let Some(piece) = next.take() {
            if !throttle.proceed(piece.len() as u64).await {
                return Err(doing().cancelled());
            }
            let update = blocking(move || {
                hasher.update(&piece);
                Ok(hasher)
            });
            let (updated, coming) = tokio::join!(update, incoming.next(self));
            hasher = updated.map_err(|e| doing().file(e))?;
            next = coming?;
        }
        Ok((hasher.finalize(), hasher.count()))
    }

    async fn incoming(&self, name: &str) -> Result<Incoming, DestinationError> {
        self.check_there().await?;
        let what = format!("reading {name}");
        let path = self.path(name);
        let found = self.within(&what, 0, self.store.get(&path)).await?;
        let from = match found.payload {
            GetResultPayload::File(file, _) => Origin::File(Some(file)),
            GetResultPayload::Stream(stream) => Origin::Stream(stream),
        };
        Ok(Incoming { what, from })
    }
}

/// An object on its way here.
struct Incoming {
    what: String,
    from: Origin,
}

enum Origin {
    /// A file of this machine; none after its end.
    File(Option<std::fs::File>),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

impl Incoming {
    /// The next piece, of several MiB unless it is the last one; none after that.
    async fn next(&mut self, at: &Destination) -> Result<Option<Vec<u8>>, DestinationError> {
        let mut piece = Vec::new();
        match &mut self.from {
            Origin::File(file) => {
                let Some(mut from) = file.take() else { return Ok(None) };
                let read = blocking(move || {
                    let read =
                        Read::by_ref(&mut from).take(PIECE as u64).read_to_end(&mut piece)?;
                    Ok((from, piece, read))
                });
                let doing = || at.doing(self.what.clone());
                let (from, read, bytes) = read.await.map_err(|e| doing().directory(e))?;
                *file = (bytes > 0).then_some(from);
                piece = read;
            }
            Origin::Stream(stream) => {
                while piece.len() < PIECE / 2 {
                    match at.within(&self.what, 0, stream.try_next()).await? {
                        Some(bytes) => piece.extend_from_slice(&bytes),
                        None => break,
                    }
                }
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Blocking work, away from the runtime's own threads. It always runs to its end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Leaves nothing of an upload. A piece that arrives after the end of its upload would stay.
async fn give_up(mut upload: WriteMultipart) {
    // The caller has the error that it is given up for.
    _ = tokio::time::timeout(LAST_PIECES, upload.wait_for_capacity(0)).await;
    _ = tokio::time::timeout(LAST_PIECES, upload.abort()).await;
}
