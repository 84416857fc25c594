//! Applying what is kept to a store, by the loop that follows a log.

use std::sync::Arc;

use tipline_consumer::{Progress, StartState, StopReason, StoreThread, VerifyError, Vouching};
use tipline_log::error_chain;
use tipline_proto::{Chain, Cursor};
use tipline_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::report::{RestoreProgress, Step};
use crate::error::RestoreError;
use crate::sources::read_ahead::{ReadAhead, ReadOutcome, Wanted};
use crate::sources::spans::Coverage;
use crate::sources::{DigestCheck, Inventory, Sources};

/// What is applied, and how far.
pub(super) struct Replay<'a> {
    pub(super) sources: &'a Arc<Sources>,
    pub(super) chain: &'a Chain,
    pub(super) to: u64,
    pub(super) target: &'a str,
    /// Where it is applied at once to a store in its place, and signatures are required.
    pub(super) vouching: Option<Vouching>,
    pub(super) progress: &'a watch::Sender<RestoreProgress>,
    pub(super) stop: &'a CancellationToken,
}

/// How applying ended.
pub(super) struct Replayed {
    pub(super) reason: StopReason,
    pub(super) applied: u64,
    /// Where the store is, if anything was applied.
    pub(super) cursor: Option<Cursor>,
    pub(super) outcome: ReadOutcome,
}

impl Replay<'_> {
    /// Applies everything after the store's cursor. What turns out to be damaged is taken from
    /// elsewhere, if it is there.
    pub(super) async fn run(
        &self,
        store: &StoreThread,
        coverage: Coverage,
        start: StartState,
    ) -> Result<Replayed, RestoreError> {
        let (mut from, mut before) = (start.cursor.position.index, None);
        let mut replayed = self.once(store, self.wanted(coverage, vec![], from), start).await?;
        while self.find_damage(&mut replayed, from).await? {
            let Replayed { applied, cursor, outcome, .. } = replayed;
            let ReadOutcome { coverage, notes, .. } = outcome;
            before = cursor.or(before);
            let start = store.call(|store| StartState::read(store)).get().await;
            let start = start.map_err(RestoreError::consumer)??;
            from = start.cursor.position.index;
            replayed = self.once(store, self.wanted(coverage, notes, from), start).await?;
            replayed.applied += applied;
        }
        replayed.cursor = replayed.cursor.or(before);
        Ok(replayed)
    }

    fn wanted(&self, coverage: Coverage, notes: Vec<String>, after: u64) -> Wanted {
        let (to, target) = (self.to, self.target.to_owned());
        Wanted { coverage, notes, after, to, target, check: DigestCheck::ByReceiver }
    }

    /// Whether it ended because of damage in what it read, which is given up now.
    async fn find_damage(&self, replayed: &mut Replayed, from: u64) -> Result<bool, RestoreError> {
        let Replayed { reason, cursor, outcome, .. } = replayed;
        let at = cursor.as_ref().map_or(from, |cursor| cursor.position.index);
        match reason {
            StopReason::Refused(VerifyError::Refused(_)) => {}
            // Damage can look like a duplicate, or like the end.
            StopReason::Stopped
                if at < self.to && outcome.result.is_ok() && !self.stop.is_cancelled() => {}
            _ => return Ok(false),
        }
        for span in outcome.given.iter().filter(|span| span.last > at) {
            // Its reader may have reached the end of it first.
            if outcome.coverage.is_given_up(span) {
                return Ok(true);
            }
            if let Some(note) = self.sources.damage(span).await? {
                tracing::warn!(note, "damaged; looking for the same entries elsewhere");
                outcome.notes.push(note);
                outcome.coverage.give_up(span);
                self.sources.list_within(span, &mut outcome.coverage).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn once(
        &self,
        store: &StoreThread,
        wanted: Wanted,
        start: StartState,
    ) -> Result<Replayed, RestoreError> {
        let (done, of) = (self.stop.child_token(), self.to - wanted.after);
        let (sender, mut receiver) = watch::channel(Progress::new());
        let (reading, source) = ReadAhead::start(Arc::clone(self.sources), wanted, done.clone());
        let (chain, source) = (self.chain, Box::new(source));
        let vouching = self.vouching.clone();
        let follow =
            tipline_consumer::replay(store, source, chain, start, vouching, &sender, &done);
        let report = async {
            while receiver.changed().await.is_ok() {
                let done = receiver.borrow_and_update().applied;
                self.progress.send_replace(RestoreProgress { step: Step::Replaying, done, of });
            }
        };
        let reason =
            tokio::select! { reason = follow => reason, () = report => StopReason::Stopped };
        let (applied, cursor) = (sender.borrow().applied, sender.borrow().cursor.clone());
        Ok(Replayed { reason, applied, cursor, outcome: reading.ended().await? })
    }
}

/// Brings a store, in its place, up to the newest entry that the places keep. It is for a store that
/// needs entries which the log no longer has. Gives the index that it has reached; the store is closed then,
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
    let inventory = sources.inventory().await?;
    let thread = StoreThread::start(store).map_err(RestoreError::consumer)?;
    let reached = forward(sources, &thread, inventory, progress, stop).await;
    thread.close().await;
    reached
}

async fn forward(
    sources: &Arc<Sources>,
    store: &StoreThread,
    inventory: Inventory,
    progress: &watch::Sender<RestoreProgress>,
    stop: &CancellationToken,
) -> Result<u64, RestoreError> {
    let Inventory { identity: of, coverage, .. } = inventory;
    let identity =
        store.call(|store| store.identity()).get().await.map_err(RestoreError::consumer)??;
    if let Some(found) = identity.filter(|found| *found != of) {
        return Err(RestoreError::WrongLog {
            place: store.place().to_owned(),
            found: crate::sources::identity(&found),
            other: "what is kept".to_owned(),
            expected: crate::sources::identity(&of),
        });
    }
    let start = store
        .call(|store| StartState::read(store))
        .get()
        .await
        .map_err(RestoreError::consumer)??;
    let from = start.cursor.position.index;
    let to = coverage.newest().unwrap_or(0);
    let target = "the newest entry that is kept";
    if to <= from {
        return Ok(from);
    }
    if let Err(gap) = coverage.cover(from, to) {
        let (target, first, last) = (target.to_owned(), gap.first, gap.last);
        return Err(RestoreError::Gap { target, first, last });
    }
    let trust = Some(&sources.trust).filter(|trust| trust.requires_history());
    let vouching = trust.map(|trust| Vouching::new(trust.clone(), of.lineage));
    let is_signed = vouching.is_some();
    let replay = Replay { sources, chain: &of.chain, to, target, vouching, progress, stop };
    let Replayed { reason, cursor, outcome, .. } = replay.run(store, coverage, start).await?;
    let at = cursor.map_or(from, |cursor| cursor.position.index);
    match reason {
        StopReason::Stopped => {}
        StopReason::Log(error) => return Err(error.into()),
        StopReason::Refused(VerifyError::Store(error)) => return Err(error.into()),
        StopReason::Refused(VerifyError::Refused(refusal)) => {
            let (target, what) = (target.to_owned(), error_chain(&refusal));
            return Err(RestoreError::Corrupt { target, needed: at + 1, what });
        }
        StopReason::Failed(error) => return Err(RestoreError::consumer(error)),
    }
    outcome.result?;
    match at == to {
        true => Ok(at),
        false if is_signed && !stop.is_cancelled() => {
            let what = format!("no entry after {at} is signed by a trusted primary, up to {to}");
            Err(RestoreError::Verification { what })
        }
        false => Err(RestoreError::Cancelled { at }),
    }
}
