//! The lines of what is shown.

use anstyle::Style;
use tipline_ops::text::number;

const DIM: Style = Style::new().dimmed();

/// What is said of something.
pub(super) fn field(name: &str, value: &str) -> String {
    format!("{DIM}{name:<8}{DIM:#} {value}\n")
}

/// From one event to another.
pub(super) fn span(first: u64, last: u64) -> String {
    match last {
        0 => "empty".to_owned(),
        _ if first == last => format!("event {}", number(first)),
        _ => format!("events {} to {}", number(first), number(last)),
    }
}
