//! A receipt as a row.

use std::collections::BTreeMap;

use serde::Serialize;
use tipline_backup::{ArchiveDigests, ArchiveError, ReceiptRecord};
use tipline_proto::{
    Agreement, Announcement, Digest, Level, Position, Receipt, Timestamp, agreement,
};

/// What a consumer had acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// Who.
    pub consumer: String,
    /// What it is for.
    pub role: String,
    /// The store: kind and place.
    pub store: String,
    /// When the archiver saw the receipt, by its clock, in microseconds since 1970.
    pub seen_us: u64,
    /// When it was sent, by the consumer's clock.
    pub sent_us: u64,
    /// How far it was, by level: what was reported of each.
    pub reached: BTreeMap<&'static str, PositionRow>,
    /// Height and hash of the newest block in the store.
    pub block: Option<u64>,
    /// Its hash.
    pub block_hash: Option<String>,
    /// Height up to which every block had its proof.
    pub proof: Option<u64>,
    /// Why the consumer had stopped.
    pub failure: Option<String>,
    /// Whether a trusted key signed it; nothing if no keys are trusted.
    pub trusted: Option<bool>,
    /// Whether its digests are those of the archive.
    pub history: Compared,
}

/// A position in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PositionRow {
    /// Index of the entry.
    pub index: u64,
    /// The digest over everything up to it.
    pub digest: String,
}

impl From<Position> for PositionRow {
    fn from(Position { index, digest }: Position) -> Self {
        Self { index, digest: digest.to_string() }
    }
}

/// What comes of comparing a receipt with the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Every position is one of the archive's.
    Agrees,
    /// It names an entry that the archive does not have yet.
    Ahead,
    /// It names another history.
    Diverged,
    /// The archive does not hold an entry that it names any more.
    NotHeld,
}

/// What the primary had announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnnouncedRow {
    /// Its name.
    pub primary: String,
    /// Its epoch.
    pub epoch: u64,
    /// When the archiver saw it.
    pub seen_us: u64,
    /// When it was sent, by the primary's clock.
    pub sent_us: u64,
    /// The newest entry that it knew to be in the log.
    pub tail: PositionRow,
    /// The newest block that it had published.
    pub block: Option<u64>,
    /// Height up to which every block had its proof.
    pub proof: Option<u64>,
    /// Whether a trusted key signed it; nothing if no keys are trusted.
    pub trusted: Option<bool>,
}

/// A consumer that was forgotten, and has no receipt from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgottenRow {
    /// Who.
    pub consumer: String,
    /// When the archiver saw that, by its clock, in microseconds since 1970.
    pub seen_us: u64,
    /// False where receipts must be signed: that one was forgotten is the archiver's word, which nobody
    /// signs. Nothing if no keys are trusted.
    pub trusted: Option<bool>,
}

impl AnnouncedRow {
    pub(super) fn new(said: &Announcement, seen: Timestamp, trusted: Option<bool>) -> Self {
        Self {
            primary: said.primary.as_str().to_owned(),
            epoch: said.epoch,
            seen_us: seen.as_micros(),
            sent_us: said.time.as_micros(),
            tail: said.tail.into(),
            block: said.block_tip.as_ref().map(|tip| tip.height),
            proof: said.proof_tip,
            trusted,
        }
    }
}

impl Acknowledged {
    /// Of a receipt, compared with the archive.
    pub(super) async fn new(
        receipt: &Receipt,
        seen: Timestamp,
        trusted: Option<bool>,
        digests: &mut ArchiveDigests,
    ) -> Result<Self, ArchiveError> {
        let mut known: BTreeMap<u64, Digest> = BTreeMap::new();
        for position in receipt.reached.positions() {
            if let Some(digest) = digests.at(position.index).await? {
                known.insert(position.index, digest);
            }
        }
        let compared = agreement(receipt, digests.end(), |index| known.get(&index).copied());
        let reached = Level::ALL.into_iter();
        let reached = reached
            .filter_map(|level| Some((level.as_str(), receipt.reached.reported(level)?.into())));
        Ok(Self {
            consumer: receipt.consumer.as_str().to_owned(),
            role: receipt.role.to_string(),
            store: receipt.store.clone(),
            seen_us: seen.as_micros(),
            sent_us: receipt.time.as_micros(),
            reached: reached.collect(),
            block: receipt.block_tip.as_ref().map(|tip| tip.height),
            block_hash: receipt.block_tip.as_ref().map(|tip| tip.hash.to_string()),
            proof: receipt.proof_tip,
            failure: receipt.failure.clone(),
            trusted,
            history: match compared {
                Agreement::Agrees => Compared::Agrees,
                Agreement::Ahead => Compared::Ahead,
                Agreement::Diverged { .. } => Compared::Diverged,
                Agreement::Unknown => Compared::NotHeld,
            },
        })
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let diverged =
            || format!("{} had acknowledged another history than the archive's", self.consumer);
        (self.history == Compared::Diverged).then(diverged)
    }
}

/// A record with the clock that it is ordered by.
pub(super) fn until(
    records: Vec<ReceiptRecord>,
    at: Timestamp,
) -> impl Iterator<Item = ReceiptRecord> {
    records.into_iter().filter(move |record| record.seen <= at)
}
