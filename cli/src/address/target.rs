//! `latest`, `height:N`, `hash:HEX`, `time:WHEN`, `index:N` or `mark:NAME`

use std::str::FromStr;
use std::time::SystemTime;

use tipline_backup::Target;
use tipline_proto::Label;

use super::hash::TypedHash;
use super::kind::{did_you_mean, split};

const KINDS: &[&str] = &["height", "hash", "time", "index", "mark"];
const USE: &str = "use latest, height:N, hash:HEX, time:2026-11-21T15:04:05Z, index:N or mark:NAME";

/// A point to restore to, as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetAddress(pub(crate) Target);

/// Text that names no point.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    #[error("unknown target {given:?}: {USE}{hint}")]
    Unknown { given: String, hint: String },
    #[error("the target {given:?} cannot be read: {why}")]
    Unreadable { given: String, why: String },
}

impl FromStr for TargetAddress {
    type Err = BadTarget;

    fn from_str(given: &str) -> Result<Self, BadTarget> {
        let unreadable = |why: String| BadTarget::Unreadable { given: given.to_owned(), why };
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| unreadable(format!("{text:?} is not a number")))
        };
        let target = match split(given) {
            None if given == "latest" => Target::Latest,
            Some(("height", height)) => Target::Height(number(height)?),
            Some(("index", index)) => Target::Index(number(index)?),
            Some(("hash", hash)) => {
                let TypedHash(hash) = hash
                    .parse()
                    .map_err(|e: tipline_proto::InvalidBytes| unreadable(e.to_string()))?;
                Target::Hash(hash)
            }
            Some(("time", time)) => {
                let time: SystemTime = humantime::parse_rfc3339_weak(time).map_err(|e| {
                    unreadable(format!("{e}; write it in UTC, as 2026-11-21T15:04:05Z"))
                })?;
                Target::Time(time.into())
            }
            Some(("mark", name)) => {
                Target::Mark(Label::new(name).map_err(|e| unreadable(e.to_string()))?)
            }
            other => {
                let (kind, rest) = other.unwrap_or((given, "N"));
                let hint = did_you_mean(kind, rest, KINDS);
                return Err(BadTarget::Unknown { given: given.to_owned(), hint });
            }
        };
        Ok(Self(target))
    }
}

#[cfg(test)]
mod tests {
    use tipline_backup::Target;
    use tipline_proto::{Hash, Label, Timestamp};

    use super::TargetAddress;

    #[test]
    fn a_target_is_a_kind_and_a_value() {
        let time = Timestamp::from_micros(1_700_000_000_000_000);
        for (given, target) in [
            ("latest", Target::Latest),
            ("height:512", Target::Height(512)),
            ("index:7", Target::Index(7)),
            ("hash:0xab01", Target::Hash(Hash::new([0xab, 1]).unwrap())),
            ("time:2023-11-14T22:13:20Z", Target::Time(time)),
            ("time:2023-11-14 22:13:20", Target::Time(time)),
            ("mark:before: upgrade", Target::Mark(Label::new("before: upgrade").unwrap())),
        ] {
            assert_eq!(given.parse::<TargetAddress>(), Ok(TargetAddress(target)), "{given}");
        }
    }

    #[test]
    fn what_is_no_target_is_told_what_would_be_one() {
        let refused = |given: &str| given.parse::<TargetAddress>().unwrap_err().to_string();
        assert!(refused("heigth:5").ends_with("did you mean height:5?"));
        assert!(refused("512").contains("use latest, height:N"));
        assert!(refused("height:-1").contains("not a number"));
        assert!(refused("time:yesterday").contains("in UTC"));
        assert!(refused("hash:xyz").contains("cannot be read"));
    }
}
