//! Making files durable in few flushes.

use std::fs::File;
use std::io;
use std::path::Path;

/// From this many files on, one flush of the whole file system is cheaper than one for each.
const MANY: usize = 4;
/// From this many bytes on, the system is asked to begin with a file while the next is written.
const LARGE: usize = 256 << 10;

/// How the file system of a store is flushed.
#[derive(Debug)]
pub(super) struct Flush {
    /// Opened before anything is written, so that it learns of every write that failed since.
    /// None where a flush of the whole file system does not tell everything.
    directory: Option<File>,
}

impl Flush {
    /// For the file system that this directory is on.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let directory = File::open(directory)?;
        let whole = system::tells_of_failed_writes(&directory)?;
        Ok(Self { directory: whole.then_some(directory) })
    }

    /// For tests: as on a file system on which a flush of all of it tells everything.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn always(directory: &Path) -> io::Result<Self> {
        Ok(Self { directory: Some(File::open(directory)?) })
    }

    /// The flush of the whole file system, if it is the way for this many files; otherwise each
    /// is to be flushed by itself.
    pub(super) fn whole_for(&self, files: usize) -> Option<Whole<'_>> {
        self.directory.as_ref().filter(|_| files >= MANY).map(Whole)
    }
}

/// Flushes everything that was written to the file system, by whomever.
#[derive(Debug)]
pub(super) struct Whole<'a>(&'a File);

impl Whole<'_> {
    pub(super) fn run(&self) -> io::Result<()> {
        system::flush(self.0)
    }

    /// For a file that was just written, and has this many bytes: the flush then waits for less.
    pub(super) fn begin(&self, file: &File, bytes: usize) {
        if bytes >= LARGE {
            system::begin(file);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::{self, File};
    use std::io;

    /// ext4, XFS and Btrfs, as statfs numbers them: they write back, commit and flush the
    /// device. What others do is not as certain, least of all through a network.
    const FILE_SYSTEMS: [u32; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    /// Earlier kernels forget to tell of writes that failed.
    const KERNEL: (u32, u32) = (5, 8);

    pub(super) fn tells_of_failed_writes(directory: &File) -> io::Result<bool> {
        // Its width differs between architectures; the values fit in 32 bits.
        let file_system = nix::sys::statfs::fstatfs(directory)?.filesystem_type().0 as u32;
        Ok(FILE_SYSTEMS.contains(&file_system) && kernel().is_some_and(|found| found >= KERNEL))
    }

    /// Major and minor number; `None` if it does not say.
    fn kernel() -> Option<(u32, u32)> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        numbers.next()?.ok().zip(numbers.next()?.ok())
    }

    pub(super) fn flush(directory: &File) -> io::Result<()> {
        nix::unistd::syncfs(directory).map_err(io::Error::from)
    }

    /// "Not needed" has Linux write what is dirty, and waits for none of it (`mm/fadvise.c`).
    pub(super) fn begin(file: &File) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        // It promises nothing, so it cannot fail: the flush decides.
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).ok();
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;

    pub(super) fn tells_of_failed_writes(_directory: &File) -> io::Result<bool> {
        Ok(false)
    }

    pub(super) fn flush(directory: &File) -> io::Result<()> {
        directory.sync_all()
    }

    pub(super) fn begin(_file: &File) {}
}
