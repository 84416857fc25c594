//! Preflight: is the log really as durable as it was declared to be?

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a log's settings were found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// What was checked and found good, one line each: `storage: file`.
    pub good: Vec<String>,
    /// What falls short of a log that loses nothing.
    pub shortfalls: Vec<Shortfall>,
    /// What makes it drop its oldest entries by itself; empty if only trimming does.
    pub drops: Vec<DropLimit>,
    passed: Vec<&'static str>,
}

/// A setting by which a log drops its oldest entries by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropLimit {
    /// The setting, as it is called there: `max_age`.
    pub setting: &'static str,
    /// When an entry is dropped by it.
    pub after: DropsAfter,
}

/// When an entry is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropsAfter {
    /// When it is so old.
    Age(Duration),
    /// When there are so many newer events.
    Events(u64),
    /// When the log would hold more than `most` of something of which it holds `held` now.
    Share {
        /// How much may be there.
        most: u64,
        /// How much was there at the preflight.
        held: u64,
    },
    /// By a rule of which it is not known when.
    Unknown,
}

/// One way in which a log can lose what it acknowledged. Refuse to start, or continue because
/// someone accepted it explicitly, and show it for as long as it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortfall {
    /// The setting, with the value found: `replicas: 1`.
    pub found: String,
    /// What can be lost by it, and when.
    pub risk: String,
    /// What to do about it.
    pub remedy: String,
    name: &'static str,
}

/// The names of all shortfalls that there are, of every kind of log. They stay.
pub const SHORTFALL_NAMES: [&str; 24] = [
    "async-persist",
    "atomic-publish",
    "compression",
    "deny-delete",
    "discard",
    "file-system",
    "file-system-unknown",
    "journal-mode",
    "max-age",
    "max-bytes",
    "max-msg-size",
    "max-msgs",
    "max-msgs-per-subject",
    "max-payload",
    "memory-storage",
    "receipts-kept",
    "retention",
    "server-version",
    "single-replica",
    "sqlite-version",
    "sync-interval",
    "sync-interval-unknown",
    "synchronous",
    "two-replicas",
];

impl Preflight {
    /// Notes a setting that is as it should be. Its `name` is that of the shortfall that it would be
    /// otherwise: one of [`SHORTFALL_NAMES`]; the first of them if it may be several.
    pub fn good(&mut self, name: &'static str, line: impl Into<String>) {
        self.passed.push(name);
        self.good.push(line.into());
    }

    /// Notes something that is worth a line, and cannot fall short.
    pub fn note(&mut self, line: impl Into<String>) {
        self.good.push(line.into());
    }

    /// The names of what was checked and found good, as often as it was.
    pub fn passed(&self) -> &[&'static str] {
        &self.passed
    }

    /// Notes a shortfall. Its `name` is one of [`SHORTFALL_NAMES`].
    pub fn shortfall(
        &mut self,
        name: &'static str,
        found: impl Into<String>,
        risk: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (found, risk, remedy) = (found.into(), risk.into(), remedy.into());
        self.shortfalls.push(Shortfall { found, risk, remedy, name });
    }

    /// Whether nothing falls short.
    pub fn is_durable(&self) -> bool {
        self.shortfalls.is_empty()
    }
}

impl Shortfall {
    /// What kind of shortfall it is, to accept it by: `single-replica`. One of
    /// [`SHORTFALL_NAMES`].
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.found, self.risk, self.remedy)
    }
}

/// Which shortfalls somebody has accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Accepted {
    /// None.
    #[default]
    Nothing,
    /// All that there are, and those that come later.
    Everything,
    /// Those with these names.
    Named(BTreeSet<String>),
}

/// This is neither yes, nor no, nor names of shortfalls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no shortfall {0:?}; those that there are: {names}", names = SHORTFALL_NAMES.join(", "))]
pub struct UnknownShortfall(pub String);

impl Accepted {
    /// Whether this one was accepted.
    pub fn covers(&self, shortfall: &Shortfall) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Named(names) => names.contains(shortfall.name()),
        }
    }

    /// The names of these, as [`Accepted`] is written.
    pub fn names(shortfalls: &[Shortfall]) -> String {
        let names: BTreeSet<&str> = shortfalls.iter().map(Shortfall::name).collect();
        names.into_iter().collect::<Vec<_>>().join(",")
    }

    /// The names of these besides those that are accepted already, as [`Accepted`] is written.
    pub fn names_with(&self, shortfalls: &[Shortfall]) -> String {
        let mut names: BTreeSet<&str> = shortfalls.iter().map(Shortfall::name).collect();
        if let Self::Named(accepted) = self {
            names.extend(accepted.iter().map(String::as_str));
        }
        names.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Those that were not accepted.
    pub fn open<'a>(&self, shortfalls: &'a [Shortfall]) -> Vec<&'a Shortfall> {
        shortfalls.iter().filter(|shortfall| !self.covers(shortfall)).collect()
    }
}

impl FromStr for Accepted {
    type Err = UnknownShortfall;

    /// Yes or no, or names with commas between.
    fn from_str(text: &str) -> Result<Self, UnknownShortfall> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "y" | "t" => return Ok(Self::Everything),
            "false" | "no" | "off" | "0" | "n" | "f" | "" => return Ok(Self::Nothing),
            _ => {}
        }
        let names = text.split(',').map(|name| match name.trim() {
            name if SHORTFALL_NAMES.contains(&name) => Ok(name.to_owned()),
            name => Err(UnknownShortfall(name.to_owned())),
        });
        names.collect::<Result<_, _>>().map(Self::Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortfalls_are_accepted_by_name() {
        let mut found = Preflight::default();
        found.shortfall("single-replica", "replicas: 1", "a disk takes it", "use three");
        found.shortfall("max-age", "max_age: 1 h", "it is forgotten", "remove it");
        let open = |text: &str| -> Vec<&str> {
            let accepted: Accepted = text.parse().unwrap();
            accepted.open(&found.shortfalls).iter().map(|shortfall| shortfall.name()).collect()
        };
        assert_eq!(open("true"), [""; 0]);
        assert_eq!(open("false"), ["single-replica", "max-age"]);
        assert_eq!(open("single-replica"), ["max-age"]);
        assert_eq!(open("max-age, single-replica"), [""; 0]);
        let with = |text: &str| text.parse::<Accepted>().unwrap().names_with(&found.shortfalls);
        assert_eq!(with("false"), "max-age,single-replica");
        assert_eq!(with("max-age, discard"), "discard,max-age,single-replica");
        let unknown = "single-replicas".parse::<Accepted>().unwrap_err().to_string();
        assert!(unknown.contains("single-replicas") && unknown.contains("max-age"), "{unknown}");
    }

    #[test]
    fn names_are_sorted() {
        assert!(SHORTFALL_NAMES.is_sorted());
    }
}
