//! The fields of a protobuf message, without decoding them: what is too much is refused before it
//! takes memory. An empty message is two bytes in another one, and many times as much when decoded.

/// A field that has a length: bytes, a text or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u64,
    /// Its bytes; none of a field that is a number.
    pub value: &'a [u8],
}

/// The bytes are no message, or one with a group, which no message of Tipline has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fields are cut off, or of a kind that is not known")]
pub struct BadFields;

/// The fields of a message in their order, as often as they come. Those within its fields are not
/// looked at. It ends after an error.
pub fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, BadFields>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let found = next(message);
        message = found.map_or(&[], |(_, rest)| rest);
        Some(found.map(|(field, _)| field).ok_or(BadFields))
    })
}

/// The first field, and what is after it.
fn next(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (key, rest) = varint(message)?;
    let (length, rest) = match key & 7 {
        0 => (0, varint(rest)?.1),
        1 => (0, rest.get(8..)?),
        2 => varint(rest).and_then(|(length, rest)| Some((usize::try_from(length).ok()?, rest)))?,
        5 => (0, rest.get(4..)?),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((Field { number: key >> 3, value }, rest))
}

/// Seven bits in each byte, the lowest first; the last has no eighth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}
