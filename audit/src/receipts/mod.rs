//! What was acknowledged at a past time, by the history of receipts beside an archive.

mod at;
mod between;
mod gaps;
mod judge;
mod row;

pub use at::{ReceiptsAt, Recorded, receipts_at};
pub use between::{ReceiptChange, ReceiptsBetween, receipts_between};
pub use gaps::{ReceiptGap, Why};
pub use row::{Acknowledged, AnnouncedRow, Compared, PositionRow};
