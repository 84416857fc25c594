//! Files that others gave.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is in a file, or comes through a pipe; `None` if it is longer than `most`.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut bytes = Vec::new();
    // Its length says nothing: that of a pipe is 0.
    let read = File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| Unreadable(path.display().to_string(), error))?;
    Ok((read as u64 <= most).then_some(bytes))
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be read")]
pub(super) struct Unreadable(String, #[source] io::Error);

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn no_more_is_read_than_may_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap(), None);
        #[cfg(target_os = "linux")]
        assert_eq!(read(std::path::Path::new("/dev/zero"), 1 << 20).unwrap(), None);
        assert!(read(&directory.path().join("none"), 5).is_err());
    }
}
