use std::collections::BTreeMap;
use std::time::Duration;

use tipline_log::{Board, Preflight, Tail};
use tipline_proto::{
    Announcement, Chain, Digest, InstanceId, Level, Lineage, LogIdentity, Position, Reached,
    Receipt, Role, Timestamp, Tip,
};

use super::super::{Fleet, Seen, State, Thresholds, Verdict, assess, unreadable};

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);

fn thresholds() -> Thresholds {
    let silent_after = Duration::from_secs(15);
    Thresholds { max_lag: 2, silent_after, reserve: 50, accept_shortfalls: false }
}

/// The log's position at an index.
fn at(index: u64) -> Position {
    Position { index, digest: Digest::from_bytes([index as u8; 32]) }
}

fn block(height: u64) -> Option<Tip> {
    Some(Tip { height, hash: "ab".parse().unwrap() })
}

fn seconds_ago(seconds: u64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() - seconds * 1_000_000)
}

fn receipt(name: &str, role: Role, index: u64, height: u64) -> Receipt {
    Receipt {
        applying: None,
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
    }
}

/// A log with 20 events, its primary, a replica and a backup: all is well.
fn seen() -> Seen {
    let identity = LogIdentity {
        name: "mainnet".parse().unwrap(),
        chain: Chain { name: "mainnet".parse().unwrap(), genesis: "00".parse().unwrap() },
        lineage: LINEAGE,
    };
    let primary = Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        lineage: LINEAGE,
        primary: "node-1".parse().unwrap(),
        epoch: 3,
        tail: at(20),
        block_tip: block(1015),
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        time: seconds_ago(2),
        failure: None,
    };
    Seen {
        address: "nats://127.0.0.1:4222/mainnet".into(),
        identity,
        first: 1,
        tail: Tail {
            position: at(20),
            epoch: 3,
            time: seconds_ago(1),
            outbox_sequence: 17,
            outbox: None,
            fence: 20,
        },
        tail_block: block(1015),
        digests: (0..=20).map(|index| (index, at(index).digest)).collect::<BTreeMap<_, _>>(),
        per_event: Some(Duration::from_secs(60)),
        shortfalls: Vec::new(),
        board: Board {
            receipts: vec![
                receipt("backup-1", Role::Backup, 20, 1015),
                receipt("replica-1", Role::Replica, 19, 1014),
            ],
            primary: Some(primary),
            ..Board::default()
        },
    }
}

fn judged(change: impl FnOnce(&mut Seen)) -> Fleet {
    let mut seen = seen();
    change(&mut seen);
    assess(&seen, NOW, &thresholds())
}

#[track_caller]
fn expect(verdict: Verdict, summary: &str, change: impl FnOnce(&mut Seen)) {
    let fleet = judged(change);
    assert_eq!((fleet.verdict, fleet.summary.as_str()), (verdict, summary));
}

#[test]
fn all_is_well() {
    expect(Verdict::Well, "every block up to 1,014 is in 1 replica and 1 backup", |_| {});
    expect(Verdict::Well, "no block yet; ready for the first: 1 backup", |seen| {
        seen.board.receipts.truncate(1);
        seen.board.receipts[0].block_tip = None;
        seen.tail_block = None;
        seen.board.primary.as_mut().unwrap().block_tip = None;
    });
}

#[test]
fn silence_counts() {
    expect(Verdict::Well, "every block up to 1,014 is in 1 replica and 1 backup", |seen| {
        seen.board.receipts[0].time = seconds_ago(15);
    });
    expect(Verdict::Degraded, "backup-1 is silent for 40 s", |seen| {
        seen.board.receipts[0].time = seconds_ago(40);
    });
    expect(Verdict::Degraded, "primary node-1 is silent for 16 s", |seen| {
        seen.board.primary.as_mut().unwrap().time = seconds_ago(16);
    });
}

#[test]
fn lag_is_behind_the_newest_that_anyone_has() {
    expect(Verdict::Well, "every block up to 1,013 is in 1 replica and 1 backup", |seen| {
        seen.board.receipts[1].block_tip = block(1013);
    });
    expect(Verdict::Degraded, "replica-1 is 3 blocks behind", |seen| {
        seen.board.receipts[1].block_tip = block(1012);
    });
    // The primary died before it could announce what the log has.
    expect(
        Verdict::Degraded,
        "backup-1 is 5 blocks behind; replica-1 is 6 blocks behind",
        |seen| {
            seen.tail.position = at(30);
            seen.tail_block = block(1020);
        },
    );
    expect(Verdict::Degraded, "replica-1 has no block yet", |seen| {
        seen.board.receipts[1].block_tip = None;
    });
    // After a rollback the newest block is a lower one.
    expect(Verdict::Well, "every block up to 1,010 is in 1 replica and 1 backup", |seen| {
        seen.tail.position = at(30);
        seen.tail_block = block(1010);
        seen.board.receipts[0].block_tip = block(1010);
        seen.board.receipts[0].reached = Reached::up_to(at(30), Level::Durable);
        seen.digests.insert(30, at(30).digest);
    });
}

#[test]
fn somebody_must_publish_and_somebody_must_back_up() {
    expect(Verdict::Degraded, "no primary has announced itself", |seen| seen.board.primary = None);
    let nobody = "nothing is backed up: no replica or backup has sent a receipt";
    expect(Verdict::Degraded, nobody, |seen| seen.board.receipts.clear());
    expect(Verdict::Degraded, nobody, |seen| {
        seen.board.receipts = vec![receipt("check", Role::Audit, 20, 1015)];
    });
}

#[test]
fn who_failed_is_named_and_the_reason_is_shown() {
    let fleet = judged(|seen| {
        seen.board.receipts[1].failure = Some("no room left".into());
        seen.board.primary.as_mut().unwrap().failure = Some("fenced".into());
    });
    assert_eq!(fleet.verdict, Verdict::Degraded);
    assert_eq!(fleet.reasons, ["primary node-1 has failed", "replica-1 has failed"]);
    assert_eq!(fleet.consumers[1].failure.as_deref(), Some("no room left"));
}

#[test]
fn two_histories_are_broken_and_come_first() {
    let other = Position { index: 19, digest: Digest::from_bytes([0xff; 32]) };
    expect(
        Verdict::Broken,
        "replica-1 holds another history than the log, at event 19; backup-1 is silent for 40 s",
        |seen| {
            seen.board.receipts[0].time = seconds_ago(40);
            seen.board.receipts[1].reached = Reached::up_to(other, Level::Durable);
        },
    );
    // Also if only a lower level says so.
    let fleet = judged(|seen| seen.board.receipts[1].reached.set(Level::Applied, other));
    assert_eq!(fleet.consumers[1].state, State::Diverged);
}

#[test]
fn a_log_that_lost_what_a_consumer_holds_is_broken() {
    expect(
        Verdict::Broken,
        "the log lost events: backup-1 holds them up to 20, the log ends at 18; \
         the log lost events: replica-1 holds them up to 19, the log ends at 18",
        |seen| {
            seen.tail.position = at(18);
            seen.digests.retain(|index, _| *index <= 18);
        },
    );
}

#[test]
fn whoever_needs_what_is_trimmed_cannot_catch_up() {
    expect(
        Verdict::Degraded,
        "replica-1 cannot catch up: it is at event 19, the log begins at 21",
        |seen| {
            seen.first = 21;
            seen.digests.retain(|index, _| *index >= 20);
        },
    );
    // The next event that it needs is still there.
    expect(Verdict::Well, "every block up to 1,014 is in 1 replica and 1 backup", |seen| {
        seen.first = 20;
        seen.digests.retain(|index, _| *index >= 20);
    });
}

#[test]
fn a_log_that_can_lose_data_is_degraded_until_that_is_accepted_and_shown_in_any_case() {
    let mut seen = seen();
    let mut preflight = Preflight::default();
    let risk = "a disk that fails takes it all";
    preflight.shortfall("single-replica", "replicas: 1", risk, "use three");
    seen.shortfalls = preflight.shortfalls;
    let fleet = assess(&seen, NOW, &thresholds());
    assert_eq!(fleet.verdict, Verdict::Degraded);
    assert_eq!(fleet.summary, "the log can lose what it acknowledges (replicas: 1)");
    assert!(!fleet.shortfalls[0].accepted);

    let fleet = assess(&seen, NOW, &Thresholds { accept_shortfalls: true, ..thresholds() });
    assert_eq!(fleet.verdict, Verdict::Well);
    assert!(fleet.shortfalls[0].accepted);
}

#[test]
fn a_consumer_is_reserved_then_at_risk_then_lost() {
    let of = |index: u64, first: u64| {
        judged(|seen| {
            seen.first = first;
            seen.tail.position = at(200);
            seen.digests = (first..=200).map(|index| (index, at(index).digest)).collect();
            seen.board.receipts[0].reached = Reached::up_to(at(200), Level::Durable);
            seen.board.receipts[1].reached = Reached::up_to(at(index), Level::Durable);
        })
    };
    let told =
        |fleet: &Fleet| (fleet.verdict, fleet.consumers[1].reservation, fleet.summary.clone());
    let well = "every block up to 1,014 is in 1 replica and 1 backup".to_owned();
    assert_eq!(told(&of(150, 1)), (Verdict::Well, "reserved", well));
    let risk = "replica-1 is at risk: 51 events behind, the log no longer waits for it";
    assert_eq!(told(&of(149, 1)), (Verdict::Degraded, "at risk", risk.to_owned()));
    assert_eq!(told(&of(149, 150)).1, "at risk");
    let lost = "replica-1 cannot catch up: it is at event 149, the log begins at 151";
    assert_eq!(told(&of(149, 151)), (Verdict::Degraded, "lost", lost.to_owned()));
}

#[test]
fn the_names_of_the_json_are_stable() {
    let json = serde_json::to_value(judged(|seen| seen.board.receipts.truncate(1))).unwrap();
    let expected = serde_json::json!({
        "verdict": "well",
        "summary": "every block up to 1,015 is in 1 backup",
        "reasons": [],
        "advice": null,
        "log": {
            "address": "nats://127.0.0.1:4222/mainnet",
            "chain": "mainnet",
            "genesis": "00",
            "lineage": "07".repeat(16),
            "first": 1,
            "last": 20,
            "digest": "14".repeat(32),
            "epoch": 3,
        },
        "tip": { "height": 1015, "hash": "ab" },
        "primary": {
            "name": "node-1",
            "state": "well",
            "epoch": 3,
            "index": 20,
            "block": 1015,
            "outbox_events": 0,
            "outbox_bytes": 0,
            "age_ms": 2000,
            "failure": null,
        },
        "consumers": [{
            "name": "backup-1",
            "role": "backup",
            "state": "well",
            "level": "durable",
            "index": 20,
            "block": 1015,
            "proof": 1010,
            "lag_blocks": 0,
            "lag_events": 0,
            "reservation": "reserved",
            "at_risk_in_ms": 3_060_000,
            "age_ms": 1000,
            "failure": null,
            "store": "sqlite:backup-1.db",
        }],
        "shortfalls": [],
        "checks": [],
        "reminders": [],
    });
    assert_eq!(json, expected);
}

#[test]
fn a_log_that_cannot_be_read_is_broken() {
    let why = "there is no log at embedded:x".to_owned();
    let fleet = unreadable("embedded:x".into(), why.clone(), Some("tipline init".into()));
    assert_eq!((fleet.verdict, fleet.summary), (Verdict::Broken, why));
    assert_eq!(fleet.advice.as_deref(), Some("tipline init"));
}
