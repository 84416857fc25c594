//! The decoders of what lies at a destination, for `fuzz/` alone. Each is given bytes with their
//! checksums made right: what fuzzing could not guess must not hide what comes after it.
//!
//! A decoder must not panic, and what it reads is written and read again the same.

use bytes::Bytes;
use tipline_proto::LogIdentity;

use crate::archive::fuzzing::{
    check, decode, decode_descriptor, encode, encode_descriptor, read_merged, read_object, seal,
};
use crate::archive::{ReceiptSpan, SegmentName};
use crate::checkpoint::CheckpointId;
use crate::checkpoint::fuzzing::{read_manifest, seal_manifest, write_manifest};
use crate::identity::fuzzing as identity;
use crate::keys::Keys;

/// A segment as it is, and one of these bytes as body, rows and outline, cut at two places.
///
/// # Panics
/// If a decoder is wrong.
pub fn segment(bytes: &[u8], cuts: [usize; 2]) {
    read_segment(bytes);
    let (first, rest) = bytes.split_at(cuts[0].min(bytes.len()));
    let (second, third) = rest.split_at(cuts[1].min(rest.len()));
    // In the clear, encrypted, and joined.
    for flags in [0, 1, 3] {
        read_segment(&seal([first, second, third], flags));
    }
}

fn read_segment(bytes: &[u8]) {
    let keys = Keys::default();
    let checked = check(bytes);
    if let Ok((index, entries)) = decode(&Bytes::copy_from_slice(bytes), &keys) {
        assert!(checked.is_ok(), "what is decoded is right by its checksums");
        let again = encode(&index, &entries, &keys).map(Bytes::from);
        let again = again.ok().and_then(|again| decode(&again, &keys).ok());
        assert_eq!(again, Some((index, entries)));
    }
}

/// An object of the history of receipts, also with a checksum that is right, and one that was merged of
/// several. The bytes are cut into head and body at one place.
///
/// # Panics
/// If a decoder is wrong.
pub fn receipts(bytes: &[u8], cut: usize) {
    read_object(bytes, cut);
    read_merged(bytes);
}

/// A manifest that ends with its digest.
///
/// # Panics
/// If the decoder is wrong.
pub fn manifest(body: &str) {
    if let Ok(manifest) = read_manifest(&seal_manifest(body)) {
        let again = write_manifest(&manifest).and_then(|text| read_manifest(&text));
        assert_eq!(again, Ok(manifest));
    }
}

/// `archive.json`.
///
/// # Panics
/// If the decoder is wrong.
pub fn descriptor(bytes: &[u8]) {
    if let Some((log, recipients)) = decode_descriptor(bytes) {
        let again: Option<(LogIdentity, Vec<String>)> =
            encode_descriptor(&log, &recipients).and_then(|text| decode_descriptor(&text));
        assert_eq!(again, Some((log, recipients)));
    }
}

/// Names of objects, as a listing has them. There is one for each thing.
///
/// # Panics
/// If a parser is wrong.
pub fn name(text: &str) {
    if let Some(segment) = SegmentName::parse(text, 0) {
        assert_eq!(segment.to_string(), text);
    }
    if let Some(span) = ReceiptSpan::parse(text) {
        assert_eq!(span.to_string(), text);
    }
    if let Ok(id) = text.parse::<CheckpointId>() {
        assert_eq!(id.as_str(), text);
    }
    identity::object_name(text);
}

/// What is in a backup of key files.
///
/// # Panics
/// If the decoder is wrong.
pub fn identity(bytes: &[u8]) {
    identity::bundle(bytes);
}
