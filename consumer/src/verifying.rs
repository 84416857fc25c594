//! Verifying what has arrived, beside the thread that applies what arrived before.

use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{Chain, Entry};
use tipline_store::{Batch, ChainView};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::ConsumerError;
use crate::join::StartState;
use crate::refusal::{Refusal, VerifyError};
use crate::verify::{Verdict, Verifier};
use crate::vouch::Vouching;

/// A verifier with the store it looks blocks up in.
#[derive(Debug)]
pub(crate) struct Checker {
    verifier: Verifier,
    view: Box<dyn ChainView>,
    vouching: Option<Vouching>,
    /// Good so far as they are, and to be vouched for by one after them.
    held: Vec<Entry>,
}

/// What came of some entries.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Those to be applied: one batch, or more if some of them were held back before.
    pub(crate) batches: Vec<Batch>,
    last_bytes: usize,
    pub(crate) duplicates: u64,
    pub(crate) void: u64,
    /// Why none after them was checked.
    pub(crate) error: Option<VerifyError>,
    /// Why what is held back must be refused, if nothing vouches for it soon.
    pub(crate) unsigned: Option<Refusal>,
}

impl Checker {
    /// Continues after what the store holds of this chain. With `vouching` nothing is given out before
    /// somebody vouches for it.
    pub(crate) fn new(chain: &Chain, start: StartState, vouching: Option<Vouching>) -> Self {
        let StartState { cursor, links, view } = start;
        Self { verifier: Verifier::new(chain, &cursor, links), view, vouching, held: vec![] }
    }

    /// Classifies entries in a row, up to the first that is not good.
    fn check(&mut self, entries: Vec<Entry>, applied: u64) -> Checked {
        self.verifier.applied(applied);
        let mut checked = Checked::default();
        for entry in entries {
            match self.classify(&entry) {
                Ok((Verdict::Apply, is_vouched)) => {
                    self.held.push(entry);
                    if is_vouched {
                        self.give_out(&mut checked);
                    }
                }
                Ok((Verdict::Duplicate, _)) => checked.duplicates += 1,
                Ok((Verdict::Void, _)) => checked.void += 1,
                Err(error) => {
                    checked.error = Some(error);
                    break;
                }
            }
        }
        match &self.vouching {
            None => self.give_out(&mut checked),
            Some(vouching) => checked.unsigned = vouching.refusal(),
        }
        checked
    }

    /// The verdict, and whether somebody vouches for everything up to the entry.
    fn classify(&mut self, entry: &Entry) -> Result<(Verdict, bool), VerifyError> {
        let look_up = |height| self.view.block_hash(height);
        let verdict = self.verifier.classify(entry, &look_up)?;
        let is_vouched = match (&mut self.vouching, verdict) {
            (Some(vouching), Verdict::Apply) => vouching.admit(entry)?,
            _ => false,
        };
        Ok((verdict, is_vouched))
    }

    /// Everything that is held is good. What was held before may be too much for one batch now.
    fn give_out(&mut self, checked: &mut Checked) {
        if self.held.is_empty() {
            return;
        }
        let mut batch = self.verifier.batch(std::mem::take(&mut self.held));
        let bytes: usize = batch.entries.iter().map(|entry| entry.event.payload().len()).sum();
        if let Some(last) = checked.batches.last_mut()
            && last.entries.len() + batch.entries.len() <= MAX_APPLY_EVENTS
            && checked.last_bytes + bytes <= MAX_APPLY_BYTES
        {
            last.entries.append(&mut batch.entries);
            (last.cursor, last.base) = (batch.cursor, batch.base);
            checked.last_bytes += bytes;
            return;
        }
        checked.batches.push(batch);
        checked.last_bytes = bytes;
    }
}

/// The checker at rest or at work.
#[derive(Debug)]
pub(crate) enum Checking {
    /// It can be given entries.
    Idle(Box<Checker>),
    /// It has some.
    Busy(JoinHandle<(Box<Checker>, Checked)>),
    /// It panicked.
    Lost,
}

impl Checking {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Checking::Idle(_))
    }

    /// Gives entries to the checker, which must be idle; the store has everything up to `applied`.
    pub(crate) fn begin(&mut self, entries: Vec<Entry>, applied: u64) {
        *self = match std::mem::replace(self, Checking::Lost) {
            Checking::Idle(mut checker) => Checking::Busy(spawn_blocking(move || {
                let checked = checker.check(entries, applied);
                (checker, checked)
            })),
            other => other,
        };
    }

    /// Waits until the checker is done; for ever while it has nothing to do. Cancelling loses
    /// nothing.
    pub(crate) async fn done(&mut self) -> Result<Checked, ConsumerError> {
        let Checking::Busy(task) = self else {
            return std::future::pending().await;
        };
        match task.await {
            Ok((checker, checked)) => {
                *self = Checking::Idle(checker);
                Ok(checked)
            }
            Err(_) => {
                *self = Checking::Lost;
                Err(ConsumerError::Panicked { what: "the verification".to_owned() })
            }
        }
    }
}
