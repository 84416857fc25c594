//! Reading files that nobody writes any more, from front to end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{io, vec};

use bytes::Bytes;
use tipline_producer::OutboxError;
use tipline_proto::Hash;

use super::check::check;
use super::is_blk;
use super::record::{self, FRAME, Magic, Record};
use super::walk::next_block;
use crate::files::{damaged, io_failed};

/// A block of a `blk*.dat` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkBlock {
    /// Its hash, in the byte order of the file.
    pub hash: Hash,
    /// Hash of the block below it.
    pub parent: Hash,
    /// The block.
    pub payload: Bytes,
}

/// The blocks of finished `blk*.dat` files, in the order in which they stand there, every byte of
/// each checked. Holds one block at a time.
///
/// After an error there are no more blocks.
#[derive(Debug)]
pub struct BlkBlocks {
    place: String,
    files: vec::IntoIter<PathBuf>,
    current: Option<(PathBuf, File)>,
    offset: u64,
    key: [u8; 8],
    magic: Option<Magic>,
}

impl BlkBlocks {
    /// Opens one file, or all `blk*.dat` of a directory by name. `xor.dat` beside is heeded.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if there is nothing to read there.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let place = format!("blk:{}", path.display());
        let unusable = |source: Option<io::Error>| OutboxError::Unusable {
            place: place.clone(),
            why: "give a blk*.dat file, or a directory that has them".to_owned(),
            source: source.map(Into::into),
        };
        let is_dir = fs::metadata(path).map_err(|error| unusable(Some(error)))?.is_dir();
        let root = if is_dir { path } else { path.parent().unwrap_or(Path::new("")) };
        let key = record::read_key(root).map_err(|error| unusable(Some(error)))?;
        let files = if is_dir {
            names(path).map_err(|error| unusable(Some(error)))?
        } else {
            vec![path.to_owned()]
        };
        if files.is_empty() {
            return Err(unusable(None));
        }
        let files = files.into_iter();
        Ok(Self { place, files, current: None, offset: 0, key, magic: None })
    }

    /// The next block of the current file; `None` at its end.
    fn next_of(&mut self, path: &Path, file: &mut File) -> Result<Option<BlkBlock>, OutboxError> {
        let offset = self.offset;
        let failed = |error| io_failed(&self.place, "reading", path)(error);
        let wrong =
            |why: String| Err(damaged(&self.place, path, format!("at offset {offset}: {why}")));
        match record::read(file, offset, self.key, self.magic).map_err(failed)? {
            Record::Whole(head) => {
                let payload = record::block(file, offset, head.length, self.key).map_err(failed)?;
                // Its length does not say that it was written.
                if let Err(why) = check(&payload) {
                    return wrong(format!("the block there {why}"));
                }
                self.magic = Some(head.magic);
                self.offset = offset + FRAME + head.length;
                Ok(Some(BlkBlock { hash: head.hash, parent: head.parent, payload }))
            }
            Record::End => {
                let length = file.metadata().map_err(failed)?.len();
                let Some(left) = length.checked_sub(offset) else {
                    return wrong(format!("the file ends before it, and has {length} bytes now"));
                };
                if (1..FRAME).contains(&left) {
                    return wrong(format!("the file is cut off, {left} bytes into a record"));
                }
                // Zeros are the end only if nothing follows.
                let next = self.magic.map(|magic| next_block(file, offset, self.key, magic));
                match next.transpose().map_err(failed)?.flatten() {
                    Some(next) => {
                        self.offset = next;
                        self.next_of(path, file)
                    }
                    None => Ok(None),
                }
            }
            Record::TornFrame => wrong("what starts a block is there only in part".to_owned()),
            Record::Partial { missing } => wrong(format!(
                "the file is cut off: {missing} bytes of the block that starts there are missing; \
                 get the whole file, or cut it off at this offset"
            )),
            Record::Garbage(why) => wrong(why),
        }
    }

    fn step(&mut self) -> Result<Option<BlkBlock>, OutboxError> {
        loop {
            let (path, mut file) = match self.current.take() {
                Some(current) => current,
                None => {
                    let Some(path) = self.files.next() else {
                        return Ok(None);
                    };
                    self.offset = 0;
                    let file = File::open(&path);
                    let file = file.map_err(io_failed(&self.place, "opening", &path))?;
                    (path, file)
                }
            };
            if let Some(block) = self.next_of(&path, &mut file)? {
                self.current = Some((path, file));
                return Ok(Some(block));
            }
        }
    }
}

impl Iterator for BlkBlocks {
    type Item = Result<BlkBlock, OutboxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if matches!(next, Some(Err(_))) {
            self.files = Vec::new().into_iter();
            self.current = None;
        }
        next
    }
}

/// The files of a directory, in the order of their names.
pub(super) fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files.extend(entry.file_name().to_str().is_some_and(is_blk).then(|| entry.path()));
    }
    // Five digits, and then six: the shorter number is the smaller one.
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(files)
}
