//! The bytes of a segment. Pure.
//!
//! # FORMAT, version 1
//!
//! All numbers are little-endian. A segment is five pieces in a row:
//!
//! | bytes | piece |
//! |---|---|
//! | 8 | magic `TIPLSEG1` |
//! | n | **body**: the entries |
//! | n | **index**: the rows |
//! | n | **outline** |
//! | 164 | **trailer** |
//!
//! The *body* is, before it is packed, for each entry 4 bytes of length and then its protobuf
//! message, `tipline.v1.Entry`, payload and all. The *index* is, before it is packed, the message
//! `Rows { repeated Row rows = 1 }` with `Row { uint32 kind = 1; optional uint64 height = 2;
//! uint64 time_us = 3; bytes label = 4 }`, a row for each entry. Both are packed the same way and
//! apart from each other: compressed as one zstd frame, and then, if the archive has recipients,
//! encrypted as one age file (binary, X25519). So the index is read without the body.
//!
//! The *outline* is neither compressed nor encrypted, so that the writer of the next segment
//! needs no key: lineage, chain, position before the first entry, cursor after the last, links,
//! latest commit times, and index, height and hash of each committed block. See `schema.rs`.
//!
//! The *trailer*:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | flags: bit 0 is set if body and index are encrypted, bit 1 if they are joined; the others are 0 |
//! | 4 | 8 | length of the body as stored |
//! | 12 | 8 | length of the index as stored |
//! | 20 | 8 | length of the outline |
//! | 28 | 32 | BLAKE3 of the body as stored |
//! | 60 | 32 | BLAKE3 of the index as stored |
//! | 92 | 32 | BLAKE3 of the outline |
//! | 124 | 32 | BLAKE3 of the 124 bytes before |
//! | 156 | 8 | magic `TIPLEND1` |
//!
//! *Joined* are several encrypted segments in a row, by whoever cannot open them. The body is then
//! their bodies, and the index their indexes, one after the other as they were stored; the outline says
//! how long each of these parts is. So it does of an encrypted segment that was not joined: with how
//! many bytes its body had before it was packed, so that it is known what can be joined.
//!
//! A segment holds at most 64 MiB of payloads and 1 KiB more for each entry, or a single entry, which
//! may be larger.

use bytes::{Buf, Bytes};
use tipline_proto::limits::MAX_PAYLOAD_BYTES;
use tipline_proto::{Entry, MAX_ENTRY_OVERHEAD};

use super::index::{Outline, Row, SegmentIndex};
use super::parts::{self, Part};
use super::schema::{put_outline, put_rows, take_outline, take_rows};
use super::segment::{MAX_BODY, MAX_ENTRIES, SegmentError, corrupt};
use crate::keys::Keys;

/// What is wrong without it.
pub(super) const NO_MAGIC: &str = "it does not begin as a segment does";
pub(super) const MAGIC: &[u8; 8] = b"TIPLSEG1";
const END: &[u8; 8] = b"TIPLEND1";
const ENCRYPTED: u32 = 1;
const JOINED: u32 = 2;
const ENCRYPTED_JOINED: u32 = ENCRYPTED | JOINED;
const SEALED: usize = 124;
/// What is before the trailer.
const PIECES: [&str; 3] = ["body", "index", "outline"];
/// Length of the trailer.
pub(super) const TRAILER: usize = 164;

/// Most bytes of the body of one entry: a payload of 64 MiB, and what is around it.
pub(super) const MAX_UNPACKED_BODY: usize = MAX_PAYLOAD_BYTES + MAX_ENTRY_OVERHEAD + LENGTH;
/// Most bytes of the rows: each has a label of 256 bytes at most.
const MAX_UNPACKED_INDEX: usize = MAX_ENTRIES * 320;
/// Bytes of an entry's length.
pub(super) const LENGTH: usize = 4;
/// Fast, and as good as it gets for data that hardly compresses.
const COMPRESSION: i32 = 3;

/// Where the pieces of a segment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    encrypted: bool,
    joined: bool,
    lengths: [u64; 3],
    hashes: [[u8; 32]; 3],
}

impl Trailer {
    /// Reads the trailer, which is the end of `bytes`, of a segment that is `length` bytes long.
    pub(crate) fn read(bytes: &[u8], length: u64) -> Result<Self, SegmentError> {
        let start = bytes.len().checked_sub(TRAILER);
        let start = start.ok_or_else(|| corrupt("it is too short to be a segment"))?;
        let trailer = &bytes[start..];
        if &trailer[SEALED + 32..] != END {
            return Err(corrupt("it does not end as a segment does"));
        }
        let (mut fields, hash) = trailer[..SEALED + 32].split_at(SEALED);
        if blake3::hash(fields).as_bytes() != hash {
            return Err(corrupt("its trailer does not have its checksum"));
        }
        let flags = fields.get_u32_le();
        // What is not encrypted is opened and packed again instead.
        if !matches!(flags, 0 | ENCRYPTED | ENCRYPTED_JOINED) {
            return Err(corrupt(format!("its trailer has flags {flags:#x} that are not known")));
        }
        let lengths = [fields.get_u64_le(), fields.get_u64_le(), fields.get_u64_le()];
        let mut hashes = [[0; 32]; 3];
        for hash in &mut hashes {
            fields.copy_to_slice(hash);
        }
        let around = (MAGIC.len() + TRAILER) as u64;
        let said = lengths.iter().try_fold(around, |sum, length| sum.checked_add(*length));
        if said != Some(length) {
            return Err(corrupt(format!("it is {length} bytes long, not as long as it says")));
        }
        let [encrypted, joined] = [ENCRYPTED, JOINED].map(|flag| flags & flag != 0);
        Ok(Self { encrypted, joined, lengths, hashes })
    }

    /// How many bytes at the end are index, outline and trailer.
    pub(crate) fn tail(&self) -> u64 {
        // The sum of all was checked.
        self.lengths[1] + self.lengths[2] + TRAILER as u64
    }

    /// Offset in the segment at which the body ends. None if it is encrypted.
    pub(super) fn plain_end(&self) -> Option<u64> {
        (!self.encrypted).then_some(MAGIC.len() as u64 + self.lengths[0])
    }

    /// One of the pieces, of a whole segment or of its tail.
    fn piece<'a>(&self, which: usize, bytes: &'a [u8]) -> Result<&'a [u8], SegmentError> {
        let name = PIECES[which];
        let after: u64 = self.lengths[which + 1..].iter().sum::<u64>() + TRAILER as u64;
        let end = usize::try_from(after).ok().and_then(|after| bytes.len().checked_sub(after));
        let length = usize::try_from(self.lengths[which]).ok();
        let start = end.zip(length).and_then(|(end, length)| end.checked_sub(length));
        let piece = start.zip(end).map(|(start, end)| &bytes[start..end]);
        let piece = piece.ok_or_else(|| corrupt(format!("its {name} is cut off")))?;
        self.compare(which, &blake3::hash(piece))?;
        Ok(piece)
    }

    /// Whether this is the checksum of the body as stored.
    pub(super) fn is_body(&self, hash: &blake3::Hash) -> Result<(), SegmentError> {
        self.compare(0, hash)
    }

    fn compare(&self, which: usize, hash: &blake3::Hash) -> Result<(), SegmentError> {
        if hash.as_bytes() == &self.hashes[which] {
            return Ok(());
        }
        Err(corrupt(format!("its {} does not have its checksum", PIECES[which])))
    }

    /// The outline. `bytes` are the end of the segment, at least [`Trailer::tail`] of them.
    pub(super) fn outline(&self, bytes: &[u8]) -> Result<Outline, SegmentError> {
        self.outline_and_parts(bytes).map(|(outline, _)| outline)
    }

    /// The same, and what body and index are made of.
    pub(super) fn outline_and_parts(
        &self,
        bytes: &[u8],
    ) -> Result<(Outline, Vec<Part>), SegmentError> {
        let read = take_outline(self.piece(2, bytes)?);
        let (outline, said) = read.map_err(|e| corrupt(format!("its outline: {e}")))?;
        let [body, index, _] = self.lengths;
        let parts = parts::check(said, self.joined, body, index, &outline)?;
        Ok((outline, parts))
    }

    /// The body as stored, of a whole segment.
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], SegmentError> {
        self.piece(0, bytes)
    }

    /// The index as stored. `bytes` are those of [`Trailer::outline`].
    pub(super) fn rows<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], SegmentError> {
        self.piece(1, bytes)
    }

    /// Outline and rows. `bytes` are those of [`Trailer::outline`].
    pub(crate) fn index(&self, bytes: &[u8], keys: &Keys) -> Result<SegmentIndex, SegmentError> {
        let (outline, parts) = self.outline_and_parts(bytes)?;
        self.index_of(outline, &parts, bytes, keys)
    }

    fn index_of(
        &self,
        outline: Outline,
        parts: &[Part],
        bytes: &[u8],
        keys: &Keys,
    ) -> Result<SegmentIndex, SegmentError> {
        let mut next = outline.before.index.checked_add(1);
        let mut rows = Vec::new();
        for (part, packed) in parts::split(parts, |part| part.index, self.rows(bytes)?) {
            let first = next.ok_or_else(|| corrupt("no first entry"))?;
            let plain = unpack("index", packed, self.encrypted, keys, MAX_UNPACKED_INDEX)?;
            let most = (MAX_ENTRIES - rows.len()) as u64;
            let found = take_rows(plain.into(), first, part.entries.min(most));
            let found = found.map_err(|e| corrupt(format!("its index: {e}")))?;
            if found.len() as u64 != part.entries {
                return Err(corrupt("its index does not have a row for each entry"));
            }
            next = first.checked_add(part.entries);
            rows.extend(found);
        }
        agree(outline, rows)
    }
}

fn agree(outline: Outline, rows: Vec<Row>) -> Result<SegmentIndex, SegmentError> {
    let Outline { log, before, after, links, latest_before, .. } = outline.clone();
    let index = SegmentIndex { log, before, after, links, latest_before, rows };
    let last = index.rows.last().map(|row| row.index);
    if last != Some(index.last()) || index.rows.len() > MAX_ENTRIES {
        return Err(corrupt("its index does not have a row for each entry"));
    }
    if index.outline() != outline {
        return Err(corrupt("its index and its outline disagree"));
    }
    Ok(index)
}

/// The outline of a whole segment. The checksum of every piece is checked, and nothing is
/// decrypted.
pub(crate) fn check(bytes: &[u8]) -> Result<Outline, SegmentError> {
    let trailer = whole(bytes)?;
    trailer.piece(0, bytes)?;
    trailer.piece(1, bytes)?;
    trailer.outline(bytes)
}

/// A whole segment.
pub(crate) fn decode(
    bytes: &Bytes,
    keys: &Keys,
) -> Result<(SegmentIndex, Vec<Entry>), SegmentError> {
    let trailer = whole(bytes)?;
    let (outline, parts) = trailer.outline_and_parts(bytes)?;
    let index = trailer.index_of(outline, &parts, bytes, keys)?;
    let mut entries = Vec::with_capacity(index.rows.len());
    for (part, packed) in parts::split(&parts, |part| part.body, trailer.body(bytes)?) {
        let plain = unpack("body", packed, trailer.encrypted, keys, MAX_UNPACKED_BODY)?;
        if part.unpacked.is_some_and(|said| said != plain.len() as u64) {
            return Err(corrupt("its body is not as long as it says"));
        }
        take_entries(Bytes::from(plain), &mut entries)?;
    }
    check_entries(&index, &entries).map_err(corrupt)?;
    Ok((index, entries))
}

/// The trailer of a whole segment.
pub(super) fn whole(bytes: &[u8]) -> Result<Trailer, SegmentError> {
    let trailer = Trailer::read(bytes, bytes.len() as u64)?;
    if !bytes.starts_with(MAGIC) {
        return Err(corrupt(NO_MAGIC));
    }
    Ok(trailer)
}

/// The bytes of a segment of these entries, which must have been checked.
pub(crate) fn encode(
    index: &SegmentIndex,
    entries: &[Entry],
    keys: &Keys,
) -> Result<Vec<u8>, std::io::Error> {
    let mut body = Vec::new();
    for entry in entries {
        let entry = entry.encode();
        // No entry is longer than its limits add up to, which is far below 4 GiB.
        body.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        body.extend_from_slice(&entry);
    }
    let encrypted = !keys.recipients().is_empty();
    let unpacked = body.len() as u64;
    let body = pack(body, encrypted, keys)?;
    let rows = pack(put_rows(&index.rows), encrypted, keys)?;
    let part = encrypted.then_some(Part {
        body: body.len() as u64,
        index: rows.len() as u64,
        entries: entries.len() as u64,
        unpacked: Some(unpacked),
    });
    let outline = put_outline(&index.outline(), part.as_slice());
    Ok(seal([&body, &rows, &outline], if encrypted { ENCRYPTED } else { 0 }))
}

/// The bytes of an encrypted segment of these parts.
pub(super) fn seal_joined(body: &[u8], rows: &[u8], outline: &Outline, parts: &[Part]) -> Vec<u8> {
    seal([body, rows, &put_outline(outline, parts)], ENCRYPTED_JOINED)
}

/// A segment of these pieces, with the flags of its trailer.
pub(crate) fn seal(pieces: [&[u8]; 3], flags: u32) -> Vec<u8> {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut bytes = Vec::with_capacity(MAGIC.len() + length + TRAILER);
    bytes.extend_from_slice(MAGIC);
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    let trailer = bytes.len();
    bytes.extend_from_slice(&flags.to_le_bytes());
    pieces.iter().for_each(|piece| bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes()));
    pieces.iter().for_each(|piece| bytes.extend_from_slice(blake3::hash(piece).as_bytes()));
    let sealed = blake3::hash(&bytes[trailer..]);
    bytes.extend_from_slice(sealed.as_bytes());
    bytes.extend_from_slice(END);
    bytes
}

pub(super) fn pack(
    plain: Vec<u8>,
    encrypted: bool,
    keys: &Keys,
) -> Result<Vec<u8>, std::io::Error> {
    let compressed = zstd::bulk::compress(&plain, COMPRESSION)?;
    drop(plain);
    if encrypted { keys.encrypt(&compressed) } else { Ok(compressed) }
}

pub(super) fn unpack(
    name: &str,
    packed: &[u8],
    encrypted: bool,
    keys: &Keys,
    most: usize,
) -> Result<Vec<u8>, SegmentError> {
    let bad = |e: std::io::Error| corrupt(format!("its {name} cannot be unpacked: {e}"));
    if !encrypted {
        return decompress(packed, most).map_err(bad);
    }
    let opened = keys.decrypt(packed).map_err(bad)?.ok_or(SegmentError::NeedsKey)?;
    decompress(&opened, most).map_err(bad)
}

/// Takes no more memory than there is to unpack, whatever size the frame claims: what is reserved
/// beyond that is never touched.
fn decompress(packed: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};
    let frame = find_frame_compressed_size(packed);
    if frame.is_ok_and(|length| length < packed.len()) {
        return Err(std::io::Error::other("there is something after it"));
    }
    let said = get_frame_content_size(packed).ok().flatten();
    let said = said.map_or(most, |said| usize::try_from(said).unwrap_or(usize::MAX));
    if said > most {
        return Err(std::io::Error::other(format!("it is larger than {most} bytes")));
    }
    zstd::bulk::decompress(packed, said)
}

/// Adds those of a body.
fn take_entries(mut body: Bytes, entries: &mut Vec<Entry>) -> Result<(), SegmentError> {
    while body.has_remaining() {
        if body.len() < LENGTH {
            return Err(corrupt("its body ends within a length"));
        }
        let length = body.get_u32_le() as usize;
        if length > body.len() {
            return Err(corrupt("its body ends within an entry"));
        }
        let entry = Entry::decode(body.split_to(length));
        entries
            .push(entry.map_err(|e| corrupt(format!("entry {} of it: {e}", entries.len() + 1)))?);
        if entries.len() > MAX_ENTRIES {
            return Err(corrupt(format!("it has more than {MAX_ENTRIES} entries")));
        }
    }
    Ok(())
}

/// Whether the entries are those of the index: a row for each, and every digest chains from the
/// position before the first to that after the last.
pub(super) fn check_entries(index: &SegmentIndex, entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() || entries.len() != index.rows.len() {
        return Err(format!("{} entries for {} rows", entries.len(), index.rows.len()));
    }
    let mut position = index.before;
    for (entry, row) in entries.iter().zip(&index.rows) {
        if !entry.follows(&position) {
            return Err(format!(
                "entry {} ({}) does not continue the history at {position}",
                entry.index, entry.event
            ));
        }
        if !row.is_of(entry) {
            return Err(format!("entry {} ({}) is not as its row says", entry.index, entry.event));
        }
        position = entry.position();
    }
    if position != index.after.position {
        return Err(format!("the last entry is at {position}, not at {}", index.after.position));
    }
    Ok(())
}

/// How many bytes an entry takes in a body, at most.
pub(super) fn body_bytes(entry: &Entry) -> usize {
    entry.event.payload().len() + MAX_ENTRY_OVERHEAD + LENGTH
}

/// What so many entries take by [`body_bytes`], if all their payloads are empty.
pub(super) fn least_body_bytes(count: u64) -> u64 {
    count.saturating_mul((MAX_ENTRY_OVERHEAD + LENGTH) as u64)
}

/// Whether these are few enough for one segment.
pub(super) fn check_size(entries: &[Entry]) -> Result<(), String> {
    let bytes: usize = entries.iter().map(body_bytes).sum();
    if entries.len() > 1 && (bytes > MAX_BODY || entries.len() > MAX_ENTRIES) {
        return Err(format!("{} entries of {bytes} bytes are too many for one", entries.len()));
    }
    Ok(())
}
