//! What an earlier process left in the index's write-ahead log, made durable before it is built upon.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much is read and written again at once.
const CHUNK: usize = 1 << 20;

/// Makes durable what the write-ahead log of the index at `index` has, before anybody opens it. A
/// process that was killed, or whose fsync failed, may have left rows in it that SQLite shows and
/// no disk has. After a failed fsync another one would do nothing, for the system takes the pages
/// for written. So they are written again.
pub(super) fn make_durable(index: &Path) -> io::Result<()> {
    let mut path = OsString::from(index);
    path.push("-wal");
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let at = file.stream_position()?;
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return file.sync_all();
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&chunk[..length])?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_same_bytes_are_written_once_more() {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index");
        make_durable(&index).unwrap();
        let wal = directory.path().join("index-wal");
        let bytes: Vec<u8> = (0..CHUNK as u32 + 77).map(|i| (i / 7) as u8).collect();
        std::fs::write(&wal, &bytes).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        OpenOptions::new().write(true).open(&wal).unwrap().set_modified(old).unwrap();
        make_durable(&index).unwrap();
        assert!(std::fs::read(&wal).unwrap() == bytes);
        assert_ne!(std::fs::metadata(&wal).unwrap().modified().unwrap(), old);
    }
}
