//! Ctrl-C and SIGTERM. The first drains the program, the second ends it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::output::terminal;

/// Cancelled by the first Ctrl-C or SIGTERM. A Ctrl-C after that ends the process at once.
/// Nothing is lost, as by no crash.
///
/// # Errors
/// Signals cannot be received here.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
        interrupt.recv().await;
        terminal::leave();
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(stop)
}
