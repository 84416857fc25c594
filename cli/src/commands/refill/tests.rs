//! Whether a primary may still run.

use std::time::Duration;

use tipline_log::Board;
use tipline_ops::testing::{NOW, seconds_ago, seen};
use tipline_proto::Timestamp;

use super::check_stopped;

#[test]
fn a_log_is_refilled_only_when_its_primary_is_silent_by_either_clock_or_has_failed() {
    let stopped = |time, heard: Option<u64>, failure: Option<&str>| {
        let mut primary = seen().board.primary.unwrap();
        (primary.time, primary.failure) = (time, failure.map(str::to_owned));
        let primary_heard = heard.map(Duration::from_secs);
        let board = Board { primary: Some(primary), primary_heard, ..Board::default() };
        check_stopped(&board, NOW).is_ok()
    };
    assert!(check_stopped(&Board::default(), NOW).is_ok(), "there never was one");
    assert!(!stopped(seconds_ago(14), None, None));
    assert!(stopped(seconds_ago(15), None, None));
    assert!(!stopped(seconds_ago(60), Some(1), None), "its clock is behind");
    assert!(!stopped(seconds_ago(2), Some(60), None));
    assert!(stopped(seconds_ago(2), Some(2), Some("halted")), "it said why it ended");
    let ahead = Timestamp::from_micros(NOW.as_micros() + 8 * 3_600_000_000);
    assert!(stopped(ahead, Some(60), None), "it died with its clock ahead");
}
