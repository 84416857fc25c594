use std::time::Duration;

use tipline_log::Preflight;
use tipline_proto::{Digest, Level, Position, ProofsFrom, Reached, Role, Timestamp, Tip};

use super::super::testing::{NOW, at, block, expectation, receipt, seconds_ago, seen, unwell};
use super::super::{Expectation, Fleet, Kind, Seen, State, Verdict, assess, unreadable};

fn judged(change: impl FnOnce(&mut Seen)) -> Fleet {
    let mut seen = seen();
    change(&mut seen);
    assess(&seen, NOW, &expectation())
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

/// A receipt does not make others late: not of another history, nor of what the log does not have,
/// nor with a position that is the log's own.
#[test]
fn what_a_receipt_says_of_blocks_and_proofs_makes_nobody_else_behind() {
    let lie = |seen: &mut Seen, position: Position| {
        let lies = &mut seen.board.receipts[0];
        lies.reached = Reached::up_to(position, Level::Durable);
        (lies.block_tip, lies.proof_tip) = (block(1_000_000), Some(1_000_000));
    };
    let other = Position { index: 20, digest: Digest::from_bytes([0xff; 32]) };
    for position in [other, Position { index: u64::MAX, ..other }, at(20)] {
        // Also if there is no block among the newest events of the log.
        for tail_block in [block(1015), None] {
            let fleet = judged(|seen| {
                seen.tail_block = tail_block.clone();
                lie(seen, position);
            });
            assert_eq!(fleet.tip.unwrap().height, 1015);
            let told = &fleet.consumers[1];
            let said = (told.state, told.lag_blocks, told.lag_events);
            assert_eq!(said, (State::Well, Some(1), 1), "{position:?}");
        }
        // Nor does it make proofs that are late look well.
        let mut seen = seen();
        lie(&mut seen, position);
        let expected = Expectation { max_proof_lag: Some(5), ..expectation() };
        let late = |seen: &Seen| {
            let found = assess(seen, NOW, &expected).findings;
            found.iter().any(|finding| finding.kind == Kind::ProofLag)
        };
        assert!(late(&seen), "{position:?}");
        seen.board.primary.as_mut().unwrap().proof_tip = Some(1010);
        assert!(!late(&seen));
    }
}

/// Nobody else says what is new: the log has had no block for long, and no primary is there.
#[test]
fn where_nobody_else_names_a_block_those_count_that_agree_with_the_log() {
    let mut seen = seen();
    (seen.tail_block, seen.board.primary) = (None, None);
    let tip = |seen: &Seen| assess(seen, NOW, &expectation()).tip.map(|tip| tip.height);
    assert_eq!(tip(&seen), Some(1015));
    let other = Position { index: 20, digest: Digest::from_bytes([0xff; 32]) };
    seen.board.receipts[0].reached = Reached::up_to(other, Level::Durable);
    assert_eq!(tip(&seen), Some(1014));
}

/// Then the newest block that is known was named before what the consumer has.
#[test]
fn what_is_newer_than_the_newest_block_that_is_known_is_of_no_other_branch() {
    let fleet = judged(|seen| {
        seen.tail_block = None;
        seen.board.primary.as_mut().unwrap().tail = at(15);
        seen.board.primary.as_mut().unwrap().block_tip = block(1010);
    });
    assert_eq!(fleet.consumers[1].rolled_back_to, None);
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
        "the log lost events: primary node-1 published up to 20, the log ends at 18; \
         the log lost events: backup-1 holds them up to 20, the log ends at 18; \
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
    let fleet = assess(&seen, NOW, &expectation());
    assert_eq!(fleet.verdict, Verdict::Degraded);
    assert_eq!(fleet.summary, "the log can lose what it acknowledges (replicas: 1)");
    assert!(!fleet.shortfalls[0].accepted);

    let fleet = assess(
        &seen,
        NOW,
        &Expectation { accept_shortfalls: tipline_log::Accepted::Everything, ..expectation() },
    );
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
fn every_way_to_be_unwell_is_found_and_is_the_only_thing_that_is_said() {
    let cases = unwell();
    for case in &cases {
        let found: Vec<_> = case.fleet.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(found, [case.kind], "{}: {:?}", case.text, case.fleet.reasons);
        let finding = &case.fleet.findings[0];
        assert_eq!((finding.text.as_str(), finding.name.as_deref()), (case.text, case.name));
        assert_eq!((finding.verdict, case.fleet.verdict), (case.verdict, case.verdict));
        assert_eq!(case.fleet.summary, case.text);
    }
    for kind in Kind::ALL {
        assert!(cases.iter().any(|case| case.kind == *kind), "{kind:?} has no case");
    }
}

/// It is what somebody wanted, for as long as it makes nobody late.
#[test]
fn a_store_that_is_frozen_is_shown_to_be_and_is_well_within_the_limits() {
    let mut seen = seen();
    seen.board.receipts[1].frozen = Some(Duration::from_secs(50));
    let fleet = assess(&seen, NOW, &expectation());
    assert_eq!((fleet.verdict, fleet.reasons), (Verdict::Well, vec![]));
    let frozen = &fleet.consumers[1];
    assert_eq!((frozen.state, frozen.frozen), (State::Frozen, Some(Duration::from_secs(51))));
    // Who says nothing is silent, whatever it said before.
    seen.board.receipts[1].time = seconds_ago(40);
    let silent = &assess(&seen, NOW, &expectation()).consumers[1];
    assert_eq!(silent.state, State::Silent);
}

/// A chain that stands still is not a sick replica, and is not taken for one.
#[test]
fn a_chain_that_stands_still_is_well_for_as_long_as_everyone_has_all_of_it() {
    let still = |seen: &mut Seen| {
        let receipts = &mut seen.board.receipts;
        receipts[1].reached = Reached::up_to(at(20), Level::Durable);
        receipts[1].block_tip = block(1015);
        seen.tail.time = Timestamp::from_micros(1);
        seen.times = [(20, Timestamp::from_micros(1))].into();
    };
    expect(Verdict::Well, "every block up to 1,015 is in 1 replica and 1 backup", still);
    // A policy that is reached, an outbox that is empty, proofs that are all there.
    let mut seen = seen();
    still(&mut seen);
    let policy = Some("any 2 of * at durable".parse().unwrap());
    let max_proof_lag = Some(5);
    let expected = Expectation { policy, max_proof_lag, ..expectation() };
    let fleet = assess(&seen, NOW, &expected);
    assert_eq!((fleet.verdict, fleet.reasons), (Verdict::Well, vec![]));
    let policy = fleet.policy.unwrap();
    assert_eq!((policy.reached, policy.index, policy.lag_events, policy.lag), (true, 20, 0, None));
    // The first event after a long pause is not late when it comes.
    expect(Verdict::Well, "every block up to 1,014 is in 1 replica and 1 backup", |seen| {
        seen.times.insert(19, Timestamp::from_micros(1));
    });
}

#[test]
fn a_chain_without_proofs_has_no_proof_lag() {
    let fleet = |proof| {
        let mut seen = seen();
        seen.board.receipts.iter_mut().for_each(|receipt| receipt.proof_tip = proof);
        assess(&seen, NOW, &Expectation { max_proof_lag: Some(5), ..expectation() }).verdict
    };
    assert_eq!([None, Some(0), Some(1)].map(fleet), {
        [Verdict::Well, Verdict::Well, Verdict::Degraded]
    });
}

/// The tip is at 1,015, and nobody has seen a proof yet.
#[test]
fn a_chain_that_says_from_where_it_proves_has_a_proof_lag_from_there_on() {
    let fleet = |from, proof| {
        let mut seen = seen();
        seen.identity.chain.proofs_from = ProofsFrom::new(from).unwrap();
        seen.board.receipts.iter_mut().for_each(|receipt| receipt.proof_tip = proof);
        let expected = Expectation { max_proof_lag: Some(5), ..expectation() };
        assess(&seen, NOW, &expected).reasons.join("; ")
    };
    for from in [2000, 1016, 1011] {
        assert_eq!(fleet(from, None), "", "from block {from} on");
    }
    let none = "there is none yet of block 1,010, the first that needs one";
    assert_eq!(fleet(1010, None), format!("proofs are 6 blocks behind: {none}"));
    assert_eq!(fleet(1010, Some(1009)), format!("proofs are 6 blocks behind: {none}"));
    assert_eq!(fleet(1010, Some(1010)), "");
    let some = "proofs are 15 blocks behind: every block up to 1,000 is proven";
    assert_eq!(fleet(900, Some(1000)), some);
}

#[test]
fn events_that_wait_are_dated_by_the_clock_that_dated_them() {
    // The primary's clock is an hour behind: what it committed a second ago is not an hour old.
    expect(Verdict::Well, "every block up to 1,014 is in 1 replica and 1 backup", |seen| {
        let primary = seen.board.primary.as_mut().unwrap();
        primary.time = seconds_ago(3600);
        seen.board.primary_heard = Some(Duration::from_secs(2));
        seen.times.insert(20, seconds_ago(3601));
    });
    expect(Verdict::Degraded, "replica-1 is 1 event behind, for 62 s", |seen| {
        let primary = seen.board.primary.as_mut().unwrap();
        primary.time = seconds_ago(3600);
        seen.board.primary_heard = Some(Duration::from_secs(2));
        seen.times.insert(20, seconds_ago(3660));
    });
}

#[test]
fn a_block_of_a_branch_that_was_rolled_back_is_not_counted() {
    // For now it is only a moment behind, but what it has is no block of the chain any more.
    expect(Verdict::Well, "every block up to 1,013 is in 1 replica and 1 backup", |seen| {
        seen.board.receipts[1].block_tip = block(1015);
        seen.rollbacks.insert(20, 1013);
    });
    // Nor if the rollback itself was too far back to be seen.
    let fleet = judged(|seen| {
        seen.board.receipts[1].block_tip = Some(Tip { height: 1015, hash: "cd".parse().unwrap() });
    });
    assert_eq!(fleet.consumers[1].rolled_back_to, Some(1014));
}

#[test]
fn one_thing_that_cannot_be_read_does_not_stop_the_rest() {
    let fleet = judged(|seen| {
        seen.corrupt.insert(12, "damaged".into());
        seen.board.receipts[0].time = seconds_ago(40);
    });
    assert_eq!(fleet.verdict, Verdict::Broken);
    assert_eq!(
        fleet.reasons,
        ["event 12 of the log cannot be read: damaged", "backup-1 is silent for 40 s"]
    );
}

/// The bytes of `tipline status --json`: programs read them. A name is added, never changed.
#[test]
fn the_json_is_stable() {
    let mut seen = seen();
    let policy = Some("any 2 of * at durable".parse().unwrap());
    seen.board.receipts[1].time = seconds_ago(40);
    seen.board.receipts[1].applying = Some(Duration::from_secs(2));
    let fleet = assess(&seen, NOW, &Expectation { policy, ..expectation() });
    let json = serde_json::to_string_pretty(&fleet).unwrap() + "\n";
    assert_eq!(json, include_str!("status.json"));
}

#[test]
fn a_log_that_cannot_be_read_is_broken() {
    let why = "there is no log at embedded:x".to_owned();
    let fleet = unreadable("embedded:x".into(), why.clone(), Some("tipline init".into()));
    assert_eq!((fleet.verdict, fleet.summary), (Verdict::Broken, why));
    assert_eq!(fleet.advice.as_deref(), Some("tipline init"));
}
