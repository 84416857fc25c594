//! The bytes of segments.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tipline_proto::limits::MAX_PROOF_RANGES;
use tipline_proto::{Entry, HeightRanges};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{MemoryStore, Sink, StoreIdentity};

use crate::archive::Archive;
use crate::archive::format::{Trailer, decode, encode};
use crate::archive::schema::{take_outline, take_rows};
use crate::archive::segment::SegmentError;
use crate::destination::Destination;
use crate::{Keys, Row, SegmentIndex, SegmentName};

const GOLDEN: &str = include_str!("golden.hex");

/// Few bytes must not make many rows.
#[test]
fn an_index_of_more_rows_than_entries_is_refused_before_they_are_made() {
    let row = |count: usize| Bytes::from([0x0a, 2, 8, 1].repeat(count));
    assert_eq!(take_rows(row(10), 1, 10).unwrap().len(), 10);
    assert_eq!(take_rows(row(11), 1, 10).unwrap_err(), "more than 10 rows");
    assert_eq!(take_rows(row(10), u64::MAX - 3, 10).unwrap_err(), "a row of no entry");
    for (bytes, says) in [(&[0x0a, 2, 8][..], "within a row"), (&[0x12, 0], "else than rows")] {
        let found = take_rows(Bytes::copy_from_slice(bytes), 1, 10).unwrap_err();
        assert!(found.contains(says), "{found}");
    }
}

/// Nor many blocks.
#[test]
fn an_outline_of_more_than_a_segment_holds_is_refused_before_it_is_made() {
    for (key, most, what) in
        [(0x5a, 1 << 16, "blocks"), (0x6a, 1 << 16, "parts"), (0x42, 1 << 20, "runs of proven")]
    {
        let outline = |count: usize| take_outline(&[key, 0].repeat(count)).unwrap_err();
        assert!(!outline(most).contains("more than"), "{}", outline(most));
        let found = outline(most + 1);
        assert!(found.starts_with(&format!("more than {most} {what}")), "{found}");
    }
}

/// A segment of these entries of a history, as the store in memory says that it should be.
pub(super) fn segment(entries: &[Entry], first: usize) -> (SegmentIndex, Vec<Entry>) {
    let (mut model, mut store) = (Model::new(&log()), MemoryStore::new());
    store.create(&log()).unwrap();
    let (old, new) = entries.split_at(first);
    if !old.is_empty() {
        store.apply(&model.batch(old)).unwrap();
    }
    let before = model.cursor.position;
    store.apply(&model.batch(new)).unwrap();
    let index = SegmentIndex {
        log: StoreIdentity::from(&log()),
        before,
        after: model.cursor.clone(),
        links: store.view().unwrap().links().unwrap(),
        latest_before: old.iter().map(|entry| entry.time).max().unwrap_or_default(),
        rows: new.iter().map(Row::from).collect(),
    };
    (index, new.to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Whatever a later version makes of it, what this one wrote must stay readable.
#[test]
fn golden_bytes_are_read() {
    let (index, entries) = segment(&History::random(11, 12).entries, 3);
    let golden = unhex(GOLDEN);
    let written = encode(&index, &entries, &Keys::default()).unwrap();
    assert_eq!(
        decode(&golden.clone().into(), &Keys::default()),
        Ok((index, entries)),
        "{}",
        hex(&written)
    );
    // How zstd packs is its own affair; outline and lengths before it are ours.
    assert_eq!(hex(&written[..8]), hex(b"TIPLSEG1"));
    let outline = |bytes: &[u8]| {
        let trailer = bytes.len() - 164;
        let length = u64::from_le_bytes(bytes[trailer + 20..trailer + 28].try_into().unwrap());
        hex(&bytes[trailer - length as usize..trailer])
    };
    assert_eq!(outline(&written), outline(&golden));
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(2..200);
        let history = History::random(seed, count);
        let first = rng.random_range(0..history.entries.len());
        let (index, entries) = segment(&history.entries, first);
        let bytes = Bytes::from(encode(&index, &entries, &Keys::default()).unwrap());
        assert_eq!(decode(&bytes, &Keys::default()), Ok((index.clone(), entries)), "seed {seed}");
        // The index is read from the end alone.
        let trailer = Trailer::read(&bytes, bytes.len() as u64).unwrap();
        let tail = &bytes[bytes.len() - trailer.tail() as usize..];
        assert_eq!(trailer.index(tail, &Keys::default()), Ok(index), "seed {seed}");
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_found() {
    let (index, entries) = segment(&History::random(5, 20).entries, 4);
    let bytes = encode(&index, &entries, &Keys::default()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let found = decode(&damaged.into(), &Keys::default());
            assert!(
                matches!(found, Err(SegmentError::Corrupt(_))),
                "byte {at}, bit {bit}: {found:?}"
            );
        }
    }
}

/// With checksums made right again after the damage, as only an attacker would, so that
/// every reader after the checksums is tried.
#[test]
fn damaged_bytes_never_panic() {
    let (index, entries) = segment(&History::random(6, 40).entries, 4);
    let bytes = encode(&index, &entries, &Keys::default()).unwrap();
    for seed in 0..5_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut damaged = bytes.clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..damaged.len());
            match rng.random_range(0..4) {
                0 => damaged[at] ^= 1 << rng.random_range(0..8),
                1 => damaged.truncate(at.max(1)),
                2 => damaged.insert(at, rng.random_range(0..=255)),
                _ => {
                    let end = (at + rng.random_range(1..40)).min(damaged.len());
                    rng.fill_bytes(&mut damaged[at..end]);
                }
            }
        }
        if rng.random_bool(0.8) {
            reseal(&mut damaged);
        }
        // It may be right by chance; it must not panic.
        drop(decode(&damaged.into(), &Keys::default()));
    }
}

fn reseal(bytes: &mut [u8]) {
    let Some(trailer) = bytes.len().checked_sub(164) else { return };
    let mut end = trailer;
    for piece in [2, 1, 0] {
        let at = trailer + 4 + 8 * piece;
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let start = if piece == 0 { 8.min(end) } else { end.saturating_sub(length as usize) };
        let hash = *blake3::hash(&bytes[start..end]).as_bytes();
        bytes[trailer + 28 + 32 * piece..][..32].copy_from_slice(&hash);
        let length = (end - start) as u64;
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        end = start;
    }
    bytes[trailer..trailer + 4].copy_from_slice(&[0; 4]);
    let hash = *blake3::hash(&bytes[trailer..trailer + 124]).as_bytes();
    bytes[trailer + 124..trailer + 156].copy_from_slice(&hash);
    bytes[trailer + 156..].copy_from_slice(b"TIPLEND1");
}

#[test]
fn names_are_read_as_they_are_written() {
    let (index, _) = segment(&History::random(5, 20).entries, 4);
    let name = SegmentName::new(index.first(), &index.after.position, 77);
    assert_eq!(SegmentName::parse(&name.to_string(), 77), Some(name.clone()));
    let text = name.to_string();
    for other in [
        text.replace("segments/", ""),
        text.replace(".tips", ".tips#1"),
        text.replace('-', "--"),
        text.to_uppercase(),
        "segments/00000000000000000009-00000000000000000004-0123456789abcdef.tips".to_owned(),
        "segments/00000000000000000000-00000000000000000004-0123456789abcdef.tips".to_owned(),
        "segments/+0000000000000000001-00000000000000000004-0123456789abcdef.tips".to_owned(),
    ] {
        assert_eq!(SegmentName::parse(&other, 77), None, "{other}");
    }
}

/// What the writer may write the reader takes; what it would not is refused before it is written.
#[tokio::test]
async fn runs_of_proven_heights_have_one_limit_for_both_sides() {
    let (mut index, entries) = segment(&History::random(11, 12).entries, 0);
    let above = |runs: usize| (1..=runs as u64).map(|run| (1 << 40) + 2 * run).collect();
    index.links.proven_above = above(MAX_PROOF_RANGES);
    let bytes = Bytes::from(encode(&index, &entries, &Keys::default()).unwrap());
    assert_eq!(decode(&bytes, &Keys::default()), Ok((index.clone(), entries.clone())));

    index.links.proven_above = above(MAX_PROOF_RANGES + 1);
    let directory = tempfile::tempdir().unwrap();
    let place = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let archive = Archive::create(place, &log(), Keys::default()).await.unwrap();
    let refused = archive.write(&index, &entries).await.unwrap_err();
    assert!(format!("{refused:?}").contains("runs of proven heights"), "{refused:?}");
    assert_eq!(archive.segments().await.unwrap(), []);
}

/// One proof is missing, and all of the millions after it are there: one run, as it was before.
#[test]
fn a_missing_proof_takes_no_room() {
    let (mut index, entries) = segment(&History::random(11, 12).entries, 0);
    index.links.proven_above = HeightRanges::default();
    index.links.proven_above.insert_range(1 << 20..=1 << 60);
    let bytes = Bytes::from(encode(&index, &entries, &Keys::default()).unwrap());
    assert_eq!(decode(&bytes, &Keys::default()), Ok((index, entries)));
}
