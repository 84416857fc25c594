//! Verification: may this entry be applied? Pure: no clock, no I/O but the look-up of one hash
//! that the caller lends.

use std::collections::{BTreeMap, VecDeque};

use tipline_proto::{Chain, Cursor, Digest, Entry, Event, Hash, Links, LinksState, Position};
use tipline_store::{Batch, StoreError, StoredLinks};

use crate::refusal::{Refusal, VerifyError};

/// How many of the newest positions are remembered, to tell a duplicate from a fork: what an
/// unacknowledged batch and its repetition have, four times over.
pub const REMEMBERED_POSITIONS: usize = 4096;

/// Looks up the hash of the block at a height in the store, as far as it is applied.
pub type LookUp<'a> = dyn Fn(u64) -> Result<Option<Hash>, StoreError> + 'a;

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: apply it.
    Apply,
    /// It was applied before: ignore it.
    Duplicate,
    /// A primary wrote it that had been fenced off by a higher epoch. It is void for
    /// everyone: ignore and count it.
    Void,
}

/// Classifies entries, one by one in the order of the log, after a store's cursor.
///
/// It may be ahead of the store: blocks that were judged and are not applied yet are
/// remembered until [`Verifier::applied`] says that the store has them.
#[derive(Debug)]
pub struct Verifier {
    position: Position,
    epoch: u64,
    /// Outbox sequence of the entry at the position; `None` where no entry was read: a store does not
    /// remember it.
    sequence: Option<u64>,
    links: Links,
    recent: Recent,
    /// Index of the entry and hash of the block, by height: blocks that the store may not have.
    /// Above the tip may be some that were rolled back; nothing refers to those heights.
    pending: BTreeMap<u64, (u64, Hash)>,
}

impl Verifier {
    /// Continues after what a store holds of this chain.
    pub fn new(chain: &Chain, cursor: &Cursor, links: StoredLinks) -> Self {
        let StoredLinks { base, proven_above } = links;
        let (tip, proof_tip) = (cursor.block_tip.clone(), cursor.proof_tip);
        let state = LinksState { base, tip, proof_tip, proven_above };
        Self {
            position: cursor.position,
            epoch: cursor.epoch,
            sequence: None,
            links: Links::resume(chain.genesis.clone(), chain.proofs_from, state),
            recent: Recent::from(cursor),
            pending: BTreeMap::new(),
        }
    }

    /// The cursor after everything that was found good.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            position: self.position,
            epoch: self.epoch,
            block_tip: self.links.tip().cloned(),
            proof_tip: self.links.proof_tip(),
        }
    }

    /// The batch of these entries, which must be the newest ones that were judged to be applied.
    pub fn batch(&self, entries: Vec<Entry>) -> Batch {
        Batch { entries, cursor: self.cursor(), base: self.links.base().cloned() }
    }

    /// Classifies the next entry.
    ///
    /// # Errors
    /// The entry is refused, or the store does not answer. Nothing has changed: the entries
    /// before it stay good.
    pub fn classify(&mut self, entry: &Entry, stored: &LookUp<'_>) -> Result<Verdict, VerifyError> {
        if entry.index <= self.position.index {
            return Ok(self.classify_again(entry)?);
        }
        if entry.epoch < self.epoch {
            return Ok(Verdict::Void);
        }
        self.check_place(entry)?;
        self.check_epoch(entry)?;
        check_row(self.sequence, entry)?;
        let referred = match self.links.refers_to(&entry.event) {
            Some(height) => self.block_hash(height, stored)?,
            None => None,
        };
        self.links.admit(&entry.event, referred.as_ref()).map_err(|source| Refusal::Link {
            index: entry.index,
            event: entry.event.to_string(),
            source: Box::new(source),
        })?;
        self.advance(entry);
        Ok(Verdict::Apply)
    }

    /// Everything up to `index` is in the store now, where it can be looked up.
    pub fn applied(&mut self, index: u64) {
        self.pending.retain(|_, (at, _)| *at > index);
    }

    /// An entry at or below the position: the same again, void, or another history.
    fn classify_again(&self, entry: &Entry) -> Result<Verdict, Refusal> {
        match self.recent.get(entry.index) {
            Some((digest, _)) if digest != entry.digest && self.is_void_at(entry) => {
                Ok(Verdict::Void)
            }
            Some((digest, _)) if digest != entry.digest => Err(Refusal::Replaced {
                index: entry.index,
                event: entry.event.to_string(),
                expected: digest,
                found: entry.digest,
            }),
            _ => Ok(Verdict::Duplicate),
        }
    }

    /// Whether a higher claim had taken the entry's place.
    fn is_void_at(&self, entry: &Entry) -> bool {
        self.recent.get(entry.index).is_some_and(|(_, epoch)| entry.epoch < epoch)
    }

    fn check_place(&self, entry: &Entry) -> Result<(), Refusal> {
        let expected = self.position.index + 1;
        if entry.index != expected {
            return Err(Refusal::Gap { expected, found: entry.index });
        }
        if entry.follows(&self.position) {
            return Ok(());
        }
        let Entry { epoch, time, outbox_sequence, event, .. } = entry.clone();
        let sealed = Entry::seal(&self.position, epoch, time, outbox_sequence, event);
        Err(Refusal::Fork {
            index: entry.index,
            event: entry.event.to_string(),
            expected: sealed.digest,
            found: entry.digest,
        })
    }

    fn check_epoch(&self, entry: &Entry) -> Result<(), Refusal> {
        let index = entry.index;
        let claims = matches!(entry.event, Event::EpochStarted { .. });
        if claims && entry.epoch <= self.epoch {
            return Err(Refusal::NotRaised { index, epoch: entry.epoch });
        }
        if !claims && (entry.epoch != self.epoch || self.epoch == 0) {
            let (event, claimed) = (entry.event.to_string(), self.epoch);
            return Err(Refusal::Unclaimed { index, event, claimed, found: entry.epoch });
        }
        Ok(())
    }

    /// The hash of the block at a height at or below the tip. A height that is not pending is
    /// the same in the store before and after the pending entries are applied: they did not
    /// touch it.
    fn block_hash(&self, height: u64, stored: &LookUp<'_>) -> Result<Option<Hash>, StoreError> {
        match self.pending.get(&height) {
            Some((_, hash)) => Ok(Some(hash.clone())),
            None => stored(height),
        }
    }

    fn advance(&mut self, entry: &Entry) {
        self.position = entry.position();
        self.epoch = entry.epoch;
        self.sequence = Some(entry.outbox_sequence);
        self.recent.push(entry);
        if let Event::BlockCommitted { height, hash, .. } = &entry.event {
            self.pending.insert(*height, (entry.index, hash.clone()));
        }
    }
}

/// Whether an entry is the row of the outbox that comes after `before`, the outbox sequence of the entry
/// before it, where that is known. A claim begins anew: it says which rows the log has of its outbox.
///
/// # Errors
/// [`Refusal::WrongRow`] if it is not.
pub fn check_row(before: Option<u64>, entry: &Entry) -> Result<(), Refusal> {
    let Some(before) = before else { return Ok(()) };
    let (index, expected, found) = (entry.index, before.saturating_add(1), entry.outbox_sequence);
    if matches!(entry.event, Event::EpochStarted { .. }) || found == expected {
        return Ok(());
    }
    Err(Refusal::WrongRow { index, event: entry.event.to_string(), expected, found })
}

/// The newest positions with their epochs, in a row.
#[derive(Debug)]
struct Recent {
    /// Index of the first of them.
    first: u64,
    entries: VecDeque<(Digest, u64)>,
}

impl From<&Cursor> for Recent {
    fn from(cursor: &Cursor) -> Self {
        let entries = VecDeque::from([(cursor.position.digest, cursor.epoch)]);
        Self { first: cursor.position.index, entries }
    }
}

impl Recent {
    fn push(&mut self, entry: &Entry) {
        if self.entries.len() == REMEMBERED_POSITIONS {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back((entry.digest, entry.epoch));
    }

    fn get(&self, index: u64) -> Option<(Digest, u64)> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at).copied()
    }
}
