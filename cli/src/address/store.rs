//! `sqlite:PATH`, `rocksdb:PATH`, `files:PATH`, or several: `composite:files:PATH+sqlite:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::kind::{did_you_mean, split};

const KINDS: &[&str] = &["sqlite", "rocksdb", "files", "composite"];
const USE: &str = "use sqlite:PATH, rocksdb:PATH, files:PATH or composite:STORE+STORE";

/// Where a consumer keeps what it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreAddress {
    /// One medium.
    One(Medium),
    /// Several at once, in this order; the last has the cursor.
    Composite(Vec<Medium>),
}

/// One medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Medium {
    /// One SQLite file.
    Sqlite(PathBuf),
    /// A RocksDB directory.
    RocksDb(PathBuf),
    /// A directory of block files.
    Files(PathBuf),
}

impl Medium {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        let (Self::Sqlite(path) | Self::RocksDb(path) | Self::Files(path)) = self;
        path
    }

    /// The same kind at another place.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Sqlite(_) => Self::Sqlite(path),
            Self::RocksDb(_) => Self::RocksDb(path),
            Self::Files(_) => Self::Files(path),
        }
    }
}

impl StoreAddress {
    /// The SQLite files of its parts.
    pub(crate) fn sqlite_files(&self) -> impl Iterator<Item = PathBuf> {
        let parts = match self {
            Self::One(medium) => std::slice::from_ref(medium),
            Self::Composite(parts) => parts,
        };
        parts.iter().filter_map(|part| match part {
            Medium::Sqlite(path) => Some(path.clone()),
            _ => None,
        })
    }

    /// A path beside the store, with this after its name; for a composite beside its last part,
    /// which has the cursor.
    pub(crate) fn beside(&self, what: &str) -> PathBuf {
        let path = match self {
            Self::One(medium) => medium.path(),
            Self::Composite(parts) => parts.last().map_or(Path::new("store"), Medium::path),
        };
        // Without a slash at its end.
        let path: PathBuf = path.components().collect();
        let mut path = path.into_os_string();
        path.push(".");
        path.push(what);
        path.into()
    }
}

/// Text that names no store of this build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStore {
    #[error("unknown store {given:?}: {USE}{hint}")]
    Unknown { given: String, hint: String },
    #[error("the store {given:?} has no path: for example {kind}:{example}")]
    NoPath { given: String, kind: &'static str, example: &'static str },
    #[error(
        "the store {given:?} needs a tipline with RocksDB, which this one was built without: build it with `cargo build --release --features full`"
    )]
    NotBuilt { given: String },
    #[error(
        "the composite store {given:?} has one part: give two or more with + between, or that one by itself"
    )]
    OnePart { given: String },
    #[error("the composite store {given:?} has {} twice: give each part a place of its own", path.display())]
    Twice { given: String, path: PathBuf },
    #[error("the composite store {given:?} has a composite in it: name all the parts in one")]
    Nested { given: String },
}

impl FromStr for StoreAddress {
    type Err = BadStore;

    fn from_str(given: &str) -> Result<Self, BadStore> {
        let Some(parts) = given.strip_prefix("composite:") else {
            return Ok(Self::One(given.parse()?));
        };
        if parts.contains("composite:") {
            return Err(BadStore::Nested { given: given.to_owned() });
        }
        let parts: Vec<Medium> = separate(parts).map(str::parse).collect::<Result<_, _>>()?;
        if parts.len() < 2 {
            return Err(BadStore::OnePart { given: given.to_owned() });
        }
        for (at, part) in parts.iter().enumerate() {
            if parts[..at].iter().any(|earlier| earlier.path() == part.path()) {
                let path = part.path().to_owned();
                return Err(BadStore::Twice { given: given.to_owned(), path });
            }
        }
        Ok(Self::Composite(parts))
    }
}

/// Cuts at each `+` that a kind follows, so that a path may have one.
fn separate(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let starts_part =
            |at: usize| split(&rest[at + 1..]).is_some_and(|(kind, _)| KINDS.contains(&kind));
        let cut = rest.match_indices('+').map(|(at, _)| at).find(|at| starts_part(*at));
        let (part, behind) = cut.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
        rest = behind;
        Some(part)
    })
}

impl FromStr for Medium {
    type Err = BadStore;

    fn from_str(given: &str) -> Result<Self, BadStore> {
        let given_owned = || given.to_owned();
        let no_path = |kind, example| BadStore::NoPath { given: given_owned(), kind, example };
        match split(given) {
            Some(("sqlite", "")) => Err(no_path("sqlite", "replica.db")),
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("rocksdb", "")) => Err(no_path("rocksdb", "replica.rocksdb")),
            Some(("rocksdb", _)) if cfg!(not(feature = "rocksdb")) => {
                Err(BadStore::NotBuilt { given: given_owned() })
            }
            Some(("rocksdb", path)) => Ok(Self::RocksDb(path.into())),
            Some(("files", "")) => Err(no_path("files", "replica")),
            Some(("files", path)) => Ok(Self::Files(path.into())),
            Some((kind, rest)) => {
                let hint = did_you_mean(kind, rest, KINDS);
                Err(BadStore::Unknown { given: given_owned(), hint })
            }
            None => {
                let hint = format!("; for a file: sqlite:{given}");
                Err(BadStore::Unknown { given: given_owned(), hint })
            }
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(medium) => medium.fmt(f),
            Self::Composite(parts) => {
                let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                write!(f, "composite:{}", parts.join("+"))
            }
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Sqlite(_) => "sqlite",
            Self::RocksDb(_) => "rocksdb",
            Self::Files(_) => "files",
        };
        write!(f, "{kind}:{}", self.path().display())
    }
}

#[cfg(test)]
mod tests {
    use super::{Medium, StoreAddress};

    fn refused(given: &str) -> String {
        given.parse::<StoreAddress>().unwrap_err().to_string()
    }

    #[test]
    fn a_store_is_a_kind_and_a_path() {
        for (given, medium) in [
            ("sqlite:/var/lib/replica.db", Medium::Sqlite("/var/lib/replica.db".into())),
            ("files:replica", Medium::Files("replica".into())),
        ] {
            let store: StoreAddress = given.parse().unwrap();
            assert_eq!(store, StoreAddress::One(medium));
            assert_eq!(store.to_string(), given);
        }
    }

    #[test]
    fn a_composite_is_stores_in_their_order() {
        let given = "composite:files:a+b/blocks+sqlite:a+b/index.db";
        let store: StoreAddress = given.parse().unwrap();
        let parts = [Medium::Files("a+b/blocks".into()), Medium::Sqlite("a+b/index.db".into())];
        assert_eq!(store, StoreAddress::Composite(parts.to_vec()));
        assert_eq!(store.to_string(), given);
        assert!(refused("composite:sqlite:a").contains("one part"));
        assert!(refused("composite:").contains("one part"));
        assert!(refused("composite:sqlite:a+files:a").contains("a twice"));
        assert!(refused("composite:sqlite:a+composite:files:b+files:c").contains("in one"));
        assert!(refused("composite:sqlite:+files:b").contains("no path"));
    }

    #[test]
    #[cfg(feature = "rocksdb")]
    fn rocksdb_is_a_directory() {
        let store: StoreAddress = "rocksdb:replica".parse().unwrap();
        assert_eq!(store, StoreAddress::One(Medium::RocksDb("replica".into())));
        assert_eq!(store.to_string(), "rocksdb:replica");
    }

    #[test]
    #[cfg(not(feature = "rocksdb"))]
    fn a_build_without_rocksdb_says_how_to_get_it() {
        for given in ["rocksdb:replica", "composite:sqlite:a+rocksdb:b"] {
            let told = refused(given);
            assert!(told.contains("built without") && told.contains("--features full"), "{told}");
        }
    }

    #[test]
    fn what_is_no_store_is_told_what_would_be_one() {
        const USE: &str = "use sqlite:PATH, rocksdb:PATH, files:PATH or composite:STORE+STORE";
        for (given, hint) in [
            ("sqlte:replica.db", "; did you mean sqlite:replica.db?"),
            ("mysql://db", ""),
            ("replica.db", "; for a file: sqlite:replica.db"),
        ] {
            assert_eq!(refused(given), format!("unknown store {given:?}: {USE}{hint}"));
        }
        assert_eq!(
            refused("sqlite:"),
            "the store \"sqlite:\" has no path: for example sqlite:replica.db"
        );
    }
}
