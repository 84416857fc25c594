//! Where the log is, and how it is opened: the one place that knows every kind of log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Accepted, Backoff, Log, LogError, Shortfall, SignedLog, Signing};
use tipline_ops::NotSeen;
use tipline_proto::{LogIdentity, LogName};

use crate::address::LogAddress;
use crate::options::{DEFAULT_LOG, Shared};
use crate::output::report::{Failure, Sentence};

/// Most time between two attempts to reach a log.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A log that can be opened, again and again.
#[derive(Debug, Clone)]
pub(crate) struct LogLocation {
    address: LogAddress,
    kind: Kind,
    signing: Signing,
}

#[derive(Debug, Clone)]
enum Kind {
    Embedded(PathBuf),
    JetStream(Box<JetStreamOptions>),
}

impl LogLocation {
    /// The log of the settings. Opens nothing.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub(crate) fn new(shared: &Shared, purpose: &str) -> Result<Self, Failure> {
        Self::at(&shared.log, shared, purpose)
    }

    /// Another log, reached with the same settings. Opens nothing.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub(crate) fn at(
        address: &LogAddress,
        shared: &Shared,
        purpose: &str,
    ) -> Result<Self, Failure> {
        let kind = match address {
            LogAddress::Embedded(path) => Kind::Embedded(path.clone()),
            LogAddress::Nats(nats) => {
                Kind::JetStream(Box::new(shared.nats.options(nats, purpose)?))
            }
        };
        let signing = Signing { key: None, trust: shared.signing.trust()? };
        Ok(Self { address: address.clone(), kind, signing })
    }

    /// For a process that signs what it says there, if it has a key.
    ///
    /// # Errors
    /// The key cannot be used.
    pub(crate) fn signs(mut self, shared: &Shared) -> Result<Self, Failure> {
        self.signing.key = shared.signing.key()?;
        Ok(self)
    }

    /// The address as it may be shown.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The flag that names this log; empty for the one that needs none.
    pub(crate) fn flag(&self) -> String {
        match self.address() {
            address if address == DEFAULT_LOG => String::new(),
            address => format!(" --log {address}"),
        }
    }

    /// The log's name: the last part of a NATS address. An embedded log is alone in its file.
    pub(crate) fn log_name(&self) -> Result<LogName, tipline_proto::InvalidName> {
        match &self.address {
            LogAddress::Nats(nats) => Ok(nats.name().clone()),
            LogAddress::Embedded(_) => "embedded".parse(),
        }
    }

    /// Opens the log.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Log>, LogError> {
        let log: Arc<dyn Log> = match &self.kind {
            Kind::Embedded(path) => Arc::new(EmbeddedLog::open(path).await?),
            Kind::JetStream(options) => Arc::new(JetStreamLog::open(options).await?),
        };
        let Signing { key, trust } = &self.signing;
        match key.is_some() || trust.requires_history() || trust.requires_receipts() {
            true => Ok(Arc::new(SignedLog::new(log, self.signing.clone()))),
            false => Ok(log),
        }
    }

    /// Opens the log, and waits for as long as it is unavailable.
    pub(crate) async fn open_patiently(&self) -> Result<Arc<dyn Log>, LogError> {
        patiently(async || self.open().await).await
    }

    /// Creates the log, and opens it.
    pub(crate) async fn create(
        &self,
        identity: &LogIdentity,
        replicas: usize,
    ) -> Result<Arc<dyn Log>, LogError> {
        match &self.kind {
            Kind::Embedded(path) => Ok(Arc::new(EmbeddedLog::create(path, identity).await?)),
            Kind::JetStream(options) => {
                Ok(Arc::new(JetStreamLog::create(options, identity, replicas).await?))
            }
        }
    }

    /// Why it was not read, for the verdict.
    pub(crate) fn not_seen(&self, failure: Failure) -> NotSeen {
        let (why, advice) = self.explain(failure).into_parts();
        NotSeen { address: self.address(), why, advice }
    }

    /// Says how to create the log, where that is what is missing.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if !matches!(failure.log_error(), Some(LogError::NotFound { .. })) {
            return failure;
        }
        let flag = self.flag();
        failure.advise(format!(
            "if it was never created: tipline init{flag} --chain NAME --genesis HEX"
        ))
    }
}

/// Asks a log until it answers: for as long as it is unavailable.
pub(crate) async fn patiently<T>(
    ask: impl AsyncFn() -> Result<T, LogError>,
) -> Result<T, LogError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), LONGEST_PAUSE);
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        tracing::warn!("waiting for the log: {}", tipline_log::error_chain(&error));
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// A log that falls short in other ways than in those that were accepted.
pub(crate) fn not_durable(
    place: &LogLocation,
    accepted: &Accepted,
    shortfalls: &[Shortfall],
) -> Failure {
    let text = format!("the log at {} can lose what it acknowledges", place.address());
    let names = accepted.names_with(shortfalls);
    Failure::from(Sentence(text)).list(shortfalls.iter().map(ToString::to_string)).advise(format!(
        "remove what falls short; or accept it with --accept-shortfalls={names}, and status shows it"
    ))
}
