//! From one record of a file to the next, whatever is between them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::check::check;
use super::record::{self, FRAME, Head, Magic, Record};
use crate::files::unmask;

/// Bytes that are searched at once.
const CHUNK: u64 = 1 << 20;

/// What is at an offset where a record may start.
#[derive(Debug)]
pub(super) enum Found {
    /// A block of which every byte is there.
    Block(Head),
    /// Nothing was written there.
    Blank,
    /// A record that is not whole, and why. The node may still write the rest of it.
    Torn(String),
    /// Bytes that no node writes there.
    Garbage(String),
}

/// What is at an offset. The bytes of a block are checked, every one.
pub(super) fn at(
    file: &mut File,
    offset: u64,
    key: [u8; 8],
    magic: Option<Magic>,
) -> io::Result<Found> {
    Ok(match record::read(file, offset, key, magic)? {
        Record::Whole(head) => {
            let block = record::block(file, offset, head.length, key)?;
            match check(&block) {
                Ok(()) => Found::Block(head),
                Err(why) => Found::Torn(format!("the block there {why}")),
            }
        }
        Record::Partial { missing } => Found::Torn(format!(
            "{missing} bytes of the block there are missing: was the file cut off?"
        )),
        Record::TornFrame => Found::Torn("what starts a block is there only in part".to_owned()),
        Record::End => Found::Blank,
        Record::Garbage(why) => Found::Garbage(why),
    })
}

/// The next offset, from this one on, at which a whole block starts; `None` if there is none.
pub(super) fn next_block(
    file: &mut File,
    from: u64,
    key: [u8; 8],
    magic: Magic,
) -> io::Result<Option<u64>> {
    let size = file.metadata()?.len();
    let mut start = from;
    while start + FRAME <= size {
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        // Together with the first bytes of the next chunk, so that no magic is cut in two.
        (&mut *file).take(CHUNK + 3).read_to_end(&mut chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            unmask(&mut chunk, start, key);
            for (offset, window) in (start..).zip(chunk.windows(magic.len())) {
                if *window == magic
                    && matches!(at(file, offset, key, Some(magic))?, Found::Block(_))
                {
                    return Ok(Some(offset));
                }
            }
        }
        start += CHUNK;
    }
    Ok(None)
}
