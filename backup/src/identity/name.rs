//! What backups are called. FORMAT, keep stable: `NAME-20261121T154500.123456Z.age`, in UTC.

use std::fmt;
use std::str::FromStr;

use tipline_proto::{ConsumerName, Timestamp};

use crate::time::{TimeDigits, parse_time, time_text};

const SUFFIX: &str = ".age";

/// Name of a node whose keys are kept: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityName(String);

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not usable as a node's name: use 1 to 32 of the characters a-z, 0-9 and -")]
pub struct InvalidIdentityName(String);

impl FromStr for IdentityName {
    type Err = InvalidIdentityName;

    fn from_str(given: &str) -> Result<Self, InvalidIdentityName> {
        // One rule for all names.
        match given.parse::<ConsumerName>() {
            Ok(name) => Ok(Self(name.to_string())),
            Err(_) => Err(InvalidIdentityName(given.to_owned())),
        }
    }
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The object of a backup.
pub(super) fn object(name: &IdentityName, time: Timestamp) -> String {
    let time = time_text(time, TimeDigits::Micros);
    let time: String = time.chars().filter(|c| *c != '-' && *c != ':').collect();
    format!("{name}-{time}{SUFFIX}")
}

/// The node and the time of a backup, by the name of its object; `None` if it is something else.
pub(super) fn parse(object: &str) -> Option<(IdentityName, Timestamp)> {
    let (name, time) = object.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    let at = |from, to| time.get(from..to);
    let text =
        format!("{}-{}-{}:{}:{}", at(0, 4)?, at(4, 6)?, at(6, 11)?, at(11, 13)?, time.get(13..)?);
    let name: IdentityName = name.parse().ok()?;
    let time = parse_time(&text)?;
    (self::object(&name, time) == object).then_some((name, time))
}
