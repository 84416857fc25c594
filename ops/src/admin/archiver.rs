//! An archiver that writes nothing for a while, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use tipline_consumer::{Frozen, Phase, Progress, StoreHandle};
use tipline_log::error_chain;
use tipline_proto::ConsumerName;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::error::LONGEST_PAUSE;
use super::protocol::ArchiverStatus;
use crate::jobs::JobBoard;

/// How long the batch under way may take, before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// An archiver, for whoever operates it: it says what it does, and is paused. Clones are the same.
#[derive(Debug, Clone)]
pub struct Archiver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: ConsumerName,
    version: &'static str,
    store: StoreHandle,
    progress: watch::Receiver<Progress>,
    board: JobBoard,
    /// Held while one is begun or ended: one at a time.
    paused: Mutex<Option<Paused>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Paused {
    frozen: Frozen,
    until: Instant,
}

impl Paused {
    /// How long it still lasts; `None` if it has ended by itself.
    fn left(&self) -> Option<Duration> {
        self.frozen.holds().then(|| self.until.saturating_duration_since(Instant::now()))
    }
}

impl Archiver {
    /// Of a consumer that runs. The jobs on `board` are paused with it. `stop` ends a pause, so that
    /// what has arrived is written before the program ends.
    pub fn new(
        name: ConsumerName,
        version: &'static str,
        (store, progress): (StoreHandle, watch::Receiver<Progress>),
        board: JobBoard,
        stop: CancellationToken,
    ) -> Self {
        let paused = Mutex::new(None);
        Self(Arc::new(Inner { name, version, store, progress, board, paused, stop }))
    }

    pub(super) async fn status(&self) -> ArchiverStatus {
        let paused = self.0.paused.lock().await.as_ref().and_then(Paused::left);
        let progress = self.0.progress.borrow().clone();
        let cursor = progress.cursor.as_ref();
        ArchiverStatus {
            name: self.0.name.to_string(),
            version: self.0.version.to_owned(),
            place: self.0.store.place().to_owned(),
            doing: if paused.is_some() { "paused".to_owned() } else { doing(&progress) },
            index: cursor.map(|cursor| cursor.position.index),
            block: cursor.and_then(|cursor| Some(cursor.block_tip.as_ref()?.height)),
            behind: progress.behind(),
            paused_ms: paused.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Writes what is under way, and then nothing, for at most `most`: no segment, no merge, no check.
    /// A merge or a check that has begun ends. Gives the entry up to which the archive has everything.
    pub(super) async fn pause(&self, most: Duration) -> Result<u64, String> {
        if most.is_zero() || most > LONGEST_PAUSE {
            let longest = LONGEST_PAUSE.as_secs() / 3600;
            return Err(format!(
                "an archiver is paused for {longest} h at most, and not for nothing"
            ));
        }
        let mut paused = self.0.paused.lock().await;
        if let Some(left) = paused.as_ref().and_then(Paused::left) {
            return Err(format!("it is paused already, for another {} s", left.as_secs()));
        }
        self.0.board.pause(true);
        let frozen = match timeout(PATIENCE, self.0.store.freeze(most)).await {
            Ok(Ok(frozen)) => Ok(frozen),
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(_) => Err(format!(
                "it has been at one segment for {} s, and is not paused: does its destination answer?",
                PATIENCE.as_secs()
            )),
        };
        let frozen = frozen.inspect_err(|_| self.0.board.pause(false))?;
        let index = frozen.cursor.as_ref().map_or(0, |cursor| cursor.position.index);
        let until = Instant::now() + most;
        *paused = Some(Paused { frozen, until });
        drop(paused);
        tracing::info!(index, "paused for at most {} s: nothing is archived", most.as_secs());
        let own = self.clone();
        tokio::spawn(async move {
            _ = tokio::time::timeout_at(until, own.0.stop.cancelled()).await;
            let mut paused = own.0.paused.lock().await;
            // It may be another one by now.
            if paused.as_ref().is_some_and(|paused| paused.until == until) {
                *paused = None;
                own.0.board.pause(false);
                tracing::info!("the pause has ended by itself");
            }
        });
        Ok(index)
    }

    /// Ends a pause; gives whether there was one.
    pub(super) async fn resume(&self) -> bool {
        let was = self.0.paused.lock().await.take().and_then(|paused| paused.left()).is_some();
        self.0.board.pause(false);
        if was {
            tracing::info!("resumed");
        }
        was
    }
}

fn doing(progress: &Progress) -> String {
    match &progress.phase {
        Phase::Joining => "comparing the archive with the log".to_owned(),
        Phase::Following => "following".to_owned(),
        Phase::LogUnavailable(why) => format!("waiting for the log: {why}"),
        Phase::StoreAhead(why) => format!("waiting for the log to reach the archive again: {why}"),
        Phase::StoreStalled(why) => format!("waiting for the destination: {why}"),
        Phase::Failed(error) => format!("stopped: {}", error_chain(&**error)),
        _ => "stopped".to_owned(),
    }
}
