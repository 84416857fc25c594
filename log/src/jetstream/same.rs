//! Is it still the log that was opened?
//!
//! Streams can be deleted and made again under a running handle. The new log is another one, of
//! another lineage, and nothing of the old one may get into it. So the lineage is compared where
//! something is decided by what the server says: with every tail, extent and board, before the
//! first append to a log, before the first append after a lost connection, and once a second where
//! receipts and announcements are put. An append in between expects the last sequence of the old
//! stream, and gets a conflict: the new one does not have that, because every log begins with a
//! sequence of its own ([`streams::first_of`]). Receipts and announcements say which log they are of,
//! and count for no other one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use tokio::time::Instant;

use super::{JetStreamLog, streams};
use crate::contract;
use crate::error::LogError;

/// For so long the log is taken to be the same by those that put receipts.
const LATELY: Duration = Duration::from_secs(1);

/// When the log was known to be the same, and how many losses of the connection had been then.
#[derive(Default)]
pub(super) struct KnownAt(Mutex<Option<(u64, Instant)>>);

impl KnownAt {
    fn get(&self) -> Option<(u64, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, losses: u64, asked: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((losses, asked));
    }
}

impl JetStreamLog {
    /// Compares the log, unless it is known to be the same since the connection was made.
    ///
    /// # Errors
    /// `WrongLog` if it is another one.
    pub(super) async fn check_since_connected(&self) -> Result<(), LogError> {
        match self.known_at.get() {
            Some((losses, _)) if losses == self.link.loss_count() => Ok(()),
            _ => self.check_same().await,
        }
    }

    /// Compares the log, unless that was done a moment ago and since the connection was made.
    ///
    /// # Errors
    /// `WrongLog` if it is another one.
    pub(super) async fn check_lately(&self) -> Result<(), LogError> {
        match self.known_at.get() {
            Some((_, asked)) if asked.elapsed() < LATELY => self.check_since_connected().await,
            _ => self.check_same().await,
        }
    }

    /// Asks the server what log it is.
    ///
    /// # Errors
    /// `WrongLog` if it is another one.
    pub(super) async fn check_same(&self) -> Result<(), LogError> {
        let (losses, asked) = (self.link.loss_count(), Instant::now());
        self.compare(&self.event_stream().info().await?.config)?;
        self.known_at.set(losses, asked);
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
