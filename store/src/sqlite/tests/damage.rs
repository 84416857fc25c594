//! What is damaged is named.

use super::{
    ChainView, Connection, History, Model, Sink, SqliteReader, SqliteStore, Store, StoreError,
    content_digest, created, fs, log, place,
};

#[test]
fn a_damaged_page_is_an_error_that_names_what_was_read() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(199, 1000).entries)).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (bytes.len() / 2, bytes.len() / 2 + 20_000);
    bytes[from..to].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let reader = SqliteReader::open(&path).unwrap();
    let (lowest, highest) = reader.heights().unwrap().unwrap();
    let damaged = (lowest..=highest).find_map(|height| Some((height, reader.block(height).err()?)));
    let (height, error) = damaged.expect("some block is damaged");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("block {height}")), "{error}");
    let error = content_digest(&reader).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_row_that_cannot_be_is_damage() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(5, 10).entries)).unwrap();
    let sql = "UPDATE blocks SET hash = x'' WHERE log_index = 4";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let tip = model.cursor.block_tip.unwrap().height;
    let error = store.reader().unwrap().block(tip - 2).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// Killed with all of it in the WAL but what was carried into the file before: what the file lacks of
/// that nobody reads for years.
#[test]
fn a_file_that_was_cut_beside_its_wal_is_not_opened() {
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(99, 5000).entries;
    store.apply(&model.batch(&entries[..50])).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    let carried = fs::metadata(&path).unwrap().len();
    store.apply(&model.batch(&entries[50..])).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), carried);
    for (bytes, is_whole) in [(carried, true), (carried / 2, false), (2 * 8192, false)] {
        let killed = directory.path().join(format!("{bytes}.db"));
        for suffix in ["", "-wal"] {
            let of = |path: &std::path::Path| crate::disk::with_suffix(path, suffix);
            fs::copy(of(&path), of(&killed)).unwrap();
        }
        fs::File::options().write(true).open(&killed).unwrap().set_len(bytes).unwrap();
        match SqliteStore::open(&killed) {
            Ok(store) if is_whole => model.assert_is(&*store.reader().unwrap(), "killed"),
            Err(StoreError::Corrupt { at, .. }) if !is_whole => {
                assert!(at.starts_with("page "), "{at}");
            }
            other => panic!("{bytes} of {carried} bytes: {other:?}"),
        }
    }
}
