//! Names that no other process gives.

use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::OnceLock;

/// A number of this process, by chance. What a process leaves behind, or still holds while another
/// one opens the store, is not taken for the other one's.
pub(crate) fn process_number() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    *NUMBER.get_or_init(|| RandomState::new().hash_one(process::id()))
}
