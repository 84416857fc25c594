//! Bytes per second, as they are typed.

use std::fmt;
use std::str::FromStr;

/// Most bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRate(pub(crate) u64);

/// Text that is no rate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rate: write a number of bytes per second, or as 500KiB, 50MiB, 1GiB")]
pub(crate) struct BadRate(String);

const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FromStr for ByteRate {
    type Err = BadRate;

    fn from_str(given: &str) -> Result<Self, BadRate> {
        let unit = UNITS.iter().find_map(|(name, size)| Some((given.strip_suffix(name)?, *size)));
        let (number, size) = unit.unwrap_or((given, 1));
        let rate = number.trim_end().parse().ok().and_then(|n: u64| n.checked_mul(size));
        rate.filter(|rate| *rate > 0).map(Self).ok_or_else(|| BadRate(given.to_owned()))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteRate;

    #[test]
    fn rates_have_units() {
        for (given, bytes) in [("1000", 1000), ("50MiB", 50 << 20), ("2 GiB", 2 << 30)] {
            assert_eq!(given.parse(), Ok(ByteRate(bytes)));
        }
        for given in ["", "0", "-1", "MiB", "5MB", "99999999999999999999"] {
            assert!(given.parse::<ByteRate>().is_err(), "{given}");
        }
    }
}
