//! `archive.json`: the description of an archive, written once.

use serde::{Deserialize, Serialize};
use tipline_proto::{Chain, LogIdentity, ProofsFrom};

use crate::keys::is_recipient;

/// Name of the object.
pub(super) const NAME: &str = "archive.json";
/// Longest that it may be: ten thousand recipients fit.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// The format of an archive.
const FORMAT: u32 = 1;
/// The format of an archive of a chain that says from which height on proofs are expected. A program
/// that does not know it would count wrongly, and refuses it.
const LATE_PROOFS_FORMAT: u32 = 2;
/// The newest format that this version knows.
pub(super) const NEWEST_FORMAT: u32 = LATE_PROOFS_FORMAT;

/// The content of `archive.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    log: String,
    chain: String,
    genesis: String,
    lineage: String,
    /// From which height on proofs are expected, in that format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proofs_from: Option<u64>,
    /// The recipients of segments; empty if they are not encrypted. Without it nobody knows.
    recipients: Vec<String>,
}

/// Only the format, so that a newer version is distinguished from damage.
#[derive(Debug, Deserialize)]
struct Version {
    format: u32,
}

/// Why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It has this newer format.
    Newer(u32),
    /// It is damaged.
    Corrupt(String),
}

pub(super) fn put(log: &LogIdentity, recipients: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    let late = log.chain.proofs_from.late();
    let mut bytes = serde_json::to_vec_pretty(&Document {
        format: if late.is_some() { LATE_PROOFS_FORMAT } else { FORMAT },
        log: log.name.to_string(),
        chain: log.chain.name.as_str().to_owned(),
        genesis: log.chain.genesis.to_string(),
        lineage: log.lineage.to_string(),
        proofs_from: late,
        recipients: recipients.to_vec(),
    })?;
    bytes.push(b'\n');
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!("{NAME} would have {} bytes: give fewer recipients", bytes.len());
        return Err(serde::ser::Error::custom(why));
    }
    Ok(bytes)
}

/// The log and the recipients.
pub(super) fn take(bytes: &[u8]) -> Result<(LogIdentity, Vec<String>), Unreadable> {
    let corrupt = |e: &dyn std::error::Error| Unreadable::Corrupt(e.to_string());
    let version: Version = serde_json::from_slice(bytes).map_err(|e| corrupt(&e))?;
    if version.format > NEWEST_FORMAT {
        return Err(Unreadable::Newer(version.format));
    }
    if version.format < FORMAT {
        return Err(Unreadable::Corrupt(format!("it has format {}", version.format)));
    }
    let found: Document = serde_json::from_slice(bytes).map_err(|e| corrupt(&e))?;
    if !found.recipients.iter().all(|given| is_recipient(given)) {
        return Err(Unreadable::Corrupt("one of its recipients is no age public key".to_owned()));
    }
    if found.proofs_from.is_some() != (found.format == LATE_PROOFS_FORMAT) {
        let (format, height) = (found.format, found.proofs_from);
        let what = format!("its format {format} does not go with proofs_from {height:?}");
        return Err(Unreadable::Corrupt(what));
    }
    let proofs_from = found.proofs_from.map(ProofsFrom::new).transpose();
    let log = LogIdentity {
        name: found.log.parse().map_err(|e| corrupt(&e))?,
        chain: Chain {
            name: found.chain.parse().map_err(|e| corrupt(&e))?,
            genesis: found.genesis.parse().map_err(|e| corrupt(&e))?,
            proofs_from: proofs_from.map_err(|e| corrupt(&e))?.unwrap_or_default(),
        },
        lineage: found.lineage.parse().map_err(|e| corrupt(&e))?,
    };
    Ok((log, found.recipients))
}

#[cfg(test)]
mod tests {
    use tipline_store::conformance::history::log;

    use super::{Unreadable, put, take};

    #[test]
    fn what_it_does_not_say_is_not_guessed() {
        let whole = String::from_utf8(put(&log(), &[]).unwrap()).unwrap();
        assert_eq!(take(whole.as_bytes()), Ok((log(), Vec::new())));
        for (from, to) in [
            ("\"format\": 1", "\"format\": 0"),
            ("\"recipients\"", "\"recipient\""),
            (",\n  \"recipients\": []", ""),
            ("\"recipients\": []", "\"recipients\": [], \"recipients\": [\"age1\"]"),
            ("\"recipients\": []", "\"recipients\": [\"age1qq\"]"),
            ("\"recipients\": []", "\"recipients\": [], \"expires\": 1"),
            ("\"chain\"", "\"Chain\""),
        ] {
            let changed = whole.replace(from, to);
            assert_ne!(changed, whole, "{from}");
            let read = take(changed.as_bytes());
            assert!(matches!(read, Err(Unreadable::Corrupt(_))), "{changed}: {read:?}");
        }
        let newer = whole.replace("\"format\": 1", "\"format\": 3");
        assert_eq!(take(newer.as_bytes()), Err(Unreadable::Newer(3)));
    }
}
