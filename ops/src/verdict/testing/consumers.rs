//! What can be wrong with consumers, the policy and clocks.

use std::time::Duration;

use tipline_log::{DropLimit, DropsAfter};
use tipline_proto::{Digest, Level, Position, Reached, Role, Timestamp, Tip};

use super::super::Verdict::{Broken, Degraded};
use super::super::{Finding, Kept, Kind, assess, recovery};
use super::primary::said;
use super::{NOW, Unwell, at, block, expectation, made, receipt, seconds_ago, seen};

pub(super) fn unwell() -> Vec<Unwell> {
    [of_consumers(), of_lag(), of_clocks(), of_recovery()].into_iter().flatten().collect()
}

fn of_consumers() -> Vec<Unwell> {
    made(&[
        (
            Kind::NothingBackedUp,
            None,
            Degraded,
            "nothing is backed up: no replica or backup has sent a receipt",
            |seen, _| seen.board.receipts = vec![receipt("check", Role::Audit, 20, 1015)],
        ),
        (
            Kind::ConsumerMissing,
            Some("backup-2"),
            Degraded,
            "backup-2 is expected, and there is no receipt of it",
            |_, expected| {
                expected.consumers = ["backup-1", "backup-2"].map(|n| n.parse().unwrap()).into();
            },
        ),
        (
            Kind::Diverged,
            Some("replica-1"),
            Broken,
            "replica-1 holds another history than the log, at event 19",
            |seen, _| {
                let other = Position { index: 19, digest: Digest::from_bytes([0xff; 32]) };
                seen.board.receipts[1].reached = Reached::up_to(other, Level::Durable);
            },
        ),
        (
            Kind::Diverged,
            Some("backup-1"),
            Broken,
            "backup-1 holds another history than the log, at event 20",
            |seen, _| {
                let hash = "cd".parse().unwrap();
                seen.board.receipts[0].block_tip = Some(Tip { height: 1015, hash });
            },
        ),
        (
            Kind::Ahead,
            Some("backup-1"),
            Broken,
            "the log lost events: backup-1 holds them up to 21, the log ends at 20",
            |seen, _| {
                seen.board.receipts[0].reached = Reached::up_to(at(21), Level::Durable);
            },
        ),
        (Kind::Failed, Some("replica-1"), Degraded, "replica-1 has failed", |seen, _| {
            let why = "its file is gone: somebody removed it".into();
            seen.board.receipts[1].failure = Some(why);
        }),
        (
            Kind::Stranded,
            Some("replica-1"),
            Degraded,
            "replica-1 cannot catch up: it is at event 18, the log begins at 20",
            |seen, _| {
                seen.first = 20;
                seen.digests.retain(|index, _| *index >= 20);
                seen.board.receipts[1].reached = Reached::up_to(at(18), Level::Durable);
            },
        ),
        (Kind::Silent, Some("backup-1"), Degraded, "backup-1 is silent for 40 s", |seen, _| {
            seen.board.receipts[0].time = seconds_ago(40)
        }),
        (
            Kind::AtRisk,
            Some("replica-1"),
            Degraded,
            "replica-1 is at risk: 1 event behind, the log no longer waits for it",
            |_, expected| expected.reserve = 0,
        ),
    ])
}

fn of_lag() -> Vec<Unwell> {
    made(&[
        (
            Kind::Stalled,
            Some("replica-1"),
            Degraded,
            "replica-1 has been applying one batch for 61 s",
            |seen, _| seen.board.receipts[1].applying = Some(Duration::from_secs(60)),
        ),
        (
            Kind::Frozen,
            Some("replica-1"),
            Degraded,
            "replica-1 has been frozen for a snapshot for 61 s, and is 1 event behind",
            |seen, _| {
                seen.board.receipts[1].applying = Some(Duration::from_secs(60));
                seen.board.receipts[1].frozen = Some(Duration::from_secs(60));
            },
        ),
        (
            Kind::Orphaned,
            Some("replica-1"),
            Degraded,
            "replica-1 is on a branch that was rolled back: it has block 1,015, the log went back \
             to 1,012",
            |seen, _| {
                seen.board.receipts[1].block_tip = block(1015);
                seen.rollbacks.insert(20, 1012);
            },
        ),
        (Kind::Behind, Some("replica-1"), Degraded, "replica-1 is 3 blocks behind", |seen, _| {
            seen.board.receipts[1].block_tip = block(1012)
        }),
        (
            Kind::Behind,
            Some("replica-1"),
            Degraded,
            "replica-1 is 1 event behind, for 61 s",
            |seen, _| {
                seen.times.insert(20, seconds_ago(61));
            },
        ),
        (
            Kind::PolicyUnreached,
            None,
            Degraded,
            "the policy `any 2 of * at durable` is reached up to event 19 of 20 only, for 61 s",
            |seen, expected| {
                // Nobody is behind: the second one says nothing of what it has on disk.
                let receipt = &mut seen.board.receipts[1];
                receipt.reached.set(Level::Applied, at(20));
                receipt.block_tip = block(1015);
                seen.times.insert(20, seconds_ago(61));
                expected.policy = Some("any 2 of * at durable".parse().unwrap());
            },
        ),
        (
            Kind::PolicyUnreached,
            None,
            Degraded,
            "the policy `any 1 of archive at verified` is reached up to no event of 20 only",
            |_, expected| {
                expected.policy = Some("any 1 of archive at verified".parse().unwrap());
            },
        ),
        (
            Kind::ProofLag,
            None,
            Degraded,
            "proofs are 6 blocks behind: every block up to 1,009 is proven",
            |seen, expected| {
                expected.max_proof_lag = Some(5);
                seen.board.receipts[0].proof_tip = Some(1009);
            },
        ),
    ])
}

fn of_clocks() -> Vec<Unwell> {
    let mut all = made(&[
        (
            Kind::PrimaryClock,
            Some("node-1"),
            Degraded,
            "the clock of primary node-1 is ahead by 2 h",
            |seen, _| {
                let ahead = |s: u64| Timestamp::from_micros(NOW.as_micros() + s * 1_000_000);
                said(seen).time = ahead(7200);
                // It dates the events as well.
                seen.times.insert(20, ahead(7199));
            },
        ),
        (
            Kind::ConsumerClock,
            Some("backup-1"),
            Degraded,
            "the clock of backup-1 is ahead by 8 h",
            |seen, _| {
                let ahead = Timestamp::from_micros(NOW.as_micros() + 28_800_000_000);
                seen.board.receipts[0].time = ahead;
            },
        ),
    ]);
    let found = |kind, name: &'static str, text: &'static str| {
        let mut fleet = assess(&seen(), NOW, &expectation());
        fleet.add(vec![Finding::degraded(kind, name, text.to_owned())]);
        Unwell { kind, name: Some(name), verdict: Degraded, text, fleet }
    };
    // What makes these of what is kept is tried where that is read.
    let check = "a verify of dir:b was recorded by a clock that is ahead by 8 h";
    let identity = "the newest backup of the identity of a at dir:keys was made by a clock that is \
                    ahead by 3 days";
    all.push(found(Kind::CheckClock, "dir:b", check));
    all.push(found(Kind::IdentityClock, "a", identity));
    all
}

/// A log that drops what is older than half an hour, whatever the archive has.
fn of_recovery() -> Vec<Unwell> {
    let (mut seen, expected) = (seen(), expectation());
    seen.board.receipts.push(receipt("archive", Role::Archive, 19, 1014));
    let after = DropsAfter::Age(Duration::from_secs(1801));
    seen.drops.push(DropLimit { setting: "max_age", after });
    let identities = Default::default();
    let kept = Kept { checks: &[], places: &[], identities: &identities };
    let (view, wrong) = recovery(Some(&seen), kept, NOW, &expected);
    let mut fleet = assess(&seen, NOW, &expected);
    fleet.recovery = Some(view);
    fleet.add(wrong);
    let text = "archive, the newest backup, ends at event 19: the log drops the next one in 30 min";
    let (kind, name) = (Kind::RunwayShort, Some("archive"));
    vec![Unwell { kind, name, verdict: Degraded, text, fleet }]
}
