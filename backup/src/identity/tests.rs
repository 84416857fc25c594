//! Names of backups, and what is in them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::Timestamp;

use super::bundle::{pack, unpack};
use super::fuzzing;
use super::key_file::KeyFile;
use super::name::{object, parse};

#[test]
fn the_object_of_a_backup_is_kept_stable() {
    let time = Timestamp::from_micros(1_795_275_900_123_456);
    let name = "node-1".parse().unwrap();
    assert_eq!(object(&name, time), "node-1-20261121T154500.123456Z.age");
}

#[test]
fn an_object_tells_whose_it_is_and_of_when() {
    for micros in [0, 1, 1_795_275_900_123_456, 253_402_300_799_999_999] {
        let (name, time) = ("a-b-0".parse().unwrap(), Timestamp::from_micros(micros));
        assert_eq!(parse(&object(&name, time)), Some((name, time)));
    }
}

#[test]
fn what_else_may_lie_there_is_no_backup() {
    let all = [
        "",
        ".age",
        "a.age",
        "a-b.age",
        "node-1-20261121T154500.123456Z",
        "node-1-20261121T154500Z.age",
        "node-1-20261321T154500.123456Z.age",
        "Node-20261121T154500.123456Z.age",
        "-é20261121T154500.123456Z.age",
    ];
    for name in all {
        assert_eq!(parse(name), None, "{name}");
    }
}

/// A tar archive of one entry of this type, which says that it has 64 MiB of zeros.
fn sparse(name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize = *b"00400000000\0";
    gnu.sparse[0].offset = *b"00400000000\0";
    gnu.sparse[0].numbytes = *b"00000000000\0";
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, &[][..]).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn what_is_no_plain_file_is_not_read() {
    let (name, time) = ("node-1".parse().unwrap(), Timestamp::from_micros(7));
    for kind in [tar::EntryType::GNUSparse, tar::EntryType::Symlink, tar::EntryType::Directory] {
        let refused = unpack(&sparse("identity.json", kind), &name, time).unwrap_err();
        assert_eq!(refused, "identity.json is no plain file", "{kind:?}");
    }
}

#[test]
fn what_the_index_does_not_name_is_not_a_backup() {
    let (name, time) = ("node-1".parse().unwrap(), Timestamp::from_micros(7));
    let file = KeyFile { name: "key".into(), path: "/etc/key".into(), bytes: vec![5; 9] };
    let packed = pack(&name, time, std::slice::from_ref(&file)).unwrap();
    assert_eq!(unpack(&packed, &name, time), Ok(vec![file]));
    // Before the two blocks of zeros that end it.
    let mut more = packed[..packed.len() - 1024].to_vec();
    more.extend(sparse("another", tar::EntryType::Regular));
    let refused = unpack(&more, &name, time).unwrap_err();
    assert!(refused.contains("does not name"), "{refused}");
}

/// Whoever restores would write one over the other.
#[test]
fn a_name_is_there_once() {
    let (name, time) = ("node-1".parse().unwrap(), Timestamp::from_micros(7));
    let file = |name: &str| KeyFile { name: name.into(), path: "/a".into(), bytes: vec![5; 9] };
    let packed = pack(&name, time, &[file("key"), file("key")]).unwrap();
    assert_eq!(unpack(&packed, &name, time), Err("identity.json names key twice".to_owned()));
    let packed = pack(&name, time, &[file("identity.json")]).unwrap();
    assert!(unpack(&packed, &name, time).is_err());
}

/// What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here.
#[test]
fn what_is_in_a_backup_does_not_panic() {
    let seed = std::env::var("TIPLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("TIPLINE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (name, time) = ("node-1".parse().unwrap(), Timestamp::from_micros(7));
    let file = |name: &str, bytes| KeyFile { name: name.into(), path: "/a".into(), bytes };
    let files = [file("key", vec![5; 600]), file("empty", vec![])];
    let packed = pack(&name, time, &files).unwrap();
    for _ in 0..1_000 {
        let mut bytes = packed.clone();
        for _ in 0..rng.random_range(1..4) {
            // Most of it is zeros.
            let block = 512 * rng.random_range(0..bytes.len() / 512);
            let at = block + rng.random_range(0..160);
            match rng.random_range(0..3) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] = b"0123456789/x"[rng.random_range(0..12)],
                _ => drop(bytes.drain(block..block + 512)),
            }
        }
        fuzzing::bundle(&bytes);
    }
    let object = "node-1-20261121T154500.123456Z.age";
    for at in 0..object.len() {
        for other in ["", "0", "9", "-", "Z", "é", "+"] {
            fuzzing::object_name(&format!("{}{other}{}", &object[..at], &object[at + 1..]));
        }
    }
}
