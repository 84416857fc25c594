//! Addresses as they are typed: of a log, of a store, of a source of blocks.

mod log;
mod source;
mod store;
mod target;

pub(crate) use log::{BadLog, LogAddress, NatsAddress};
pub(crate) use source::Source;
pub(crate) use store::{Medium, StoreAddress};
pub(crate) use target::TargetAddress;

/// `kind:rest`, if there is a kind. A letter before the colon is a drive, no kind.
fn split(given: &str) -> Option<(&str, &str)> {
    given.split_once(':').filter(|(kind, _)| kind.len() > 1)
}

/// `; did you mean sqlite:replica.db?` if one of the kinds is near.
fn did_you_mean(kind: &str, rest: &str, kinds: &[&str]) -> String {
    crate::settings::nearest(kind, kinds.iter().copied())
        .map(|near| format!("; did you mean {near}:{rest}?"))
        .unwrap_or_default()
}
