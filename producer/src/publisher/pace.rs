//! How much is sent at once.

use tipline_proto::Position;
use tipline_proto::limits::MAX_UNIT_MESSAGES;

use super::protocol::Unit;

/// Over a slow link a large unit may never get through: each time the log is silent for too long, and
/// all of it is sent again. So after a doubt half as much is sent, and twice as much again once that
/// has gone well for a while: a doubt costs seconds. A prefix of a unit is a unit; whatever attempt
/// is stored in the end, its end is in the unit that was prepared.
#[derive(Debug)]
pub(super) struct Pace {
    /// Most entries that are sent at once.
    most: usize,
    /// How many were sent last.
    sent: usize,
    /// How often in a row it went well.
    stored: u32,
}

/// So often in a row before more is sent.
const WELL: u32 = 16;

impl Default for Pace {
    fn default() -> Self {
        Self { most: MAX_UNIT_MESSAGES, sent: 0, stored: 0 }
    }
}

impl Pace {
    /// What is sent of a unit.
    pub(super) fn send(&mut self, unit: &Unit) -> Unit {
        self.sent = unit.len().min(self.most);
        if self.sent == unit.len() { unit.clone() } else { unit[..self.sent].into() }
    }

    /// It is not known whether the last one was stored.
    pub(super) fn doubted(&mut self) {
        self.most = (self.sent / 2).max(1);
        self.stored = 0;
    }

    /// The last one was stored.
    pub(super) fn stored(&mut self) {
        self.stored += 1;
        if self.stored >= WELL {
            self.most = self.most.saturating_mul(2).min(MAX_UNIT_MESSAGES);
            self.stored = 0;
        }
    }

    /// Whether this is the end of what was sent last of this unit.
    pub(super) fn is_end(&self, unit: &Unit, tail: Position) -> bool {
        let last = self.sent.checked_sub(1).and_then(|last| unit.get(last));
        last.is_some_and(|last| last.position() == tail)
    }
}
