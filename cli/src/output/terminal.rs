//! Standard error: log lines, and below them, on a terminal, one line that is redrawn.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

const WIDTH: usize = 80;

/// The line that is shown now; empty if there is none.
static LINE: Mutex<String> = Mutex::new(String::new());

/// Whether somebody is watching.
pub(crate) fn is_watched() -> bool {
    stderr().is_terminal()
}

/// Shows a line in the place of the one before; an empty one takes it away.
pub(crate) fn show(line: &str) {
    if !is_watched() {
        return;
    }
    let width = terminal_size::terminal_size_of(stderr())
        .map_or(WIDTH, |(width, _)| usize::from(width.0))
        .saturating_sub(1);
    let mut shown = lock();
    *shown = line.chars().take(width).collect();
    // With the terminal gone there is nobody to show it to.
    _ = write!(stderr(), "\r{}\x1b[K", *shown);
}

/// Where log lines go: above the line that is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AboveTheLine;

impl MakeWriter<'_> for AboveTheLine {
    type Writer = AboveTheLine;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for AboveTheLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let shown = lock();
        let mut err = stderr().lock();
        if shown.is_empty() {
            return err.write(bytes);
        }
        err.write_all(b"\r\x1b[K")?;
        err.write_all(bytes)?;
        err.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stderr().flush()
    }
}

fn lock() -> MutexGuard<'static, String> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}
