//! Standard error: log lines, and below them, on a terminal, one line that is redrawn.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::output::escape::{logged, plain};

const WIDTH: usize = 80;

/// The line that is shown now; empty if there is none.
static LINE: Mutex<String> = Mutex::new(String::new());

/// Lines that are held back, at most: the newest.
const HELD: usize = 100;

/// What is held back while the terminal is a screen of its own, and how to put it back.
#[derive(Debug)]
struct Held {
    lines: VecDeque<Vec<u8>>,
    restore: fn(),
}

static SCREEN: Mutex<Option<Held>> = Mutex::new(None);

/// Holds back what is logged to a terminal from now on: it is a screen, which `restore` puts back if
/// the process ends at once.
pub(crate) fn hold_back(restore: fn()) {
    *screen() = Some(Held { lines: VecDeque::new(), restore });
}

/// Writes what was held back. The terminal is as it was by now.
pub(crate) fn release() {
    let held = screen().take();
    for line in held.into_iter().flat_map(|held| held.lines) {
        // With the terminal gone there is nobody to show it to.
        _ = stderr().write_all(&line);
    }
}

/// The process ends at once: the terminal is put back as it was.
pub(crate) fn leave() {
    let restore = screen().as_ref().map(|held| held.restore);
    if let Some(restore) = restore {
        restore();
    }
    release();
    show("");
}

fn screen() -> MutexGuard<'static, Option<Held>> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    *shown = plain(line).chars().take(width).collect();
    // With the terminal gone there is nobody to show it to.
    _ = write!(stderr(), "\r{}\x1b[K", *shown);
}

/// Where log lines go, each at once: above the line that is shown.
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
        let line = logged(&String::from_utf8_lossy(bytes));
        if is_watched()
            && let Some(held) = screen().as_mut()
        {
            if held.lines.len() == HELD {
                held.lines.pop_front();
            }
            held.lines.push_back(line.into_bytes());
            return Ok(bytes.len());
        }
        let shown = lock();
        let mut err = stderr().lock();
        if shown.is_empty() {
            err.write_all(line.as_bytes())?;
            return Ok(bytes.len());
        }
        err.write_all(b"\r\x1b[K")?;
        err.write_all(line.as_bytes())?;
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
