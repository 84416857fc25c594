//! Names of backups.

use tipline_proto::Timestamp;

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
