//! Is it still the log that was opened?
//!
//! Streams can be deleted and made again under a running handle. The new log is another one, of
//! another lineage, and nothing of the old one may get into it. So the lineage is compared where
//! something is decided by what the server says: with every tail, extent and board, before the
//! first append to a log, and before the first append or receipt after a lost connection. An append
//! in between expects the last sequence of the old stream, and gets a conflict.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::stream::Config;

use super::{JetStreamLog, streams};
use crate::contract;
use crate::error::LogError;

/// How many losses of the connection had been when the log was known to be the same.
#[derive(Default)]
pub(super) struct KnownAt(AtomicU64);

impl JetStreamLog {
    /// Compares the log, unless it is known to be the same since the connection was made.
    ///
    /// # Errors
    /// `WrongLog` if it is another one.
    pub(super) async fn check_since_connected(&self) -> Result<(), LogError> {
        if self.known_at.0.load(Ordering::Acquire) == self.link.loss_count() {
            return Ok(());
        }
        self.check_same().await
    }

    /// Asks the server what log it is.
    ///
    /// # Errors
    /// `WrongLog` if it is another one.
    pub(super) async fn check_same(&self) -> Result<(), LogError> {
        let losses = self.link.loss_count();
        self.compare(&self.event_stream().info().await?.config)?;
        self.known_at.0.store(losses, Ordering::Release);
        Ok(())
    }

    /// Compares what a stream says of its log.
    pub(super) fn compare(&self, config: &Config) -> Result<(), LogError> {
        let (place, expected) = (self.link.place.clone(), &self.identity);
        let found = streams::identity(&place, &expected.name, config)?;
        if found == *expected {
            return Ok(());
        }
        if found.lineage == expected.lineage {
            let (is, was) = (contract::describe(&found), contract::describe(expected));
            let why = format!(
                "the metadata of stream {} was altered: it says {is}, and said {was}; bring that back",
                config.name
            );
            return Err(LogError::Unusable { place, why, source: None });
        }
        let (expected, found) = (expected.lineage, found.lineage);
        Err(LogError::WrongLog { place, expected, found })
    }
}
