//! Whether the files of rows and of payloads are still there, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::copy::is_of_rows;
use super::error::store_error;
use super::families::FAMILIES;
use super::view::Db;
use crate::disk::{Presence, gone, listing};
use crate::error::StoreError;

/// So many are looked at each time, in turn. Those that are not there at all show by the listing.
const MOST: usize = 1000;
/// Files of payloads are counted, and RocksDB makes and removes them meanwhile: fewer than there
/// must be are believed after so many counts,
const COUNTS: usize = 3;
/// with such a pause between two.
const PAUSE: Duration = Duration::from_millis(20);

/// The files of rows (`.sst`) and of payloads (`.blob`): RocksDB writes each once, and removes it
/// when nothing in it counts any more. No name is given twice.
#[derive(Debug)]
pub(super) struct RowFiles {
    directory: PathBuf,
    known: BTreeMap<String, Presence>,
    /// The one that was looked at last.
    last: String,
}

impl RowFiles {
    /// As they are now.
    pub(super) fn of(directory: &Path, names: &BTreeSet<String>) -> Self {
        let found = names.iter().filter(|name| is_of_rows(Path::new(name)));
        // What goes meanwhile RocksDB has removed itself.
        let found = found
            .filter_map(|name| Some((name.clone(), Presence::of(&directory.join(name)).ok()?)));
        let known = found.collect();
        Self { directory: directory.to_owned(), known, last: String::new() }
    }

    /// Compares them with these names, which were just listed, and looks at [`MOST`] of them.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if one is gone that RocksDB needs, is another one, or was cut;
    /// [`StoreError::Unavailable`] if the medium does not answer.
    pub(super) fn check(
        &mut self,
        place: &str,
        names: &BTreeSet<String>,
        db: &Db,
    ) -> Result<(), StoreError> {
        let gone: Vec<String> =
            self.known.keys().filter(|name| !names.contains(*name)).cloned().collect();
        if !gone.is_empty() {
            self.check_gone(place, &gone, db)?;
            self.known.retain(|name, _| names.contains(name));
        }
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let rows = |name: &&String| is_of_rows(Path::new(name));
        let due: Vec<&String> = names.range::<str, _>(after).filter(rows).take(MOST).collect();
        self.last = if due.len() < MOST { String::new() } else { due[MOST - 1].clone() };
        for name in due {
            match self.known.get_mut(name) {
                Some(known) => match known.check_not_cut(place) {
                    // The next look says whether RocksDB removed it.
                    Err(_) if is_not_there(&self.directory.join(name)) => {}
                    checked => checked?,
                },
                None => {
                    if let Ok(found) = Presence::of(&self.directory.join(name)) {
                        self.known.insert(name.clone(), found);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the payloads are all there, in their whole length, when RocksDB has just opened them: it
    /// looks at a file of them when it reads in it, and not before.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there are fewer, or fewer bytes, than it needs;
    /// [`StoreError::Unavailable`] if the medium does not answer.
    pub(super) fn check_payloads(&self, place: &str, db: &Db) -> Result<(), StoreError> {
        if !self.lacks_payloads(place, db)? {
            return Ok(());
        }
        let at = format!(
            "{}: its files of payloads (.blob) are fewer, or shorter, than its list of files says",
            self.directory.display()
        );
        Err(StoreError::Corrupt { place: place.to_owned(), at, source: None })
    }

    /// Whether RocksDB removed these itself.
    fn check_gone(&self, place: &str, names: &[String], db: &Db) -> Result<(), StoreError> {
        let live = db.live_files().map_err(|e| store_error(place, "asking for its files", e))?;
        let needed = |name: &&String| live.iter().any(|file| file.name.ends_with(name.as_str()));
        let tables = names.iter().find(|name| name.ends_with(".sst") && needed(name));
        if let Some(name) = tables {
            return Err(self.removed(place, name));
        }
        let payloads: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| name.ends_with(BLOB)).collect();
        if payloads.is_empty() || !self.lacks_payloads(place, db)? {
            return Ok(());
        }
        Err(self.removed(place, &payloads.join(" or ")))
    }

    /// Whether there are fewer files of payloads than RocksDB needs, or fewer bytes in all of them. It
    /// says how many, not which.
    fn lacks_payloads(&self, place: &str, db: &Db) -> Result<bool, StoreError> {
        for count in 0..COUNTS {
            if count > 0 {
                thread::sleep(PAUSE);
            }
            let needed = Payloads::needed(db);
            let needed = needed.map_err(|e| store_error(place, "asking for its files", e))?;
            let there = Payloads::there(&self.directory);
            let there = there.map_err(|e| listing(place, "looking for its files", e))?;
            if there.files >= needed.files && there.bytes >= needed.bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn removed(&self, place: &str, name: &str) -> StoreError {
        gone(place, &format!("{} was removed", self.directory.join(name).display()))
    }
}

const BLOB: &str = ".blob";

/// What is in a directory. RocksDB's names are text.
pub(super) fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let name = |file: io::Result<fs::DirEntry>| Ok(file?.file_name().into_string().ok());
    let names = fs::read_dir(directory)?.map(name).collect::<io::Result<Vec<_>>>()?;
    Ok(names.into_iter().flatten().collect())
}

fn is_not_there(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Files of payloads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Payloads {
    files: u64,
    bytes: u64,
}

impl Payloads {
    /// Those that hold something that counts.
    pub(super) fn needed(db: &Db) -> Result<Self, rocksdb::Error> {
        let mut needed = Self::default();
        for family in FAMILIES.iter().filter_map(|family| db.cf_handle(family.name())) {
            let ask = |what| Ok(db.property_int_value_cf(family, what)?.unwrap_or(0));
            needed.files += ask("rocksdb.num-blob-files")?;
            needed.bytes += ask("rocksdb.live-blob-file-size")?;
        }
        Ok(needed)
    }

    /// Those that are there.
    fn there(directory: &Path) -> io::Result<Self> {
        let mut there = Self::default();
        for name in names(directory)?.iter().filter(|name| name.ends_with(BLOB)) {
            match fs::metadata(directory.join(name)) {
                Ok(found) => {
                    there.files += 1;
                    there.bytes += found.len();
                }
                // RocksDB has just removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(there)
    }
}
