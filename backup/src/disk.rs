//! Files and directories of this machine. Each step that durability takes is here once.
//!
//! All of it gives plain I/O errors. Callers add what they were doing, with which path. Nothing
//! here is asynchronous: call it from a blocking task.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and [`ErrorKind::AlreadyExists`] says so.
    Keep,
}

/// Makes a new directory for its owner only. Its name is not durable yet.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a directory and those that it is in, for their owner only. Its name and all new ones are
/// durable on return.
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        if !parent(path).is_dir() {
            make_directories(parent(path))?;
        }
        match make_private_directory(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
    }
    sync(parent(path))
}

/// Writes a new file for its owner only. Its content is durable on return, its name is not yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = private();
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file for its owner only, to write at its end, and makes it if there is none.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    private().append(true).create(true).open(path)
}

/// Writes a file for its owner only, which appears under its name as a whole or not at all.
/// Content and name are durable on return.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let mut file = staged(path)?;
    file.write_all(bytes)?;
    persist(file, path, existing)
}

/// What files are called before they have their name.
pub(crate) const STAGED: &str = ".tipline-";

/// A new file for its owner only, to be given this path by [`persist`]. It is removed when it is
/// dropped.
pub(crate) fn staged(path: &Path) -> io::Result<NamedTempFile> {
    // A temporary file has mode 0600 from the start.
    tempfile::Builder::new().prefix(STAGED).tempfile_in(parent(path))
}

/// Gives a file its name. Content and name are durable on return.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the file system can neither rename without replacing nor make
/// hard links.
pub(crate) fn persist(file: NamedTempFile, path: &Path, existing: Existing) -> io::Result<()> {
    file.as_file().sync_all()?;
    let named = match existing {
        Existing::Replace => file.persist(path),
        Existing::Keep => file.persist_noclobber(path),
    };
    match named {
        Ok(_) => sync(parent(path)),
        Err(e) if existing == Existing::Keep && has_no_links(&e.error) => {
            let why = "its file system has neither renames that replace nothing nor hard links";
            Err(io::Error::new(ErrorKind::Unsupported, format!("{why}: {}", e.error)))
        }
        Err(e) => Err(e.error),
    }
}

/// Whether linking failed because there are no links: the file itself was just made here.
fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

/// Flushes a file, or the names in a directory.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::note(path);
    File::open(path)?.sync_all()
}

/// Moves a file or a directory, also to another file system: there it appears under its name as a
/// whole. The names are not durable yet.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == ErrorKind::CrossesDevices => copy_whole(from, to),
        renamed => renamed,
    }
}

/// Where something is copied that is not whole yet. The next attempt removes it.
pub(crate) fn copying(to: &Path) -> PathBuf {
    with_suffix(to, ".copying")
}

/// Copies a file or a directory, which appears under its name as a whole or not at all. Everything in
/// it is durable on return, its own name is not.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let copying = copying(to);
    remove(&copying)?;
    copy(from, &copying)?;
    fs::rename(&copying, to)
}

/// Copies a file or a directory. Everything in it is durable on return, its own name is not.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return sync(to);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    sync(to)
}

/// Removes a file, or a directory with everything in it. `Ok` too if there is none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Bytes in a file, or in all files below a directory; 0 where nothing can be read.
pub(crate) fn size(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| size(&entry.path())).sum()
        }
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

/// Bytes that may still be written to the file system of a directory; `None` where it does not say.
#[cfg(target_os = "linux")]
pub(crate) fn free(directory: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(directory).ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Bytes that may still be written to the file system of a directory; `None` where it does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn free(_directory: &Path) -> Option<u64> {
    None
}

/// The file system that a file or a directory is on, or would be: that of the nearest directory which
/// is there; `None` where the system does not say.
#[cfg(unix)]
pub(crate) fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|path| Some(fs::metadata(path).ok()?.dev()))
}

/// The file system that a file or a directory is on, or would be: that of the nearest directory which
/// is there; `None` where the system does not say.
#[cfg(not(unix))]
pub(crate) fn device(_path: &Path) -> Option<u64> {
    None
}

/// The directory that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a symbolic link leads to, also if nothing is there yet.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path).unwrap_or_else(|_| {
            fs::read_link(path).map_or_else(|_| path.to_owned(), |to| parent(path).join(to))
        }),
        _ => path.to_owned(),
    }
}

/// The path with something appended to its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An advisory lock on a file, held until it is dropped or the process ends. The file means
/// nothing by itself: it may stay, or be removed by the holder of the lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, and makes its file if there is none; `None` if someone else has it.
    pub(crate) fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open_to_append(path)?;
        match file.try_lock() {
            // The previous holder may just have removed the file: the lock is of no use then.
            Ok(()) => Ok(is_at(&file, path).then_some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that is just being started has a copy of the handle. If unlocking
        // fails, closing will do.
        _ = self.file.unlock();
    }
}

/// For files that only their owner may read.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Whether the file still has this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let (file, path) = (file.metadata().map(place), fs::metadata(path).map(place));
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use super::{copy_whole, copying, make_directories};

    /// What was flushed by its path.
    static FLUSHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    pub(super) fn note(path: &Path) {
        FLUSHED.lock().unwrap().insert(path.to_owned());
    }

    /// What was flushed below a directory, and the directory itself, since this was asked last.
    pub(crate) fn take_flushed(directory: &Path) -> BTreeSet<PathBuf> {
        let mut all = FLUSHED.lock().unwrap();
        let (below, others) = all.iter().cloned().partition(|path| path.starts_with(directory));
        *all = others;
        below
    }

    #[cfg(unix)]
    #[test]
    fn what_is_copied_in_part_does_not_have_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        make_directories(&from.join("a")).unwrap();
        for name in ["a/first", "index.db"] {
            fs::write(from.join(name), name).unwrap();
        }
        // It cannot be read, wherever it comes in the order.
        std::os::unix::fs::symlink("nowhere", from.join("m")).unwrap();
        copy_whole(&from, &to).unwrap_err();
        assert!(!to.exists());
        fs::remove_file(from.join("m")).unwrap();
        copy_whole(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/first")).unwrap(), "a/first");
        assert!(!copying(&to).exists());
    }
}
