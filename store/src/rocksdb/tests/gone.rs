//! Files that go while RocksDB has them open, by its own doing or by another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::rocksdb::RocksDbStore;
use crate::spec::{Sink, Store};

type Harm = fn(&Path);

fn removed(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// By a copy of it, which RocksDB does not have open.
fn replaced(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::metadata(path).unwrap().len();
    fs::File::options().write(true).open(path).unwrap().set_len(bytes / 2).unwrap();
}

fn zeroed(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let from = bytes.len() / 3;
    bytes[from..from + 40].fill(0);
    fs::write(path, bytes).unwrap();
}

fn flipped(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// By something else of its size.
fn overwritten(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, vec![7; fs::read(path).unwrap().len()]).unwrap();
    fs::rename(other, path).unwrap();
}

fn list(path: &Path) -> PathBuf {
    path.join(fs::read_to_string(path.join("CURRENT")).unwrap().trim_end())
}

/// RocksDB tidies up after it is opened, and writes its list of files anew for that. Each look sees
/// what is there now.
fn settle(path: &Path, mut look: impl FnMut()) {
    let (mut before, mut same) = (list(path), 0);
    while same < 30 {
        look();
        thread::sleep(Duration::from_millis(5));
        let now = list(path);
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

#[test]
fn a_file_that_is_gone_replaced_or_cut_while_it_is_open_is_named_before_the_next_batch() {
    let harms: [(Harm, &str); 3] =
        [(removed, "was removed"), (replaced, "was replaced"), (cut, "was cut")];
    for end in [".sst", ".blob", "MANIFEST"] {
        for (harm, says) in harms {
            for is_probed in [true, false] {
                let (_directory, path) = place();
                let mut model = Model::new(&log());
                let entries = History::blocks(9, 10_000).entries;
                let mut store = created(&path);
                store.apply(&model.batch(&entries[..5])).unwrap();
                drop(store);
                // Opening carries the log into files.
                let mut store = RocksDbStore::open(&path).unwrap();
                settle(&path, || store.probe().unwrap());
                let found: Vec<_> = match end {
                    "MANIFEST" => vec![list(&path)],
                    end => files(&path, end),
                };
                let file = found.last().unwrap();
                harm(file);
                let next = model.batch(&entries[5..]);
                let error = if is_probed {
                    store.probe().unwrap_err()
                } else {
                    store.look_now();
                    store.apply(&next).unwrap_err()
                };
                assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
                let told = error.to_string();
                assert!(told.contains(file.to_str().unwrap()), "{told}, not {file:?}");
                assert!(told.contains(says), "{end}: {told}");
                assert!(store.apply(&next).unwrap_err().to_string().contains("stopped earlier"));
            }
        }
    }
}

/// RocksDB writes its list of files anew when it has been opened, and whenever a file comes or goes.
/// Nobody may have looked at it yet when it is harmed.
#[test]
fn a_list_of_files_is_named_whatever_is_done_to_it_seen_before_or_not() {
    let harms: [Harm; 5] = [removed, overwritten, cut, zeroed, flipped];
    for (number, harm) in harms.into_iter().enumerate() {
        for is_seen in [true, false] {
            let (_directory, path) = place();
            let mut model = Model::new(&log());
            let entries = History::blocks(9, 10_000).entries;
            let mut store = created(&path);
            store.apply(&model.batch(&entries[..5])).unwrap();
            drop(store);
            let mut store = RocksDbStore::open(&path).unwrap();
            settle(&path, || {
                if is_seen {
                    store.probe().unwrap();
                }
            });
            let list = list(&path);
            harm(&list);
            let error = store.probe().unwrap_err();
            assert!(matches!(error, StoreError::Failed { .. }), "{number} {is_seen}: {error:?}");
            let name = list.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            let next = store.apply(&model.batch(&entries[5..])).unwrap_err();
            assert!(next.to_string().contains("stopped earlier"), "{next}");
        }
    }
}

/// Whatever has changed it, or its times: a clock that was put back makes it look so.
#[test]
fn a_list_of_files_that_says_what_is_there_is_as_good_as_any() {
    let (_directory, path) = place();
    let mut model = Model::new(&log());
    let entries = History::blocks(9, 10_000).entries;
    let mut store = created(&path);
    store.apply(&model.batch(&entries[..5])).unwrap();
    drop(store);
    let mut store = RocksDbStore::open(&path).unwrap();
    settle(&path, || {});
    let list = list(&path);
    for _ in 0..2 {
        let later = fs::metadata(&list).unwrap().modified().unwrap() + Duration::from_secs(60);
        fs::File::options().write(true).open(&list).unwrap().set_modified(later).unwrap();
        store.probe().unwrap();
    }
    store.apply(&model.batch(&entries[5..])).unwrap();
    model.assert_is(&*store.reader().unwrap(), "gone on");
}

#[test]
fn a_name_of_the_list_of_files_that_is_none_is_named() {
    for bytes in
        [&b""[..], b"MANIFEST-000001", b"MANIFEST-\n", b"MANIFEST-00000x\n", &[0; 16], &[0xff; 16]]
    {
        let (_directory, path) = place();
        let mut store = created(&path);
        store.probe().unwrap();
        fs::write(path.join("CURRENT"), bytes).unwrap();
        let error = store.probe().unwrap_err();
        assert!(error.to_string().contains("CURRENT was changed"), "{bytes:?}: {error}");
    }
}

/// RocksDB opens without them, and says nothing until somebody reads a block of them.
#[test]
fn a_file_of_payloads_that_goes_or_is_cut_while_nothing_runs_is_named_when_it_is_opened() {
    for harm in [removed, cut] {
        let (_directory, path) = place();
        let mut model = Model::new(&log());
        let mut store = created(&path);
        store.apply(&model.batch(&History::blocks(9, 10_000).entries)).unwrap();
        drop(store);
        // Opening carries the log into files.
        drop(RocksDbStore::open(&path).unwrap());
        drop(RocksDbStore::open(&path).unwrap());
        harm(files(&path, ".blob").first().expect("payloads have files of their own"));
        let error = RocksDbStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("files of payloads"), "{error}");
    }
}

/// Files of rows and of payloads come and go, and blocks that are rolled back leave payloads that
/// nobody needs.
#[test]
fn what_rocksdb_removes_itself_is_not_missed() {
    let (_directory, path) = place();
    let mut store = RocksDbStore::open_with(&path, 64 << 10).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    let mut seen = std::collections::BTreeSet::new();
    for entries in History::random_of(7, 2000, 20_000).entries.chunks(10) {
        store.look_now();
        store.apply(&model.batch(entries)).unwrap();
        store.probe().unwrap();
        seen.extend(files(&path, ".blob").into_iter().chain(files(&path, ".sst")));
    }
    let gone = seen.iter().filter(|file| !file.exists()).count();
    assert!(gone > 5, "{gone} of {} files went", seen.len());
    model.assert_is(&*store.reader().unwrap(), "at the end");
}
