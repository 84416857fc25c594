//! Which part of which event a message is, from its headers.

use async_nats::HeaderMap;
use tipline_proto::subject::{HEADER_INDEX, HEADER_PART, InvalidPart, Part};

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
