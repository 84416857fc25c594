//! Whole files to a destination, in pieces, so that little of them is in memory.
//!
//! A piece that fails is sent again, as long as the file's budget of retries lasts. A file that
//! cannot be begun, and one that is sent in one request, is not tried again here: an outage must
//! show.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::multipart::PartId;
use object_store::path::Path;

use super::budget::Budget;
use super::limits::{PIECE, Pieces};
use super::outgoing::Outgoing;
use super::{Destination, DestinationError, InPieces, Sent};
use crate::disk::Existing;
use crate::keys::Keys;
use crate::throttle::Throttle;

/// How long the pieces that are on their way may take to arrive when no more will follow.
const LAST_PIECES: Duration = Duration::from_secs(5);

/// An upload in pieces.
struct Upload<'a> {
    client: &'a dyn InPieces,
    path: Path,
    id: String,
    pieces: Pieces,
    what: &'a str,
    budget: &'a Budget<'a>,
}

impl Destination {
    /// Writes a file of this machine as an object, and gives the BLAKE3 of what was sent. Durable
    /// on return. In memory are at most 128 MiB of it, or of more than 560 GiB two pieces of
    /// 9,000.
    ///
    /// # Errors
    /// [`DestinationError::Cancelled`] if `throttle` ends it: there is no object then.
    pub async fn upload(
        &self,
        name: &str,
        file: &FilePath,
        throttle: &Throttle,
    ) -> Result<blake3::Hash, DestinationError> {
        Ok(self.upload_sealed(name, file, None, &Budget::new(throttle)).await?.blake3)
    }

    /// The same, encrypted to the recipients of `keys`, if there are any. What is given is of what
    /// was sent.
    pub(crate) async fn upload_sealed(
        &self,
        name: &str,
        file: &FilePath,
        keys: Option<&Arc<Keys>>,
        budget: &Budget<'_>,
    ) -> Result<Sent, DestinationError> {
        self.check_there().await?;
        let throttle = budget.throttle();
        let what = format!("writing {name} from {}", file.display());
        let open =
            || async { Outgoing::open(file, keys).await.map_err(|e| self.doing(&*what).file(e)) };
        let from = open().await?;
        if let Some(path) = self.file(name) {
            return self.copy_file(name, path?, from, throttle).await;
        }
        if from.most <= PIECE as u64 {
            return self.upload_whole(name, from, &what, throttle).await;
        }
        let had_checksums = self.has_checksums();
        match self.upload_in_pieces(name, from, &what, budget).await {
            // Now it is known that they are needed.
            Err(_) if self.has_checksums() && !had_checksums => {
                self.upload_in_pieces(name, open().await?, &what, budget).await
            }
            sent => sent,
        }
    }

    /// A small file, in one request.
    async fn upload_whole(
        &self,
        name: &str,
        mut from: Outgoing,
        what: &str,
        throttle: &Throttle,
    ) -> Result<Sent, DestinationError> {
        let mut bytes = Vec::new();
        while from.read(PIECE, &mut bytes).await.map_err(|e| self.doing(what).file(e))? > 0 {}
        if !throttle.proceed(bytes.len() as u64).await {
            return Err(self.doing(what).cancelled());
        }
        let sent = from.sent(blake3::hash(&bytes), bytes.len() as u64).await;
        let sent = sent.map_err(|e| self.doing(what).file(e))?;
        self.put(name, bytes.into(), Existing::Replace).await?;
        Ok(sent)
    }

    async fn upload_in_pieces(
        &self,
        name: &str,
        from: Outgoing,
        what: &str,
        budget: &Budget<'_>,
    ) -> Result<Sent, DestinationError> {
        let Some(client) = self.in_pieces() else {
            return Err(self.doing(what).unsupported("it takes no files in pieces", None));
        };
        let path = self.path(name);
        let id = self.within(what, 0, client.create_multipart(&path)).await?;
        let pieces = Pieces::of(from.most);
        let upload = Upload { client, path, id, pieces, what, budget };
        let sent = match self.send(&upload, from, budget.throttle()).await {
            Ok((sent, parts)) => self.complete(&upload, parts, sent.bytes).await.map(|()| sent),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // The caller has the error that it is given up for.
            let abort = client.abort_multipart(&upload.path, &upload.id);
            _ = tokio::time::timeout(LAST_PIECES, abort).await;
        }
        sent
    }

    async fn send(
        &self,
        upload: &Upload<'_>,
        mut from: Outgoing,
        throttle: &Throttle,
    ) -> Result<(Sent, Vec<PartId>), DestinationError> {
        let mut on_their_way = FuturesUnordered::new();
        let mut arrived = Vec::new();
        let mut hasher = blake3::Hasher::new();
        let all = async {
            while let Some(piece) = self.read_piece(upload, &mut from, throttle).await? {
                hasher.update(&piece);
                if on_their_way.len() >= upload.pieces.concurrent {
                    arrived.extend(on_their_way.next().await.transpose()?);
                }
                let number = arrived.len() + on_their_way.len();
                on_their_way.push(self.send_piece(upload, number, piece));
            }
            while let Some(part) = on_their_way.try_next().await? {
                arrived.push(part);
            }
            Ok::<_, DestinationError>(())
        };
        let ended = tokio::select! {
            biased;
            () = throttle.cancelled() => Err(self.doing(upload.what).cancelled()),
            ended = all => ended,
        };
        if let Err(error) = ended {
            // A piece that arrives after the end of its upload would stay.
            let last = on_their_way.map(drop).collect::<()>();
            _ = tokio::time::timeout(LAST_PIECES, last).await;
            return Err(error);
        }
        arrived.sort_by_key(|(number, _)| *number);
        let sent = from.sent(hasher.finalize(), hasher.count()).await;
        let sent = sent.map_err(|e| self.doing(upload.what).file(e))?;
        Ok((sent, arrived.into_iter().map(|(_, part)| part).collect()))
    }

    /// The next piece of a file, as large as it is to be, unless it is the last one.
    async fn read_piece(
        &self,
        upload: &Upload<'_>,
        from: &mut Outgoing,
        throttle: &Throttle,
    ) -> Result<Option<Bytes>, DestinationError> {
        let mut piece = Vec::with_capacity(upload.pieces.bytes);
        while piece.len() < upload.pieces.bytes {
            let most = (upload.pieces.bytes - piece.len()).min(PIECE);
            let read = from.read(most, &mut piece).await;
            let read = read.map_err(|e| self.doing(upload.what).file(e))?;
            if read == 0 {
                break;
            }
            if !throttle.proceed(read as u64).await {
                return Err(self.doing(upload.what).cancelled());
            }
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    async fn send_piece(
        &self,
        upload: &Upload<'_>,
        number: usize,
        piece: Bytes,
    ) -> Result<(usize, PartId), DestinationError> {
        let mut pause = Budget::PAUSE;
        loop {
            let put =
                upload.client.put_part(&upload.path, &upload.id, number, piece.clone().into());
            match self.within(upload.what, upload.pieces.on_their_way(), put).await {
                Ok(part) => return Ok((number, part)),
                Err(error) => upload.budget.again(error, &mut pause).await?,
            }
        }
    }

    async fn complete(
        &self,
        upload: &Upload<'_>,
        parts: Vec<PartId>,
        length: u64,
    ) -> Result<(), DestinationError> {
        let mut pause = Budget::PAUSE;
        loop {
            let Upload { client, path, id, .. } = upload;
            let complete = client.complete_multipart(path, id, parts.clone());
            let error = match self.within(upload.what, length, complete).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            // The answer may be what was lost. What is there is read back by whoever relies on it.
            let head = self.store.head(path);
            match self.within(upload.what, 0, head).await {
                Ok(found) if found.size == length => return Ok(()),
                _ => upload.budget.again(error, &mut pause).await?,
            }
        }
    }
}
