//! Whether an entry is the next one of a history: the rules of a consumer, for whoever has no
//! store, and may start in the middle.

use std::collections::VecDeque;
use std::io;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use tipline_consumer::{REMEMBERED_POSITIONS, Refusal, Verdict, Vouching, check_row};
use tipline_proto::{Cursor, Digest, Entry, Event, Links, LinksState, Position, Tip};

use crate::blocks::{Blocks, IN_MEMORY};
use crate::error::Problem;

/// How many entries one thread hashes at least: handing them over costs less then.
const AT_ONCE: usize = 32;

/// Why an entry was not found good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotNext {
    /// It is refused, as by every consumer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file of older blocks, among those of temporary files, cannot be used.
    #[error("the file of block hashes in the temporary directory cannot be used")]
    Scratch(#[from] io::Error),
}

/// A history as far as it was checked.
///
/// One that starts in the middle knows no block before its first. What refers to an earlier one,
/// a late proof or a rollback to before the start, cannot be checked, and is counted.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Which chain the entries are of.
    of: tipline_proto::Chain,
    position: Position,
    epoch: u64,
    /// Outbox sequence of the entry at the position; `None` before the first one.
    sequence: Option<u64>,
    links: Links,
    blocks: Blocks,
    /// Whether it starts with the first entry of the log.
    is_whole: bool,
    /// Entries that refer to blocks from before the start.
    unchecked: u64,
    /// The newest positions with their epochs, in a row up to `position`.
    recent: VecDeque<(Digest, u64)>,
    /// Who vouches for it, where signatures are required.
    vouching: Option<Vouching>,
}

impl Chain {
    /// Starts before the first entry of the log.
    pub(crate) fn from_origin(of: tipline_proto::Chain, origin: Position) -> Self {
        Self::start(of, origin, 0, true, IN_MEMORY)
    }

    /// Starts after an entry that is taken on trust.
    pub(crate) fn from_entry(of: tipline_proto::Chain, trusted: &Entry) -> Self {
        let mut chain = Self::start(of, trusted.position(), trusted.epoch, false, IN_MEMORY);
        chain.sequence = Some(trusted.outbox_sequence);
        if let Some(tip) = trusted.event.block_tip() {
            chain.start_from_block(tip);
        }
        chain
    }

    pub(crate) fn start(
        of: tipline_proto::Chain,
        position: Position,
        epoch: u64,
        is_whole: bool,
        in_memory: usize,
    ) -> Self {
        let links = Links::new(of.genesis.clone(), of.proofs_from);
        let blocks = Blocks::new(in_memory);
        let recent = VecDeque::from([(position.digest, epoch)]);
        let (sequence, unchecked, vouching) = (None, 0, None);
        Self { of, position, epoch, sequence, links, blocks, is_whole, unchecked, recent, vouching }
    }

    /// The cursor after everything that was found good. In a history that starts in the middle the
    /// proof tip counts from its first block.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            position: self.position,
            epoch: self.epoch,
            block_tip: self.links.tip().cloned(),
            proof_tip: self.links.proof_tip(),
        }
    }

    /// Index of the last entry that was found good.
    pub(crate) fn index(&self) -> u64 {
        self.position.index
    }

    /// From here on signatures are required.
    pub(crate) fn require(&mut self, vouching: Vouching) {
        self.vouching = Some(vouching);
    }

    /// The first entry up to this one that nobody has vouched for; `None` if there is none, or nobody
    /// needs to.
    pub(crate) fn unvouched(&self, to: u64) -> Option<Refusal> {
        let refusal = self.vouching.as_ref().and_then(Vouching::refusal);
        refusal.filter(|refusal| refusal.index() <= to)
    }

    /// The next entry as it comes.
    ///
    /// # Errors
    /// It is refused, and nothing has changed; or the file of older blocks cannot be used.
    #[cfg(test)]
    pub(crate) fn admit(&mut self, entry: &Entry) -> Result<Verdict, NotNext> {
        self.admit_if(entry, |previous| entry.follows(previous))
    }

    /// The same. `follows` says of a position what [`Entry::follows`] does.
    fn admit_if(
        &mut self,
        entry: &Entry,
        follows: impl Fn(&Position) -> bool,
    ) -> Result<Verdict, NotNext> {
        if entry.index <= self.position.index {
            return Ok(self.classify_again(entry)?);
        }
        if entry.epoch < self.epoch {
            return Ok(Verdict::Void);
        }
        self.check_place(entry, follows)?;
        self.check_epoch(entry)?;
        check_row(self.sequence, entry)?;
        self.check_links(entry)?;
        if let Some(vouching) = &mut self.vouching {
            vouching.admit(entry)?;
        }
        (self.position, self.epoch) = (entry.position(), entry.epoch);
        self.sequence = Some(entry.outbox_sequence);
        if self.recent.len() == REMEMBERED_POSITIONS {
            self.recent.pop_front();
        }
        self.recent.push_back((entry.digest, entry.epoch));
        Ok(Verdict::Apply)
    }

    /// Height of the lowest block that was read and not rolled back; `None` if there is none.
    pub(crate) fn lowest_block(&self) -> Option<u64> {
        self.blocks.lowest()
    }

    /// How many entries referred to blocks from before the start.
    pub(crate) fn unchecked(&self) -> u64 {
        self.unchecked
    }

    fn classify_again(&self, entry: &Entry) -> Result<Verdict, Refusal> {
        let first = self.position.index + 1 - self.recent.len() as u64;
        let at = entry.index.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.recent.get(at)) {
            Some((digest, epoch)) if *digest != entry.digest && entry.epoch < *epoch => {
                Ok(Verdict::Void)
            }
            Some((digest, _)) if *digest != entry.digest => Err(Refusal::Replaced {
                index: entry.index,
                event: entry.event.to_string(),
                expected: *digest,
                found: entry.digest,
            }),
            _ => Ok(Verdict::Duplicate),
        }
    }

    fn check_place(
        &self,
        entry: &Entry,
        follows: impl Fn(&Position) -> bool,
    ) -> Result<(), Refusal> {
        let expected = self.position.index + 1;
        if entry.index != expected {
            return Err(Refusal::Gap { expected, found: entry.index });
        }
        if follows(&self.position) {
            return Ok(());
        }
        let Entry { epoch, time, outbox_sequence, event, .. } = entry.clone();
        let sealed = Entry::seal(&self.position, epoch, time, outbox_sequence, event);
        let (index, event, found) = (entry.index, entry.event.to_string(), entry.digest);
        Err(Refusal::Fork { index, event, expected: sealed.digest, found })
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

    fn check_links(&mut self, entry: &Entry) -> Result<(), NotNext> {
        if self.is_before_start(&entry.event) {
            self.unchecked += 1;
            if let Event::RolledBack { to_height, to_hash } = &entry.event {
                self.start_from_block(Tip { height: *to_height, hash: to_hash.clone() });
            }
            return Ok(());
        }
        let referred = match self.links.refers_to(&entry.event) {
            Some(height) => self.blocks.get(height)?,
            None => None,
        };
        self.links.admit(&entry.event, referred.as_ref()).map_err(|source| Refusal::Link {
            index: entry.index,
            event: entry.event.to_string(),
            source: Box::new(source),
        })?;
        match &entry.event {
            Event::BlockCommitted { height, hash, .. } => {
                self.blocks.push(*height, hash.clone())?
            }
            Event::RolledBack { to_height, .. } => self.blocks.roll_back(*to_height),
            _ => {}
        }
        Ok(())
    }

    /// Whether an event refers to a block of before the start.
    fn is_before_start(&self, event: &Event) -> bool {
        let height = match event {
            Event::BlockProven { height, .. } => *height,
            // To the parent of the first block is known what it must be.
            Event::RolledBack { to_height, .. } => to_height.saturating_add(1),
            _ => return false,
        };
        let lowest = match (self.blocks.lowest(), self.links.tip()) {
            (Some(lowest), _) => lowest,
            (None, Some(tip)) => tip.height.saturating_add(1),
            (None, None) => return !self.is_whole,
        };
        !self.is_whole && height < lowest
    }

    /// The next block is the one above this, of which no more is known.
    fn start_from_block(&mut self, tip: Tip) {
        let (base, proof_tip) = (Some(tip.clone()), Some(tip.height));
        let state = LinksState { base, tip: Some(tip), proof_tip, ..LinksState::default() };
        self.links = Links::resume(self.of.genesis.clone(), self.of.proofs_from, state);
        self.blocks = Blocks::new(IN_MEMORY);
    }
}

/// Entries that were checked one after the other.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) entries: Vec<Entry>,
    pub(crate) void: u64,
    pub(crate) ended: Option<NotGood>,
}

/// What is wrong with the next one.
#[derive(Debug)]
pub(crate) enum NotGood {
    Problem(Problem),
    Scratch(io::Error),
}

/// Those that are good, up to the first that is not.
pub(crate) fn check(chain: &mut Chain, arrived: Vec<Entry>) -> Checked {
    let mut hashed = hash(chain.position, &arrived).into_iter();
    let mut checked = Checked { entries: arrived, void: 0, ended: None };
    let Checked { entries, void, ended } = &mut checked;
    entries.retain(|entry| {
        let Some(hashed) = hashed.next().filter(|_| ended.is_none()) else { return false };
        let follows = |previous: &Position| match *previous == hashed.previous {
            true => hashed.follows,
            // Something between the two is void, or is there twice.
            false => entry.follows(previous),
        };
        let not_good = match chain.admit_if(entry, follows) {
            Ok(Verdict::Apply) => return true,
            Ok(Verdict::Void) => {
                *void += 1;
                return false;
            }
            Ok(Verdict::Duplicate) => NotGood::Problem(Problem::Repeated { index: entry.index }),
            Err(NotNext::Refused(refusal)) => NotGood::Problem(refusal.into()),
            Err(NotNext::Scratch(error)) => NotGood::Scratch(error),
        };
        *ended = Some(not_good);
        false
    });
    checked
}

/// Whether an entry follows the one that came before it.
struct Hashed {
    previous: Position,
    follows: bool,
}

/// What takes most of the time, on all processors: each entry names its digest, so that none has to
/// wait for the one before.
fn hash(first: Position, arrived: &[Entry]) -> Vec<Hashed> {
    let previous = |at: usize| at.checked_sub(1).map_or(first, |before| arrived[before].position());
    let hash = |at: usize| {
        let previous = previous(at);
        Hashed { previous, follows: arrived[at].follows(&previous) }
    };
    (0..arrived.len()).into_par_iter().with_min_len(AT_ONCE).map(hash).collect()
}
