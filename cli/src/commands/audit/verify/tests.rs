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
    assert!(render(&report).contains("block tip 7, proof tip not known, "), "of what is before");
    let hostile = "a\u{1b}[2J\nverified: all".to_owned();
    let (problems, not_verified) = (vec![hostile.clone()], vec![hostile]);
    let verified = Some((501, 600));
    let wrong = VerifyReport { ok: false, verified, problems, not_verified, ..report };
    assert_eq!(first_line(&wrong), "NOT verified: entries 500 to 900 of dir:backup, 1.0 s");
    let shown = "a\\u001b[2J\\nverified: all\n";
    assert!(render(&wrong).ends_with(&format!("  not verified: {shown}  wrong: {shown}")));
}
