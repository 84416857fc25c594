//! A kind of events, by its name.

use std::str::FromStr;

use tipline_proto::Kind;

/// It.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneKind(pub(super) Kind);

/// No such kind.
#[derive(Debug, thiserror::Error)]
#[error("there is no kind {given:?}: use one of {}", names())]
pub(super) struct NoKind {
    given: String,
}

fn names() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}

impl FromStr for OneKind {
    type Err = NoKind;

    fn from_str(given: &str) -> Result<Self, NoKind> {
        Kind::parse(given).map(Self).ok_or_else(|| NoKind { given: given.to_owned() })
    }
}
