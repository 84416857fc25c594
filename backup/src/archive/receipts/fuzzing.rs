//! What fuzzing reaches here.

use bytes::Bytes;
use tipline_proto::Timestamp;

use super::format::{ReceiptObject, decode, encode, seal};
use super::name::ReceiptSpan;
use super::parts;
use crate::archive::format::pack;
use crate::keys::Keys;

/// Bytes as an object, as they are; as its head and its body, with the checksum made right; and as what
/// is in it, after a head that is right.
pub(crate) fn read_object(bytes: &[u8], cut: usize) {
    read(bytes);
    let (head, body) = bytes.split_at(cut.min(bytes.len()));
    let packed = |plain: &[u8]| pack(plain.to_vec(), false, &Keys::default()).unwrap_or_default();
    read(&seal(head, &packed(body)));
    let empty = first();
    let Ok(whole) = encode(&empty, &Keys::default()) else { return };
    // Its length is the four bytes after the magic.
    let length = usize::from(whole[8]);
    read(&seal(&whole[12..12 + length], &packed(bytes)));
}

fn first() -> ReceiptObject {
    let span = ReceiptSpan {
        from: Timestamp::from_micros(1_000_000),
        to: Timestamp::from_micros(2_000_000),
        run: "0123456789abcdef".to_owned(),
        number: 0,
        last: 0,
    };
    let lineage = tipline_proto::Lineage::from_bytes([7; 16]);
    ReceiptObject { lineage, span, follows: None, records: Vec::new() }
}

/// What is read is written and read again the same.
fn read(bytes: &[u8]) {
    let keys = Keys::default();
    let Ok(object) = decode(bytes, &keys) else { return };
    let again = encode(&object, &keys).ok().map(|again| decode(&again, &keys));
    assert_eq!(again, Some(Ok(object)));
}

/// Bytes as an object that was merged of a few. Whatever is in it, all of its time is told, or none.
pub(crate) fn read_merged(bytes: &[u8]) {
    let whole = ReceiptSpan { last: 3, to: Timestamp::from_micros(9_000_000), ..first().span };
    let Ok(parts) = parts::split(Bytes::copy_from_slice(bytes), &whole) else { return };
    let (mut number, mut time) = (whole.number, whole.from);
    for part in &parts {
        assert_eq!((part.span.number, part.span.from), (number, time));
        (number, time) = (part.span.last + 1, part.span.to);
    }
    assert_eq!((number, time), (whole.last + 1, whole.to));
    let sound: Option<Vec<Bytes>> = parts.into_iter().map(|part| part.bytes.ok()).collect();
    if let Some(sound) = sound {
        assert_eq!(parts::join(&sound), bytes, "there is one form");
    }
}
