//! The media that a store may be in, for tests that go through all of them.

use std::fmt;
use std::path::Path;

use tipline_store::{
    CompositeStore, FileReader, FileStore, RocksDbReader, RocksDbStore, SqliteReader, SqliteStore,
    Store, StoreError, StoreReader,
};

/// A kind of store, with everything of it in one directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// One SQLite file.
    Sqlite,
    /// A RocksDB directory.
    RocksDb,
    /// Block files.
    Files,
    /// All of them, RocksDB with the cursor.
    Composite,
}

impl Medium {
    /// Every kind.
    pub const ALL: [Medium; 4] =
        [Medium::Sqlite, Medium::RocksDb, Medium::Files, Medium::Composite];

    /// The media that it is made of.
    fn parts(self) -> &'static [Medium] {
        match self {
            Medium::Sqlite => &[Medium::Sqlite],
            Medium::RocksDb => &[Medium::RocksDb],
            Medium::Files => &[Medium::Files],
            Medium::Composite => &[Medium::Sqlite, Medium::Files, Medium::RocksDb],
        }
    }

    /// As `--store` takes it.
    pub fn address(self, directory: &Path) -> String {
        let path = |name: &str| directory.join(name).display().to_string();
        match self {
            Medium::Sqlite => format!("sqlite:{}", path("store.db")),
            Medium::RocksDb => format!("rocksdb:{}", path("rocksdb")),
            Medium::Files => format!("files:{}", path("files")),
            Medium::Composite => {
                let parts = self.parts().iter().map(|part| part.address(directory));
                format!("composite:{}", parts.collect::<Vec<_>>().join("+"))
            }
        }
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// As the stores themselves.
    pub fn open(self, directory: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Medium::Sqlite => Box::new(SqliteStore::open(directory.join("store.db"))?),
            Medium::RocksDb => Box::new(RocksDbStore::open(directory.join("rocksdb"))?),
            Medium::Files => Box::new(FileStore::open(directory.join("files"))?),
            Medium::Composite => {
                let parts = self.parts().iter().map(|part| part.open(directory));
                Box::new(CompositeStore::new(parts.collect::<Result<_, _>>()?)?)
            }
        })
    }

    /// Opens it for reading; of a composite every part, the one with the cursor last.
    ///
    /// # Errors
    /// As the stores themselves.
    pub fn readers(self, directory: &Path) -> Result<Vec<Box<dyn StoreReader>>, StoreError> {
        let reader = |part: &Medium| -> Result<Box<dyn StoreReader>, StoreError> {
            Ok(match part {
                Medium::Sqlite => Box::new(SqliteReader::open(directory.join("store.db"))?),
                Medium::RocksDb => Box::new(RocksDbReader::open(directory.join("rocksdb"))?),
                _ => Box::new(FileReader::open(directory.join("files"))?),
            })
        };
        self.parts().iter().map(reader).collect()
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Medium::Sqlite => "sqlite",
            Medium::RocksDb => "rocksdb",
            Medium::Files => "files",
            Medium::Composite => "composite",
        })
    }
}
