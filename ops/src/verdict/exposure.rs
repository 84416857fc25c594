//! What would be lost if something went away now: pure.

use std::time::Duration;

use serde::Serialize;
use tipline_proto::{Agreement, Level, Receipt, Role, Timestamp};

use super::primary::primary_clock;
use super::seen::Seen;
use crate::millis::some_milliseconds;

/// What would be lost if something went away now. Serialised, the names must stay stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// With the primary's machine: what waits in its outbox, by its newest announcement; `null` if
    /// none has announced itself.
    pub with_primary: Option<Loss>,
    /// With the primary's machine and the log: also what no consumer holds durably.
    pub with_log: Loss,
    /// Who holds the most durably; `null` if nobody holds anything.
    pub keeper: Option<String>,
    /// Everything up to this event is durable there.
    pub index: u64,
}

/// What would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// How many events.
    pub events: u64,
    /// How long ago the oldest of them was committed; `null` if that is not known, or if there is
    /// none.
    #[serde(rename = "oldest_ms", serialize_with = "some_milliseconds")]
    pub oldest: Option<Duration>,
}

/// What would be lost if something went away at `now`. A consumer counts with what is durable, if
/// it does not contradict the log; an audit keeps nothing.
pub fn exposure(seen: &Seen, now: Timestamp) -> Exposure {
    let with_primary = seen.board.primary.as_ref().map(|said| Loss {
        events: said.outbox_events,
        oldest: said.outbox_oldest.map(|oldest| said.time.since(oldest)),
    });
    let keeps = |receipt: &&Receipt| {
        let agrees = matches!(seen.agreement(receipt), Agreement::Agrees | Agreement::Unknown);
        receipt.role != Role::Audit && agrees
    };
    let keepers = seen.board.receipts.iter().filter(keeps).filter_map(|receipt| {
        Some((receipt.reached.at(Level::Durable)?.index, receipt.consumer.to_string()))
    });
    // Of several the first by name.
    let best = keepers.max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    let (index, keeper) = best.map_or((0, None), |(index, name)| (index, Some(name)));
    let in_outbox = with_primary.as_ref().map_or(0, |loss| loss.events);
    let in_log = seen.tail.position.index.saturating_sub(index);
    let oldest = match in_log {
        0 => with_primary.as_ref().and_then(|loss| loss.oldest),
        // What waits in the outbox is younger.
        _ => seen.waits_after(index, primary_clock(seen, now)),
    };
    let with_log = Loss { events: in_log.saturating_add(in_outbox), oldest };
    Exposure { with_primary, with_log, keeper, index }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_proto::{Digest, Level, Position, Reached, Role};

    use super::super::testing::{NOW, at, receipt, seconds_ago, seen};
    use super::{Loss, exposure};

    #[test]
    fn what_everybody_has_is_not_lost() {
        let told = exposure(&seen(), NOW);
        assert_eq!(told.with_primary, Some(Loss { events: 0, oldest: None }));
        assert_eq!(told.with_log, Loss { events: 0, oldest: None });
        assert_eq!((told.keeper.as_deref(), told.index), (Some("backup-1"), 20));
    }

    #[test]
    fn what_is_in_the_outbox_and_in_the_log_alone_is_lost_with_them() {
        let mut seen = seen();
        seen.board.receipts = vec![receipt("backup-1", Role::Backup, 17, 1013)];
        seen.times.insert(18, seconds_ago(9));
        let said = seen.board.primary.as_mut().unwrap();
        (said.outbox_events, said.outbox_oldest) = (4, Some(seconds_ago(5)));
        let told = exposure(&seen, NOW);
        let in_outbox = Loss { events: 4, oldest: Some(Duration::from_secs(3)) };
        assert_eq!(told.with_primary, Some(in_outbox));
        assert_eq!(told.with_log, Loss { events: 7, oldest: Some(Duration::from_secs(9)) });
    }

    #[test]
    fn only_what_is_durable_and_of_this_history_counts() {
        let mut seen = seen();
        let forked = Position { index: 20, digest: Digest::from_bytes([0xff; 32]) };
        seen.board.receipts[0].reached = Reached::up_to(forked, Level::Durable);
        seen.board.receipts[1].reached = Reached::up_to(at(19), Level::Applied);
        seen.board.receipts.push(receipt("check", Role::Audit, 20, 1015));
        seen.times.insert(1, seconds_ago(600));
        let told = exposure(&seen, NOW);
        assert_eq!((told.keeper, told.index), (None, 0));
        assert_eq!(told.with_log, Loss { events: 20, oldest: Some(Duration::from_secs(600)) });
        seen.board.primary = None;
        assert_eq!(exposure(&seen, NOW).with_primary, None);
    }
}
