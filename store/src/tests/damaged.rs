//! Every file of a store is removed, replaced, cut, zeroed and flipped in turn: it is named, or it
//! makes no difference. It is never taken for good.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tipline_proto::Entry;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::memory::MemoryStore;
use crate::spec::{Sink, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Removed,
    /// By an empty file of its name.
    Replaced,
    /// To half of it, in its place.
    Cut,
    /// To nothing at all, in its place. While it is closed, it is as if it were replaced.
    Emptied,
    /// As long as before, in its place.
    Zeroed,
    /// Some bytes in the middle, in its place.
    Flipped,
}

use Harm::{Cut, Emptied, Flipped, Removed, Replaced, Zeroed};

impl Harm {
    fn does(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Removed => fs::remove_file(path).unwrap(),
            Replaced => {
                fs::remove_file(path).unwrap();
                fs::write(path, "").unwrap();
            }
            Cut | Emptied => {
                let length = if self == Cut { middle as u64 } else { 0 };
                File::options().write(true).open(path).unwrap().set_len(length).unwrap();
            }
            Zeroed | Flipped => {
                let end = (middle + 64).min(bytes.len());
                match self {
                    Zeroed => bytes.fill(0),
                    _ => bytes[middle..end].iter_mut().for_each(|byte| *byte ^= 0xff),
                }
                use std::io::Write;
                File::options().write(true).open(path).unwrap().write_all(&bytes).unwrap();
            }
        }
    }
}

/// A kind of store, and what its documentation says that it does not see.
struct Kind {
    open: fn(&Path) -> Result<Box<dyn Store>, StoreError>,
    /// Content without checksums in files of these names: it differs, which comparing shows.
    unchecked: &'static [&'static str],
    /// A log of writes that is damaged at its end is a shorter one: the store is at an earlier batch.
    logs: &'static [&'static str],
}

const BATCHES: usize = 4;

fn entries() -> Vec<Entry> {
    History::random_of(3, 80, 1000).entries
}

/// Digests of the content after each batch, by the index of its last entry.
fn digests() -> BTreeMap<u64, String> {
    let (mut store, mut model) = (MemoryStore::new(), Model::new(&log()));
    store.create(&log()).unwrap();
    let mut found = BTreeMap::new();
    let digest =
        |store: &MemoryStore| format!("{:?}", content_digest(&*store.reader().unwrap()).unwrap());
    found.insert(0, digest(&store));
    for entries in entries().chunks(20) {
        store.apply(&model.batch(entries)).unwrap();
        found.insert(model.cursor.position.index, digest(&store));
    }
    found
}

fn filled(kind: &Kind, directory: &Path, batches: usize) -> (Box<dyn Store>, Model) {
    let mut store = (kind.open)(directory).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    entries()
        .chunks(20)
        .take(batches)
        .for_each(|entries| store.apply(&model.batch(entries)).unwrap());
    (store, model)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (vec![], vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// What RocksDB and the stores write about themselves, or lock, and nothing in it counts.
fn is_of_no_account(name: &str) -> bool {
    ["LOCK", "LOG", "IDENTITY"].contains(&name)
        || name.starts_with("OPTIONS-")
        || name.starts_with("LOG.old")
        || name.ends_with(".lock")
}

/// A list of files of RocksDB that `CURRENT` does not name: RocksDB has written the next one, and removes
/// this one when it comes to that.
fn is_superseded(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let current = || fs::read_to_string(path.with_file_name("CURRENT")).unwrap();
    name.starts_with("MANIFEST-") && current().trim_end() != name
}

/// Judges a store that was damaged in this file. `at` is where it must be, or before that if it is
/// one of these files.
fn judge(
    logs: &[&str],
    kind: &Kind,
    directory: &Path,
    name: &str,
    at: u64,
    digests: &BTreeMap<u64, String>,
) {
    let named = |error: StoreError| {
        let says = error.to_string();
        assert!(says.contains(directory.to_str().unwrap()), "it does not say where: {says}");
    };
    let store = match (kind.open)(directory) {
        Ok(store) => store,
        Err(error) => return named(error),
    };
    // New, as its consumer sees, which compares with what it once said.
    let Ok(Some(_)) = store.identity() else { return };
    let reader = store.reader().unwrap();
    let found = match reader.cursor() {
        Ok(cursor) => cursor.unwrap().position.index,
        Err(error) => return named(error),
    };
    let is_a = |names: &[&str]| names.iter().any(|end| name.ends_with(end));
    match content_digest(&*reader) {
        Err(error) => named(error),
        Ok(digest) if Some(&format!("{digest:?}")) == digests.get(&found) => {
            let earlier = found < at && is_a(logs);
            assert!(found == at || earlier, "it is at {found}, and was at {at}, without a word");
        }
        // It shows by the digest.
        Ok(_) => assert!(is_a(kind.unchecked), "its content is another one, without a word"),
    }
}

/// In a store that is closed, or whose process was killed: a copy of its files.
fn harmed_while_closed(kind: &Kind, is_killed: bool) {
    let (home, digests) = (tempfile::tempdir().unwrap(), digests());
    let original = home.path().join("original");
    fs::create_dir(&original).unwrap();
    let (store, model) = filled(kind, &original, BATCHES);
    let copy_all = |from: &Path, to: &Path| {
        for path in files(from) {
            let into = to.join(path.strip_prefix(from).unwrap());
            fs::create_dir_all(into.parent().unwrap()).unwrap();
            fs::copy(path, into).unwrap();
        }
    };
    let left = home.path().join("left");
    if is_killed {
        copy_all(&original, &left);
        drop(store);
    } else {
        drop(store);
        copy_all(&original, &left);
    }
    for (number, path) in files(&left).into_iter().enumerate() {
        let name = path.strip_prefix(&left).unwrap().to_str().unwrap().to_owned();
        if is_of_no_account(path.file_name().unwrap().to_str().unwrap()) || name.ends_with("-shm") {
            continue;
        }
        for harm in [Removed, Replaced, Cut, Zeroed, Flipped] {
            println!("{name}, {harm:?}, killed: {is_killed}");
            let directory = home.path().join(format!("{number}-{harm:?}"));
            copy_all(&left, &directory);
            // A directory that has no file is there too.
            fs::create_dir_all(directory.join("files/staging")).ok();
            harm.does(&directory.join(&name));
            judge(kind.logs, kind, &directory, &name, model.cursor.position.index, &digests);
            fs::remove_dir_all(directory).unwrap();
        }
    }
}

/// In a store that is open: what is removed, replaced or cut is named at the next look. Otherwise the
/// next batch is refused, or it is there when it is opened again.
fn harmed_while_open(kind: &Kind, which: impl Fn(&str, Harm) -> bool) {
    let digests = digests();
    let names: Vec<String> = {
        let home = tempfile::tempdir().unwrap();
        let _store = filled(kind, home.path(), BATCHES - 1);
        let name =
            |path: PathBuf| path.strip_prefix(home.path()).unwrap().to_str().unwrap().to_owned();
        files(home.path()).into_iter().map(name).collect()
    };
    for name in names {
        for harm in [Removed, Replaced, Cut, Emptied, Zeroed, Flipped] {
            if !which(&name, harm) {
                continue;
            }
            println!("{name}, {harm:?}, while it is open");
            let home = tempfile::tempdir().unwrap();
            let (mut store, mut model) = filled(kind, home.path(), BATCHES - 1);
            let had_bytes = fs::metadata(home.path().join(&name)).unwrap().len() > 0;
            harm.does(&home.path().join(&name));
            let next = model.batch(&entries()[60..]);
            let done = store.probe().and_then(|()| store.apply(&next));
            if let Err(error) = done {
                let says = error.to_string();
                assert!(says.contains(home.path().to_str().unwrap()), "{says}");
                continue;
            }
            drop(store);
            if is_superseded(&home.path().join(&name)) {
                continue;
            }
            // Of one that had nothing in it only the name can be missed.
            let is_seen = harm == Removed || had_bytes && matches!(harm, Replaced | Cut | Emptied);
            assert!(!is_seen, "nobody noticed");
            // What was acknowledged is there.
            judge(&[], kind, home.path(), &name, model.cursor.position.index, &digests);
        }
    }
}

#[cfg(feature = "sqlite")]
const SQLITE: Kind = Kind {
    open: |path| Ok(Box::new(crate::SqliteStore::open(path.join("store.db"))?)),
    unchecked: &["store.db", "store.db-wal"],
    logs: &["-wal"],
};

#[cfg(feature = "files")]
const FILES: Kind = Kind {
    open: |path| Ok(Box::new(crate::FileStore::open(path.join("files"))?)),
    unchecked: &["index.db", "index.db-wal"],
    logs: &["-wal"],
};

#[cfg(feature = "rocksdb")]
const ROCKSDB: Kind = Kind {
    open: |path| Ok(Box::new(crate::RocksDbStore::open(path.join("rocksdb"))?)),
    unchecked: &[],
    logs: &[".log"],
};

#[cfg(feature = "sqlite")]
#[test]
fn a_file_of_sqlite() {
    [false, true].into_iter().for_each(|is_killed| harmed_while_closed(&SQLITE, is_killed));
    // What is written over in its place is not seen while it is open, and cutting the index of the
    // WAL ends every process that has it open.
    harmed_while_open(&SQLITE, |name, harm| match harm {
        Removed | Replaced => true,
        Cut | Emptied => name.ends_with(".db") || name.ends_with("-wal"),
        Zeroed | Flipped => false,
    });
}

#[cfg(feature = "files")]
#[test]
fn a_file_of_files() {
    [false, true].into_iter().for_each(|is_killed| harmed_while_closed(&FILES, is_killed));
    harmed_while_open(&FILES, |name, harm| match harm {
        Removed | Replaced => true,
        Cut | Emptied => !name.ends_with("-shm") && !name.ends_with(".lock"),
        Zeroed | Flipped => name.ends_with(".dat"),
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_file_of_rocksdb() {
    [false, true].into_iter().for_each(|is_killed| harmed_while_closed(&ROCKSDB, is_killed));
    harmed_while_open(&ROCKSDB, |name, harm| {
        let file = name.rsplit('/').next().unwrap_or(name);
        (!is_of_no_account(file) || file == "LOCK")
            && matches!(harm, Removed | Replaced | Cut | Emptied)
    });
}
