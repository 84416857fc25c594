//! Where two of them differ.

mod content;
mod entries;

use serde::Serialize;

pub use content::{content_as_of, diff_content, diff_parts};
pub use entries::diff_entries;

/// How many differences to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The first. It ends there.
    First,
    /// All. The first 1,000 are listed, the rest is counted.
    All,
}

/// What was compared, and what is not the same.
#[derive(Debug, Clone, Serialize)]
pub struct DiffReport {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Whether everything that was compared is the same.
    pub same: bool,
    /// What was compared, human-readable.
    pub compared: String,
    /// How many entries, or how many blocks, proofs, transactions, records and marks.
    pub items: u64,
    /// How many of them differ.
    pub different: u64,
    /// Each difference, in its order.
    pub differences: Vec<String>,
    /// What was not compared.
    pub not_compared: Vec<String>,
}
