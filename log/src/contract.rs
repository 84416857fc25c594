//! Which version of the contract a log follows, and what it is, as text.

use tipline_proto::subject::{CONTRACT_VERSION, CONTRACT_VERSION_LATE_PROOFS};
use tipline_proto::{Chain, LogIdentity, ProofsFrom};

/// The oldest version that can say what a log of this chain says. Whoever knows only older ones
/// refuses the log.
pub(crate) fn version_of(chain: &Chain) -> &'static str {
    match chain.proofs_from.late() {
        Some(_) => CONTRACT_VERSION_LATE_PROOFS,
        None => CONTRACT_VERSION,
    }
}

/// From which height on proofs are expected, by the version of the contract and what a log of that
/// version says; or what is wrong with the two.
pub(crate) fn proofs_from(version: &str, said: Option<u64>) -> Result<ProofsFrom, String> {
    match (version, said.map(ProofsFrom::new)) {
        (CONTRACT_VERSION, None) => Ok(ProofsFrom::default()),
        (CONTRACT_VERSION_LATE_PROOFS, Some(Ok(from))) if from.late().is_some() => Ok(from),
        (CONTRACT_VERSION | CONTRACT_VERSION_LATE_PROOFS, said) => {
            let said = match said {
                None => "does not say from which block on proofs are expected".to_owned(),
                Some(Ok(from)) => format!("says that proofs are expected from block {from} on"),
                Some(Err(error)) => error.to_string(),
            };
            Err(format!("it follows version {version} of the contract, and {said}: it was altered"))
        }
        _ => Err(format!(
            "it follows version {version} of the contract, this program knows {CONTRACT_VERSION} \
             and {CONTRACT_VERSION_LATE_PROOFS}: use a newer version of Tipline"
        )),
    }
}

/// What a log is, for a person.
pub(crate) fn describe(log: &LogIdentity) -> String {
    let LogIdentity { chain, lineage, .. } = log;
    let mut text = format!("chain {}, genesis {}, lineage {lineage}", chain.name, chain.genesis);
    if let Some(height) = chain.proofs_from.late() {
        text.push_str(&format!(", proofs from block {height} on"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_and_what_it_says_belong_together() {
        assert_eq!(proofs_from("1", None), Ok(ProofsFrom::default()));
        assert_eq!(proofs_from("2", Some(7)), Ok(ProofsFrom::new(7).unwrap()));
        for (version, said, says) in [
            ("1", Some(7), "from block 7 on: it was altered"),
            ("2", None, "does not say from which block on"),
            ("2", Some(1), "from block 1 on: it was altered"),
            ("2", Some(0), "block 0 is the genesis"),
            ("3", Some(7), "knows 1 and 2: use a newer"),
        ] {
            let error = proofs_from(version, said).unwrap_err();
            assert!(error.contains(says), "{version} {said:?}: {error}");
            assert!(error.contains(&format!("version {version}")), "{error}");
        }
    }
}
