//! Who vouches for a history: entries that chain are fed in, and a signature of one vouches for all
//! before it. Pure.

use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Event, Lineage, Trust};

use crate::refusal::Refusal;

/// The entries of a history since the last one that was signed.
///
/// A primary signs the last entry of every unit, so those before it in the unit wait for it. What
/// cannot be the beginning of a unit any more is refused: a claim, which is a unit alone, and more
/// entries than a unit may have.
#[derive(Debug, Clone)]
pub struct Vouching {
    trust: Trust,
    lineage: Lineage,
    /// Whether a history may have been unsigned for longer than a unit.
    patient: bool,
    /// Index and text of the first entry that nobody has vouched for yet.
    first: Option<(u64, String)>,
    entries: usize,
    bytes: usize,
}

impl Vouching {
    /// For whoever applies entries as they come: they must be signed unit by unit.
    pub fn new(trust: Trust, lineage: Lineage) -> Self {
        Self { trust, lineage, patient: false, first: None, entries: 0, bytes: 0 }
    }

    /// For whoever reads all of a history before it is used. It may have begun without signatures;
    /// the first one vouches for all before it.
    pub fn patient(trust: Trust, lineage: Lineage) -> Self {
        Self { patient: true, ..Self::new(trust, lineage) }
    }

    /// The next entry, which was found to continue the history. Whether everything up to it is vouched
    /// for now.
    ///
    /// # Errors
    /// [`Refusal::Unsigned`], [`Refusal::Forged`].
    pub fn admit(&mut self, entry: &Entry) -> Result<bool, Refusal> {
        if entry.signature.is_some() {
            let checked = self.trust.check_entry(self.lineage, entry);
            checked.map_err(|source| Refusal::Forged {
                index: entry.index,
                event: entry.event.to_string(),
                source,
            })?;
            (self.first, self.entries, self.bytes) = (None, 0, 0);
            return Ok(true);
        }
        self.first.get_or_insert_with(|| (entry.index, entry.event.to_string()));
        self.entries += 1;
        self.bytes += entry.event.payload().len();
        let is_claim = matches!(entry.event, Event::EpochStarted { .. });
        let too_much =
            self.entries > MAX_UNIT_MESSAGES || self.entries > 1 && self.bytes > MAX_UNIT_BYTES;
        match self.refusal().filter(|_| !self.patient && (is_claim || too_much)) {
            Some(refusal) => Err(refusal),
            None => Ok(false),
        }
    }

    /// The refusal of what nobody has vouched for; `None` if there is nothing.
    pub fn refusal(&self) -> Option<Refusal> {
        let (index, event) = self.first.clone()?;
        Some(Refusal::Unsigned { index, event })
    }
}
