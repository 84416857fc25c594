//! Records of a `blk*.dat` file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use tipline_proto::Hash;
use tipline_proto::limits::MAX_PAYLOAD_BYTES;

use super::check::{HEADER, double_sha256};
use crate::files::unmask;

/// Magic and length, before each block.
pub(super) const FRAME: u64 = 8;

/// What starts every record of a file.
pub(super) type Magic = [u8; 4];

/// What starts the records of the networks that are known: mainnet, testnets, signet, regtest.
const NETWORKS: [Magic; 5] = [
    [0xf9, 0xbe, 0xb4, 0xd9],
    [0x0b, 0x11, 0x09, 0x07],
    [0x1c, 0x16, 0x3f, 0x28],
    [0x0a, 0x03, 0xcf, 0x40],
    [0xfa, 0xbf, 0xb5, 0xda],
];

/// What is at an offset of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A block, as long as its frame says.
    Whole(Head),
    /// The frame is there, `missing` bytes of the block are not.
    Partial { missing: u64 },
    /// The end of the file, fewer bytes than a frame, or zeros.
    End,
    /// A frame of which only some bytes were written.
    TornFrame,
    /// Anything else.
    Garbage(String),
}

/// A block without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) magic: Magic,
    pub(super) hash: Hash,
    pub(super) parent: Hash,
    /// Bytes of the block.
    pub(super) length: u64,
    /// Whether something else than zeros follows. Otherwise, in space that was made in
    /// advance, the end of the block may still be unwritten.
    pub(super) followed: bool,
}

/// The key that the files of a directory are XORed with; zeros for none.
pub(super) fn read_key(root: &Path) -> io::Result<[u8; 8]> {
    match std::fs::read(root.join("xor.dat")) {
        Ok(key) => key.try_into().map_err(|key: Vec<u8>| {
            let why = format!("a key has 8 bytes, it has {}", key.len());
            io::Error::new(io::ErrorKind::InvalidData, why)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok([0; 8]),
        Err(error) => Err(error),
    }
}

/// What the first record of a file starts with.
pub(super) fn magic(file: &mut File, key: [u8; 8]) -> io::Result<Magic> {
    let mut magic = Magic::default();
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut magic)?;
    unmask(&mut magic, 0, key);
    Ok(magic)
}

/// Reads what is at an offset. `magic` is what must start a record; any if not known yet.
pub(super) fn read(
    file: &mut File,
    offset: u64,
    key: [u8; 8],
    magic: Option<Magic>,
) -> io::Result<Record> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut start = Vec::with_capacity(8 + HEADER);
    file.take(FRAME + HEADER as u64).read_to_end(&mut start)?;
    if start.len() < 8 || start.iter().take(8).all(|byte| *byte == 0) {
        return Ok(Record::End);
    }
    let unwritten: Vec<bool> = start.iter().take(8).map(|byte| *byte == 0).collect();
    unmask(&mut start, offset, key);
    let frame = |at: usize| [start[at], start[at + 1], start[at + 2], start[at + 3]];
    let (found, length) = (frame(0), u64::from(u32::from_le_bytes(frame(4))));
    let is_magic = magic.map_or(NETWORKS.contains(&found), |magic| magic == found);
    if let Some(magic) = magic.filter(|_| !is_magic) {
        // Zeros, and then something; or some of the bytes of a magic.
        if unwritten[0] || (0..4).all(|at| unwritten[at] || magic[at] == found[at]) {
            return Ok(Record::TornFrame);
        }
        return Ok(Record::Garbage(format!(
            "a record must start with {magic:02x?}, but {found:02x?} is there"
        )));
    }
    let is_length = (HEADER as u64..=MAX_PAYLOAD_BYTES as u64).contains(&length);
    // Of a network that is not known, all of the magic must be there.
    let may_be_torn =
        unwritten.iter().take(4).any(|is| *is) || (!is_length && unwritten.contains(&true));
    if (is_magic && !is_length) || (!is_magic && may_be_torn) {
        return Ok(Record::TornFrame);
    }
    if !is_length {
        return Ok(Record::Garbage(format!(
            "the record there says that its block has {length} bytes; a block has {HEADER} to \
             {MAX_PAYLOAD_BYTES}"
        )));
    }
    let end = offset + FRAME + length;
    if end > size {
        return Ok(Record::Partial { missing: end - size });
    }
    let header = &start[8..8 + HEADER];
    let hash = double_sha256(&[header]);
    let (Ok(hash), Ok(parent)) = (Hash::new(hash), Hash::new(&header[4..36])) else {
        // 32 bytes are a hash; if ever they were not, the record would not be one.
        return Ok(Record::Garbage("a hash of 32 bytes was refused".to_owned()));
    };
    // At the very end all is written. The file grew by writing.
    let followed = end == size || !zeros(file, end)?;
    Ok(Record::Whole(Head { magic: found, hash, parent, length, followed }))
}

/// Whether zeros follow, where a record would start.
fn zeros(file: &mut File, offset: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(offset))?;
    let mut next = Vec::with_capacity(8);
    file.take(FRAME).read_to_end(&mut next)?;
    Ok(next.iter().all(|byte| *byte == 0))
}

/// The block whose record is at an offset.
pub(super) fn block(file: &mut File, offset: u64, length: u64, key: [u8; 8]) -> io::Result<Bytes> {
    let start = offset + FRAME;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    unmask(&mut bytes, start, key);
    Ok(bytes.into())
}
