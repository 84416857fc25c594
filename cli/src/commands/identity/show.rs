//! How backups are shown.

use serde_json::Value;
use tipline_backup::{TimeDigits, time_text};
use tipline_proto::Timestamp;

use crate::output::report::{Failure, say};

/// A time as it is shown, and as `--time` takes it.
pub(super) fn time(time: Timestamp) -> String {
    time_text(time, TimeDigits::Micros)
}

/// The answer of a command, as text or as JSON.
pub(super) fn show(json: bool, text: &str, object: &Value) -> Result<(), Failure> {
    let text = if json { format!("{object}\n") } else { text.to_owned() };
    Ok(say(&text)?)
}
