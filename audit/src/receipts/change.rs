//! What comes of a period, as a row.

use serde::Serialize;

use super::gaps::ReceiptGap;
use super::row::{Acknowledged, AnnouncedRow, ForgottenRow};

/// Something that changed, or is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptChange {
    /// A consumer had acknowledged this.
    Acknowledged(Box<Acknowledged>),
    /// The primary had announced this.
    Announced(Box<AnnouncedRow>),
    /// A consumer was forgotten.
    Forgotten(ForgottenRow),
    /// Nothing is known of this time.
    Gap(ReceiptGap),
    /// Something is wrong.
    Wrong {
        /// What.
        problem: String,
    },
}
