//! Logs: to standard error, as text or as JSON.

use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::output::report::Failure;
use crate::output::terminal::AboveTheLine;

/// The form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines
    Text,
    /// A JSON object per line
    Json,
}

/// Starts logging.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .with_writer(AboveTheLine);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.with_target(true).json().flatten_event(true).init(),
    }
    Ok(())
}
