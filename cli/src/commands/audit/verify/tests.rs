//! What the first line says.

use std::collections::BTreeMap;

use tipline_audit::VerifyReport;

use super::render;

#[test]
fn what_was_taken_on_trust_is_not_called_verified() {
    let report = VerifyReport {
        place: "dir:backup".to_owned(),
        chain: "mychain".to_owned(),
        lineage: "00".repeat(16),
        ok: true,
        asked: (500, 900),
        verified: Some((501, 900)),
        digest: Some("11".repeat(32)),
        trusted: Some(500),
        epoch: 1,
        block_tip: Some(7),
        proof_tip: None,
        kinds: BTreeMap::new(),
        bytes: 0,
        claims: 0,
        signed: None,
        problems: Vec::new(),
        not_verified: Vec::new(),
        seconds: 1.0,
    };
    let first_line = |report: &VerifyReport| render(report).lines().next().unwrap().to_owned();
    assert_eq!(first_line(&report), "verified: entries 501 to 900 of dir:backup, 1.0 s");
    let wrong = VerifyReport { ok: false, verified: Some((501, 600)), ..report };
    assert_eq!(first_line(&wrong), "NOT verified: entries 500 to 900 of dir:backup, 1.0 s");
}
