//! Whether paths still lead to what was opened.

use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;

use tipline_producer::OutboxError;

use super::error::{damaged, io_failed};

/// Files and directories by what they were when they were opened. A file that is removed can
/// still be written to, and all of it is lost. A directory that is unmounted leaves an empty one.
#[derive(Debug)]
pub(crate) struct Guard {
    place: String,
    marks: Vec<(PathBuf, (u64, u64))>,
}

impl Guard {
    /// Guards what these paths lead to now.
    pub(crate) fn new(place: &str, paths: Vec<PathBuf>) -> Result<Self, OutboxError> {
        let mark = |path: PathBuf| match fs::metadata(&path) {
            Ok(metadata) => Ok((path, mark(&metadata))),
            Err(error) => Err(io_failed(place, "looking at", &path)(error)),
        };
        let marks = paths.into_iter().map(mark).collect::<Result<_, _>>()?;
        Ok(Self { place: place.to_owned(), marks })
    }

    /// Whether they still do.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] names the path. Start again when the right one is there.
    pub(crate) fn check(&self) -> Result<(), OutboxError> {
        for (path, known) in &self.marks {
            let why = match fs::metadata(path) {
                Ok(metadata) if mark(&metadata) == *known => continue,
                Ok(_) => "it was replaced while it was in use",
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "it was removed while it was in use"
                }
                Err(error) => return Err(io_failed(&self.place, "looking at", path)(error)),
            };
            let why = format!(
                "{why}, or a file system was mounted or unmounted there: put back what was there, \
                 and start again"
            );
            return Err(damaged(&self.place, path, why));
        }
        Ok(())
    }
}

#[cfg(unix)]
fn mark(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn mark(_metadata: &Metadata) -> (u64, u64) {
    (0, 0)
}
