//! A share of what there is, as it is typed.

use std::str::FromStr;

use tipline_backup::Sample;

/// A share of what there is: `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

impl From<Share> for Sample {
    fn from(Share(share): Share) -> Self {
        Sample::Share(share)
    }
}

/// Text that is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a share: write it as 5%")]
pub(crate) struct BadShare(String);

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(given: &str) -> Result<Self, BadShare> {
        let percent = given.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| BadShare(given.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!("5%".parse::<Share>().unwrap(), Share(0.05));
        assert_eq!("0.1 %".parse::<Share>().unwrap(), Share(0.001));
        for wrong in ["5", "105%", "-1%", "%", "half"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
