//! For tests of what shows a verdict: a fleet that is well, and every way in which it is not.

#![allow(clippy::unwrap_used, reason = "it is for tests, and what is fixed is right")]

mod consumers;
mod primary;

use std::time::Duration;

use tipline_log::{Board, Tail};
use tipline_proto::{
    Announcement, Chain, Digest, InstanceId, Level, Lineage, LogIdentity, Position, Reached,
    Receipt, Role, Timestamp, Tip,
};

use super::{Expectation, Exposure, Fleet, Kind, Seen, Verdict, assess, exposure};

/// The time of the verdict.
pub const NOW: Timestamp = Timestamp::from_micros(100_000_000_000);
const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);

/// What is expected: limits that are small, and nobody by name.
pub fn expectation() -> Expectation {
    Expectation { reserve: 50, ..Expectation::default() }
}

/// The log's position at an index.
pub fn at(index: u64) -> Position {
    Position { index, digest: Digest::from_bytes([index as u8; 32]) }
}

/// A block by its height; its hash is the same at every height.
pub fn block(height: u64) -> Option<Tip> {
    Some(Tip { height, hash: "ab".parse().unwrap() })
}

/// A time before [`NOW`].
pub fn seconds_ago(seconds: u64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() - seconds * 1_000_000)
}

/// A receipt of a consumer that is well.
pub fn receipt(name: &str, role: Role, index: u64, height: u64) -> Receipt {
    Receipt {
        lineage: LINEAGE,
        consumer: name.parse().unwrap(),
        role,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(at(index), Level::Durable),
        block_tip: block(height),
        proof_tip: Some(height - 5),
        time: seconds_ago(1),
        failure: None,
        store: format!("sqlite:{name}.db"),
        applying: None,
        frozen: None,
        seal: None,
    }
}

fn announcement() -> Announcement {
    Announcement {
        lineage: LINEAGE,
        primary: "node-1".parse().unwrap(),
        epoch: 3,
        tail: at(20),
        block_tip: block(1015),
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 1000,
        outbox_max_bytes: 1_000_000,
        held_up: None,
        source_failure: None,
        seal: None,
        time: seconds_ago(2),
        failure: None,
    }
}

/// A log with 20 events, its primary, a replica and a backup: all is well. The replica is one
/// event behind, for a second.
pub fn seen() -> Seen {
    let identity = LogIdentity {
        name: "mainnet".parse().unwrap(),
        chain: Chain::new("mainnet".parse().unwrap(), "00".parse().unwrap()),
        lineage: LINEAGE,
    };
    let position = at(20);
    let (time, outbox) = (seconds_ago(1), None);
    Seen {
        address: "nats://127.0.0.1:4222/mainnet".into(),
        identity,
        first: 1,
        tail: Tail { position, epoch: 3, time, outbox_sequence: 17, outbox, fence: 20 },
        tail_block: block(1015),
        digests: (0..=20).map(|index| (index, at(index).digest)).collect(),
        times: [(20, time)].into(),
        rollbacks: [].into(),
        corrupt: [].into(),
        per_event: Some(Duration::from_secs(60)),
        shortfalls: Vec::new(),
        drops: Vec::new(),
        board: Board {
            receipts: vec![
                receipt("backup-1", Role::Backup, 20, 1015),
                receipt("replica-1", Role::Replica, 19, 1014),
            ],
            primary: Some(announcement()),
            ..Board::default()
        },
    }
}

/// What would be lost of the log that is well.
pub fn exposed() -> Exposure {
    exposure(&seen(), NOW)
}

/// A fleet that is unwell in one way, and what must be said of it.
#[derive(Debug)]
pub struct Unwell {
    /// What is wrong.
    pub kind: Kind,
    /// Who or what it is about.
    pub name: Option<&'static str>,
    /// How bad it is.
    pub verdict: Verdict,
    /// It in one sentence, which is the summary too.
    pub text: &'static str,
    /// The fleet.
    pub fleet: Fleet,
}

/// Every way in which a fleet can be unwell; some in several degrees.
pub fn unwell() -> Vec<Unwell> {
    primary::unwell().into_iter().chain(consumers::unwell()).collect()
}

type Change = fn(&mut Seen, &mut Expectation);
type Case = (Kind, Option<&'static str>, Verdict, &'static str, Change);

fn made(cases: &[Case]) -> Vec<Unwell> {
    let make = |&(kind, name, verdict, text, change): &Case| {
        let (mut seen, mut expected) = (seen(), expectation());
        change(&mut seen, &mut expected);
        Unwell { kind, name, verdict, text, fleet: assess(&seen, NOW, &expected) }
    };
    cases.iter().map(make).collect()
}
