//! Units, cut into messages.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_EXPECTED_STREAM,
};
use bytes::Bytes;
use tipline_proto::subject::{HEADER_INDEX, HEADER_PART, Part};
use tipline_proto::{Entry, Headers, Kind, MAX_ENTRY_OVERHEAD, split};

/// A message of a unit, before it has the headers of an attempt.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
    index: u64,
    part: Option<Part>,
    /// What travels with the entry, which is in its last part.
    travelling: Headers,
}

/// Cuts a unit, which is one, into messages of at most `max_message` bytes.
pub(super) fn cut(unit: &[Entry], max_message: usize) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(unit.len());
    for entry in unit {
        let payloads = split(entry, max_message);
        // A unit has at most MAX_UNIT_MESSAGES.
        let of = u32::try_from(payloads.len()).unwrap_or(u32::MAX);
        let (kind, index) = (entry.event.kind(), entry.index);
        drafts.extend(payloads.into_iter().zip(1..).map(|(payload, number)| {
            let part = if of > 1 { Part::new(number, of) } else { None };
            let travelling = if number == of { entry.headers.clone() } else { Headers::default() };
            Draft { kind, payload, index, part, travelling }
        }));
    }
    drafts
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

impl Draft {
    /// The headers that go with the message wherever it is stored.
    fn lasting_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(part) = self.part {
            headers.insert(HEADER_PART, part.to_string());
            headers.insert(HEADER_INDEX, self.index.to_string());
        }
        for (name, value) in self.travelling.iter() {
            headers.insert(name, value);
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
    use tipline_proto::{Digest, Event, Key, Position, Timestamp};

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
        let drafts = cut(std::slice::from_ref(&entry), 4096);
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
}
