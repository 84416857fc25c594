//! Cosignatures, policies and certificates.

use crate::tlog::{
    BadCertificate, BadNote, Certificate, Checkpoint, CosignerKey, CosigningKey, NotAccepted,
    Policy, SigningKey, TreeHash, VerifierKey,
};

/// The text of the example of c2sp.org/tlog-cosignature.
const TEXT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
/// What aics-tlog 0.2.1, of PyPI, cosigns of it with a seed of 32 fives.
const THEIRS: &str = "\u{2014} witness.example.net/w1 8R2H1QAAAABm/qTP0lxE4LU6vYX3t8V8LlrWeU5KVOYcduJgZRHavx17iZZqvlssSpUDbNEJ95Ph1IoyxQW0u5NA0rPcNIackATwAw==\n";
const AT: u64 = 1_727_964_367;
/// The key of a witness that others run, from the tests of transparency-dev/formats.
const REMORA: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

fn cosigner(name: &str, seed: u8) -> CosigningKey {
    CosigningKey::from_seed(name, &[seed; 32]).unwrap()
}

fn log() -> SigningKey {
    SigningKey::from_seed("example.com/behind-the-sofa", &[1; 32]).unwrap()
}

/// Signed by the log, and cosigned by these.
fn cosigned(by: &[&CosigningKey]) -> String {
    let note = log().sign(TEXT).unwrap();
    by.iter().fold(note.clone(), |text, key| text + &key.cosign(&note, AT).unwrap())
}

#[test]
fn cosignatures_of_others_are_accepted_and_ours_are_theirs() {
    let key = cosigner("witness.example.net/w1", 5);
    let note = log().sign(TEXT).unwrap();
    assert_eq!(key.cosign(&note, AT).unwrap(), THEIRS, "Ed25519 has one signature of a text");
    let found = key.verifier().find(&(note + THEIRS)).unwrap().unwrap();
    assert_eq!((found.seconds, found.line.as_str()), (AT, THEIRS));
    let remora: CosignerKey = REMORA.parse().unwrap();
    assert_eq!((remora.name(), remora.to_string().as_str()), ("remora.n621.de", REMORA));
}

/// By a reader of notes that others wrote: the line is one, under the ID of the key, and the log's own
/// signature is right beside it.
#[test]
fn a_cosigned_checkpoint_is_a_note_for_signed_note() {
    use signed_note::{Note, StandardVerifier, VerifierList};

    let key = cosigner("witness.example.net/w1", 5);
    let note = cosigned(&[&key]);
    let theirs = Note::from_bytes(note.as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&log().verifier().to_string()).unwrap();
    let verifiers = VerifierList::new(vec![Box::new(verifier)]);
    let (verified, unverified) = theirs.verify(&verifiers).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 1));
    assert_eq!(unverified[0].name(), "witness.example.net/w1");
    // The type of the key is in its ID.
    let id =
        signed_note::key_id(unverified[0].name(), &[&[4], &key.verifier().bytes()[..]].concat());
    assert_eq!(unverified[0].id(), id);
    assert_eq!(unverified[0].signature()[..8], AT.to_be_bytes());
    assert_eq!(unverified[0].signature().len(), 72);
    // And what they make of it is read here.
    let again = String::from_utf8(theirs.to_bytes()).unwrap();
    assert_eq!(key.verifier().find(&again).unwrap().unwrap().seconds, AT);
}

#[test]
fn no_changed_byte_of_a_cosigned_checkpoint_passes() {
    let key = cosigner("witness.example.net/w1", 5);
    let note = cosigned(&[&key]);
    let is_right = |note: &str| {
        log().verifier().open(note).is_ok() && matches!(key.verifier().find(note), Ok(Some(_)))
    };
    assert!(is_right(&note));
    for at in 0..note.len() {
        for flip in [1, 2, 16, 32] {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= flip;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(!is_right(&changed), "byte {at} ^ {flip}: {changed}");
        }
    }
}

#[test]
fn the_newest_cosignature_of_a_key_counts_and_a_wrong_one_is_not_passed_over() {
    let key = cosigner("witness.example.net/w1", 5);
    let note = log().sign(TEXT).unwrap();
    assert_eq!(key.verifier().find(&note).unwrap(), None);
    let lines = key.cosign(&note, AT + 7).unwrap() + &key.cosign(&note, AT).unwrap();
    let found = key.verifier().find(&(note.clone() + &lines)).unwrap().unwrap();
    assert_eq!(found.seconds, AT + 7);
    // Of another text.
    let other = log().sign("example.com/behind-the-sofa\n1\n\n").unwrap();
    let wrong = note.clone() + &key.cosign(&other, AT).unwrap();
    assert!(matches!(key.verifier().find(&wrong), Err(BadNote::WrongSignature { .. })));
    // Beyond what the specification allows.
    let late = note.clone() + &key.cosign(&note, u64::MAX).unwrap();
    assert!(matches!(key.verifier().find(&late), Err(BadNote::WrongSignature { .. })));
    // The same name and seed, as a log: another type, so another ID.
    let same = SigningKey::from_seed("witness.example.net/w1", &[5; 32]).unwrap();
    assert!(matches!(same.verifier().open(&cosigned(&[&key])), Err(BadNote::Unsigned { .. })));
}

#[test]
fn keys_that_cosign_are_no_keys_of_logs_nor_the_other_way_round() {
    let key = cosigner("witness.example.net/w1", 5);
    let secret = key.to_secret();
    assert_eq!(secret.parse::<CosigningKey>().unwrap().to_secret(), secret);
    assert!(!format!("{key:?}").contains(&secret[secret.len() - 10..]));
    assert!(secret.parse::<SigningKey>().is_err());
    assert!(log().to_secret().parse::<CosigningKey>().is_err());
    assert!(key.verifier().to_string().parse::<VerifierKey>().is_err());
    assert!(log().verifier().to_string().parse::<CosignerKey>().is_err());
    assert!(!key.verifier().is_mirror());
    assert!(cosigner("b.example/mirror", 6).verifier().is_mirror());
    for name in ["", "a b", "a+b"] {
        assert!(CosigningKey::from_seed(name, &[1; 32]).is_err());
    }
    assert!(!cosigner("/mirror", 6).verifier().is_mirror(), "it is nobody's");
}

/// Two mirrors, of whom one is enough, and a witness.
fn policy() -> (String, [CosigningKey; 3]) {
    let keys = [
        cosigner("a.example/mirror", 2),
        cosigner("b.example/mirror", 3),
        cosigner("w.example", 4),
    ];
    let [a, b, w] = keys.each_ref().map(|key| key.verifier().to_string());
    let log = log().verifier();
    let text = format!(
        "# Who must have it.\n\nlog {log}\nwitness a {a}\n\twitness b {b}  https://b.example/ \n\
         witness w {w}\ngroup mirrors any a b\ngroup all all mirrors w\nquorum all\n"
    );
    (text, keys)
}

/// A log whose key was replaced has two of one name.
#[test]
fn a_policy_takes_any_key_that_it_names_for_a_log() {
    let other = SigningKey::from_seed("example.com/behind-the-sofa", &[2; 32]).unwrap();
    let keys = [log().verifier(), other.verifier()];
    for order in [[0, 1], [1, 0]] {
        let [one, two] = order.map(|number| &keys[number]);
        let policy: Policy = format!("log {one}\nlog {two}\nquorum none\n").parse().unwrap();
        for key in [&log(), &other] {
            policy.check(&key.sign(TEXT).unwrap()).unwrap();
        }
        let stranger = SigningKey::from_seed("example.com/behind-the-sofa", &[3; 32]).unwrap();
        let unsigned = policy.check(&stranger.sign(TEXT).unwrap());
        assert!(matches!(unsigned, Err(NotAccepted::Note(BadNote::Unsigned { .. }))));
        // What passes for the signature of one of them is not made good by the other's.
        let (true_one, of_another) = (log().sign(TEXT).unwrap(), other.sign("x\n").unwrap());
        let forged = true_one + of_another.rsplit_once("\n\n").unwrap().1;
        let wrong = policy.check(&forged);
        assert!(
            matches!(wrong, Err(NotAccepted::Note(BadNote::WrongSignature { .. }))),
            "{wrong:?}"
        );
    }
}

/// One honest witness more must keep nothing from being accepted.
#[test]
fn as_many_witnesses_as_a_policy_may_name_can_cosign() {
    let keys: Vec<_> = (0..256_u32)
        .map(|number| {
            let mut seed = [7; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            CosigningKey::from_seed(&format!("w{number}.example.net"), &seed).unwrap()
        })
        .collect();
    let lines = keys.iter().enumerate();
    let lines: String =
        lines.map(|(n, key)| format!("witness w{n} {}\n", key.verifier())).collect();
    let members: String = (0..keys.len()).map(|number| format!(" w{number}")).collect();
    let text = format!("log {}\n{lines}group most 200{members}\nquorum most\n", log().verifier());
    let policy: Policy = text.parse().unwrap();
    let accepted = policy.check(&cosigned(&keys.iter().collect::<Vec<_>>())).unwrap();
    assert_eq!(accepted.cosigned.len(), 256);
    assert!(policy.check(&accepted.note).is_ok(), "what is published is accepted again");
    assert!(policy.check(&cosigned(&keys[..199].iter().collect::<Vec<_>>())).is_err());
}

#[test]
fn a_policy_accepts_a_quorum_and_nothing_less() {
    let (text, [a, b, w]) = policy();
    let policy: Policy = text.parse().unwrap();
    let check = |by: &[&CosigningKey]| policy.check(&cosigned(by));
    let missing = |by: &[&CosigningKey]| match check(by) {
        Err(NotAccepted::NoQuorum { missing }) => missing,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(missing(&[]), "a, b, w");
    assert_eq!(missing(&[&a, &b]), "w");
    assert_eq!(missing(&[&w]), "a, b");
    let stranger = cosigner("x.example/mirror", 9);
    assert_eq!(missing(&[&w, &stranger]), "a, b");
    // Somebody else under a name of the policy.
    assert_eq!(missing(&[&w, &cosigner("a.example/mirror", 9)]), "a, b");
    let accepted = check(&[&stranger, &w, &b]).unwrap();
    // In the order of the policy, without the stranger.
    assert_eq!(accepted.note, cosigned(&[&b, &w]));
    let names: Vec<_> = accepted.cosigned.iter().map(|by| by.name.as_str()).collect();
    assert_eq!(names, ["b", "w"]);
    assert_eq!(accepted.checkpoint, TEXT.parse::<Checkpoint>().unwrap());
    // A wrong one is not passed over, though there are enough.
    let wrong = cosigned(&[&a, &w]) + &b.cosign(&log().sign("x\n").unwrap(), AT).unwrap();
    assert!(matches!(policy.check(&wrong), Err(NotAccepted::Note(BadNote::WrongSignature { .. }))));
    // Another log, and one of the same name with another key.
    let other = SigningKey::from_seed("example.com/other", &[1; 32]).unwrap();
    let other = other.sign(&TEXT.replace("behind-the-sofa", "other")).unwrap();
    assert!(matches!(policy.check(&other), Err(NotAccepted::UnknownLog { .. })));
    let thief = SigningKey::from_seed("example.com/behind-the-sofa", &[8; 32]).unwrap();
    let thief = thief.sign(TEXT).unwrap();
    assert!(matches!(policy.check(&thief), Err(NotAccepted::Note(BadNote::Unsigned { .. }))));
    // Nobody need cosign; and the log is known from elsewhere.
    let none: Policy = "quorum none\n".parse().unwrap();
    assert!(matches!(none.check(&cosigned(&[])), Err(NotAccepted::UnknownLog { .. })));
    none.or_log(&log().verifier()).check(&cosigned(&[])).unwrap();
}

#[test]
fn texts_that_are_no_policies_are_refused_by_line() {
    let (a, b) = (cosigner("a", 2).verifier(), cosigner("b", 3).verifier());
    let log = log().verifier();
    let cases = [
        (String::new(), 1),
        ("quorum a\n".to_owned(), 1),
        ("quorum none\nquorum none\n".to_owned(), 2),
        (format!("witness none {a}\nquorum none\n"), 1),
        (format!("witness a {a}\nwitness a {b}\nquorum a\n"), 2),
        (format!("witness a {a}\nwitness b {a}\nquorum a\n"), 2),
        (format!("witness a {log}\nquorum a\n"), 1),
        (format!("log {a}\nquorum none\n"), 1),
        (format!("log {log}\nlog {log}\nquorum none\n"), 2),
        (format!("witness a {a}\ngroup g 2 a\nquorum g\n"), 2),
        (format!("witness a {a}\ngroup g 0 a\nquorum g\n"), 2),
        (format!("witness a {a}\ngroup g 01 a\nquorum g\n"), 2),
        (format!("witness a {a}\ngroup g any a a\nquorum g\n"), 2),
        (format!("witness a {a}\ngroup g any a\ngroup h any a\nquorum g\n"), 3),
        (format!("witness a {a}\ngroup g any h\ngroup h any a\nquorum g\n"), 2),
        (format!("witness a {a}\ngroup g any\nquorum a\n"), 2),
        (format!("witness a {a}\nquorum a b\n"), 2),
        ("quorum none\nwhatever\n".to_owned(), 2),
        ("quorum none\r\n".to_owned(), 1),
        (format!("witness a {a} https://a.example/ more\nquorum a\n"), 1),
    ];
    for (text, line) in cases {
        let error = text.parse::<Policy>().unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
    }
    // As many as the specification asks for.
    let keys = (0..32).map(|seed| cosigner(&format!("w{seed}"), seed + 10).verifier());
    let mut text: String =
        keys.enumerate().map(|(at, key)| format!("witness w{at} {key}\n")).collect();
    for at in 0..32 {
        text += &format!("group g{at} any w{at}\n");
    }
    let all: Vec<String> = (0..32).map(|at| format!("g{at}")).collect();
    text += &format!("group all 31 {}\nquorum all\n", all.join(" "));
    assert_eq!(text.parse::<Policy>().unwrap().witnesses().count(), 32);
}

#[test]
fn no_changed_byte_of_a_certificate_passes() {
    let (policy, [a, b, w]) = policy();
    let certificate = Certificate::issue(&policy, &cosigned(&[&w, &a])).unwrap();
    let text = certificate.to_string();
    let checked = Certificate::check(&text, &policy).unwrap();
    assert_eq!(checked, certificate);
    assert_eq!(checked.checkpoint().size, 20_852_163);
    let durable: Vec<_> = checked.durable().map(|by| (by.name.as_str(), by.time())).collect();
    assert_eq!(durable, [("a", "2024-10-03T14:06:07Z".to_owned())]);
    assert_eq!(checked.seen().map(|by| by.name.as_str()).collect::<Vec<_>>(), ["w"]);
    assert!(
        text.contains("\nentries 1 to 20852163\ndurable a 2024-10-03T14:06:07Z\nseen w "),
        "{text}"
    );
    // The parts of it are what others read.
    assert!(text.contains(&policy) && text.ends_with(&cosigned(&[&a, &w])));
    for at in 0..text.len() {
        for flip in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << flip;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let checked = Certificate::check(&changed, &policy);
            assert!(checked.is_err(), "byte {at} ^ {}: {changed}", 1 << flip);
        }
        let mut bytes = text.clone().into_bytes();
        bytes.remove(at);
        let shorter = String::from_utf8(bytes);
        assert!(
            shorter.is_err() || Certificate::check(&shorter.unwrap(), &policy).is_err(),
            "{at}"
        );
        if text.is_char_boundary(at) {
            assert!(Certificate::check(&text[..at], &policy).is_err(), "cut at {at}");
            for more in ["\n", " ", "x"] {
                let longer = format!("{}{more}{}", &text[..at], &text[at..]);
                assert!(Certificate::check(&longer, &policy).is_err(), "{more:?} at {at}");
            }
        }
    }
    assert!(Certificate::check(&format!("{text}\n"), &policy).is_err());
    // Another line of somebody whom the policy does not name.
    let more = text.clone() + &cosigner("x", 9).cosign(&cosigned(&[]), AT).unwrap();
    assert_eq!(Certificate::check(&more, &policy), Err(BadCertificate::Changed));
    // By another policy, though it asks for less.
    let less = policy.replace("quorum all", "quorum a");
    assert_eq!(Certificate::check(&text, &less), Err(BadCertificate::OtherPolicy));
    // Nobody who cosigned holds anything.
    let seen = policy.replace("quorum all", "quorum w");
    assert_eq!(Certificate::issue(&seen, &cosigned(&[&w])), Err(BadCertificate::NotHeld));
    let few = Certificate::issue(&policy, &cosigned(&[&a, &b])).unwrap_err();
    assert!(matches!(few, BadCertificate::NotAccepted(NotAccepted::NoQuorum { .. })), "{few:?}");
}

/// A root, for tests.
pub(super) fn checkpoint(size: u64, root: TreeHash) -> Checkpoint {
    Checkpoint { origin: log().verifier().name().to_owned(), size, root }
}
