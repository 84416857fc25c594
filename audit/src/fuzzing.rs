//! The decoders of what strangers give, for `fuzz/` alone. A decoder must not panic, and what it reads
//! is written and read again the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::signers::{BadTrust, SignerKey, parse_trust};
use crate::tlog::{
    AddCheckpoint, Certificate, Checkpoint, CosignerKey, CosigningKey, InclusionProof, Policy,
    SigningKey, VerifierKey, check_continues,
};
use crate::tree::Leaf;

/// Any text, read as everything of a verifiable log that has a text form.
///
/// # Panics
/// If a decoder is wrong.
pub fn text(text: &str) {
    stable::<Checkpoint>(text);
    stable::<InclusionProof>(text);
    stable::<AddCheckpoint>(text);
    stable::<VerifierKey>(text);
    stable::<CosignerKey>(text);
    policy(text);
    trust(text);
    signer(text);
    note(text);
    request(text);
    // The first part as a policy, the second as a certificate by it.
    if let Some((policy, certificate)) = text.split_once('\0')
        && let Ok(read) = Certificate::check(certificate, policy)
    {
        assert_eq!(read.to_string(), certificate, "there is one text");
    }
}

/// Any bytes, read as a leaf.
///
/// # Panics
/// If the decoder is wrong.
pub fn leaf(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(leaf.digest.as_bytes(), blake3::hash(bytes).as_bytes());
    }
}

fn stable<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let again: Result<T, _> = value.to_string().parse();
            assert!(again.is_ok_and(|again| again == value), "{value:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn policy(text: &str) {
    match text.parse::<Policy>() {
        Ok(policy) => {
            let names = policy.logs().len() + policy.witnesses().count();
            assert!(names <= text.lines().count(), "a line each");
            assert!(policy.check(text).is_err(), "it is no note");
        }
        Err(error) => assert!((1..=text.split('\n').count()).contains(&error.line), "{error}"),
    }
}

/// As a file of trusted keys.
fn trust(text: &str) {
    match parse_trust("trusted".as_ref(), text) {
        Ok(trust) => assert!(trust.requires_history() || trust.requires_receipts()),
        Err(BadTrust::Line { line, .. }) => assert!((1..=text.lines().count()).contains(&line)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// As the file of a key, which is secret.
fn signer(text: &str) {
    match SignerKey::parse(text) {
        Ok(key) => {
            let again = key.to_text().and_then(|text| SignerKey::parse(&text));
            assert_eq!(again.and_then(|key| key.to_text()), key.to_text());
        }
        Err(error) => {
            let (error, seed) = (error.to_string(), text.lines().next().unwrap_or_default());
            let seed = seed.rsplit('+').next().unwrap_or_default();
            assert!(seed.len() < 40 || !error.contains(seed), "a secret is told");
        }
    }
}

/// As a note, and as the text of one that is signed and cosigned.
fn note(text: &str) {
    let log = SigningKey::from_seed("log", &[1; 32]).ok();
    let witness = CosigningKey::from_seed("w/mirror", &[2; 32]).ok();
    let (Some(log), Some(witness)) = (log, witness) else { return };
    if let Ok(read) = log.verifier().open(text) {
        assert!(text.starts_with(read));
    }
    _ = witness.verifier().find(text);
    let Ok(signed) = log.sign(text) else { return };
    let Ok(line) = witness.cosign(&signed, 7) else { return };
    let both = signed + &line;
    assert_eq!(log.verifier().open(&both).ok(), Some(text));
    assert_eq!(witness.verifier().find(&both).ok().flatten().map(|found| found.seconds), Some(7));
    let policy = format!("log {}\nwitness w {}\nquorum w\n", log.verifier(), witness.verifier());
    if let Ok(issued) = Certificate::issue(&policy, &both) {
        let read = Certificate::check(&issued.to_string(), &policy);
        assert_eq!(read.ok().as_ref(), Some(&issued));
    }
}

fn request(text: &str) {
    if let Ok(request) = text.parse::<AddCheckpoint>()
        && let Ok(new) = request.note.parse::<Checkpoint>()
        && check_continues(None, &request, &new).is_ok()
    {
        assert_eq!(request.old, 0, "nothing was cosigned before");
    }
}
