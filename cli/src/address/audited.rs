//! What can be audited: `log`, the address of another log, of an archive, of a checkpoint
//! (`dir:PATH@latest`), or of a store.

use std::str::FromStr;

use tipline_backup::CheckpointId;

use super::kind::split;
use super::log::{BadLog, LogAddress};
use super::store::{BadStore, StoreAddress};

/// The name that stands for the newest checkpoint.
const LATEST: &str = "latest";

/// Something that can be audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audited {
    /// The log of `--log`.
    Default,
    /// Another log.
    Log(LogAddress),
    /// The archive at a destination.
    Archive(String),
    /// A checkpoint at a destination; `None` is the newest.
    Checkpoint(String, Option<CheckpointId>),
    /// A store.
    Store(StoreAddress),
}

/// Text that names nothing that can be audited.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAudited {
    #[error(transparent)]
    Log(#[from] BadLog),
    #[error(transparent)]
    Store(#[from] BadStore),
    #[error(
        "{given:?} names nothing to audit: use log for the log of --log, embedded:PATH or nats://HOST:PORT/NAME for another, dir:PATH or s3://BUCKET/PREFIX for an archive, with @latest or @ID for a checkpoint, or sqlite:PATH and the like for a store"
    )]
    Unknown { given: String },
    #[error(
        "{given:?} names no checkpoint: after the @ comes latest, or a name from `tipline checkpoint list`"
    )]
    NoCheckpoint { given: String },
}

impl FromStr for Audited {
    type Err = BadAudited;

    fn from_str(given: &str) -> Result<Self, BadAudited> {
        if given == crate::options::LOG {
            return Ok(Self::Default);
        }
        match split(given).map(|(kind, _)| kind) {
            Some("embedded" | "nats" | "tls") => Ok(Self::Log(given.parse()?)),
            Some("sqlite" | "rocksdb" | "files" | "composite") => Ok(Self::Store(given.parse()?)),
            Some("dir" | "s3" | "gs" | "az" | "azure") => destination(given),
            _ => Err(BadAudited::Unknown { given: given.to_owned() }),
        }
    }
}

fn destination(given: &str) -> Result<Audited, BadAudited> {
    // A path may have an @ in it, and a name after it that is no checkpoint's.
    let Some((place, name)) = given.rsplit_once('@').filter(|(_, name)| !name.contains('/')) else {
        return Ok(Audited::Archive(given.to_owned()));
    };
    match name {
        LATEST => Ok(Audited::Checkpoint(place.to_owned(), None)),
        name => match name.parse() {
            Ok(id) => Ok(Audited::Checkpoint(place.to_owned(), Some(id))),
            Err(_) => Err(BadAudited::NoCheckpoint { given: given.to_owned() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Audited;

    #[test]
    fn each_kind_is_told_by_its_address() {
        let parse = |given: &str| given.parse::<Audited>().map_err(|error| error.to_string());
        assert_eq!(parse("log"), Ok(Audited::Default));
        assert!(matches!(parse("embedded:tipline.log.db"), Ok(Audited::Log(_))));
        assert!(matches!(parse("tls://a:1,b:2/main"), Ok(Audited::Log(_))));
        assert!(matches!(parse("sqlite:replica.db"), Ok(Audited::Store(_))));
        assert!(matches!(parse("composite:files:a+sqlite:b"), Ok(Audited::Store(_))));
        assert_eq!(parse("s3://b/main"), Ok(Audited::Archive("s3://b/main".into())));
        assert_eq!(parse("dir:/a@b/c"), Ok(Audited::Archive("dir:/a@b/c".into())));
        let latest = Audited::Checkpoint("dir:/backup".into(), None);
        assert_eq!(parse("dir:/backup@latest"), Ok(latest));
        let id = "00000000000000000012-1800000000000000";
        let one = Audited::Checkpoint("s3://b".into(), Some(id.parse().unwrap()));
        assert_eq!(parse(&format!("s3://b@{id}")), Ok(one));
    }

    #[test]
    fn what_is_none_is_told_what_would_be_one() {
        let refused = |given: &str| given.parse::<Audited>().unwrap_err().to_string();
        assert!(refused("/backup").contains("dir:PATH"), "{}", refused("/backup"));
        assert!(refused("dir:/backup@newest").contains("names no checkpoint"));
        assert!(refused("nats://user:s3cret@h").contains("names no log"));
        assert!(!refused("nats://user:s3cret@h").contains("s3cret"));
    }
}
