//! For whom the log is held back, and for how long.

use std::time::Duration;

use tipline_log::Survey;
use tipline_proto::{Agreement, ConsumerName, Level, Receipt};

/// What a consumer may expect of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reservation {
    /// The log keeps what it needs.
    Reserved {
        /// When it will be at risk if it stands still and the log grows as it did; `None` if
        /// that is not known.
        at_risk_in: Option<Duration>,
    },
    /// It is too far behind: the log has what it needs, and does not wait for it any more.
    AtRisk {
        /// When it will be lost if it stands still and the log grows as it did. Zero: with the
        /// next trim. `None` if that is not known.
        lost_in: Option<Duration>,
    },
    /// The log does not have what it needs next: it must be restored or made anew.
    Lost,
    /// It holds another history than the log, or more than the log: nothing that the log keeps
    /// would help it.
    Diverged,
}

impl Reservation {
    /// In a word or two: `reserved`, `at risk`, `lost`, `diverged`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Reservation::Reserved { .. } => "reserved",
            Reservation::AtRisk { .. } => "at risk",
            Reservation::Lost => "lost",
            Reservation::Diverged => "diverged",
        }
    }
}

/// A consumer, and what it may expect of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Its name.
    pub consumer: ConsumerName,
    /// Index of the entry that it needs next.
    pub needs: u64,
    /// Events that it is behind the log's tail.
    pub behind: u64,
    /// What it may expect.
    pub reservation: Reservation,
}

/// What every consumer may expect of a log that waits for those that lag by at most `reserve`
/// events, if nothing else keeps it. [`super::plan`] knows what else does.
pub fn reservations(survey: &Survey, reserve: u64) -> Vec<Reserved> {
    reservations_beside(survey, reserve, u64::MAX)
}

/// The same of a log that keeps everything from `others` on in any case.
pub(super) fn reservations_beside(survey: &Survey, reserve: u64, others: u64) -> Vec<Reserved> {
    let receipts = survey.receipts.iter();
    receipts.map(|receipt| Reserved::new(survey, receipt, reserve, others)).collect()
}

/// Whether a receipt names another history than the log's, or more than it has.
pub(super) fn is_apart(survey: &Survey, receipt: &Receipt) -> bool {
    match survey.agreement(receipt) {
        Agreement::Diverged { .. } | Agreement::Ahead => true,
        Agreement::Agrees | Agreement::Unknown => false,
    }
}

impl Reserved {
    /// What a consumer may expect, by its newest receipt. The log waits for those that lag
    /// by at most `reserve` events, and keeps everything from `others` on in any case.
    fn new(survey: &Survey, receipt: &Receipt, reserve: u64, others: u64) -> Self {
        // What is only written may be lost in a crash, and is needed again then.
        let durable = receipt.reached.at(Level::Durable).map_or(0, |position| position.index);
        let needs = durable.saturating_add(1);
        let behind = survey.held.last.saturating_sub(durable);
        let time = |events| survey.time_for(events);
        let reservation = if is_apart(survey, receipt) {
            Reservation::Diverged
        } else if needs < survey.held.first {
            Reservation::Lost
        } else if behind > reserve {
            // It is lost when everything up to what it needs is free.
            let lost_in = time(needs.saturating_add(1).saturating_sub(others));
            Reservation::AtRisk { lost_in }
        } else {
            let at_risk_in = time((reserve - behind).saturating_add(1));
            Reservation::Reserved { at_risk_in }
        };
        Self { consumer: receipt.consumer.clone(), needs, behind, reservation }
    }
}
