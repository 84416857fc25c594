//! Payloads are shared, not copied; whatever may outlive them is copied, not shared.

use super::examples;
use crate::{Assembler, Entry, Event, split};

fn within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

#[test]
fn a_decoded_payload_lies_in_the_message() {
    for (name, entry) in examples::entries() {
        let message = entry.encode();
        let decoded = Entry::decode(message.clone()).unwrap();
        let payload = decoded.event.payload();
        assert!(payload.is_empty() || within(payload, &message), "{name}");

        let whole = Assembler::default().finish(message.clone()).unwrap();
        let payload = whole.event.payload();
        assert!(payload.is_empty() || within(payload, &message), "{name}");
    }
}

#[test]
fn clones_and_parts_share_the_payload() {
    let (_, entry) = examples::entries().pop().unwrap();
    let clone = entry.event.clone();
    assert_eq!(clone.payload().as_ptr(), entry.event.payload().as_ptr());

    let parts = split(&entry, 2048);
    assert!(within(&parts[0], entry.event.payload()), "a raw part is a slice of the payload");
}

/// A map of the newest block hashes must not keep the newest blocks in memory.
#[test]
fn hashes_and_keys_do_not_hold_on_to_the_message() {
    for (name, entry) in examples::entries() {
        let message = entry.encode();
        let decoded = Entry::decode(message.clone()).unwrap();
        let kept: &[&[u8]] = match &decoded.event {
            Event::BlockCommitted { hash, parent_hash, .. } => {
                &[hash.as_ref(), parent_hash.as_ref()]
            }
            Event::BlockProven { block_hash, .. } => &[block_hash.as_ref()],
            Event::TransactionValidated { id, .. } => &[id.as_ref()],
            Event::StateRecorded { key, .. } => &[key.as_ref()],
            Event::RolledBack { to_hash, .. } => &[to_hash.as_ref()],
            Event::EpochStarted { .. } | Event::Marked { .. } => continue,
        };
        assert!(kept.iter().all(|kept| !within(kept, &message)), "{name}");
    }
}
