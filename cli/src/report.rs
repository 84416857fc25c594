//! How a run ends: exit codes, and errors as people read them.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use tipline_log::LogError;
use tipline_producer::Ended;

/// How the program ended. The numbers are documented in `--help`: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done; or drained after Ctrl-C or SIGTERM; or the fleet is well.
    Ok = 0,
    /// The fleet is degraded.
    Degraded = 1,
    /// It failed, or was started wrongly, or the fleet is broken.
    Failed = 2,
    /// A newer primary has claimed the log.
    Fenced = 3,
    /// Ended at once by a second Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    advice: Option<String>,
}

impl Failure {
    /// With a line on what to do, where the error itself does not say it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Whether the log is not there.
    pub(crate) fn is_log_not_found(&self) -> bool {
        causes(&*self.error).any(|cause| {
            matches!(cause.downcast_ref::<LogError>(), Some(LogError::NotFound { .. }))
        })
    }

    /// Whether the log is there, and refuses.
    pub(crate) fn is_log_unusable(&self) -> bool {
        causes(&*self.error).any(|cause| {
            matches!(cause.downcast_ref::<LogError>(), Some(LogError::Unusable { .. }))
        })
    }

    /// The error with its causes in one line, and what to do.
    pub(crate) fn into_parts(self) -> (String, Option<String>) {
        (chain(&*self.error), self.advice)
    }

    /// Writes it to standard error: the error, its causes below each other, what to do.
    pub(crate) fn print(&self) -> Exit {
        let mut text = format!("{ERROR}error:{ERROR:#} {}\n", self.error);
        for cause in causes(&*self.error).skip(1) {
            text.push_str(&format!("  because: {cause}\n"));
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!("  {TIP}to do:{TIP:#} {advice}\n"));
        }
        // With standard error gone there is nobody to tell.
        drop(anstream::stderr().write_all(text.as_bytes()));
        self.exit
    }
}

const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const TIP: anstyle::Style = anstyle::AnsiColor::Green.on_default();

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let fenced = matches!((&error as &dyn Error).downcast_ref(), Some(Ended::Fenced { .. }));
        let exit = if fenced { Exit::Fenced } else { Exit::Failed };
        Self { exit, error: Box::new(error), advice: None }
    }
}

/// An error that is only a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Sentence(pub(crate) String);

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
