//! Reading what is on a board: each message by itself.
//!
//! Consumers may be newer than whoever reads, and may put nonsense. What cannot be read is named
//! and says nothing about the others.

use bytes::Bytes;
#[cfg(any(feature = "embedded", feature = "jetstream"))]
use tipline_proto::Announcement;
use tipline_proto::{ConsumerName, DecodeError, Lineage, Receipt};

use crate::error::error_chain;
use crate::spec::{Board, Unreadable};

/// The receipt that is in the place of the consumer `name`.
pub(crate) fn read_receipt(
    log: Lineage,
    place: &str,
    name: &str,
    bytes: Bytes,
) -> Result<Receipt, Unreadable> {
    let consumer: Option<ConsumerName> = name.parse().ok();
    let unreadable =
        |why: String| Unreadable { place: place.to_owned(), consumer: consumer.clone(), why };
    if consumer.is_none() {
        return Err(unreadable(format!("{name:?} is not the name of a consumer")));
    }
    let receipt =
        Receipt::decode(bytes).map_err(|error: DecodeError| unreadable(error_chain(&error)))?;
    if Some(&receipt.consumer) != consumer.as_ref() {
        return Err(unreadable(format!("it is a receipt of {}", receipt.consumer)));
    }
    check_lineage(log, receipt.lineage).map_err(unreadable)?;
    Ok(receipt)
}

/// The announcement. A log in memory has it as it is.
#[cfg(any(feature = "embedded", feature = "jetstream"))]
pub(crate) fn read_announcement(
    log: Lineage,
    place: &str,
    bytes: Bytes,
) -> Result<Announcement, Unreadable> {
    let unreadable = |why: String| Unreadable { place: place.to_owned(), consumer: None, why };
    let said = Announcement::decode(bytes).map_err(|error| unreadable(error_chain(&error)))?;
    check_lineage(log, said.lineage).map_err(unreadable)?;
    Ok(said)
}

fn check_lineage(log: Lineage, said: Lineage) -> Result<(), String> {
    if said == log { Ok(()) } else { Err(format!("it is about a log of lineage {said}")) }
}

impl Board {
    /// Whether the same is on both, apart from how long it has been there.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.receipts == other.receipts
            && self.primary == other.primary
            && self.unreadable == other.unreadable
            && self.forged == other.forged
    }
}
