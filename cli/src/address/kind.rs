//! The kind before the colon of an address.

use crate::settings::nearest;

/// `kind:rest`, if there is a kind. A letter before the colon is a drive, no kind.
pub(super) fn split(given: &str) -> Option<(&str, &str)> {
    given.split_once(':').filter(|(kind, _)| kind.len() > 1)
}

/// `; did you mean sqlite:replica.db?` if one of the kinds is near.
pub(super) fn did_you_mean(kind: &str, rest: &str, kinds: &[&str]) -> String {
    nearest(kind, kinds.iter().copied())
        .map(|near| format!("; did you mean {near}:{rest}?"))
        .unwrap_or_default()
}
