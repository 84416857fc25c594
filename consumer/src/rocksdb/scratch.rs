//! A directory for what RocksDB wants to write where nothing may be written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// An empty directory of this process alone, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("tipline-reader-{process}-{count}"));
        // Left behind by a process of the same number that was killed: nobody's any more.
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        private(&mut fs::DirBuilder::new()).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever cleans up temporary files finds it otherwise.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// New directories are for their owner only.
pub(super) fn private(builder: &mut fs::DirBuilder) -> &mut fs::DirBuilder {
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
    builder
}
