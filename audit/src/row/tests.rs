//! Both forms of a row say the same.

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use tipline_proto::{Entry, Kind};
use tipline_store::conformance::history::History;

use super::{EntryRow, ParquetRows, hex};
use crate::tests::seed;

/// A file of these entries, given piece by piece.
fn file(entries: &[Entry], with_payload: bool, max_rows: usize, max_bytes: usize) -> Bytes {
    let mut rows = ParquetRows::with_limits(with_payload, max_rows, max_bytes).unwrap();
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.append(&mut rows.add(entry).unwrap());
    }
    bytes.append(&mut rows.finish().unwrap());
    bytes.into()
}

/// As it is in JSON.
fn said(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(is) => (*is).into(),
        Field::ULong(number) => (*number).into(),
        Field::TimestampMicros(time) => (*time).into(),
        Field::Str(text) => text.clone().into(),
        Field::Bytes(bytes) => hex(bytes.data()).into(),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn columns_say_what_the_rows_say() {
    let entries = History::random_of(seed(), 400, 3_000).entries;
    let kinds = entries.iter().map(|entry| entry.event.kind());
    assert_eq!(kinds.collect::<std::collections::BTreeSet<_>>().len(), Kind::ALL.len());
    for (with_payload, max_rows, max_bytes) in
        [(true, 150, 1 << 30), (true, 1 << 20, 50_000), (false, 150, 0), (true, 1 << 20, 0)]
    {
        let bytes = file(&entries, with_payload, max_rows, max_bytes);
        let reader = SerializedFileReader::new(bytes).unwrap();
        let groups = reader.metadata().row_groups();
        let expected = match (max_rows, max_bytes) {
            (150, _) => 3..=3,
            (_, 0) => 100..=400,
            _ => 3..=100,
        };
        assert!(expected.contains(&groups.len()), "{} groups", groups.len());
        let mut read = reader.get_row_iter(None).unwrap();
        for entry in &entries {
            let row = read.next().unwrap().unwrap();
            let mut json = serde_json::to_value(EntryRow::new(entry, with_payload)).unwrap();
            let json = json.as_object_mut().unwrap();
            for (name, field) in row.get_column_iter() {
                let name = if name == "time" { "time_us" } else { name.as_str() };
                let expected = json.remove(name).unwrap_or_default();
                assert_eq!(said(field), expected, "{name} of entry {}", entry.index);
            }
            assert!(json.is_empty(), "no column: {json:?}");
        }
        assert!(read.next().is_none());
    }
}

/// A history is as long as it is; a file without its end is none.
#[test]
fn what_was_not_ended_is_no_file() {
    let entries = History::blocks(40, 1_000).entries;
    let whole = file(&entries, true, 10, 1 << 30);
    assert!(SerializedFileReader::new(whole.clone()).is_ok());
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        assert!(SerializedFileReader::new(whole.slice(..length)).is_err(), "{length}");
    }
    let none = SerializedFileReader::new(file(&[], false, 10, 0)).unwrap();
    assert_eq!(none.metadata().file_metadata().num_rows(), 0);
}

/// What was given is not kept: only the row group that is begun.
#[test]
fn no_more_than_a_row_group_is_in_memory() {
    let entries = History::blocks(60, 10_000).entries;
    let mut rows = ParquetRows::with_limits(true, 1 << 20, 100_000).unwrap();
    let mut given = 0;
    for (before, entry) in entries.iter().enumerate() {
        given += rows.add(entry).unwrap().len();
        // They are random, and so as large when they are packed.
        assert!(given + 110_000 >= before * 10_000, "{given} bytes after {before} entries");
    }
}
