//! Entries of any source that has some, verified as they come.

use std::sync::Arc;
use std::thread;

use tipline_backup::{Entries, EntriesRead, Held, RestoreError, Sources};
use tipline_consumer::{Refusal, Vouching};
use tipline_log::{Extent, LogError, error_chain};
use tipline_proto::{Cursor, Entry, LogIdentity, Position, Trust};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, Checked, NotGood, check};
use crate::error::{AuditError, Problem};

/// Which entries, both ends included. What is left out is the oldest or the newest that is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Index of the first entry.
    pub from: Option<u64>,
    /// Index of the last entry.
    pub to: Option<u64>,
}

/// Verified entries, in their order. Dropping it ends the reading.
///
/// While its caller has one piece the next ones are read and checked. In memory are three pieces, what
/// the source reads ahead (two pieces of 32 MiB, and of an archive two segments of pieces beside that),
/// and the hashes of 65,536 blocks. Older hashes go to a temporary file, 65 bytes a block.
#[derive(Debug)]
pub struct Replay {
    sources: Arc<Sources>,
    place: String,
    held: Held,
    from: u64,
    to: u64,
    /// Index of the last entry that may be read to find who vouches for the range.
    read_to: u64,
    trusted: Option<Position>,
    /// After what was given.
    reached: Reached,
    /// `None` at the end.
    checking: Option<Checking>,
    /// At the end.
    chain: Option<Chain>,
    read: EntriesRead,
    void: u64,
    ended: Option<Problem>,
    /// Those that nobody vouches for yet: see [`Replay::next_vouched`].
    waiting: Vec<Entry>,
    stop: CancellationToken,
}

/// How far it was verified.
#[derive(Debug, Clone)]
struct Reached {
    cursor: Cursor,
    lowest_block: Option<u64>,
    unchecked: u64,
    is_vouched: bool,
}

impl Reached {
    fn of(chain: &Chain) -> Self {
        let (cursor, lowest_block) = (chain.cursor(), chain.lowest_block());
        let is_vouched = chain.unvouched(u64::MAX).is_none();
        Self { cursor, lowest_block, unchecked: chain.unchecked(), is_vouched }
    }
}

/// A thread that checks what is read. It ends after what is not good, and if nobody takes the pieces.
/// It is none of the runtime's: that would wait for it when it is dropped.
#[derive(Debug)]
struct Checking {
    pieces: mpsc::Receiver<(Checked, Reached)>,
    ended: oneshot::Receiver<(Chain, Entries)>,
}

impl Checking {
    /// Entries after `to` are given to nobody, and read until somebody vouches for those before.
    fn start(mut chain: Chain, mut entries: Entries, to: u64) -> Result<Self, AuditError> {
        // One waits, so that checking continues while its caller has another one.
        let (sender, pieces) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        let runtime = Handle::current();
        let check_all = move || {
            let mut next = || {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = sender.closed() => None,
                        arrived = entries.next() => arrived,
                    }
                })
            };
            let mut reached = Reached::of(&chain);
            while let Some(mut arrived) = next() {
                let beyond = arrived.iter().position(|entry| entry.index > to);
                let beyond = beyond.map(|at| arrived.split_off(at));
                let mut checked = check(&mut chain, arrived);
                if chain.index() <= to {
                    reached = Reached::of(&chain);
                }
                let mut is_last = checked.ended.is_some();
                // What is after the one that vouches does not matter.
                for entry in beyond.into_iter().flatten() {
                    if !is_last {
                        checked.ended = check(&mut chain, vec![entry]).ended;
                        is_last = checked.ended.is_some() || chain.unvouched(to).is_none();
                    }
                }
                let is_taken = sender.blocking_send((checked, reached.clone())).is_ok();
                if is_last || !is_taken {
                    break;
                }
            }
            // The sender goes first, or whoever waits for this has the pieces still.
            drop(sender);
            _ = ending.send((chain, entries));
        };
        let started = thread::Builder::new().name("audit-check".to_owned()).spawn(check_all);
        started.map_err(|e| AuditError::Internal { what: format!("starting a thread: {e}") })?;
        Ok(Self { pieces, ended })
    }

    /// What was checked, and what was not read.
    async fn ended(self) -> Result<(Chain, Entries), AuditError> {
        let Self { pieces, ended } = self;
        drop(pieces);
        ended.await.map_err(|_| lost())
    }
}

/// Starts a replay of the entries of one place, which `sources` names: a log, or an archive.
///
/// A range from entry 1 on is verified from the log's origin, which is computed from `log`. Any other one
/// starts from the entry before it, whose digest is taken on trust; if that is not held, from its first
/// entry, which then is not verified. [`Replay::trusted`] says which.
///
/// Where signatures are required, a trusted key must vouch for all of it. What it signed may be an entry
/// after the range: it is read on to that one.
///
/// # Errors
/// [`AuditError::Range`] if the source does not hold all of the range; those of the source.
pub async fn replay(
    sources: Arc<Sources>,
    log: &LogIdentity,
    range: Range,
    stop: CancellationToken,
) -> Result<Replay, AuditError> {
    let place = place(&sources);
    // The entry before the first one is needed, too.
    let held = sources.held_after(range.from.unwrap_or(0).saturating_sub(2)).await?;
    let (first, last) = (held.first, held.last);
    let (from, to) = (range.from.unwrap_or(first).max(1), range.to.unwrap_or(last));
    let out = |hint| AuditError::Range { place: place.clone(), from, to, first, last, hint };
    if from < first || to > last || from > to {
        return Err(out(String::new()));
    }
    let gap_at = |index: u64| held.gaps.iter().find(|gap| (gap.0..=gap.1).contains(&index));
    if let Some((first, last)) = gap_at(from) {
        return Err(out(format!(", but not entries {first} to {last}")));
    }
    let trusted = match from {
        1 => 0,
        _ if from > first && gap_at(from - 1).is_none() => from - 1,
        _ => from,
    };
    // A gap ends it. What is before the gap is verified.
    let gap = held.gaps.iter().find(|gap| gap.0 > trusted && gap.0 <= to).copied();
    let ended = gap.map(|(first, last)| Problem::Missing { first, last });
    let readable = gap.map_or(to, |gap| gap.0 - 1);
    if trusted == to {
        let hint = ", and not the entry before, which is needed to check a digest";
        return Err(out(hint.to_owned()));
    }
    let (mut chain, trusted_at) = match trusted {
        0 => (Chain::from_origin(log.chain.clone(), Position::origin(log)), None),
        _ => {
            let one = one_entry(&sources, &place, trusted);
            let one = stop.run_until_cancelled(one).await;
            let entry = one.ok_or(AuditError::Cancelled { at: 0 })??;
            (Chain::from_entry(log.chain.clone(), &entry), Some(entry.position()))
        }
    };
    let mut read_to = readable;
    if sources.trust.requires_history() {
        chain.require(Vouching::patient(sources.trust.clone(), log.lineage));
        let gap = held.gaps.iter().find(|gap| gap.0 > readable);
        read_to = gap.map_or(last, |gap| gap.0 - 1);
    }
    let mut replay = Replay {
        place,
        held,
        from,
        to: readable,
        read_to,
        trusted: trusted_at,
        reached: Reached::of(&chain),
        checking: None,
        chain: None,
        read: EntriesRead::default(),
        void: 0,
        ended,
        waiting: Vec::new(),
        stop,
        sources,
    };
    if trusted < readable {
        let entries = replay.sources.entries(trusted, read_to).await?;
        replay.checking = Some(Checking::start(chain, entries, readable)?);
    } else {
        replay.chain = Some(chain);
    }
    Ok(replay)
}

/// The entry of an index.
async fn one_entry(sources: &Arc<Sources>, place: &str, index: u64) -> Result<Entry, AuditError> {
    let mut entries = sources.entries(index - 1, index).await?;
    while let Some(some) = entries.next().await {
        if let Some(entry) = some.into_iter().find(|entry| entry.index == index) {
            return Ok(entry);
        }
    }
    entries.finish().await?;
    Err(AuditError::Internal { what: format!("entry {index} was not given by {place}") })
}

impl Replay {
    /// The next entries, all of them verified; `None` after the last. What ended it is
    /// [`Replay::problem`] then, if it did not end by itself.
    ///
    /// # Errors
    /// The source does not answer, or it was told to stop. Cancelling the call loses the replay.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        let Some(checking) = &mut self.checking else {
            // Without it, a call before this one was cancelled, or failed.
            return self.chain.as_ref().map(|_| None).ok_or_else(lost);
        };
        let piece = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                return Err(AuditError::Cancelled { at: self.reached.cursor.position.index });
            }
            piece = checking.pieces.recv() => piece,
        };
        let Some((Checked { entries, void, ended }, reached)) = piece else {
            self.finish().await?;
            return Ok(None);
        };
        self.reached = reached;
        self.void += void;
        match ended {
            None => {}
            Some(NotGood::Problem(problem)) => self.stop_at(problem).await?,
            Some(NotGood::Scratch(source)) => {
                // No more comes: a further call has lost it.
                self.checking = None;
                let index = self.reached.cursor.position.index;
                let what = format!("keeping the hashes of blocks at entry {index}");
                return Err(AuditError::Scratch { what, source });
            }
        }
        Ok(Some(entries))
    }

    /// The same for whoever gives entries away before the end: where signatures are required, only those
    /// that somebody vouches for, which may be none yet. The rest waits, in memory, and is given to nobody
    /// if nobody does.
    ///
    /// # Errors
    /// Those of [`Replay::next`].
    pub async fn next_vouched(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        let count = match self.next().await? {
            Some(entries) => {
                self.waiting.extend(entries);
                // A signature that one carries was verified with it.
                match self.is_vouched() {
                    true => self.waiting.len(),
                    false => {
                        let signed = self.waiting.iter().rposition(|e| e.signature.is_some());
                        signed.map_or(0, |at| at + 1)
                    }
                }
            }
            // An entry after the range vouches for them.
            None if self.ended.is_none() && !self.waiting.is_empty() => self.waiting.len(),
            None => return Ok(None),
        };
        let rest = self.waiting.split_off(count);
        Ok(Some(std::mem::replace(&mut self.waiting, rest)))
    }

    /// What [`Replay::next_vouched`] has not given yet.
    pub fn waiting(&self) -> &[Entry] {
        &self.waiting
    }

    /// Ends the checking, if it has not ended by itself.
    async fn end(&mut self) -> Result<(Chain, Entries), AuditError> {
        self.checking.take().ok_or_else(lost)?.ended().await
    }

    /// An entry is not good. If the segment it is from is corrupt, that is said rather.
    async fn stop_at(&mut self, problem: Problem) -> Result<(), AuditError> {
        let (chain, reading) = self.end().await?;
        if let Problem::Refused(Refusal::Gap { expected, .. }) = &problem {
            still_held(&self.sources, *expected).await?;
        }
        if let Some(index) = problem.index() {
            match reading.damage_at(&self.sources, index).await {
                Ok(damage) => self.read.corrupt.extend(damage),
                // What was found stays found.
                Err(error) => self.read.corrupt.push(format!(
                    "whether a segment with entry {index} is corrupt is not known: {}",
                    error_chain(&error)
                )),
            }
        }
        self.ended = Some(problem);
        // Last: with it, and without a problem, everything was verified.
        self.chain = Some(chain);
        Ok(())
    }

    /// The history as far as it was checked, to be continued by somebody else.
    ///
    /// # Errors
    /// What ended the replay before the end of its range; [`AuditError::Range`] if it was read on after it.
    pub(crate) fn into_chain(self) -> Result<(Chain, CancellationToken), AuditError> {
        if let Some(problem) = self.ended {
            return Err(problem.into());
        }
        let chain = self.chain.ok_or_else(lost)?;
        if chain.index() > self.to {
            let (from, to) = (chain.index() + 1, chain.index() + 1);
            let Held { first, last, .. } = self.held;
            let hint = format!(", and what follows entry {} was read already", self.to);
            return Err(AuditError::Range { place: self.place, from, to, first, last, hint });
        }
        Ok((chain, self.stop))
    }

    /// What was not good, as an error, for whoever gives the entries away.
    ///
    /// # Errors
    /// What ended the replay before the end of its range.
    pub fn into_result(self) -> Result<EntriesRead, AuditError> {
        match self.ended {
            Some(problem) => Err(problem.into()),
            None => Ok(self.read),
        }
    }

    /// There was no more.
    async fn finish(&mut self) -> Result<(), AuditError> {
        let (chain, reading) = self.end().await?;
        let at = self.reached.cursor.position.index;
        let is_enough = at == self.to && chain.unvouched(self.to).is_none();
        let read = match is_enough && self.to < self.read_to {
            true => reading.stop().await,
            false => reading.finish().await,
        };
        match read {
            Ok(read) => {
                self.read = read;
                if at < self.to {
                    let (first, last) = (at + 1, self.to);
                    still_held(&self.sources, first).await?;
                    self.ended = Some(Problem::Missing { first, last });
                } else if let Some(refusal) = chain.unvouched(self.to) {
                    self.ended.get_or_insert(refusal.into());
                }
            }
            Err(RestoreError::Corrupt { needed, what, .. }) => {
                self.ended = Some(Problem::Corrupt { index: needed, what });
            }
            Err(RestoreError::Log(error @ LogError::Corrupt { .. })) => {
                self.ended = Some(Problem::Damaged(error_chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
        self.chain = Some(chain);
        Ok(())
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.sources.trust
    }

    /// Where it is, human-readable.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What the source held when it started.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Index of the first and the last entry of the range.
    pub fn range(&self) -> (u64, u64) {
        (self.from, self.to)
    }

    /// The position that was taken on trust; `None` if it started from the log's origin.
    pub fn trusted(&self) -> Option<Position> {
        self.trusted
    }

    /// The cursor after everything that was verified and given.
    pub fn cursor(&self) -> &Cursor {
        &self.reached.cursor
    }

    /// What ended it before the end of the range; `None` while it goes on, and after all of it.
    pub fn problem(&self) -> Option<&Problem> {
        if self.checking.is_none() { self.ended.as_ref() } else { None }
    }

    /// Height of the lowest block of the range; `None` if it has none. Whether those below have
    /// their proofs is known only of a range that starts from the log's origin.
    pub(crate) fn lowest_block(&self) -> Option<u64> {
        self.reached.lowest_block
    }

    /// Whether somebody vouches for everything that was given, or nobody needs to.
    pub fn is_vouched(&self) -> bool {
        self.reached.is_vouched
    }

    /// How many entries refer to blocks from before the range, so that their links were not
    /// checked.
    pub fn unchecked(&self) -> u64 {
        self.reached.unchecked
    }

    /// How many entries were void: a primary wrote them that had been fenced off. They are given
    /// to nobody.
    pub fn void(&self) -> u64 {
        self.void
    }

    /// What was read, and what turned out to be corrupt on the way. Complete after the last entry.
    pub fn read(&self) -> &EntriesRead {
        &self.read
    }
}

fn lost() -> AuditError {
    AuditError::Internal { what: "checking entries panicked, or was cancelled".to_owned() }
}

/// An entry that a log did not give is missing only if the log says that it holds it: one that is
/// trimmed meanwhile loses its oldest.
///
/// # Errors
/// [`LogError::OutOfRange`] if it begins after this entry now; the log's.
pub(crate) async fn still_held(sources: &Sources, index: u64) -> Result<(), AuditError> {
    let Some(log) = &sources.log else { return Ok(()) };
    let Extent { first, last } = log.extent().await.map_err(RestoreError::from)?;
    if first <= index {
        return Ok(());
    }
    Err(RestoreError::from(LogError::OutOfRange { asked: index, first, last }).into())
}

/// The one place that is named.
pub(crate) fn place(sources: &Sources) -> String {
    let archives = sources.archives.iter().map(|archive| archive.place().to_owned());
    let log = sources.log.iter().map(|log| format!("the log {}", log.identity().name.as_str()));
    archives.chain(log).collect::<Vec<_>>().join(", ")
}
