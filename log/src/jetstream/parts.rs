//! What the headers of a message say: which part of which event it is, and what travels with it.

use async_nats::HeaderMap;
use tipline_proto::Headers;
use tipline_proto::subject::{HEADER_INDEX, HEADER_PART, InvalidPart, Part};

/// What the names of the broker's own headers begin with.
const BROKERS: &str = "Nats-";

/// Headers that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidHeaders {
    #[error(transparent)]
    Part(#[from] InvalidPart),
    #[error("a part of an event without the event's index")]
    Index,
}

/// The part, and the index of its event; `None` if the message is an event by itself.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<(Part, u64)>, InvalidHeaders> {
    let Some(part) = headers.get(HEADER_PART) else { return Ok(None) };
    let part: Part = part.as_str().parse()?;
    let index = headers.get(HEADER_INDEX).and_then(|index| index.as_str().parse().ok());
    Ok(Some((part, index.ok_or(InvalidHeaders::Index)?)))
}

/// What travels with the entry whose last part, or only one, this is. Everything but what is the
/// broker's or tells the part; what is no header of an entry is left out.
pub(super) fn travelling(headers: &HeaderMap) -> Headers {
    let mut travelling = Headers::default();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let is_ours = !name.starts_with(BROKERS) && name != HEADER_PART && name != HEADER_INDEX;
        if let (true, Some(value)) = (is_ours, values.first()) {
            _ = travelling.set(name, value.as_str());
        }
    }
    travelling
}
