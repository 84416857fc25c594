//! Names of backups, and what is in them.

use tipline_proto::Timestamp;

use super::bundle::{pack, unpack};
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
