//! Times as whole milliseconds, in what is printed as JSON.

use std::time::Duration;

use serde::{Serialize, Serializer};

pub(crate) fn milliseconds<S: Serializer>(
    time: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(time.as_millis())
}

/// `null` for none.
pub(crate) fn some_milliseconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_millis()).serialize(serializer)
}
