//! Whole files from a destination, in pieces, so that little of them is in memory.
//!
//! What is cut off is resumed where it was, as long as the file's budget of retries lasts. What fails
//! at once, before a byte has come, is not tried again here: an outage must show.

use std::io::{self, Read};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStoreExt};

use super::blocking::blocking;
use super::budget::Budget;
use super::limits::PIECE;
use super::opening::{Opened, Writing};
use super::{Destination, DestinationError};
use crate::keys::Keys;
use crate::throttle::Throttle;

impl Destination {
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
        Ok(self.download_sealed(name, file, None, throttle).await?.0)
    }

    /// The same, decrypted with these keys on the way, if there are any. The BLAKE3 is that of what
    /// came.
    pub(crate) async fn download_sealed(
        &self,
        name: &str,
        file: &FilePath,
        keys: Option<&Arc<Keys>>,
        throttle: &Throttle,
    ) -> Result<(blake3::Hash, Opened), DestinationError> {
        let doing = || self.doing(format!("reading {name} into {}", file.display()));
        let budget = Budget::new(throttle);
        let mut incoming = self.incoming(name, &budget).await?;
        let mut to = Writing::create(file, keys).await.map_err(|e| doing().file(e))?;
        let mut hasher = blake3::Hasher::new();
        let mut next = incoming.next(self).await?;
        while let Some(piece) = next.take() {
            if !throttle.proceed(piece.len() as u64).await {
                return Err(doing().cancelled());
            }
            let write = async {
                let hashed = blocking(move || {
                    hasher.update(&piece);
                    Ok((hasher, piece))
                });
                let (hasher, piece) = hashed.await?;
                to.write(piece).await?;
                Ok(hasher)
            };
            // The next piece comes while this one is hashed and written.
            let (written, coming) = tokio::join!(write, incoming.next(self));
            hasher = written.map_err(|e: io::Error| doing().file(e))?;
            next = coming?;
        }
        let opened = to.finish().await.map_err(|e| doing().file(e))?;
        Ok((hasher.finalize(), opened))
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
        self.hash_within(name, &Budget::new(throttle)).await
    }

    /// The same with what is left of a file's retries.
    pub(crate) async fn hash_within(
        &self,
        name: &str,
        budget: &Budget<'_>,
    ) -> Result<(blake3::Hash, u64), DestinationError> {
        let doing = || self.doing(format!("reading {name}"));
        let throttle = budget.throttle();
        let mut incoming = self.incoming(name, budget).await?;
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

    /// Reads an object to its end, with what is left of a file's retries. No more of it is read than a
    /// piece beyond `most` bytes.
    pub(crate) async fn read_within(
        &self,
        name: &str,
        most: u64,
        budget: &Budget<'_>,
    ) -> Result<Vec<u8>, DestinationError> {
        let mut incoming = self.incoming(name, budget).await?;
        let mut all = Vec::new();
        while let Some(piece) = incoming.next(self).await? {
            if !budget.throttle().proceed(piece.len() as u64).await {
                return Err(self.doing(format!("reading {name}")).cancelled());
            }
            if all.is_empty() {
                all = piece;
            } else {
                all.extend_from_slice(&piece);
            }
            if all.len() as u64 > most {
                break;
            }
        }
        Ok(all)
    }

    async fn incoming<'a>(
        &self,
        name: &str,
        budget: &'a Budget<'a>,
    ) -> Result<Incoming<'a>, DestinationError> {
        self.check_file(name).await?;
        let what = format!("reading {name}");
        let path = self.path(name);
        let found = self.within(&what, 0, self.store.get(&path)).await?;
        let e_tag = found.meta.e_tag;
        let from = match found.payload {
            GetResultPayload::File(file, _) => Origin::File(Some(file)),
            GetResultPayload::Stream(stream) => Origin::Stream(stream),
        };
        Ok(Incoming { what, path, e_tag, from, read: 0, budget })
    }
}

/// An object on its way here.
struct Incoming<'a> {
    what: String,
    path: Path,
    /// Which version of the object it is, if there is such a thing.
    e_tag: Option<String>,
    from: Origin,
    /// How many bytes of it have come.
    read: u64,
    budget: &'a Budget<'a>,
}

enum Origin {
    /// A file of this machine; none after its end.
    File(Option<std::fs::File>),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

impl Incoming<'_> {
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
            Origin::Stream(_) => {
                let mut pause = Budget::PAUSE;
                while piece.len() < PIECE / 2 {
                    match self.receive(at).await {
                        Ok(Some(bytes)) => piece.extend_from_slice(&bytes),
                        Ok(None) => break,
                        Err(error) if self.read > 0 => {
                            self.budget.again(error, &mut pause).await?;
                            self.resume(at, &mut pause).await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    async fn receive(&mut self, at: &Destination) -> Result<Option<Bytes>, DestinationError> {
        let Origin::Stream(stream) = &mut self.from else { return Ok(None) };
        let received = at.within(&self.what, 0, stream.try_next()).await?;
        self.read += received.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(received)
    }

    /// Goes on after what has come, in the very same object.
    async fn resume(
        &mut self,
        at: &Destination,
        pause: &mut Duration,
    ) -> Result<(), DestinationError> {
        loop {
            let options = GetOptions {
                range: Some(GetRange::Offset(self.read)),
                if_match: self.e_tag.clone(),
                ..GetOptions::default()
            };
            match at.within(&self.what, 0, at.store.get_opts(&self.path, options)).await {
                Ok(found) => {
                    self.from = Origin::Stream(found.into_stream());
                    return Ok(());
                }
                Err(error) => self.budget.again(error, pause).await?,
            }
        }
    }
}
