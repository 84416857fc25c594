//! A log that contradicts itself.

use tipline_proto::Position;

/// A log that answers an append with a conflict, and then with the tail that was expected. Once that
/// is an answer that came late. From the second time on it is a fault of the log, to be shown, and
/// no reason to send the unit again without a pause.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// The tail that was expected.
    after: Option<Position>,
    count: u32,
    paused: bool,
}

impl Conflicts {
    /// An append after this tail was refused.
    pub(super) fn note(&mut self, after: Position) {
        self.count = if self.after == Some(after) { self.count + 1 } else { 1 };
        self.after = Some(after);
        self.paused = false;
    }

    /// Whether to pause before the next append after this tail.
    pub(super) fn pause(&mut self, tail: Position) -> Option<String> {
        if self.after != Some(tail) || self.count < 2 || self.paused {
            return None;
        }
        self.paused = true;
        Some(format!(
            "the log refused an append {} times in a row because its tail is another one, but its \
             tail is the expected one, {tail}: its server contradicts itself; restart the server, \
             or move the stream's leader",
            self.count
        ))
    }
}
