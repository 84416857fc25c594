//! The directory of a drill.

use std::io;
use std::path::{Path, PathBuf};

/// A directory that is removed again.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) async fn make(path: PathBuf) -> io::Result<Self> {
        Self::clear(&path).await?;
        let made = path.clone();
        let make = move || {
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(made)
        };
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)??;
        Ok(Self(path))
    }

    pub(super) async fn remove(self) -> io::Result<()> {
        Self::clear(&self.0).await
    }

    async fn clear(path: &Path) -> io::Result<()> {
        match tokio::fs::remove_dir_all(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next drill removes what stays.
        _ = std::fs::remove_dir_all(&self.0);
    }
}
