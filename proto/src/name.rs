//! Names that appear in subjects, file names and settings.

use std::fmt;
use std::str::FromStr;

use crate::limits::{MAX_CHAIN_NAME_BYTES, MAX_NAME_BYTES};

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not usable: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

const NAME_RULE: &str = "use 1 to 32 of the characters a-z, 0-9 and -";

fn check_name(what: &'static str, given: &str) -> Result<(), InvalidName> {
    let ok = (1..=MAX_NAME_BYTES).contains(&given.len())
        && given.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if ok { Ok(()) } else { Err(InvalidName { what, given: given.to_owned(), rule: NAME_RULE }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(given: &str) -> Result<Self, InvalidName> {
                check_name($what, given)?;
                Ok(Self(given.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// Name of a log: 1 to 32 of `a-z`, `0-9` and `-`.
    LogName, "log name"
}

name! {
    /// Name of a consumer, unique in its log: 1 to 32 of `a-z`, `0-9` and `-`.
    ConsumerName, "consumer name"
}

/// Name of a chain: 1 to 64 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChainName(Box<str>);

impl ChainName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainName {
    type Err = InvalidName;
    fn from_str(given: &str) -> Result<Self, InvalidName> {
        let ok = (1..=MAX_CHAIN_NAME_BYTES).contains(&given.len())
            && !given.chars().any(char::is_control);
        if ok {
            return Ok(Self(given.into()));
        }
        let rule = "use 1 to 64 bytes of text without control characters";
        Err(InvalidName { what: "chain name", given: given.to_owned(), rule })
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
