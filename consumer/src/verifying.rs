//! Verifying what has arrived, beside the thread that applies what arrived before.

use tipline_proto::{Chain, Entry};
use tipline_store::{Batch, ChainView};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::ConsumerError;
use crate::join::StartState;
use crate::refusal::VerifyError;
use crate::verify::{Verdict, Verifier};

/// A verifier with the store it looks blocks up in.
#[derive(Debug)]
pub(crate) struct Checker {
    verifier: Verifier,
    view: Box<dyn ChainView>,
}

/// What came of some entries.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Those to be applied.
    pub(crate) batch: Option<Batch>,
    pub(crate) duplicates: u64,
    pub(crate) void: u64,
    /// Why none after them was checked.
    pub(crate) error: Option<VerifyError>,
}

impl Checker {
    /// Continues after what the store holds of this chain.
    pub(crate) fn new(chain: &Chain, start: StartState) -> Self {
        let StartState { cursor, links, view } = start;
        Self { verifier: Verifier::new(chain, &cursor, links), view }
    }

    /// Classifies entries in a row, up to the first that is not good.
    fn check(&mut self, entries: Vec<Entry>, applied: u64) -> Checked {
        self.verifier.applied(applied);
        let look_up = |height| self.view.block_hash(height);
        let mut checked = Checked::default();
        let mut good = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.verifier.classify(&entry, &look_up) {
                Ok(Verdict::Apply) => good.push(entry),
                Ok(Verdict::Duplicate) => checked.duplicates += 1,
                Ok(Verdict::Void) => checked.void += 1,
                Err(error) => {
                    checked.error = Some(error);
                    break;
                }
            }
        }
        checked.batch = (!good.is_empty()).then(|| self.verifier.batch(good));
        checked
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
