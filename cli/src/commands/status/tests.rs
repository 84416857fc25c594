use std::collections::BTreeMap;
use std::time::Duration;

use tipline_log::{Board, Preflight, Tail};
use tipline_ops::{Seen, Thresholds, assess, unreadable};
use tipline_proto::{
    Announcement, Chain, Digest, InstanceId, Level, Lineage, LogIdentity, Position, Reached,
    Receipt, Role, Timestamp, Tip,
};

use super::table::render;

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

#[test]
fn the_table_is_easy_to_read() {
    let text = told(|seen| {
        seen.board.receipts[1].block_tip = block(1010);
        seen.board.receipts[1].reached = Reached::up_to(at(10), Level::Durable);
        seen.board.receipts[1].time = seconds_ago(75);
        seen.board.primary.as_mut().unwrap().outbox_events = 1;
        seen.board.primary.as_mut().unwrap().outbox_bytes = 2048;
    });
    let digest = "14".repeat(32);
    assert_eq!(
        text,
        format!(
            "DEGRADED: replica-1 is silent for 75 s

log      nats://127.0.0.1:4222/mainnet, events 1 to 20
chain    mainnet, lineage 07070707070707070707070707070707
tail     20@{digest}, epoch 3
primary  node-1, epoch 3, block 1,015, 1 event waiting in the outbox, heard 2.0 s ago

NAME       ROLE     LEVEL    BLOCK  PROOF                  LAG  LOG                      HEARD  STATE
backup-1   backup   durable  1,015  1,010                    –  reserved             1.0 s ago  well
replica-1  replica  durable  1,010  1,009  5 blocks, 10 events  reserved for 41 min   75 s ago  silent
"
        )
    );
}

#[test]
fn who_failed_is_shown_with_the_reason() {
    let text = told(|seen| {
        seen.board.receipts[1].failure = Some("no room left".into());
        seen.board.primary.as_mut().unwrap().failure = Some("fenced".into());
    });
    assert!(text.ends_with("node-1 failed: fenced\nreplica-1 failed: no room left\n"), "{text}");
}

#[test]
fn what_falls_short_is_shown_in_any_case() {
    let mut seen = seen();
    let mut preflight = Preflight::default();
    let risk = "a disk that fails takes it all";
    preflight.shortfall("single-replica", "replicas: 1", risk, "use three");
    seen.shortfalls = preflight.shortfalls;
    let line = "replicas: 1: a disk that fails takes it all";
    let text = plain(&render(&assess(&seen, NOW, &thresholds())));
    assert!(text.contains(&format!("\nat risk  {line}; use three\n")), "{text}");
    let accepted = Thresholds { accept_shortfalls: true, ..thresholds() };
    let text = plain(&render(&assess(&seen, NOW, &accepted)));
    assert!(text.contains(&format!("\naccepted {line}\n")), "{text}");
}

#[test]
fn a_log_that_cannot_be_read_is_broken() {
    let why = "there is no log at embedded:x".to_owned();
    let fleet = unreadable("embedded:x".into(), why, Some("tipline init".into()));
    assert_eq!(
        plain(&render(&fleet)),
        "BROKEN: there is no log at embedded:x\n\nto do    tipline init\nlog      embedded:x\n"
    );
}

fn told(change: impl FnOnce(&mut Seen)) -> String {
    let mut seen = seen();
    change(&mut seen);
    plain(&render(&assess(&seen, NOW, &thresholds())))
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
