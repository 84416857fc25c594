//! The bytes of the rows, as documented: whoever reads them with other tools relies on them.

use bytes::Bytes;
use rocksdb::IteratorMode;
use tipline_proto::{ChainName, Event, Key, Label, TransactionId};

use super::{created, place};
use crate::conformance::history::{History, hash, late_log, log};
use crate::conformance::model::Model;
use crate::rocksdb::RocksDbStore;
use crate::spec::Sink;

fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The values one after the other.
fn row<const COUNT: usize>(values: [Vec<u8>; COUNT]) -> Vec<u8> {
    values.concat()
}

#[test]
fn rows_are_as_documented() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut history = History::new(1);
    history.claim();
    let events = [
        Event::BlockCommitted {
            height: 7,
            hash: hash(&[0xaa, 0xbb]),
            parent_hash: hash(&[0xcc]),
            payload: Bytes::from_static(b"short"),
        },
        Event::BlockCommitted {
            height: 8,
            hash: hash(&[0xdd; 64]),
            parent_hash: hash(&[0xaa, 0xbb]),
            payload: vec![9; 4096].into(),
        },
        Event::BlockProven { height: 7, block_hash: hash(&[0xaa, 0xbb]), payload: Bytes::new() },
        Event::TransactionValidated {
            id: TransactionId::new([0x1d]).unwrap(),
            payload: Bytes::from_static(b"pay"),
        },
        Event::StateRecorded {
            key: Key::new([0x6b]).unwrap(),
            value: Some(Bytes::from_static(b"v")),
        },
        Event::Marked { name: Label::new("mark").unwrap() },
    ];
    events.into_iter().for_each(|event| history.seal(event));
    store.apply(&model.batch(&history.entries)).unwrap();

    let time = |index: u64| number(1_700_000_000_000_000 + index * 1000);
    let cursor = &model.cursor;
    let digest = cursor.position.digest.as_bytes().to_vec();
    let name = b"test".to_vec();
    let expected: [(&str, Vec<u8>, Vec<u8>); 13] = [
        ("tipline.store.v1", b"base".to_vec(), row([number(6), vec![1, 0xcc]])),
        (
            "tipline.store.v1",
            b"cursor".to_vec(),
            row([
                number(7),
                digest,
                number(1),
                vec![1],
                number(8),
                vec![64],
                vec![0xdd; 64],
                vec![1],
                number(7),
            ]),
        ),
        ("tipline.store.v1", b"identity".to_vec(), row([vec![7; 16], vec![32], vec![0; 32], name])),
        (
            "blocks",
            number(7),
            row([
                vec![2, 0xaa, 0xbb, 1, 0xcc],
                number(2),
                number(1),
                time(2),
                vec![0],
                number(5),
                b"short".to_vec(),
            ]),
        ),
        (
            "blocks",
            number(8),
            row([
                vec![64],
                vec![0xdd; 64],
                vec![2, 0xaa, 0xbb],
                number(3),
                number(1),
                time(3),
                vec![1],
                number(4096),
            ]),
        ),
        ("block_payloads", number(8), vec![9; 4096]),
        ("block_hashes", vec![0xaa, 0xbb], number(7)),
        ("block_hashes", vec![0xdd; 64], number(8)),
        ("proofs", number(7), row([vec![2, 0xaa, 0xbb], number(4), time(4), vec![0], number(0)])),
        (
            "transactions",
            vec![0x1d],
            row([number(5), time(5), vec![1], number(8), vec![0], number(3), b"pay".to_vec()]),
        ),
        ("transactions_by_index", number(5), row([vec![1], number(8), vec![0x1d]])),
        ("records", vec![0x6b], row([number(6), time(6), vec![0], number(1), b"v".to_vec()])),
        ("marks", b"mark".to_vec(), row([number(7), time(7), vec![1], number(8)])),
    ];
    let mut found = vec![];
    for family in crate::rocksdb::family_names() {
        store.with_db(|db| {
            let handle = db.cf_handle(family).unwrap();
            for row in db.iterator_cf(handle, IteratorMode::Start) {
                let (key, row) = row.unwrap();
                found.push((family, key.to_vec(), row.to_vec()));
            }
        });
    }
    assert_eq!(found, expected);
}

/// By the zero byte a program that does not know the rest refuses it: no name has one.
#[test]
fn proofs_that_begin_late_are_in_the_identity() {
    let (_directory, path) = place();
    let mut store = RocksDbStore::open(&path).unwrap();
    store.create(&late_log(5_000_000)).unwrap();
    let found = store.with_db(|db| {
        let family = db.cf_handle("tipline.store.v1").unwrap();
        db.get_cf(family, b"identity").unwrap().unwrap()
    });
    let name = b"test\0proofs from 5000000".to_vec();
    assert_eq!(found, row([vec![7; 16], vec![32], vec![0; 32], name.clone()]));
    assert!(String::from_utf8(name).unwrap().parse::<ChainName>().is_err());
}
