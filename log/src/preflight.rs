//! Preflight: is the log really as durable as it was declared to be?

use std::fmt;

/// What a log's settings were found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// What was checked and found good, one line each: `storage: file`.
    pub good: Vec<String>,
    /// What falls short of a log that loses nothing.
    pub shortfalls: Vec<Shortfall>,
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
}

impl Preflight {
    /// Notes a setting that is as it should be.
    pub fn good(&mut self, line: impl Into<String>) {
        self.good.push(line.into());
    }

    /// Notes a shortfall.
    pub fn shortfall(
        &mut self,
        found: impl Into<String>,
        risk: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (found, risk, remedy) = (found.into(), risk.into(), remedy.into());
        self.shortfalls.push(Shortfall { found, risk, remedy });
    }

    /// Whether nothing falls short.
    pub fn is_durable(&self) -> bool {
        self.shortfalls.is_empty()
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.found, self.risk, self.remedy)
    }
}
