//! Errors that end a run, as they are printed.

use std::error::Error;
use std::io::{self, Write};

use tipline_log::{LogError, error_chain, error_texts};

use crate::exit::{Exit, exit_code};

/// Why a command failed, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    details: Vec<String>,
    advice: Option<String>,
}

impl Failure {
    /// With a line on what to do, where the error itself does not say it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// With what the error is about, a line each.
    pub(crate) fn list(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// The error itself.
    pub(crate) fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// Whether there is no such log.
    pub(crate) fn is_log_not_found(&self) -> bool {
        causes(&*self.error).any(|cause| {
            matches!(cause.downcast_ref::<LogError>(), Some(LogError::NotFound { .. }))
        })
    }

    /// Whether the log is unavailable.
    pub(crate) fn is_log_away(&self) -> bool {
        causes(&*self.error).any(|cause| {
            matches!(cause.downcast_ref::<LogError>(), Some(LogError::Unavailable { .. }))
        })
    }

    /// Whether the log is there, and refuses.
    pub(crate) fn is_log_unusable(&self) -> bool {
        causes(&*self.error).any(|cause| {
            matches!(cause.downcast_ref::<LogError>(), Some(LogError::Unusable { .. }))
        })
    }

    /// The error with its causes in one line.
    pub(crate) fn text(&self) -> String {
        self.details.iter().fold(error_chain(&*self.error), |text, detail| text + "; " + detail)
    }

    /// The error with its causes in one line, and what to do.
    pub(crate) fn into_parts(self) -> (String, Option<String>) {
        (self.text(), self.advice)
    }

    /// Writes it to the logs.
    pub(crate) fn log(self) -> Exit {
        let exit = self.exit;
        let (error, advice) = self.into_parts();
        tracing::error!(advice, exit = exit as u8, "{error}");
        exit
    }

    /// Writes it to standard error: the error, its causes below each other, what to do. If what
    /// failed is that nobody reads standard output any more, there is nothing to say.
    pub(crate) fn print(&self) -> Exit {
        if causes(&*self.error).any(is_broken_pipe) {
            return Exit::Ok;
        }
        let mut texts = error_texts(&*self.error).into_iter();
        let first = texts.next().unwrap_or_default();
        let mut text = format!("{ERROR}error:{ERROR:#} {first}\n");
        for because in texts.chain(self.details.iter().cloned()) {
            text.push_str(&format!("  because: {because}\n"));
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!("  {TIP}to do:{TIP:#} {advice}\n"));
        }
        // With standard error gone nobody reads it.
        _ = anstream::stderr().write_all(text.as_bytes());
        self.exit
    }
}

/// Writes to standard output.
///
/// # Errors
/// It cannot be written; not that nobody reads it any more.
pub(crate) fn say(text: &str) -> io::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const TIP: anstyle::Style = anstyle::AnsiColor::Green.on_default();

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let exit = exit_code(&error);
        Self { exit, error: Box::new(error), details: Vec::new(), advice: None }
    }
}

/// An error that is only a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Sentence(pub(crate) String);

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use tipline_log::{LogError, error_chain};
    use tipline_producer::EndReason;

    use super::{Failure, Sentence};
    use crate::exit::Exit;

    #[test]
    fn what_was_said_is_not_said_again() {
        let refused = || std::io::Error::other("connection refused");
        let error = LogError::Unavailable {
            place: "nats://h/x".into(),
            what: "connect: connection refused".into(),
            source: Some(Box::new(refused())),
        };
        assert_eq!(
            error_chain(&error),
            "the log at nats://h/x does not answer: connect: connection refused"
        );
        let error = LogError::Unavailable {
            place: "nats://h/x".into(),
            what: "connect".into(),
            source: Some(Box::new(refused())),
        };
        assert_eq!(
            error_chain(&error),
            "the log at nats://h/x does not answer: connect: connection refused"
        );
    }

    #[test]
    fn a_fenced_primary_has_an_exit_code_of_its_own() {
        assert_eq!(Failure::from(EndReason::Fenced { epoch: 1, by: 2 }).exit, Exit::Fenced);
        assert_eq!(Failure::from(Sentence("x".into())).exit, Exit::Failed);
    }
}
