//! The terminal while it is a screen. However this ends, the terminal is as it was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use tokio::sync::mpsc;

use crate::output::terminal;

/// How long reading keys goes on after the end.
const POLL: Duration = Duration::from_millis(100);
/// Keys that wait to be looked at.
const KEYS: usize = 64;

/// A terminal that is a screen. It is as before when this is dropped, after a panic, and when the
/// process ends at once by a second signal.
#[derive(Debug)]
pub(in super::super) struct Screen {
    pub(super) terminal: DefaultTerminal,
    /// Keys, and that the size has changed.
    pub(super) events: mpsc::Receiver<Event>,
    over: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or does not do what is asked of it.
    pub(in super::super) fn enter() -> io::Result<Self> {
        // What is logged would be drawn over.
        terminal::hold_back(restore);
        let opened = ratatui::try_init();
        let terminal = opened.inspect_err(|_| terminal::leave())?;
        let (keys, events) = mpsc::channel(KEYS);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let read = move || {
            while !is_over.load(Ordering::Relaxed) {
                match event::poll(POLL).and_then(|any| any.then(event::read).transpose()) {
                    Ok(None) => {}
                    // Nobody presses a key in an instant; what does not fit is dropped.
                    Ok(Some(event)) => {
                        keys.try_send(event).ok();
                    }
                    // The terminal is gone. A signal or the next drawing ends it.
                    Err(_) => return,
                }
            }
        };
        let screen = Self { terminal, events, over };
        thread::Builder::new().name("tipline-keys".to_owned()).spawn(read)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // After a panic it was put back by the hook of `ratatui`, and what went wrong was written. Once
        // more would put the cursor back to before that, and the next line over it.
        if !thread::panicking() {
            restore();
        }
        terminal::release();
    }
}

/// With the terminal gone there is nothing to put back.
fn restore() {
    _ = ratatui::try_restore();
    _ = execute!(io::stdout(), Show);
}
