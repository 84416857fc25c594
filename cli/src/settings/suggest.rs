//! What was probably meant.

/// The candidate that is nearest to what was given, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let likeness =
        |candidate: &str| strsim::jaro_winkler(&given.to_lowercase(), &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_something_else_is_not() {
        let keys = ["store", "source", "name", "max-lag"];
        assert_eq!(nearest("stor", keys), Some("store"));
        assert_eq!(nearest("sorce", keys), Some("source"));
        assert_eq!(nearest("max_lag", keys), Some("max-lag"));
        assert_eq!(nearest("MAX-LAG", keys), Some("max-lag"));
        assert_eq!(nearest("colour", keys), None);
    }
}
