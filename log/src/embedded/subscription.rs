//! Following the entries, and the board.

use std::sync::Arc;

use async_trait::async_trait;
use tipline_proto::{ConsumerName, Entry, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::sqlite::Database;
use super::{Inner, LOOK_AGAIN, ended_early};
use crate::error::LogError;
use crate::spec::{Board, BoardFeed, Subscription};

pub(super) struct EmbeddedSubscription {
    log: Arc<Inner>,
    rung: watch::Receiver<()>,
    /// Name, and the number of this subscription among those of the name.
    name: Option<(ConsumerName, i64)>,
    /// After the newest entry that was returned.
    after: Position,
    reading: Reading,
}

/// A read is under way on another thread, with the connection. It is kept here, so that
/// a dropped call of `next` does not lose what it finds.
enum Reading {
    Idle(Box<Database>),
    UnderWay(JoinHandle<Found>),
    Over,
}

type Found = (Box<Database>, Result<Vec<Entry>, LogError>);

impl EmbeddedSubscription {
    pub(super) fn new(
        log: Arc<Inner>,
        database: Database,
        name: Option<(ConsumerName, i64)>,
        after: Position,
    ) -> Self {
        let rung = log.bells.entries.listen();
        Self { log, rung, name, after, reading: Reading::Idle(Box::new(database)) }
    }

    fn check(&self) -> Result<(), LogError> {
        self.log.writer.poison().check()?;
        match self.reading {
            Reading::Over => Err(self.log.ended("it has failed before")),
            _ => Ok(()),
        }
    }

    /// Begins a read, unless one is under way.
    fn begin(&mut self) {
        match std::mem::replace(&mut self.reading, Reading::Over) {
            Reading::Idle(database) => {
                // What is rung from here on may be too late for this read.
                self.rung.mark_unchanged();
                let (log, name, after) = (Arc::clone(&self.log), self.name.clone(), self.after);
                let read = move || {
                    let found = log.look(&database, name.as_ref(), after);
                    (database, found)
                };
                self.reading = Reading::UnderWay(tokio::task::spawn_blocking(read));
            }
            other => self.reading = other,
        }
    }

    /// What the read under way found.
    async fn finish(&mut self) -> Result<Vec<Entry>, LogError> {
        let Reading::UnderWay(read) = &mut self.reading else {
            return Err(self.log.ended("it has failed before"));
        };
        let joined = read.await;
        self.reading = Reading::Over;
        let (database, found) = joined.map_err(ended_early)?;
        let batch = found?;
        self.reading = Reading::Idle(database);
        self.after = batch.last().map_or(self.after, Entry::position);
        Ok(batch)
    }
}

impl Inner {
    /// What is after `after`; empty if nothing is.
    fn look(
        &self,
        database: &Database,
        name: Option<&(ConsumerName, i64)>,
        after: Position,
    ) -> Result<Vec<Entry>, LogError> {
        self.writer.poison().check_files()?;
        if let Some((name, generation)) = name
            && database.generation(name)? != Some(*generation)
        {
            let why = format!("another one took the name {name}; give each consumer its own");
            return Err(self.ended(&why));
        }
        database.batch(after)
    }

    fn ended(&self, why: &str) -> LogError {
        let why = format!("this subscription has ended: {why}");
        LogError::Unusable { place: self.place.clone(), why, source: None }
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        loop {
            self.check()?;
            self.begin();
            let batch = self.finish().await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            wait(&mut self.rung).await;
        }
    }

    async fn acknowledge(&mut self, _index: u64) -> Result<(), LogError> {
        self.check()
    }
}

/// Waits until the bell rings, or it is time to look anyway.
async fn wait(rung: &mut watch::Receiver<()>) {
    // The sender lives in the handle, so it is never gone.
    _ = timeout(LOOK_AGAIN, rung.changed()).await;
}

pub(super) struct EmbeddedFeed {
    log: Arc<Inner>,
    rung: watch::Receiver<()>,
    shown: Option<Board>,
    /// Kept here for the same reason as in [`Reading`].
    reading: Option<JoinHandle<Result<Board, LogError>>>,
    over: bool,
}

impl EmbeddedFeed {
    pub(super) fn new(log: Arc<Inner>) -> Self {
        let rung = log.bells.board.listen();
        Self { log, rung, shown: None, reading: None, over: false }
    }

    async fn look(&mut self) -> Result<Board, LogError> {
        if self.over {
            return Err(self.log.ended("it has failed before"));
        }
        let (log, rung) = (&self.log, &mut self.rung);
        let read = self.reading.get_or_insert_with(|| {
            rung.mark_unchanged();
            log.read(Database::board)
        });
        let found = read.await.unwrap_or_else(|error| Err(ended_early(error)));
        self.reading = None;
        self.over = found.is_err();
        found
    }
}

#[async_trait]
impl BoardFeed for EmbeddedFeed {
    async fn next(&mut self) -> Result<Board, LogError> {
        loop {
            let board = self.look().await?;
            if !self.shown.as_ref().is_some_and(|shown| shown.says_the_same(&board)) {
                self.shown = Some(board.clone());
                return Ok(board);
            }
            wait(&mut self.rung).await;
        }
    }
}
