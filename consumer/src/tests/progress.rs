//! What is not known is not zero.

use std::time::Duration;

use tipline_proto::{Cursor, Timestamp};
use tipline_store::conformance::history::log;

use crate::Progress;

#[test]
fn a_lag_that_is_not_known_is_not_zero() {
    let (now, seconds) = (Timestamp::from_micros(9_000_000), Duration::from_secs);
    let mut progress = Progress::new();
    assert_eq!((progress.behind(), progress.lag(now)), (None, None), "not joined");
    progress.cursor = Some(Cursor::origin(&log()));
    progress.tail = Some(5);
    assert_eq!((progress.behind(), progress.lag(now)), (Some(5), None), "nothing is applied");
    progress.committed = Some(Timestamp::from_micros(2_000_000));
    assert_eq!(progress.lag(now), Some(seconds(7)));
    progress.tail = Some(0);
    assert_eq!(progress.lag(now), Some(seconds(0)), "it has everything");
}
