//! Errors that end a run, as they are printed.

use std::error::Error;
use std::io::Write;

use tipline_log::{LogError, error_chain, error_texts};
use tipline_producer::EndReason;

use crate::exit::{Exit, exit_code};
use crate::output::escape::{plain, printed};
use crate::output::stdout::OutputError;

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

    /// With this exit code, where the error does not show it.
    pub(crate) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// With what the error is about, a line each.
    pub(crate) fn list(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// How the program is to end.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The error itself.
    pub(crate) fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// What the log answered, if it is the log that failed.
    pub(crate) fn log_error(&self) -> Option<&LogError> {
        match self.error.downcast_ref() {
            Some(EndReason::Log(error)) => Some(error),
            _ => self.error.downcast_ref(),
        }
    }

    /// Whether all that failed is that nobody reads standard output any more.
    fn is_output_closed(&self) -> bool {
        matches!(self.error.downcast_ref(), Some(OutputError::Closed))
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
        if self.is_output_closed() {
            return exit;
        }
        let (error, advice) = self.into_parts();
        tracing::error!(advice, exit = exit as u8, "{error}");
        exit
    }

    /// Writes it to standard error: the error, its causes below each other, what to do. If all that
    /// failed is that nobody reads standard output any more, there is nothing to say.
    pub(crate) fn print(&self) -> Exit {
        if self.is_output_closed() {
            return self.exit;
        }
        // With standard error gone nobody reads it.
        _ = anstream::stderr().write_all(printed(&self.lines()).as_bytes());
        self.exit
    }

    fn lines(&self) -> String {
        let mut texts = error_texts(&*self.error).into_iter();
        let first = texts.next().unwrap_or_default();
        let mut text = format!("{ERROR}error:{ERROR:#} {}\n", plain(&first));
        for because in texts.chain(self.details.iter().cloned()) {
            text.push_str(&format!("  because: {}\n", plain(&because)));
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!("  {TIP}to do:{TIP:#} {}\n", plain(advice)));
        }
        text
    }
}

/// Writes to standard output. That nobody reads it any more is no error: the command does what it
/// was called for, and ends as it would.
///
/// # Errors
/// It cannot be written.
pub(crate) fn say(text: &str) -> Result<(), OutputError> {
    match list(text) {
        Err(OutputError::Closed) => Ok(()),
        written => written,
    }
}

/// Writes to standard output, for a command that only lists. What a terminal would obey is escaped;
/// lines and styles are not, so what is from elsewhere goes through `escape` before.
///
/// # Errors
/// It cannot be written; or nobody reads it any more, and there is nothing left to do.
pub(crate) fn list(text: &str) -> Result<(), OutputError> {
    Ok(anstream::stdout().write_all(printed(text).as_bytes())?)
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

#[cfg(test)]
mod tests {
    use tipline_log::{LogError, error_chain};
    use tipline_producer::EndReason;

    use super::{Failure, Sentence};
    use crate::exit::Exit;
    use crate::output::stdout::OutputError;

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

    #[test]
    fn what_a_server_answers_is_shown_and_not_obeyed() {
        #[derive(Debug, thiserror::Error)]
        #[error("the place does not answer")]
        struct Away(#[source] Sentence);

        let answer = Sentence("500: \u{1b}]0;x\u{7}\nerror: all is \u{9b}32mwell".into());
        let failure = Failure::from(Away(answer)).list(["a\nb".into()]).advise("c\u{1b}[2Jd");
        let text = failure.lines();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "error: the place does not answer\n  \
             because: 500: \\u001b]0;x\\u0007\\nerror: all is \\u009b32mwell\n  \
             because: a\\nb\n  to do: c\\u001b[2Jd\n"
        );
    }

    #[test]
    fn only_a_closed_standard_output_is_no_failure() {
        use std::io::{Error, ErrorKind};

        #[derive(Debug, thiserror::Error)]
        #[error("the snapshot is not to be used")]
        struct Thaw(#[source] Error);

        let pipe = || Error::from(ErrorKind::BrokenPipe);
        // A socket that breaks, anywhere among the causes or by itself.
        for failure in [Failure::from(pipe()), Failure::from(Thaw(pipe()))] {
            assert_eq!(failure.print(), Exit::Failed);
            assert_eq!(failure.log(), Exit::Failed);
        }
        let closed = Failure::from(OutputError::from(pipe()));
        assert_eq!(closed.print(), Exit::Ok);
        assert_eq!(closed.log(), Exit::Ok);
        let full = Failure::from(OutputError::from(Error::from(ErrorKind::StorageFull)));
        assert_eq!(full.log(), Exit::Failed);
    }

    #[test]
    fn a_failure_is_the_logs_if_the_log_failed_and_not_one_of_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("something else")]
        struct Other(#[source] LogError);

        let away = || LogError::Unavailable { place: "x".into(), what: "y".into(), source: None };
        assert!(Failure::from(away()).log_error().is_some());
        assert!(Failure::from(Other(away())).log_error().is_none());
    }
}
