//! `sqlite:PATH`

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{did_you_mean, split};

const KINDS: &[&str] = &["sqlite", "rocksdb", "files"];

/// Where a consumer keeps what it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreAddress {
    /// One SQLite file.
    Sqlite(PathBuf),
}

/// Text that names no store of this build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStore {
    #[error("unknown store {given:?}: use sqlite:PATH{hint}")]
    Unknown { given: String, hint: String },
    #[error("the store {given:?} has no path: use sqlite:PATH, for example sqlite:replica.db")]
    NoPath { given: String },
    #[error("the store {kind} is not in this build: use sqlite:PATH")]
    NotBuilt { kind: String },
}

impl FromStr for StoreAddress {
    type Err = BadStore;

    fn from_str(given: &str) -> Result<Self, BadStore> {
        match split(given) {
            Some(("sqlite", "")) => Err(BadStore::NoPath { given: given.to_owned() }),
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some((kind @ ("rocksdb" | "files"), _)) => {
                Err(BadStore::NotBuilt { kind: kind.to_owned() })
            }
            Some((kind, rest)) => {
                let hint = did_you_mean(kind, rest, KINDS);
                Err(BadStore::Unknown { given: given.to_owned(), hint })
            }
            None => {
                let hint = format!("; for a file: sqlite:{given}");
                Err(BadStore::Unknown { given: given.to_owned(), hint })
            }
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Sqlite(path) = self;
        write!(f, "sqlite:{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::StoreAddress;

    fn refused(given: &str) -> String {
        given.parse::<StoreAddress>().unwrap_err().to_string()
    }

    #[test]
    fn a_store_is_a_kind_and_a_path() {
        let store: StoreAddress = "sqlite:/var/lib/replica.db".parse().unwrap();
        assert_eq!(store, StoreAddress::Sqlite("/var/lib/replica.db".into()));
        assert_eq!(store.to_string(), "sqlite:/var/lib/replica.db");
    }

    #[test]
    fn what_is_no_store_is_told_what_would_be_one() {
        assert_eq!(
            refused("sqlte:replica.db"),
            "unknown store \"sqlte:replica.db\": use sqlite:PATH; did you mean sqlite:replica.db?"
        );
        assert_eq!(refused("mysql://db"), "unknown store \"mysql://db\": use sqlite:PATH");
        assert_eq!(
            refused("replica.db"),
            "unknown store \"replica.db\": use sqlite:PATH; for a file: sqlite:replica.db"
        );
        assert_eq!(
            refused("rocksdb:replica"),
            "the store rocksdb is not in this build: use sqlite:PATH"
        );
        assert_eq!(
            refused("sqlite:"),
            "the store \"sqlite:\" has no path: use sqlite:PATH, for example sqlite:replica.db"
        );
    }
}
