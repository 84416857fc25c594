//! Notes and checkpoints as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::tlog::{BadNote, Checkpoint, SigningKey, VerifierKey};

/// The example of c2sp.org/signed-note.
const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn the_example_of_the_specification_is_verified_and_no_other_text() {
    let key: VerifierKey = KEY.parse().unwrap();
    assert_eq!(key.to_string(), KEY);
    assert_eq!(key.open(NOTE).unwrap(), "This is an example message.\n");
    for at in 0..NOTE.len() {
        let mut bytes = NOTE.as_bytes().to_vec();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            assert!(key.open(&changed).is_err(), "byte {at}: {changed}");
        }
    }
}

#[test]
fn signatures_of_others_are_passed_over_and_a_wrong_one_is_not() {
    let key: VerifierKey = KEY.parse().unwrap();
    let stranger = SigningKey::from_seed("example.com/bar", &[3; 32]).unwrap();
    let theirs = stranger.sign("This is an example message.\n").unwrap();
    let line = theirs.lines().last().unwrap();
    let both = format!("{NOTE}{line}\n");
    assert!(key.open(&both).is_ok() && stranger.verifier().open(&both).is_ok());
    let alone = key.open(&theirs);
    assert_eq!(alone, Err(BadNote::Unsigned { name: "example.com/foo".into() }));
    // Of the same name, under another key.
    let same = SigningKey::from_seed("example.com/foo", &[3; 32]).unwrap();
    let same = same.sign("This is an example message.\n").unwrap();
    assert!(matches!(key.open(&same), Err(BadNote::Unsigned { .. })));
    let wrong = NOTE.replace("message", "massage");
    assert!(matches!(key.open(&wrong), Err(BadNote::WrongSignature { .. })));
    // A right one does not make up for a wrong one.
    let twice = format!("{NOTE}{}\n", NOTE.lines().last().unwrap().replace("aQM=", "aQI="));
    assert!(key.open(&twice).is_err(), "{twice}");
}

#[test]
fn what_is_malformed_is_refused() {
    let key: VerifierKey = KEY.parse().unwrap();
    let many = NOTE.lines().last().unwrap().to_owned() + "\n";
    let large = NOTE.replacen("This", &"x".repeat(300_000), 1);
    let notes = [
        "",
        "\n",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n\u{2014} \n",
        "text\n\n- a YWFhYWE=\n",
        "text\n\n\u{2014} a b YWFhYWE=\n",
        "a\tb\n\n\u{2014} a YWFhYWE=\n",
        NOTE.trim_end(),
        &large,
        &(NOTE.to_owned() + &many.repeat(512)),
    ];
    for note in notes {
        assert!(key.open(note).is_err(), "{:?}", &note[..note.len().min(200)]);
    }
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb"] {
        assert!(matches!(SigningKey::from_seed(name, &[1; 32]), Err(BadNote::Name(_))), "{name:?}");
    }
    let signer = SigningKey::from_seed("a", &[1; 32]).unwrap();
    assert!(signer.sign("no newline").is_err() && signer.sign("tab\t\n").is_err());
    let keys = [
        "",
        "a",
        "a+b",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+Aukyeg==",
    ];
    keys.iter().for_each(|key| assert!(key.parse::<VerifierKey>().is_err(), "{key}"));
}

#[test]
fn a_signing_key_is_never_repeated_and_one_that_was_changed_is_refused() {
    let key = SigningKey::from_seed("example.com/foo", &[3; 32]).unwrap();
    let secret = key.to_secret();
    assert_eq!(secret.parse::<SigningKey>().unwrap().to_secret(), secret);
    assert!(!format!("{key:?}").contains(&secret[secret.len() - 10..]));
    for at in 0..secret.len() {
        let mut bytes = secret.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        let error = changed.parse::<SigningKey>().unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains(&changed[40..50]), "byte {at}: {said}");
    }
    for bad in ["", "PRIVATE+KEY+", "PRIVATE+KEY+a+b", "PRIVATE+KEY+a+00000000+AQ=="] {
        assert!(matches!(bad.parse::<SigningKey>(), Err(BadNote::Secret(_))), "{bad:?}");
    }
}

#[test]
fn a_checkpoint_is_three_lines() {
    let root = "sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=";
    let text = format!("example.com/fancylog\n109482\n{root}\n");
    let checkpoint: Checkpoint = text.parse().unwrap();
    assert_eq!((&*checkpoint.origin, checkpoint.size), ("example.com/fancylog", 109_482));
    assert_eq!(checkpoint.to_string(), text);
    assert!(format!("{text}extension\n").parse::<Checkpoint>().is_ok());
    let wrong = [
        text.trim_end().to_owned(),
        format!("\n109482\n{root}\n"),
        format!("log\n0109482\n{root}\n"),
        format!("log\n+109482\n{root}\n"),
        format!("log\n109482\n{}\n", &root[1..]),
        format!("log\n109482\n\n{root}\n"),
        format!("{text}\nextension\n"),
        "log\n109482\n".to_owned(),
    ];
    wrong.iter().for_each(|text| assert!(text.parse::<Checkpoint>().is_err(), "{text:?}"));
}

/// The specification asks for 16. Those of schemes that a quantum computer does not break have 8 KiB.
#[test]
fn large_signatures_of_others_are_passed_over() {
    let key: VerifierKey = KEY.parse().unwrap();
    let large = STANDARD.encode([7; 8 << 10]);
    let lines: String = (0..15).map(|at| format!("\u{2014} witness-{at} {large}\n")).collect();
    assert_eq!(key.open(&format!("{NOTE}{lines}")).unwrap(), "This is an example message.\n");
}
