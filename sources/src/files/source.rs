//! Payloads in files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use tipline_producer::PayloadSource;

/// What a row says about its payload: the file, and where in it.
pub(crate) fn reference(file: &str, offset: u64, length: u64) -> String {
    format!("{file}:{offset}:{length}")
}

/// Reads what [`reference()`] says, below a root.
#[derive(Debug)]
pub(crate) struct FileSource {
    root: PathBuf,
    key: [u8; 8],
}

impl FileSource {
    /// Files as they are.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, key: [0; 8] }
    }

    /// Files of which every byte is XORed with this key, by its offset in the file.
    pub(crate) fn with_key(root: PathBuf, key: [u8; 8]) -> Self {
        Self { root, key }
    }

    /// The bytes at this place.
    pub(crate) fn bytes(&self, file: &str, offset: u64, length: u64) -> io::Result<Bytes> {
        let mut from = File::open(self.root.join(file))?;
        from.seek(SeekFrom::Start(offset))?;
        // The length is from our own index; the file may be shorter all the same.
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            let why = format!("it ends {} bytes too early", length - bytes.len() as u64);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        unmask(&mut bytes, offset, self.key);
        Ok(bytes.into())
    }
}

/// Takes a key off bytes that start at this offset of their file.
pub(crate) fn unmask(bytes: &mut [u8], offset: u64, key: [u8; 8]) {
    if key == [0; 8] {
        return;
    }
    let start = usize::try_from(offset % 8).unwrap_or(0);
    for (byte, key) in bytes.iter_mut().zip(key.iter().cycle().skip(start)) {
        *byte ^= key;
    }
}

impl PayloadSource for FileSource {
    fn read(&self, reference: &str) -> io::Result<Bytes> {
        let mut parts = reference.rsplitn(3, ':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (length, offset) = (number(), number());
        let (Some(length), Some(offset), Some(file)) = (length, offset, parts.next()) else {
            let why = format!("{reference:?} is not <file>:<offset>:<length>");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        self.bytes(file, offset, length).map_err(|error| {
            let path = self.root.join(file);
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })
    }
}
