//! Signatures: what they cover, whom they are believed from, and how keys succeed each other.

use prost::Message;

use super::examples;
use crate::generated as pb;
use crate::limits::MAX_PREDECESSORS;
use crate::{
    Announcement, Digest, Entry, Lineage, MAX_ENTRY_OVERHEAD, PublicKey, Receipt, SignatureError,
    SigningKey, Trust,
};

const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn trust(primary: &SigningKey) -> Trust {
    Trust::new(vec![primary.public()], [])
}

fn trust_in(receipt: &Receipt, key: &SigningKey) -> Trust {
    Trust::new(vec![], [(receipt.consumer.clone(), key.public())])
}

fn signed(mut entry: Entry, key: &SigningKey) -> Entry {
    key.sign_entry(LINEAGE, &mut entry);
    entry
}

fn at(index: u64, key: &SigningKey) -> Entry {
    let (_, entry) = examples::entries().swap_remove(0);
    signed(Entry { index, ..entry }, key)
}

#[test]
fn a_signature_is_carried_and_changes_nothing_else() {
    for (name, entry) in examples::entries() {
        let signed = signed(entry.clone(), &key(1));
        assert_eq!(signed.digest, entry.digest, "{name}");
        let bytes = signed.encode();
        assert_eq!(Entry::decode(bytes.clone()).unwrap(), signed, "{name}");
        // A reader that knows no signatures finds the entry with what it does not know.
        let without = Entry { signature: None, ..signed.clone() }.encode();
        assert_eq!(without, entry.encode(), "{name}");
        assert!(bytes.len() > without.len(), "{name}");
        trust(&key(1)).check_entry(LINEAGE, &signed).unwrap();
    }
}

#[test]
fn a_signature_vouches_for_one_place_of_one_history_only() {
    let (_, entry) = examples::entries().swap_remove(1);
    let (entry, trust) = (signed(entry, &key(1)), trust(&key(1)));
    let wrong = Err(SignatureError::Wrong { key: key(1).public() });
    let other_digest = Digest::from_bytes([9; 32]);
    for altered in [
        Entry { index: entry.index + 1, ..entry.clone() },
        Entry { epoch: entry.epoch + 1, ..entry.clone() },
        Entry { digest: other_digest, ..entry.clone() },
    ] {
        assert_eq!(trust.check_entry(LINEAGE, &altered), wrong, "{altered:?}");
    }
    assert_eq!(trust.check_entry(Lineage::from_bytes([8; 16]), &entry), wrong);
    let unsigned = Entry { signature: None, ..entry.clone() };
    assert_eq!(trust.check_entry(LINEAGE, &unsigned), Err(SignatureError::Unsigned));
    let stranger = signed(unsigned.clone(), &key(2));
    let untrusted = Err(SignatureError::Untrusted { key: key(2).public() });
    assert_eq!(trust.check_entry(LINEAGE, &stranger), untrusted);
    // Where nobody's is required, all of them are as good as none.
    for any in [&unsigned, &stranger, &entry] {
        Trust::default().check_entry(LINEAGE, any).unwrap();
    }
}

#[test]
fn no_bit_of_a_signed_receipt_or_announcement_can_be_changed() {
    for (name, receipt) in examples::receipts() {
        let mut sealed = receipt.clone();
        key(3).sign_receipt(&mut sealed);
        let (trust, bytes) = (trust_in(&receipt, &key(3)), sealed.encode());
        assert_eq!(Receipt::decode(bytes.clone()).unwrap(), sealed, "{name}");
        trust.check_receipt(&sealed).unwrap();
        assert_eq!(trust.check_receipt(&receipt), Err(SignatureError::Unsigned), "{name}");
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1 << (place % 8);
            let believed = Receipt::decode(changed.into())
                .is_ok_and(|changed| trust.check_receipt(&changed).is_ok());
            assert!(!believed, "{name}: byte {place} was changed");
        }
    }
    for (name, said) in examples::announcements() {
        let mut sealed = said.clone();
        key(3).sign_announcement(&mut sealed);
        let (trust, bytes) = (trust(&key(3)), sealed.encode());
        assert_eq!(Announcement::decode(bytes.clone()).unwrap(), sealed, "{name}");
        trust.check_announcement(&sealed).unwrap();
        assert_eq!(trust.check_announcement(&said), Err(SignatureError::Unsigned), "{name}");
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1 << (place % 8);
            let believed = Announcement::decode(changed.into())
                .is_ok_and(|changed| trust.check_announcement(&changed).is_ok());
            assert!(!believed, "{name}: byte {place} was changed");
        }
    }
}

#[test]
fn a_receipt_is_signed_by_the_consumer_that_it_names() {
    let (_, mut receipt) = examples::receipts().swap_remove(0);
    key(3).sign_receipt(&mut receipt);
    let name = receipt.consumer.clone();
    let others = Trust::new(vec![], [("other".parse().unwrap(), key(3).public())]);
    let untrusted = Err(SignatureError::Untrusted { key: key(3).public() });
    assert_eq!(others.check_receipt(&receipt), untrusted);
    // A key of a primary signs no receipts.
    let primary = Trust::new(vec![key(3).public()], [(name, key(4).public())]);
    assert_eq!(primary.check_receipt(&receipt), untrusted);
}

/// A newer consumer says more than this version knows. Its signature is over that, too.
#[test]
fn what_a_newer_version_adds_is_signed_as_well() {
    let (_, receipt) = examples::receipts().swap_remove(0);
    let mut bytes = receipt.encode().to_vec();
    bytes.extend_from_slice(&[0xF8, 0x02, 0x05]); // field 47, a number
    let seal = key(3).seal_receipt(&bytes);
    let with = Receipt { seal: Some(seal), ..receipt.clone() }.encode();
    bytes.extend_from_slice(&with[receipt.encode().len()..]);
    let decoded = Receipt::decode(bytes.clone().into()).unwrap();
    trust_in(&receipt, &key(3)).check_receipt(&decoded).unwrap();
    // So are the bytes that are kept of it.
    assert_eq!(decoded.original(), bytes);
    // What comes after the signature is not signed, so nothing may.
    bytes.extend_from_slice(&[0xF8, 0x02, 0x05]);
    assert!(Receipt::decode(bytes.into()).is_err());
}

#[test]
fn a_key_is_succeeded_by_another_and_signs_no_more_after_it() {
    let (first, second, third) = (key(1), key(1).succeeded_by(key(2)), key(3));
    let third = second.succeeded_by(third);
    let trust = trust(&first);
    trust.check_entry(LINEAGE, &at(10, &first)).unwrap();
    trust.check_entry(LINEAGE, &at(20, &third)).unwrap();
    // Known by now: its predecessors need not be said again.
    trust.check_entry(LINEAGE, &at(21, &key(3))).unwrap();
    for old in [&first, &second] {
        let found = trust.check_entry(LINEAGE, &at(22, old));
        let by = key(3).public();
        assert_eq!(found, Err(SignatureError::Replaced { key: old.public(), by }));
    }
    // What was signed before is as good as it was.
    trust.check_entry(LINEAGE, &at(19, &first)).unwrap();
    // Whoever has an old key cannot name another successor now.
    let thief = first.succeeded_by(key(9));
    let untrusted = Err(SignatureError::Untrusted { key: key(9).public() });
    assert_eq!(trust.check_entry(LINEAGE, &at(23, &thief)), untrusted);
    // One that starts later trusts the newest key, and needs no other.
    let later = Trust::new(vec![key(3).public()], []);
    later.check_entry(LINEAGE, &at(30, &third)).unwrap();
    // A key is worth nothing where it is not in the list. Where it is, that it has a successor is
    // known only once that has signed.
    let untrusted = Err(SignatureError::Untrusted { key: first.public() });
    assert_eq!(later.check_entry(LINEAGE, &at(31, &first)), untrusted);
    Trust::new(vec![first.public()], []).check_entry(LINEAGE, &at(31, &first)).unwrap();
}

#[test]
fn a_succession_needs_every_signature_in_between() {
    let second = key(1).succeeded_by(key(2));
    let third = second.succeeded_by(key(3));
    let links = third.predecessors().to_vec();
    let mut swapped = links.clone();
    swapped[0].signature = links[1].signature;
    let mut mine = links.clone();
    mine[1].key = PublicKey::from_bytes([5; 32]);
    for (what, links) in [("swapped", swapped), ("another key", mine), ("gap", links[..1].to_vec())]
    {
        let forged = key(3).with_predecessors(links);
        let found = trust(&key(1)).check_entry(LINEAGE, &at(20, &forged));
        assert_eq!(found, Err(SignatureError::Untrusted { key: key(3).public() }), "{what}");
    }
}

#[test]
fn the_newest_predecessors_are_kept_and_fit_into_an_entry() {
    let mut newest = key(1);
    for seed in 2..=MAX_PREDECESSORS as u8 + 3 {
        newest = newest.succeeded_by(key(seed));
    }
    assert_eq!(newest.predecessors().len(), MAX_PREDECESSORS);
    let entry = at(20, &newest);
    assert!(trust(&key(2)).check_entry(LINEAGE, &entry).is_err());
    trust(&key(3)).check_entry(LINEAGE, &entry).unwrap();
    for (name, entry) in examples::entries() {
        let entry = signed(entry, &newest);
        let overhead = entry.encode().len() - entry.event.payload().len();
        assert!(overhead <= MAX_ENTRY_OVERHEAD, "{name}: {overhead}");
    }
    // More than are kept are refused: they would not fit.
    let mut message = pb::Entry::decode(entry.encode()).unwrap();
    let signature = message.signature.as_mut().unwrap();
    signature.predecessors.push(signature.predecessors[0].clone());
    assert!(Entry::decode(message.encode_to_vec().into()).is_err());
}
