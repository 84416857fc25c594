//! The ends of the range of numbers: no overflow, wherever a number comes from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::examples::{hash, position};
use crate::limits::{MAX_HEIGHT, MAX_TIME_MICROS};
use crate::{
    Cursor, Digest, Entry, Event, InvalidProofsFrom, LinkError, Links, LinksState, Position,
    ProofsFrom, Timestamp, Tip,
};

#[test]
fn messages_about_the_ends_of_the_range_can_be_printed() {
    let errors = [
        LinkError::WrongHeight { height: 0, tip: u64::MAX },
        LinkError::WrongParent { height: 0, parent: hash(1, 1), tip_hash: hash(2, 1) },
        LinkError::UnknownBlock { height: u64::MAX, block_hash: hash(1, 1), found: None },
        LinkError::HeightTooLarge { height: u64::MAX },
    ];
    for error in errors {
        assert!(!error.to_string().is_empty());
    }
}

fn block(height: u64) -> Event {
    let (hash, parent_hash) = (hash(7, 1), hash(7, 1));
    Event::BlockCommitted { height, hash, parent_hash, payload: bytes::Bytes::new() }
}

#[test]
fn heights_end_where_stores_end() {
    let mut links = Links::new(hash(7, 1), ProofsFrom::default());
    for height in [MAX_HEIGHT + 1, u64::MAX] {
        assert_eq!(links.admit(&block(height), None), Err(LinkError::HeightTooLarge { height }));
    }
    links.admit(&block(MAX_HEIGHT), None).unwrap();
    let above = MAX_HEIGHT + 1;
    assert_eq!(links.admit(&block(above), None), Err(LinkError::HeightTooLarge { height: above }));
    let proof = Event::BlockProven {
        height: MAX_HEIGHT,
        block_hash: hash(7, 1),
        payload: bytes::Bytes::new(),
    };
    links.admit(&proof, Some(&hash(7, 1))).unwrap();
    assert_eq!(links.proof_tip(), Some(MAX_HEIGHT));
}

#[test]
fn proofs_are_expected_above_the_genesis_or_later() {
    assert_eq!(ProofsFrom::new(0), Err(InvalidProofsFrom::Genesis));
    let height = MAX_HEIGHT + 1;
    assert_eq!(ProofsFrom::new(height), Err(InvalidProofsFrom::TooLarge { height }));
    assert_eq!("1".parse::<ProofsFrom>().unwrap(), ProofsFrom::default());
    assert_eq!(ProofsFrom::default().late(), None);
    let late: ProofsFrom = "5000000".parse().unwrap();
    assert_eq!((late.height(), late.late()), (5_000_000, Some(5_000_000)));
    assert_eq!(late.to_string().parse(), Ok(late));
    for wrong in ["", "-1", "5_000_000", "0x10", "18446744073709551616"] {
        let error = wrong.parse::<ProofsFrom>().unwrap_err();
        assert!(error.to_string().contains(&format!("{wrong:?} is not a height")), "{error}");
    }
    let last = ProofsFrom::new(MAX_HEIGHT).unwrap();
    assert_eq!((last.free_up_to(0), last.free_up_to(u64::MAX)), (0, MAX_HEIGHT - 1));
}

#[test]
fn a_damaged_state_does_not_overflow() {
    let tip = Some(Tip { height: u64::MAX, hash: hash(7, 1) });
    let state =
        LinksState { base: tip.clone(), tip, proof_tip: Some(u64::MAX), ..Default::default() };
    let mut links = Links::resume(hash(7, 1), ProofsFrom::default(), state);
    assert!(links.admit(&block(0), None).is_err());
    let proof = Event::BlockProven {
        height: u64::MAX,
        block_hash: hash(7, 1),
        payload: bytes::Bytes::new(),
    };
    assert!(links.admit(&proof, Some(&hash(7, 1))).is_err(), "it is the base");
}

#[test]
fn nothing_follows_the_largest_index() {
    let last = Position { index: u64::MAX, digest: Digest::from_bytes([1; 32]) };
    let sealed = Entry::seal(&last, 1, Timestamp::default(), 1, block(1));
    assert_eq!(sealed.index, u64::MAX);
    assert!(!sealed.follows(&last));
    let wrapped = Entry { index: 0, ..sealed };
    assert!(!wrapped.follows(&last));
}

#[test]
fn debt_saturates() {
    let tip = |height| Some(Tip { height, hash: hash(7, 1) });
    let cursor =
        |block_tip, proof_tip| Cursor { position: position(), epoch: 1, block_tip, proof_tip };
    assert_eq!(cursor(None, None).proof_debt(), 0);
    assert_eq!(cursor(tip(0), None).proof_debt(), 1);
    assert_eq!(cursor(tip(9), Some(4)).proof_debt(), 5);
    assert_eq!(cursor(tip(u64::MAX), None).proof_debt(), u64::MAX);
    assert_eq!(cursor(tip(4), Some(9)).proof_debt(), 0);
}

#[test]
fn times_saturate() {
    let (early, late) = (Timestamp::from_micros(0), Timestamp::from_micros(u64::MAX));
    assert_eq!(early.since(late), Duration::ZERO);
    assert_eq!(late.since(early), Duration::from_micros(u64::MAX));
    assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), early);
    // What a clock says fits into every store.
    let latest = Timestamp::from_micros(MAX_TIME_MICROS);
    assert_eq!(Timestamp::from(SystemTime::from(latest)), latest);
    for later in [SystemTime::from(latest) + Duration::from_secs(1), SystemTime::from(late)] {
        assert_eq!(Timestamp::from(later), latest);
    }
}
