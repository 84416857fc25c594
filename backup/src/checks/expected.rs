//! What must be at a destination, by what was written down about it.

use tipline_log::Board;
use tipline_proto::{ConsumerName, Timestamp};

use super::record::{Check, Record};
use crate::destination::{Destination, DestinationError};

/// What must be at a destination. What is there alone cannot tell: of something that is gone it says
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// What an archiver said that it keeps there.
    receipt: Option<(ConsumerName, u64)>,
    /// What the newest check that found nothing wrong had found there.
    record: Option<(Check, Record)>,
}

impl Expected {
    /// What the records at the destination, and the receipts on the board, say.
    pub(super) async fn at(
        destination: &Destination,
        board: Option<&Board>,
    ) -> Result<Self, DestinationError> {
        let mut expected = Self::default();
        for check in [Check::Verify, Check::Drill] {
            let until = Timestamp::from_micros(u64::MAX);
            let Some(found) = Record::newest(destination, check, until).await?.succeeded else {
                continue;
            };
            if expected.record.as_ref().is_none_or(|(_, newest)| newest.index < found.index) {
                expected.record = Some((check, found));
            }
        }
        // As an archiver names its store.
        let store = format!("archive:{}", destination.place());
        let receipts = board.into_iter().flat_map(|board| &board.receipts);
        for receipt in receipts.filter(|receipt| receipt.store == store) {
            let Some((_, position)) = receipt.reached.highest() else { continue };
            if expected.receipt.as_ref().is_none_or(|(_, newest)| *newest < position.index) {
                expected.receipt = Some((receipt.consumer.clone(), position.index));
            }
        }
        Ok(expected)
    }

    /// Whether something says that there is anything.
    pub(super) fn is_any(&self) -> bool {
        self.receipt.as_ref().is_some_and(|(_, index)| *index > 0)
            || self.record.as_ref().is_some_and(|(_, record)| record.index > 0)
    }

    /// Whether an archiver said what it keeps there.
    pub(super) fn has_receipt(&self) -> bool {
        self.receipt.is_some()
    }

    /// Whether an earlier check was recorded there.
    pub(super) fn has_record(&self) -> bool {
        self.record.is_some()
    }

    /// What an archive that ends there, and all of the destination, lack.
    pub(super) fn problem(&self, archive: u64, any: u64) -> Option<String> {
        if let Some((consumer, index)) = self.receipt.as_ref().filter(|(_, index)| *index > archive)
        {
            return Some(format!(
                "consumer {consumer} said that everything up to entry {index} is there, and it ends \
                 at entry {archive}"
            ));
        }
        let (check, record) = self.record.as_ref().filter(|(_, record)| record.index > any)?;
        let (check, index) = (check.as_str(), record.index);
        Some(format!(
            "a {check} found everything up to entry {index} there, and it ends at entry {any}"
        ))
    }
}

/// Why what was found at a destination is not all that must be there: an archiver said so in its
/// receipt on the board, or an earlier check found it. `end` is the index of its newest entry.
///
/// # Errors
/// Those of the destination.
pub async fn shortfall(
    destination: &Destination,
    board: Option<&Board>,
    end: u64,
) -> Result<Option<String>, DestinationError> {
    Ok(Expected::at(destination, board).await?.problem(end, end))
}
