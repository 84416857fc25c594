//! Opening a copy of a store for reading, wherever it is now.

use std::path::Path;

use crate::error::StoreError;
use crate::reader::StoreReader;

/// Opens the first part of a copy that this build can read. The copy has a folder `part-N` for each
/// medium that the store was kept on, and `kinds` are their kinds in that order. No file changes.
///
/// # Errors
/// Those of opening a store; [`StoreError::Unusable`] if this build reads none of the kinds.
pub fn open_copy(kinds: &[String], copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
    for (number, kind) in kinds.iter().enumerate() {
        let path = copy.join(format!("part-{number}"));
        match kind.as_str() {
            #[cfg(feature = "sqlite")]
            "sqlite" => return Ok(Box::new(crate::sqlite::open_copy(&path)?)),
            #[cfg(feature = "files")]
            "files" => return Ok(Box::new(crate::files::FileReader::open_copy(&path)?)),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => return Ok(Box::new(crate::rocksdb::RocksDbReader::open(path)?)),
            _ => drop(path),
        }
    }
    let why = format!("this program was built without stores of {}", kinds.join("+"));
    Err(StoreError::unusable(&copy.display().to_string(), &why, None))
}

/// Whether one of the kinds is one that this build can read.
pub fn can_open(kinds: &[String]) -> bool {
    let readable = |kind: &String| {
        (cfg!(feature = "sqlite") && kind == "sqlite")
            || (cfg!(feature = "files") && kind == "files")
            || (cfg!(feature = "rocksdb") && kind == "rocksdb")
    };
    kinds.iter().any(readable)
}
