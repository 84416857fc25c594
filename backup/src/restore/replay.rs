//! Applying what is kept to a store, by the loop that follows a log.

use std::sync::Arc;

use tipline_consumer::{Progress, StartState, StopReason, StoreThread, VerifyError};
use tipline_log::error_chain;
use tipline_proto::{Cursor, Hash};
use tipline_store::{Store, StoreIdentity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::report::{RestoreProgress, Step};
use crate::error::RestoreError;
use crate::sources::read_ahead::{Fed, Feed};
use crate::sources::spans::Holdings;
use crate::sources::{Checks, Sources};

/// What is applied, and how far.
pub(super) struct Replay<'a> {
    pub(super) sources: &'a Arc<Sources>,
    pub(super) genesis: Hash,
    pub(super) to: u64,
    pub(super) target: &'a str,
    pub(super) progress: &'a watch::Sender<RestoreProgress>,
    pub(super) stop: &'a CancellationToken,
}

/// What came of it.
pub(super) struct Replayed {
    pub(super) left: StopReason,
    pub(super) applied: u64,
    /// Where the store is, if anything was applied.
    pub(super) cursor: Option<Cursor>,
    pub(super) fed: Fed,
}

impl Replay<'_> {
    /// Applies everything behind where the store stands. What turns out to be damaged is taken from
    /// elsewhere, if it is there.
    pub(super) async fn run(
        &self,
        store: &StoreThread,
        holdings: Holdings,
        start: StartState,
    ) -> Result<Replayed, RestoreError> {
        let (mut from, mut before) = (start.cursor.position.index, None);
        let mut replayed = self.once(store, (holdings, vec![]), start).await?;
        while self.find_damage(&mut replayed, from).await? {
            let Replayed { applied, cursor, fed: Fed { holdings, notes, .. }, .. } = replayed;
            before = cursor.or(before);
            let start =
                store.call(|store| StartState::read(store)).get().await.map_err(RestoreError::consumer)??;
            from = start.cursor.position.index;
            replayed = self.once(store, (holdings, notes), start).await?;
            replayed.applied += applied;
        }
        replayed.cursor = replayed.cursor.or(before);
        Ok(replayed)
    }

    /// Whether it ended because of what it read, which is given up now.
    async fn find_damage(&self, replayed: &mut Replayed, from: u64) -> Result<bool, RestoreError> {
        let Replayed { left, cursor, fed, .. } = replayed;
        let at = cursor.as_ref().map_or(from, |cursor| cursor.position.index);
        match left {
            StopReason::Refused(VerifyError::Refused(_)) => {}
            // Damage can look like a duplicate, or like the end.
            StopReason::Stopped
                if at < self.to && fed.result.is_ok() && !self.stop.is_cancelled() => {}
            _ => return Ok(false),
        }
        for span in fed.given.iter().filter(|span| span.last > at) {
            // The one who read it may have come to the end of it first.
            if fed.holdings.is_given_up(span) {
                return Ok(true);
            }
            if let Some(note) = self.sources.damage(span).await? {
                tracing::warn!(note, "damaged; looking for the same entries elsewhere");
                fed.notes.push(note);
                fed.holdings.give_up(span);
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn once(
        &self,
        store: &StoreThread,
        kept: (Holdings, Vec<String>),
        start: StartState,
    ) -> Result<Replayed, RestoreError> {
        let from = start.cursor.position.index;
        let (done, (told, mut hears)) = (self.stop.child_token(), watch::channel(Progress::new()));
        let (feed, fresh) = Feed::start(
            Arc::clone(self.sources),
            kept,
            (from, self.to),
            self.target.to_owned(),
            Checks::Taker,
            done.clone(),
        );
        let genesis = self.genesis.clone();
        let follow = tipline_consumer::replay(store, Box::new(fresh), genesis, start, &told, &done);
        let of = self.to - from;
        let tell = async {
            while hears.changed().await.is_ok() {
                let done = hears.borrow_and_update().applied;
                self.progress.send_replace(RestoreProgress { step: Step::Replaying, done, of });
            }
        };
        let left = tokio::select! { left = follow => left, () = tell => StopReason::Stopped };
        let (applied, cursor) = (told.borrow().applied, told.borrow().cursor.clone());
        Ok(Replayed { left, applied, cursor, fed: feed.ended().await? })
    }
}

/// Brings a store forward to the newest entry that the places keep, in its place: for one that is
/// behind what the log still has. Gives the index that it has reached; the store is closed then,
/// and durable up to there.
///
/// # Errors
/// [`RestoreError::WrongLog`]; [`RestoreError::Gap`] if what the store needs next is not kept;
/// [`RestoreError::Corrupt`], also if the store is of another history. What was applied stays.
pub async fn catch_up(
    sources: &Arc<Sources>,
    store: Box<dyn Store>,
    progress: &watch::Sender<RestoreProgress>,
    stop: &CancellationToken,
) -> Result<u64, RestoreError> {
    let found = sources.look().await?;
    let thread = StoreThread::start(store).map_err(RestoreError::consumer)?;
    let reached = forward(sources, &thread, (found.identity, found.holdings), progress, stop).await;
    thread.close().await;
    reached
}

async fn forward(
    sources: &Arc<Sources>,
    store: &StoreThread,
    (of, holdings): (StoreIdentity, Holdings),
    progress: &watch::Sender<RestoreProgress>,
    stop: &CancellationToken,
) -> Result<u64, RestoreError> {
    let identity = store.call(|store| store.identity()).get().await.map_err(RestoreError::consumer)??;
    if let Some(found) = identity.filter(|found| *found != of) {
        return Err(RestoreError::WrongLog {
            place: store.place().to_owned(),
            found: crate::sources::identity(&found),
            other: "what is kept".to_owned(),
            expected: crate::sources::identity(&of),
        });
    }
    let start = store.call(|store| StartState::read(store)).get().await.map_err(RestoreError::consumer)??;
    let from = start.cursor.position.index;
    let to = holdings.newest().unwrap_or(0);
    let target = "the newest entry that is kept";
    if to <= from {
        return Ok(from);
    }
    if let Err(hole) = holdings.cover(from, to) {
        let (target, first, last) = (target.to_owned(), hole.first, hole.last);
        return Err(RestoreError::Gap { target, first, last });
    }
    let genesis = of.chain.genesis;
    let replay = Replay { sources, genesis, to, target, progress, stop };
    let Replayed { left, cursor, fed, .. } = replay.run(store, holdings, start).await?;
    let at = cursor.map_or(from, |cursor| cursor.position.index);
    match left {
        StopReason::Stopped => {}
        StopReason::Log(error) => return Err(error.into()),
        StopReason::Refused(VerifyError::Store(error)) => return Err(error.into()),
        StopReason::Refused(VerifyError::Refused(refusal)) => {
            let (target, what) = (target.to_owned(), error_chain(&refusal));
            return Err(RestoreError::Corrupt { target, needed: at + 1, what });
        }
        StopReason::Failed(error) => return Err(RestoreError::consumer(error)),
    }
    fed.result?;
    if at == to { Ok(at) } else { Err(RestoreError::Cancelled { at }) }
}
