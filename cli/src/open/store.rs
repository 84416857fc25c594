//! How a store is opened: the one place that knows every kind of store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_backup::StorePlace;
use tipline_ops::DrillStore;
use tipline_store::{
    CompositeStore, FileReader, FileStore, SqliteReader, SqliteStore, Store, StoreError,
    StoreIdentity, StoreReader,
};

#[cfg(feature = "rocksdb")]
use tipline_store::{RocksDbReader, RocksDbStore};

use crate::address::{Medium, StoreAddress};

/// Opens a store for its one writer; makes it if it is not there. Blocks.
pub(crate) fn open(address: &StoreAddress) -> Result<Box<dyn Store>, StoreError> {
    match address {
        StoreAddress::One(medium) => open_medium(medium),
        StoreAddress::Composite(parts) => {
            let parts = parts.iter().map(open_medium).collect::<Result<_, _>>()?;
            Ok(Box::new(CompositeStore::new(parts)?))
        }
    }
}

/// Opens media like these at other places, for their one writer. Blocks.
pub(crate) fn open_at(media: &[Medium], paths: &[PathBuf]) -> Result<Box<dyn Store>, StoreError> {
    let moved: Vec<Medium> =
        media.iter().zip(paths).map(|(medium, path)| medium.at(path.clone())).collect();
    match &*moved {
        [one] => open_medium(one),
        _ => open(&StoreAddress::Composite(moved)),
    }
}

/// Opens a store for reading, whether a consumer writes to it or not. Blocks.
pub(crate) fn open_reader(address: &StoreAddress) -> Result<Box<dyn StoreReader>, StoreError> {
    match address {
        StoreAddress::One(medium) => open_medium_reader(medium),
        // It is where its last part is.
        StoreAddress::Composite(parts) => match parts.last() {
            Some(last) => open_medium_reader(last),
            None => CompositeStore::new(Vec::new())?.reader(),
        },
    }
}

/// The same with the log that it was created for. Blocks.
pub(crate) fn open_identified(
    address: &StoreAddress,
) -> Result<(Option<StoreIdentity>, Box<dyn StoreReader>), StoreError> {
    let medium = match address {
        StoreAddress::One(medium) => Some(medium),
        StoreAddress::Composite(parts) => parts.last(),
    };
    let identity = medium.map_or(Ok(None), medium_identity)?;
    Ok((identity, open_reader(address)?))
}

fn medium_identity(medium: &Medium) -> Result<Option<StoreIdentity>, StoreError> {
    match medium {
        Medium::Sqlite(path) => SqliteReader::open(path)?.identity(),
        Medium::Files(path) => FileReader::open(path)?.identity(),
        Medium::RocksDb(path) => rocksdb_identity(path),
    }
}

/// What reads the parts of a store.
type Readers = Vec<Box<dyn StoreReader>>;

/// Every part of a store by itself, the last of which has the cursor, and the log that they were
/// created for. Blocks.
pub(crate) fn open_parts(
    address: &StoreAddress,
) -> Result<(Option<StoreIdentity>, Readers), StoreError> {
    let media = match address {
        StoreAddress::One(medium) => std::slice::from_ref(medium),
        StoreAddress::Composite(parts) => parts,
    };
    let (mut log, mut readers): (Option<StoreIdentity>, Readers) = (None, Vec::new());
    for medium in media {
        let reader = open_medium_reader(medium)?;
        match (&log, medium_identity(medium)?) {
            (Some(expected), Some(found)) if *expected != found => {
                return Err(StoreError::WrongLog {
                    place: reader.place(),
                    found: Box::new(found),
                    expected: Box::new(expected.clone()),
                });
            }
            (None, found) => log = found,
            _ => {}
        }
        readers.push(reader);
    }
    Ok((log, readers))
}

/// A store of this address as a place to restore to.
pub(crate) fn location(address: &StoreAddress) -> StorePlace {
    let media = match address {
        StoreAddress::One(medium) => vec![medium.clone()],
        StoreAddress::Composite(parts) => parts.clone(),
    };
    let kind = |medium: &Medium| match medium {
        Medium::Sqlite(_) => "sqlite",
        Medium::RocksDb(_) => "rocksdb",
        Medium::Files(_) => "files",
    };
    let parts = media.iter().map(|medium| (kind(medium).to_owned(), medium.path().to_owned()));
    let parts = parts.collect();
    let open = move |paths: &[PathBuf]| open_at(&media, paths);
    StorePlace { parts, open: Arc::new(open) }
}

/// Where a drill restores to: stores of these kinds in a directory.
pub(crate) fn drill_store() -> DrillStore {
    Arc::new(|parts: &[String], scratch: &Path| {
        let medium = |(number, part): (usize, &String)| {
            let path = scratch.join(format!("store-{number}"));
            match part.as_str() {
                "files" => Medium::Files(path),
                #[cfg(feature = "rocksdb")]
                "rocksdb" => Medium::RocksDb(path),
                _ => Medium::Sqlite(path),
            }
        };
        let mut media: Vec<Medium> = parts.iter().enumerate().map(medium).collect();
        location(&match (media.len(), media.pop()) {
            (1, Some(one)) => StoreAddress::One(one),
            (_, last) => StoreAddress::Composite(media.into_iter().chain(last).collect()),
        })
    })
}

fn open_medium(medium: &Medium) -> Result<Box<dyn Store>, StoreError> {
    match medium {
        Medium::Sqlite(path) => Ok(Box::new(SqliteStore::open(path)?)),
        Medium::Files(path) => Ok(Box::new(FileStore::open(path)?)),
        Medium::RocksDb(path) => open_rocksdb(path),
    }
}

fn open_medium_reader(medium: &Medium) -> Result<Box<dyn StoreReader>, StoreError> {
    match medium {
        Medium::Sqlite(path) => Ok(Box::new(SqliteReader::open(path)?)),
        Medium::Files(path) => Ok(Box::new(FileReader::open(path)?)),
        Medium::RocksDb(path) => open_rocksdb_reader(path),
    }
}

#[cfg(feature = "rocksdb")]
fn open_rocksdb(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(RocksDbStore::open(path)?))
}

#[cfg(feature = "rocksdb")]
fn open_rocksdb_reader(path: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
    Ok(Box::new(RocksDbReader::open(path)?))
}

#[cfg(feature = "rocksdb")]
fn rocksdb_identity(path: &Path) -> Result<Option<StoreIdentity>, StoreError> {
    RocksDbReader::open(path)?.identity()
}

#[cfg(not(feature = "rocksdb"))]
fn rocksdb_identity(path: &Path) -> Result<Option<StoreIdentity>, StoreError> {
    Err(not_built(path))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocksdb(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Err(not_built(path))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocksdb_reader(path: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
    Err(not_built(path))
}

/// Reading the address refuses it already, with what to do.
#[cfg(not(feature = "rocksdb"))]
fn not_built(path: &Path) -> StoreError {
    StoreError::Unusable {
        place: format!("rocksdb:{}", path.display()),
        why: "this program was built without RocksDB".to_owned(),
        source: None,
    }
}
