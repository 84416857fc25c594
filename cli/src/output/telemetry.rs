//! Logs: to standard error, as text or as JSON.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use clap::ValueEnum;
use tipline_ops::LogLevel;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload::{self, Handle};

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
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .with_writer(AboveTheLine);
    match format {
        LogFormat::Text => {
            let logs = logs.with_env_filter(filter).with_filter_reloading();
            changeable(level, logs.reload_handle());
            logs.init();
        }
        LogFormat::Json => {
            let logs = logs.with_target(true).json().flatten_event(true);
            let logs = logs.with_env_filter(filter).with_filter_reloading();
            changeable(level, logs.reload_handle());
            logs.init();
        }
    }
    Ok(())
}

static LEVEL: OnceLock<LogLevel> = OnceLock::new();

/// What is logged, to be changed while this process runs.
pub(crate) fn level() -> Option<LogLevel> {
    LEVEL.get().cloned()
}

fn changeable<S: 'static>(started: &str, handle: Handle<EnvFilter, S>) {
    let apply = move |level: &str| Ok::<_, LevelError>(handle.reload(filter(level)?)?);
    // Logging is started once.
    LEVEL.set(LogLevel::new(started, apply)).ok();
}

/// Why what is logged was not changed.
#[derive(Debug, thiserror::Error)]
enum LevelError {
    #[error("the log level cannot be read")]
    Filter(#[from] ParseError),
    /// A filter takes it for a module, and would say nothing of any other.
    #[error(
        "{0} is no log level: error, warn, info, debug, trace or off, or per module info,MODULE=debug"
    )]
    Unknown(String),
    #[error("logging has ended")]
    Ended(#[from] reload::Error),
}

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let words = || level.split(',').map(str::trim);
    match words().any(|word| is_level(word) || word.contains('=')) {
        true => Ok(EnvFilter::try_new(level)?),
        false => Err(LevelError::Unknown(level.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_word_that_is_no_level_is_refused_and_silences_nobody() {
        for good in ["info", "DEBUG", "off", "info,async_nats=off", "tipline_log=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["degub", "", "loud,louder", "info=nothing"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
