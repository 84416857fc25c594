//! Names, hex, subjects: their text forms.

use std::collections::HashSet;

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{arbitrary, examples};
use crate::subject::{self, Part, Subject};
use crate::{ChainName, ConsumerName, Digest, Hash, Key, Kind, Label, Lineage, LogName};

proptest! {
    #[test]
    fn subjects_come_back(
        log in arbitrary::log_name(),
        consumer in arbitrary::consumer_name(),
        kind in 0..Kind::ALL.len(),
    ) {
        let kind = Kind::ALL[kind];
        let all = [
            (Subject::Event(log.clone(), kind), format!("tipline.{log}.event.{}", kind.as_str())),
            (Subject::Receipt(log.clone(), consumer.clone()), format!("tipline.{log}.receipt.{consumer}")),
            (Subject::Primary(log.clone()), format!("tipline.{log}.primary")),
            (Subject::Claim(log.clone()), format!("tipline.{log}.claim")),
        ];
        for (subject, text) in all {
            prop_assert_eq!(&subject.to_string(), &text);
            prop_assert_eq!(text.parse::<Subject>().unwrap(), subject);
            prop_assert!((text.clone() + ".x").parse::<Subject>().is_err());
            prop_assert!(text.to_uppercase().parse::<Subject>().is_err());
        }
    }

    #[test]
    fn parts_come_back(of in 1..=u32::MAX, number in 1..=u32::MAX) {
        let number = (number - 1) % of + 1;
        let part = Part::new(number, of).unwrap();
        prop_assert_eq!(part.to_string(), format!("{number}/{of}"));
        prop_assert_eq!(part.to_string().parse::<Part>().unwrap(), part);
        prop_assert_eq!((part.number(), part.of(), part.is_last()), (number, of, number == of));
        for other in [format!("0{part}"), format!("+{part}"), format!("{part} ")] {
            prop_assert!(other.parse::<Part>().is_err());
        }
    }

    #[test]
    fn hex_comes_back(
        hash in arbitrary::hash(),
        key in arbitrary::key(),
        id in arbitrary::transaction_id(),
        digest in arbitrary::digest(),
        lineage in arbitrary::lineage(),
    ) {
        prop_assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash.clone());
        prop_assert_eq!(hash.to_string().to_uppercase().parse::<Hash>().unwrap(), hash);
        prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        prop_assert_eq!(id.to_string().parse::<crate::TransactionId>().unwrap(), id);
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        prop_assert_eq!(lineage.to_string().parse::<Lineage>().unwrap(), lineage);
        prop_assert_eq!(format!("{digest:#}"), &digest.to_string()[..8]);
    }

    #[test]
    fn names_come_back(
        log in arbitrary::log_name(),
        consumer in arbitrary::consumer_name(),
        chain in arbitrary::chain_name(),
        label in arbitrary::label(),
    ) {
        prop_assert_eq!(log.to_string().parse::<LogName>().unwrap(), log);
        prop_assert_eq!(consumer.to_string().parse::<ConsumerName>().unwrap(), consumer);
        prop_assert_eq!(chain.to_string().parse::<ChainName>().unwrap(), chain);
        prop_assert_eq!(label.to_string().parse::<Label>().unwrap(), label);
    }
}

#[test]
fn names_on_the_broker_stay_what_they_are() {
    let log: LogName = "main".parse().unwrap();
    let names = [
        Subject::Event(log.clone(), Kind::BlockCommitted).to_string(),
        Subject::Receipt(log.clone(), "backup-1".parse().unwrap()).to_string(),
        Subject::Primary(log.clone()).to_string(),
        Subject::Claim(log.clone()).to_string(),
        Subject::events(&log),
        Subject::receipts(&log),
        subject::events_stream(&log),
        subject::receipts_stream(&log),
    ];
    let persisted = [
        "tipline.main.event.block_committed",
        "tipline.main.receipt.backup-1",
        "tipline.main.primary",
        "tipline.main.claim",
        "tipline.main.event.*",
        "tipline.main.receipt.*",
        "tipline-main-events",
        "tipline-main-receipts",
    ];
    assert_eq!(names, persisted, "persisted: keep stable");
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let names: HashSet<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::parse("Marked"), None);
    let shown: HashSet<Kind> = examples::events().iter().map(|(_, event)| event.kind()).collect();
    assert_eq!(shown.len(), Kind::ALL.len(), "an example of every kind");
}

#[test]
fn a_position_shows_its_index_and_the_beginning_of_its_digest() {
    let digest = Digest::from_bytes([0x9f; 32]);
    assert_eq!(crate::Position { index: 1234, digest }.to_string(), "1234@9f9f9f9f");
}

#[test]
fn names_are_made_of_letters_digits_and_hyphens_only() {
    for c in (0..=0x17f).filter_map(char::from_u32) {
        let usable = matches!(c, 'a'..='z' | '0'..='9' | '-');
        for name in [format!("{c}"), format!("x{c}y")] {
            assert_eq!(name.parse::<LogName>().is_ok(), usable, "{name:?}");
            assert_eq!(name.parse::<ConsumerName>().is_ok(), usable, "{name:?}");
            let text = !c.is_control();
            assert_eq!(name.parse::<ChainName>().is_ok(), text, "{name:?}");
            assert_eq!(name.parse::<Label>().is_ok(), text, "{name:?}");
        }
    }
}

#[test]
fn errors_say_what_would_fit() {
    let error = |text: &str| text.parse::<LogName>().unwrap_err().to_string();
    let rule = "use 1 to 32 of the characters a-z, 0-9 and -";
    for bad in ["", "Main", "a.b", "a b", "ü", &"x".repeat(33)] {
        assert_eq!(error(bad), format!("log name {bad:?} is not usable: {rule}"));
    }
    assert_eq!("-".parse::<ConsumerName>().unwrap().as_str(), "-");
    assert_eq!(
        "a\nb".parse::<ChainName>().unwrap_err().to_string(),
        r#"chain name "a\nb" is not usable: use 1 to 64 bytes of text without control characters"#
    );
    assert_eq!(
        "".parse::<Label>().unwrap_err().to_string(),
        r#""" is not usable as a name: give 1 to 256 bytes of text without control characters"#
    );
    assert!(Label::new(&"é".repeat(128)).is_ok());
    assert!(Label::new(&"é".repeat(129)).is_err(), "bytes, not characters");
    assert_eq!(
        "abc".parse::<Hash>().unwrap_err().to_string(),
        r#""abc" is not a hash in hex: give an even number of the digits 0-9 and a-f"#
    );
    assert_eq!(
        "".parse::<Hash>().unwrap_err().to_string(),
        "a hash of 0 bytes; it must have 1 to 64"
    );
    assert_eq!(
        Key::new([0; 257]).unwrap_err().to_string(),
        "a key of 257 bytes; it must have 1 to 256"
    );
    assert_eq!(
        "tipline.main.events".parse::<Subject>().unwrap_err().to_string(),
        r#""tipline.main.events" is not a subject of Tipline"#
    );
    assert_eq!(
        "5/2".parse::<Part>().unwrap_err().to_string(),
        r#""5/2" is not a part of an event: it reads 2/5, counted from 1"#
    );
}
