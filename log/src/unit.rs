//! What a unit must be, and the tail after it: the same for every log.

use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Event, LogIdentity, Position, Timestamp};

use crate::error::LogError;
use crate::spec::Tail;

/// Checks that `unit` may be appended after `after`. `messages` is how many messages of the
/// log an entry takes.
///
/// Hashes every payload. An entry that does not chain must be stopped here, because once it
/// is in the log no reader can go past it.
pub(crate) fn check_unit(
    after: &Position,
    unit: &[Entry],
    messages: impl Fn(&Entry) -> usize,
) -> Result<(), LogError> {
    let refuse = |why: String| Err(LogError::BadUnit { why });
    if unit.is_empty() {
        return refuse("it is empty; append at least one entry".to_owned());
    }
    let count: usize = unit.iter().map(messages).sum();
    if count > MAX_UNIT_MESSAGES {
        return refuse(format!(
            "its {} entries take {count} messages, the limit is {MAX_UNIT_MESSAGES}: split it",
            unit.len()
        ));
    }
    let bytes: usize = unit.iter().map(|entry| entry.event.payload().len()).sum();
    if unit.len() > 1 && bytes > MAX_UNIT_BYTES {
        return refuse(format!(
            "its {} entries have {bytes} bytes of payload, the limit is {MAX_UNIT_BYTES} (16 MiB): split it",
            unit.len()
        ));
    }
    let mut previous = *after;
    for entry in unit {
        if let Err(error) = entry.event.check_limits() {
            return refuse(error.to_string());
        }
        if !entry.follows(&previous) {
            let (index, event) = (entry.index, &entry.event);
            return refuse(format!(
                "entry {index}, {event}, is not sealed directly after {previous}: seal it again there"
            ));
        }
        previous = entry.position();
    }
    Ok(())
}

/// How many of these entries fit into a unit, for [`crate::Appender::unit_len`]. `messages` is as
/// for [`check_unit`].
pub(crate) fn unit_len(entries: &[Entry], messages: impl Fn(&Entry) -> usize) -> usize {
    let (mut count, mut bytes) = (0, 0);
    let fitting = entries.iter().enumerate().take_while(|(at, entry)| {
        count += messages(entry);
        bytes += entry.event.payload().len();
        *at == 0 || (count <= MAX_UNIT_MESSAGES && bytes <= MAX_UNIT_BYTES)
    });
    fitting.count()
}

impl Tail {
    /// The tail of an empty log.
    pub(crate) fn origin(log: &LogIdentity) -> Self {
        Self {
            position: Position::origin(log),
            epoch: 0,
            time: Timestamp::default(),
            outbox_sequence: 0,
            outbox: None,
            fence: 0,
        }
    }

    /// The tail after one more entry.
    pub(crate) fn after(&self, entry: &Entry, fence: u64) -> Self {
        let outbox = match &entry.event {
            Event::EpochStarted { outbox, .. } => Some(*outbox),
            _ => self.outbox,
        };
        Self {
            position: entry.position(),
            epoch: entry.epoch,
            time: entry.time,
            outbox_sequence: entry.outbox_sequence,
            outbox,
            fence,
        }
    }
}
