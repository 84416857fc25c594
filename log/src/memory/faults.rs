//! What can go wrong, on demand.

use std::time::Duration;

use bytes::Bytes;
use tipline_proto::Lineage;

use super::MemoryLog;

/// What the next append meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendFault {
    /// It is stored, but the answer is [`crate::AppendError::Doubt`].
    StoredInDoubt,
    /// It is not stored, and the answer is [`crate::AppendError::Doubt`].
    LostInDoubt,
    /// The answer is [`crate::AppendError::Doubt`], and it is not stored until the next
    /// append arrives: then it is stored first, if the tail is still the one it expects.
    LateInDoubt,
    /// It is read only after this long, by tokio's clock.
    Delayed(Duration),
}

/// What every open subscription meets at its next [`crate::Subscription::next`]. Those opened
/// later do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryFault {
    /// This many of the newest entries come again.
    Repeat(u64),
    /// This many of the next entries never come.
    Skip(u64),
    /// It ends with [`crate::LogError::Unavailable`].
    End,
}

impl MemoryLog {
    /// The next append that has no fault yet meets this one. Several calls line up.
    pub fn fail_append(&self, fault: AppendFault) {
        self.shared.state().append_faults.push_back(fault);
    }

    /// Each entry that is read by its index takes so long, by tokio's clock.
    pub fn delay_reads(&self, delay: Duration) {
        self.shared.state().read_delay = delay;
    }

    /// The tail is said to be of an outbox sequence that is higher by so many, as a broker may say that
    /// wants rows left out.
    pub fn raise_outbox_sequence(&self, by: u64) {
        self.shared.state().raised = by;
    }

    /// The entry of this index cannot be read by it any more: [`crate::LogError::Corrupt`].
    pub fn corrupt(&self, index: u64) {
        self.shared.state().corrupt.insert(index);
    }

    /// The preflight names these shortfalls from now on, each of them one of
    /// [`crate::SHORTFALL_NAMES`], and not that the log is in memory.
    pub fn fall_short(&self, names: &[&'static str]) {
        self.shared.state().shortfalls = Some(names.to_vec());
    }

    /// Whoever follows the board panics, as by a mistake in a log.
    pub fn panic_in_feeds(&self) {
        self.shared.state().feeds_panic = true;
        self.shared.board.send_replace(());
    }

    /// Whether the log answers. While it does not, every call is `Unavailable` (an append is
    /// `Doubt`, and not stored), subscriptions wait, and nothing is lost.
    pub fn set_available(&self, available: bool) {
        self.shared.state().available = available;
        self.shared.entries.send_replace(());
        self.shared.board.send_replace(());
    }

    /// Deletes the log, and creates another one under the same name, with this lineage. Every handle
    /// on the old one answers [`crate::LogError::WrongLog`] from now on.
    pub fn recreate(&self, lineage: Lineage) {
        self.shared.state().recreated = Some(lineage);
        self.shared.entries.send_replace(());
        self.shared.board.send_replace(());
    }

    /// Loses every entry after `last`, as a broker that did not fsync what it acknowledged.
    pub fn truncate(&self, last: u64) {
        self.shared.state().truncate(last);
    }

    /// Puts bytes in the place of the receipt of `name`, as a consumer of a later version, or
    /// something other than Tipline, may.
    pub fn garble_receipt(&self, name: &str, bytes: impl Into<Bytes>) {
        self.shared.state().garble(name, bytes.into());
        self.shared.board.send_replace(());
    }

    /// Every subscription that is open now meets this fault.
    pub fn fail_delivery(&self, fault: DeliveryFault) {
        self.shared.state().delivery_faults.push(fault);
        self.shared.entries.send_replace(());
    }
}
