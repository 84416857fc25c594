//! Times of backups.

use std::time::SystemTime;

use tipline_proto::Timestamp;

/// A time as it is shown, and as `--time` takes it.
pub(super) fn time(time: Timestamp) -> String {
    humantime::format_rfc3339_micros(SystemTime::from(time)).to_string()
}
