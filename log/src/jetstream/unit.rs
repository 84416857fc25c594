//! Units, cut into messages.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_EXPECTED_STREAM,
};
use bytes::Bytes;
use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::subject::{HEADER_INDEX, HEADER_PART, Part};
use tipline_proto::{Entry, Kind, MAX_ENTRY_OVERHEAD, Position, split};

/// A message of a unit, before it has the headers of an attempt.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
    index: u64,
    part: Option<Part>,
}

/// Cuts a unit into messages of at most `max_message` bytes.
///
/// # Errors
/// What is wrong with the unit, as a text.
pub(super) fn cut(
    after: &Position,
    unit: &[Entry],
    max_message: usize,
) -> Result<Vec<Draft>, String> {
    check(after, unit)?;
    let total: usize = unit.iter().map(|entry| messages(entry, max_message)).sum();
    if total > MAX_UNIT_MESSAGES {
        return Err(format!(
            "the unit takes {total} messages of {max_message} bytes, over {MAX_UNIT_MESSAGES}; \
             append fewer entries at once, or raise max_payload on the servers"
        ));
    }
    let mut drafts = Vec::with_capacity(total);
    for entry in unit {
        let payloads = split(entry, max_message);
        // At most MAX_UNIT_MESSAGES, as was just checked.
        let of = u32::try_from(payloads.len()).unwrap_or(u32::MAX);
        let (kind, index) = (entry.event.kind(), entry.index);
        drafts.extend(payloads.into_iter().zip(1..).map(|(payload, number)| {
            let part = if of > 1 { Part::new(number, of) } else { None };
            Draft { kind, payload, index, part }
        }));
    }
    Ok(drafts)
}

/// How many messages the entry takes; what `split` would give, without doing it.
pub(super) fn messages(entry: &Entry, max_message: usize) -> usize {
    let room = max_message.max(2 * MAX_ENTRY_OVERHEAD);
    let payload = entry.event.payload().len();
    match (payload + MAX_ENTRY_OVERHEAD).checked_sub(room) {
        None | Some(0) => 1,
        Some(before_last) => before_last.div_ceil(room) + 1,
    }
}

fn check(after: &Position, unit: &[Entry]) -> Result<(), String> {
    if unit.is_empty() {
        return Err("the unit is empty".into());
    }
    let bytes: usize = unit.iter().map(|entry| entry.event.payload().len()).sum();
    if unit.len() > 1 && bytes > MAX_UNIT_BYTES {
        return Err(format!("the unit has {bytes} bytes of payload, over {MAX_UNIT_BYTES}"));
    }
    let mut position = *after;
    for entry in unit {
        entry.event.check_limits().map_err(|error| error.to_string())?;
        if !entry.follows(&position) {
            return Err(format!("entry {} was not sealed behind {position}", entry.index));
        }
        position = entry.position();
    }
    Ok(())
}

impl Draft {
    /// The headers that go with the message wherever it is stored.
    fn lasting_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(part) = self.part {
            headers.insert(HEADER_PART, part.to_string());
            headers.insert(HEADER_INDEX, self.index.to_string());
        }
        headers
    }

    /// The headers of a unit's first message: what the stream must be like for it.
    pub(super) fn first_headers(&self, stream: &str, fence: u64) -> HeaderMap {
        let mut headers = self.lasting_headers();
        headers.insert(NATS_EXPECTED_STREAM, stream);
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, fence.to_string());
        headers
    }

    /// The headers of the message as number `number`, from 1, of the batch `id` of `of`. The
    /// server wants the expected sequence in the first one only.
    pub(super) fn batch_headers(
        &self,
        stream: &str,
        fence: u64,
        id: &str,
        number: usize,
        of: usize,
    ) -> HeaderMap {
        let mut headers =
            if number == 1 { self.first_headers(stream, fence) } else { self.lasting_headers() };
        headers.insert(NATS_BATCH_ID, id);
        headers.insert(NATS_BATCH_SEQUENCE, number.to_string());
        if number == of {
            headers.insert(NATS_BATCH_COMMIT, "1");
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use tipline_proto::{Digest, Event, Key, Timestamp};

    use super::*;

    fn origin() -> Position {
        Position { index: 0, digest: Digest::from_bytes([0; 32]) }
    }

    fn seal(after: &Position, bytes: usize) -> Entry {
        let key = Key::new(&b"key"[..]).unwrap();
        let event = Event::StateRecorded { key, value: Some(vec![7; bytes].into()) };
        Entry::seal(after, 1, Timestamp::from_micros(1), 1, event)
    }

    #[test]
    fn counts_what_split_gives() {
        for max_message in [100, 4096, 5000, 1 << 20] {
            for bytes in [0, 1, 1023, 1024, 3071, 3072, 3073, 7168, 7169, 40_000, 3 << 20] {
                let entry = seal(&origin(), bytes);
                let counted = messages(&entry, max_message);
                assert_eq!(counted, split(&entry, max_message).len(), "{bytes} in {max_message}");
            }
        }
    }

    #[test]
    fn parts_carry_number_and_index() {
        let entry = seal(&origin(), 10_000);
        let drafts = cut(&origin(), std::slice::from_ref(&entry), 4096).unwrap();
        assert_eq!(drafts.len(), 3);
        let first = drafts[0].batch_headers("s", 9, "id", 1, 3);
        assert_eq!(first.get(HEADER_PART).unwrap().as_str(), "1/3");
        assert_eq!(first.get(HEADER_INDEX).unwrap().as_str(), "1");
        assert_eq!(first.get(NATS_EXPECTED_LAST_SEQUENCE).unwrap().as_str(), "9");
        assert!(first.get(NATS_BATCH_COMMIT).is_none());
        let last = drafts[2].batch_headers("s", 9, "id", 3, 3);
        assert_eq!(last.get(NATS_BATCH_COMMIT).unwrap().as_str(), "1");
        assert!(last.get(NATS_EXPECTED_LAST_SEQUENCE).is_none());
    }

    #[test]
    fn refuses_what_is_not_a_unit() {
        let first = seal(&origin(), 1);
        let second = seal(&first.position(), 1);
        assert!(cut(&origin(), &[], 4096).is_err());
        assert!(cut(&origin(), &[second.clone(), first.clone()], 4096).is_err());
        assert!(cut(&first.position(), std::slice::from_ref(&first), 4096).is_err());
        let mut forged = second.clone();
        forged.outbox_sequence = 2;
        assert!(cut(&origin(), &[first.clone(), forged], 4096).is_err());
        let large = seal(&second.position(), MAX_UNIT_BYTES);
        assert!(cut(&origin(), &[first, second.clone(), large.clone()], 1 << 20).is_err());
        assert!(cut(&second.position(), std::slice::from_ref(&large), 1 << 20).is_ok());
        assert!(cut(&second.position(), &[large], 4096).is_err());
    }
}
