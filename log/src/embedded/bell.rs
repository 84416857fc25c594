//! Notifications: a file beside the log that is written after each change, and watched.
//!
//! The log's own files would not do. SQLite writes the write-ahead log before the fsync, and
//! makes the commit visible after it in shared memory, which no file notification shows:
//! a reader that looked when the file changed would look too early and then sleep.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::files::with_suffix;

/// One file that notifies every process on this machine that there is something to read.
pub(super) struct Bell {
    path: PathBuf,
    /// `None` where nothing can be written.
    file: Option<File>,
    rung: watch::Sender<()>,
}

/// The bells of a log.
pub(super) struct Bells {
    /// Rung when there are new entries, and when a subscription was taken over.
    pub(super) entries: Bell,
    /// Rung when the board changed.
    pub(super) board: Bell,
}

impl Bell {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self { path, file: Some(file), rung: watch::Sender::new(()) })
    }

    fn silent(path: PathBuf) -> Self {
        Self { path, file: None, rung: watch::Sender::new(()) }
    }

    /// Notifies everyone, this process included. Call it once the change is visible.
    ///
    /// A bell that cannot be rung is not an error of what was written. Everyone looks again
    /// after [`super::LOOK_AGAIN`] anyway.
    pub(super) fn ring(&self) {
        let Some(mut file) = self.file.as_ref() else { return };
        let rung = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(b"\n"));
        if let Err(error) = rung {
            tracing::warn!(bell = %self.path.display(), %error, "readers will be notified late");
            self.rung.send_replace(());
        }
    }

    /// Notices every ring from now on, once the bells are watched.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.rung.subscribe()
    }
}

impl Bells {
    /// Opens the bells of the log at `log`, makes them if need be.
    pub(super) fn open(log: &Path) -> io::Result<Self> {
        let entries = Bell::open(with_suffix(log, "-bell-entries"))?;
        Ok(Self { entries, board: Bell::open(with_suffix(log, "-bell-board"))? })
    }

    /// The bells of a log that cannot be written here. They are heard where others ring them.
    pub(super) fn silent(log: &Path) -> Self {
        let entries = Bell::silent(with_suffix(log, "-bell-entries"));
        Self { entries, board: Bell::silent(with_suffix(log, "-bell-board")) }
    }

    /// Begins to watch. On return nothing is missed any more, until the watcher is dropped.
    pub(super) fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let bells = [&self.entries, &self.board].map(|bell| (bell.path.clone(), bell.rung.clone()));
        let mut watcher = notify::recommended_watcher(move |event| {
            for (path, rung) in &bells {
                if concerns(&event, path) {
                    rung.send_replace(());
                }
            }
        })?;
        watcher.watch(&self.entries.path, RecursiveMode::NonRecursive)?;
        watcher.watch(&self.board.path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Whether the event may mean that this bell was rung. An error or an overflow may.
fn concerns(event: &notify::Result<Event>, bell: &Path) -> bool {
    let Ok(event) = event else { return true };
    let opened_or_closed = matches!(event.kind, EventKind::Access(_));
    event.need_rescan() || !opened_or_closed && event.paths.iter().any(|path| path == bell)
}
