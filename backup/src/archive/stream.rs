//! A segment read piece by piece, for receivers that check every digest themselves.

use std::ops::Range;

use bytes::{Buf, Bytes};
use futures_util::stream::{self, StreamExt};
use tipline_proto::Entry;
use tokio::sync::mpsc;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::format::{LENGTH, MAGIC, MAX_UNPACKED_BODY, NO_MAGIC};
use super::segment::{MAX_ENTRIES, SegmentError, corrupt};
use super::{Archive, ArchiveError, SegmentName};

/// Bytes of a segment that are read at once. Twice as many are unpacked at once.
const PIECE: u64 = 4 << 20;

impl Archive {
    /// Sends the entries of a segment in their order, some MiB at a time, and ends early if nobody
    /// takes them. It compares what [`Archive::entries`] does, but for the digests of the entries:
    /// **the receiver must check these**, as applying them does. Damage shows at the end only: entries
    /// after the damaged place may have been sent by then.
    ///
    /// What is encrypted is opened as a whole, and compared as by [`Archive::entries`].
    ///
    /// # Errors
    /// Those of [`Archive::entries`].
    pub(crate) async fn pieces(
        &self,
        name: &SegmentName,
        into: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), ArchiveError> {
        let (trailer, tail) = self.tail(name).await?;
        let index = trailer.index(&tail, &self.keys).map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &index.outline())?;
        let Some(end) = trailer.plain_end() else {
            // A receiver that has gone needs no answer.
            _ = into.send(self.entries(name).await?.1).await;
            return Ok(());
        };
        let object = name.to_string();
        let piece = |from: u64| from..end.min(from + PIECE);
        let read = |range: Range<u64>| self.destination.read_range(&object, range);
        let mut pieces =
            stream::iter((0..end).step_by(PIECE as usize)).map(piece).map(read).buffered(2);
        let mut unpacking = Unpacking::new().map_err(|bad| self.bad(name, bad))?;
        let (mut rows, mut is_first) = (index.rows.iter(), true);
        while let Some(packed) = pieces.next().await {
            let mut packed = packed?;
            if std::mem::replace(&mut is_first, false) {
                if !packed.starts_with(MAGIC) {
                    return Err(self.bad(name, corrupt(NO_MAGIC)));
                }
                packed.advance(MAGIC.len());
            }
            let unpacked = self.compute(move || {
                let entries = unpacking.take(&packed);
                entries.map(|entries| (entries, unpacking))
            });
            let unpacked = unpacked.await?.map_err(|bad| self.bad(name, bad))?;
            let entries;
            (entries, unpacking) = unpacked;
            if !entries.iter().all(|entry| rows.next().is_some_and(|row| row.is_of(entry))) {
                return Err(self.bad(name, corrupt("an entry is not as its row says")));
            }
            if !entries.is_empty() && into.send(entries).await.is_err() {
                return Ok(());
            }
        }
        let ended = trailer.is_body(&unpacking.hasher.finalize()).and_then(|()| unpacking.end());
        ended.map_err(|bad| self.bad(name, bad))?;
        match rows.next() {
            None => Ok(()),
            Some(_) => Err(self.bad(name, corrupt("it has fewer entries than rows"))),
        }
    }
}

/// The entries of a body that comes in pieces.
struct Unpacking {
    hasher: blake3::Hasher,
    decoder: Decoder<'static>,
    /// Unpacked, and not an entry yet.
    plain: Vec<u8>,
    /// How many bytes were unpacked.
    unpacked: usize,
    /// How many entries there were.
    count: usize,
    ended: bool,
}

impl Unpacking {
    fn new() -> Result<Self, SegmentError> {
        let decoder = Decoder::new().map_err(unpackable)?;
        let (hasher, plain) = (blake3::Hasher::new(), room(0));
        Ok(Self { hasher, decoder, plain, unpacked: 0, count: 0, ended: false })
    }

    /// The entries that are whole with the next piece.
    fn take(&mut self, packed: &[u8]) -> Result<Vec<Entry>, SegmentError> {
        self.hasher.update(packed);
        let mut input = InBuffer::around(packed);
        let mut entries = Vec::new();
        loop {
            if self.ended && input.pos < packed.len() {
                return Err(corrupt("its body cannot be unpacked: there is something after it"));
            }
            if self.plain.len() == self.plain.capacity() {
                self.cut(&mut entries)?;
            }
            let from = self.plain.len();
            let mut output = OutBuffer::around_pos(&mut self.plain, from);
            self.ended = self.decoder.run(&mut input, &mut output).map_err(unpackable)? == 0;
            self.unpacked += self.plain.len() - from;
            // A few hundred bytes may be unpacked to a GiB.
            if self.unpacked > MAX_UNPACKED_BODY {
                return Err(corrupt(format!("its body has more than {MAX_UNPACKED_BODY} bytes")));
            }
            let is_full = self.plain.len() == self.plain.capacity();
            if input.pos == packed.len() && (self.ended || !is_full) {
                break;
            }
        }
        if self.ended {
            self.cut(&mut entries)?;
        }
        Ok(entries)
    }

    /// Takes the whole entries out of what is unpacked; there is room for more then.
    fn cut(&mut self, entries: &mut Vec<Entry>) -> Result<(), SegmentError> {
        let mut body = Bytes::from(std::mem::take(&mut self.plain));
        let mut needed = 0;
        while body.len() >= LENGTH {
            needed = LENGTH + body.clone().get_u32_le() as usize;
            if needed > MAX_UNPACKED_BODY {
                return Err(corrupt(format!("entry {} of it is too large", self.count + 1)));
            }
            if needed > body.len() {
                break;
            }
            let mut entry = body.split_to(needed);
            entry.advance(LENGTH);
            self.count += 1;
            if self.count > MAX_ENTRIES {
                return Err(corrupt(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let entry = Entry::decode(entry);
            entries.push(entry.map_err(|e| corrupt(format!("entry {} of it: {e}", self.count)))?);
        }
        self.plain = room(needed);
        self.plain.extend_from_slice(&body);
        Ok(())
    }

    fn end(self) -> Result<(), SegmentError> {
        if self.ended && self.plain.is_empty() {
            Ok(())
        } else {
            Err(corrupt("its body is cut off"))
        }
    }
}

/// For some entries, or one that is so large.
fn room(needed: usize) -> Vec<u8> {
    Vec::with_capacity(needed.max(2 * PIECE as usize))
}

fn unpackable(e: std::io::Error) -> SegmentError {
    corrupt(format!("its body cannot be unpacked: {e}"))
}
