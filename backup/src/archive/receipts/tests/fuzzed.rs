//! What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::Timestamp;
use tipline_store::conformance::history::log;

use super::{after, board, receipt};
use crate::archive::receipts::format::{ReceiptObject, Unreadable, decode, encode, seal};
use crate::archive::receipts::fuzzing::{read_merged, read_object};
use crate::archive::receipts::{ReceiptRecord, ReceiptRecording, ReceiptSaid, ReceiptSpan, parts};
use crate::{Keys, archive};

/// The objects of `golden.txt`, by their names: hex, which fuzzing begins with, too.
const GOLDEN: &str = include_str!("golden.txt");

pub(super) fn seed() -> u64 {
    let given = std::env::var("TIPLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("TIPLINE_SEED={seed}");
    seed
}

/// What the golden bytes say.
fn objects() -> Vec<(&'static str, ReceiptObject)> {
    let start = Timestamp::from_micros(1_800_000_000_000_000);
    let mut recording = ReceiptRecording::new(3, &board(vec![receipt("a", 5, start)]), start);
    recording.look(
        3,
        &board(vec![receipt("a", 9, after(20)), receipt("b", 2, after(20))]),
        after(20),
    );
    recording.look(3, &board(vec![receipt("a", 9, after(40))]), after(40));
    let (first, second) = (recording.take(), recording.take());
    let lineage = log().lineage;
    let before = ReceiptSpan {
        run: "00000000000000aa".to_owned(),
        number: 4,
        last: 7,
        ..first.span.clone()
    };
    let object = |span, follows, records| ReceiptObject { lineage, span, follows, records };
    vec![
        ("first", object(first.span.clone(), None, first.records.clone())),
        ("follows", object(first.span, Some(before), first.records)),
        ("second", object(second.span, None, second.records)),
    ]
}

fn golden(name: &str) -> Vec<u8> {
    let section = GOLDEN.split("\n[").find_map(|section| section.strip_prefix(name));
    let digits: Vec<u8> = section.unwrap().bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whatever a later version makes of it, what this one wrote must stay readable.
#[test]
fn golden_bytes_are_read() {
    let keys = Keys::default();
    let mut wrong = String::new();
    for (name, object) in objects() {
        let (written, golden) = (encode(&object, &keys).unwrap(), golden(name));
        // How zstd packs is its own affair; what is before it is ours.
        let head = 12 + usize::from(written[8]);
        let is_same = golden.get(..head) == Some(&written[..head]);
        if !is_same || decode(&golden, &keys).as_ref() != Ok(&object) {
            wrong += &format!("[{name}]\n{}\n", hex(&written));
        }
    }
    assert!(wrong.is_empty(), "as this version writes it:\n{wrong}");
    let both = ["follows", "second"].map(|name| golden(name).into());
    assert_eq!(hex(&parts::join(&both)), hex(&golden("merged")));
}

#[test]
fn decoders_of_the_history_of_receipts_do_not_panic() {
    let mut rng = StdRng::seed_from_u64(seed());
    let keys = Keys::default();
    let mut seeds: Vec<Vec<u8>> = ["first", "follows", "second", "merged"].map(golden).into();
    // The head and the body in the clear, as they are before they are packed and sealed.
    let whole = golden("follows");
    let head = usize::from(whole[8]);
    let body =
        archive::format::unpack("body", &whole[12 + head..whole.len() - 32], false, &keys, 1 << 20);
    seeds.push([&whole[12..12 + head], &body.unwrap()].concat());
    for round in 0..2_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] = rng.random(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.random()),
            }
        }
        read_object(&bytes, head);
        read_merged(&bytes);
    }
}

/// Few bytes must not need much memory: those of a body that packs well least of all.
#[test]
fn an_object_has_no_more_records_than_one_may_have() {
    let keys = Keys::default();
    let object = objects().remove(0).1;
    let records = |count| {
        let said = ReceiptSaid::Forgotten("a".parse().unwrap());
        let record = ReceiptRecord { seen: after(1), said };
        ReceiptObject { records: vec![record; count], ..object.clone() }
    };
    let most = records(1 << 17);
    let whole = encode(&most, &keys).unwrap();
    assert_eq!(decode(&whole, &keys).map(|read| read.records.len()), Ok(1 << 17));
    let error = encode(&records((1 << 17) + 1), &keys).unwrap_err().to_string();
    assert!(error.contains("too many for one object"), "{error}");
    // Made by somebody else.
    let head = 12 + usize::from(whole[8]);
    let body =
        archive::format::unpack("body", &whole[head..whole.len() - 32], false, &keys, 1 << 26);
    let mut body = body.unwrap();
    let one = body[..body.len() >> 17].to_vec();
    body.extend(one);
    let packed = archive::format::pack(body, false, &keys).unwrap();
    let error = decode(&seal(&whole[12..head], &packed), &keys).unwrap_err();
    assert!(matches!(&error, Unreadable::Corrupt(what) if what.contains("more than")), "{error:?}");
    // 64 MiB of records that say nothing, in some KiB.
    let packed = archive::format::pack([0x0a, 0].repeat(32 << 20), false, &keys).unwrap();
    assert!(packed.len() < 64 << 10);
    let error = decode(&seal(&whole[12..head], &packed), &keys).unwrap_err();
    assert!(
        matches!(&error, Unreadable::Corrupt(what) if what.contains("not one thing")),
        "{error:?}"
    );
}
