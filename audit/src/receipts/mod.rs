//! What was acknowledged at a past time, by the history of receipts beside an archive; and what checks had
//! found there.

mod at;
mod between;
mod change;
mod checks;
mod days;
mod gaps;
mod given;
mod judge;
mod row;

pub use at::{ReceiptsAt, Recorded, receipts_at};
pub use between::{ReceiptsBetween, receipts_between};
pub use change::ReceiptChange;
pub use checks::{Checked, checks_at};
pub use gaps::{ReceiptGap, Why};
pub use row::{Acknowledged, AnnouncedRow, Compared, ForgottenRow, PositionRow};
