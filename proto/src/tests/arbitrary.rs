//! Arbitrary values of the contract, in their full range.
//!
//! Strategies are boxed: inside one another they would be too large for the stack of a test.

use std::time::Duration;

use bytes::Bytes;
use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::strategy::{BoxedStrategy, Just, Strategy};
use proptest::{option, prop_oneof};

use crate::limits::{
    MAX_HASH_BYTES, MAX_HEIGHT, MAX_INDEX, MAX_KEY_BYTES, MAX_LABEL_BYTES, MAX_TEXT_BYTES,
};
use crate::{
    Announcement, Chain, ChainName, ConsumerName, Cursor, Digest, Entry, Event, Hash, InstanceId,
    Key, Label, Level, Lineage, LogIdentity, LogName, OutboxId, Position, ProofsFrom, Reached,
    Receipt, Role, Timestamp, Tip, TransactionId,
};

/// Mostly small, but the ends of the range as often as anything else.
pub(super) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300u64, any::<u64>(), Just(0), Just(1), Just(u64::MAX - 1), Just(u64::MAX)]
}

pub(super) fn positive() -> impl Strategy<Value = u64> {
    number().prop_map(|n| n.max(1))
}

pub(super) fn payload() -> BoxedStrategy<Bytes> {
    prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 1..40),
        vec(any::<u8>(), 120..140),
        vec(any::<u8>(), 0..6000),
    ]
    .prop_map(Bytes::from)
    .boxed()
}

fn text_of(bytes: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = String> {
    vec(proptest::char::any(), bytes).prop_map(|chars| chars.into_iter().collect())
}

/// Text of at most `max` bytes, cut at a character.
fn text_within(max: usize) -> impl Strategy<Value = String> {
    text_of(0..max).prop_map(move |mut text: String| {
        while text.len() > max {
            text.pop();
        }
        text
    })
}

fn plain_text(max: usize) -> impl Strategy<Value = String> {
    text_within(max).prop_map(|text| {
        let plain: String = text.chars().filter(|c| !c.is_control()).collect();
        if plain.is_empty() { "x".to_owned() } else { plain }
    })
}

pub(super) fn hash() -> BoxedStrategy<Hash> {
    vec(any::<u8>(), 1..=MAX_HASH_BYTES).prop_map(|bytes| Hash::new(bytes).unwrap()).boxed()
}

pub(super) fn key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 1..=MAX_KEY_BYTES).prop_map(|bytes| Key::new(bytes).unwrap())
}

pub(super) fn transaction_id() -> impl Strategy<Value = TransactionId> {
    vec(any::<u8>(), 1..=MAX_HASH_BYTES).prop_map(|bytes| TransactionId::new(bytes).unwrap())
}

pub(super) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

pub(super) fn label() -> BoxedStrategy<Label> {
    plain_text(MAX_LABEL_BYTES).prop_map(|text| text.parse().unwrap()).boxed()
}

pub(super) fn log_name() -> impl Strategy<Value = LogName> {
    "[a-z0-9-]{1,32}".prop_map(|name| name.parse().unwrap())
}

pub(super) fn consumer_name() -> impl Strategy<Value = ConsumerName> {
    "[a-z0-9-]{1,32}".prop_map(|name| name.parse().unwrap())
}

pub(super) fn chain_name() -> impl Strategy<Value = ChainName> {
    plain_text(64).prop_map(|name| name.parse().unwrap())
}

pub(super) fn lineage() -> impl Strategy<Value = Lineage> {
    any::<[u8; 16]>().prop_map(Lineage::from_bytes)
}

pub(super) fn identity() -> impl Strategy<Value = LogIdentity> {
    (log_name(), chain(), lineage()).prop_map(|(name, chain, lineage)| LogIdentity {
        name,
        chain,
        lineage,
    })
}

pub(super) fn chain() -> impl Strategy<Value = Chain> {
    (chain_name(), hash(), proofs_from()).prop_map(|(name, genesis, proofs_from)| Chain {
        name,
        genesis,
        proofs_from,
    })
}

/// The default as often as not.
pub(super) fn proofs_from() -> impl Strategy<Value = ProofsFrom> {
    prop_oneof![Just(1), 1..=MAX_HEIGHT].prop_map(|height| ProofsFrom::new(height).unwrap())
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    number().prop_map(Timestamp::from_micros)
}

pub(super) fn position() -> impl Strategy<Value = Position> {
    (number(), digest()).prop_map(|(index, digest)| Position { index, digest })
}

pub(super) fn tip() -> BoxedStrategy<Tip> {
    (number(), hash()).prop_map(|(height, hash)| Tip { height, hash }).boxed()
}

pub(super) fn event() -> BoxedStrategy<Event> {
    prop_oneof![
        (label(), any::<[u8; 16]>())
            .prop_map(|(primary, outbox)| Event::EpochStarted {
                primary,
                outbox: OutboxId::from_bytes(outbox),
            })
            .boxed(),
        (number(), hash(), hash(), payload()).prop_map(|(height, hash, parent_hash, payload)| {
            Event::BlockCommitted { height, hash, parent_hash, payload }
        }),
        (number(), hash(), payload()).prop_map(|(height, block_hash, payload)| {
            Event::BlockProven { height, block_hash, payload }
        }),
        (transaction_id(), payload())
            .prop_map(|(id, payload)| Event::TransactionValidated { id, payload }),
        (key(), option::of(payload())).prop_map(|(key, value)| Event::StateRecorded { key, value }),
        (number(), hash())
            .prop_map(|(to_height, to_hash)| Event::RolledBack { to_height, to_hash }),
        label().prop_map(|name| Event::Marked { name }),
    ]
    .boxed()
}

/// The position that the entry is sealed after, and the entry.
pub(super) fn sealed() -> BoxedStrategy<(Position, Entry)> {
    let previous = (0..MAX_INDEX, digest()).prop_map(|(index, digest)| Position { index, digest });
    (previous, positive(), time(), positive(), event())
        .prop_map(|(previous, epoch, time, sequence, event)| {
            let entry = Entry::seal(&previous, epoch, time, sequence, event);
            (previous, entry)
        })
        .boxed()
}

pub(super) fn entry() -> BoxedStrategy<Entry> {
    sealed().prop_map(|(_, entry)| entry).boxed()
}

pub(super) fn cursor() -> BoxedStrategy<Cursor> {
    (position(), number(), option::of(tip()), option::of(number()))
        .prop_map(|(position, epoch, block_tip, proof_tip)| Cursor {
            position,
            epoch,
            block_tip,
            proof_tip,
        })
        .boxed()
}

pub(super) fn level() -> impl Strategy<Value = Level> {
    (0..Level::ALL.len()).prop_map(|n| Level::ALL[n])
}

pub(super) fn reached() -> BoxedStrategy<Reached> {
    [option::of(position()), option::of(position()), option::of(position()), option::of(position())]
        .prop_map(|positions| {
            let mut reached = Reached::default();
            for (level, position) in Level::ALL.into_iter().zip(positions) {
                if let Some(position) = position {
                    reached.set(level, position);
                }
            }
            reached
        })
        .boxed()
}

/// A reason that is not empty, as long as it may be.
fn failure() -> impl Strategy<Value = Option<String>> {
    option::of(text_within(MAX_TEXT_BYTES).prop_filter("a reason", |text| !text.is_empty()))
}

pub(super) fn receipt() -> BoxedStrategy<Receipt> {
    let role = prop_oneof![(1..=4i32), (5..=i32::MAX)].prop_map(Role::of_number);
    let who = (lineage(), consumer_name(), role, any::<[u8; 16]>());
    let far = (reached(), option::of(tip()), option::of(number()), time());
    let applying = option::of((1..u64::MAX).prop_map(Duration::from_micros));
    (who, far, failure(), text_within(MAX_TEXT_BYTES), applying)
        .prop_map(
            |(
                (lineage, consumer, role, instance),
                (reached, block_tip, proof_tip, time),
                failure,
                store,
                applying,
            )| {
                let instance = InstanceId::from_bytes(instance);
                Receipt {
                    applying,
                    frozen: None,
                    seal: None,
                    lineage,
                    consumer,
                    role,
                    instance,
                    reached,
                    block_tip,
                    proof_tip,
                    time,
                    failure,
                    store,
                }
            },
        )
        .boxed()
}

pub(super) fn announcement() -> BoxedStrategy<Announcement> {
    let who = (lineage(), label(), number(), position());
    let far = (option::of(tip()), option::of(number()), number(), number(), time());
    let oldest = option::of((1..u64::MAX).prop_map(Timestamp::from_micros));
    let waiting = (number(), oldest, number(), number(), failure(), failure());
    (who, far, failure(), waiting)
        .prop_map(
            |(
                (lineage, primary, epoch, tail),
                (block_tip, proof_tip, outbox_events, outbox_bytes, time),
                failure,
                (waiting, outbox_oldest, max_events, max_bytes, held_up, source_failure),
            )| Announcement {
                seal: None,
                outbox_waiting_bytes: waiting,
                outbox_oldest,
                outbox_max_events: max_events,
                outbox_max_bytes: max_bytes,
                held_up,
                source_failure,
                lineage,
                primary,
                epoch,
                tail,
                block_tip,
                proof_tip,
                outbox_events,
                outbox_bytes,
                time,
                failure,
            },
        )
        .boxed()
}
