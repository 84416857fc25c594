//! Whether a receipt agrees with the log.

use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_assert_eq, proptest};

use super::arbitrary;
use crate::{
    Agreement, ConsumerName, Digest, InstanceId, Level, Lineage, Position, Reached, Receipt, Role,
    Timestamp, agreement,
};

/// Index of the tail.
const TAIL: u64 = 10;
/// Digests are known from here on.
const HELD: u64 = 4;

/// A position of the log, or of another history.
fn at(index: u64, history: u8) -> Position {
    Position { index, digest: Digest::from_bytes([history; 32]) }
}

fn known(index: u64) -> Option<Digest> {
    (HELD..TAIL).contains(&index).then(|| at(index, 0).digest)
}

fn receipt(positions: [Option<Position>; 4]) -> Receipt {
    let mut reached = Reached::default();
    for (level, position) in Level::ALL.into_iter().zip(positions) {
        if let Some(position) = position {
            reached.set(level, position);
        }
    }
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: Lineage::from_bytes([1; 16]),
        consumer: "backup-1".parse::<ConsumerName>().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached,
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: String::new(),
    }
}

fn compare(positions: [Option<Position>; 4]) -> Agreement {
    agreement(&receipt(positions), at(TAIL, 0), known)
}

#[test]
fn each_outcome() {
    assert_eq!(compare([None; 4]), Agreement::Agrees, "it claims nothing");
    assert_eq!(compare([Some(at(HELD, 0)), None, None, None]), Agreement::Agrees);
    assert_eq!(compare([Some(at(TAIL, 0)), None, None, None]), Agreement::Agrees, "the tail's own");
    assert_eq!(compare([Some(at(TAIL + 1, 0)), None, None, None]), Agreement::Ahead);
    assert_eq!(compare([Some(at(HELD - 1, 0)), None, None, None]), Agreement::Unknown);
    let diverged = Agreement::Diverged { index: 5 };
    assert_eq!(compare([Some(at(5, 9)), None, None, None]), diverged);
    let diverged = Agreement::Diverged { index: TAIL };
    assert_eq!(compare([Some(at(TAIL, 9)), None, None, None]), diverged);
}

#[test]
fn what_is_certain_comes_first() {
    let (old, new) = (Some(at(1, 0)), Some(at(99, 0)));
    let diverged = Agreement::Diverged { index: 6 };
    let lower = [Some(at(7, 9)), Some(at(6, 9)), None, None];
    assert_eq!(compare(lower), diverged, "the lowest index, whatever the order");
    assert_eq!(compare([old, Some(at(6, 9)), new, None]), diverged);
    assert_eq!(compare([new, old, None, None]), Agreement::Ahead);
    assert_eq!(compare([Some(at(7, 0)), old, None, None]), Agreement::Unknown);
}

#[test]
fn the_origin_is_compared_if_it_is_known() {
    let empty = receipt([Some(at(0, 7)), None, None, None]);
    assert_eq!(agreement(&empty, at(0, 7), |_| None), Agreement::Agrees);
    assert_eq!(agreement(&empty, at(3, 0), |_| None), Agreement::Unknown);
    let origin = |index| (index == 0).then(|| Digest::from_bytes([8; 32]));
    assert_eq!(agreement(&empty, at(3, 0), origin), Agreement::Diverged { index: 0 });
}

/// As it would be written down, level by level.
fn model(reached: &Reached) -> Agreement {
    let said = || Level::ALL.into_iter().filter_map(|level| reached.reported(level));
    let own = |index| if index == TAIL { Some(at(TAIL, 0).digest) } else { known(index) };
    let differs = |p: &Position| p.index <= TAIL && own(p.index).is_some_and(|own| own != p.digest);
    if let Some(index) = said().filter(differs).map(|position| position.index).min() {
        Agreement::Diverged { index }
    } else if said().any(|position| position.index > TAIL) {
        Agreement::Ahead
    } else if said().any(|position| own(position.index).is_none()) {
        Agreement::Unknown
    } else {
        Agreement::Agrees
    }
}

fn position() -> impl Strategy<Value = Option<Position>> {
    let history = select(vec![0, 0, 0, 9]);
    proptest::option::of((0..TAIL + 3, history).prop_map(|(index, history)| at(index, history)))
}

proptest! {
    #[test]
    fn follows_the_model(
        positions in (position(), position(), position(), position()),
    ) {
        let (a, b, c, d) = positions;
        let receipt = receipt([a, b, c, d]);
        prop_assert_eq!(agreement(&receipt, at(TAIL, 0), known), model(&receipt.reached));
    }

    #[test]
    fn never_panics_and_agrees_with_itself(receipt in arbitrary::receipt()) {
        let furthest = receipt.reached.positions().max_by_key(|position| position.index);
        let tail = furthest.unwrap_or(at(0, 0));
        let own = |index| receipt.reached.positions().find(|p| p.index == index).map(|p| p.digest);
        let distinct: std::collections::BTreeMap<u64, Digest> =
            receipt.reached.positions().map(|p| (p.index, p.digest)).collect();
        let consistent =
            receipt.reached.positions().all(|p| distinct.get(&p.index) == Some(&p.digest));
        let found = agreement(&receipt, tail, own);
        prop_assert_eq!(found == Agreement::Agrees, consistent);
    }
}
