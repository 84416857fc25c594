//! The readiness of a consumer.

use std::time::Duration;

use tipline_consumer::Phase;
use tipline_proto::{Role, Tip};

use super::{Scene, announcement, cursor, receipt, seconds};
use crate::health::limits::Allowance;
use crate::health::process::{Health, Situation};
use crate::health::readiness::ReasonKind;

#[test]
fn at_the_tip_it_is_ready() {
    let said = Scene::new().is_ready();
    assert_eq!(
        (said.block, said.tip, said.lag_blocks, said.weight),
        (Some(100), Some(100), Some(0), 100)
    );
    assert!(!said.stands_still);
}

#[test]
fn a_new_one_is_not_ready_before_it_knows_anything() {
    let mut scene = Scene::new();
    let name = "replica-1".parse().unwrap();
    let progress = tipline_consumer::Progress::new();
    scene.state = super::ConsumerState::new(name, Role::Replica, progress, scene.now);
    let said = scene.readiness();
    assert!(!said.ready);
    let kinds: Vec<_> = said.reasons.iter().map(|reason| reason.kind).collect();
    assert!(kinds.starts_with(&[ReasonKind::LogSilent, ReasonKind::NotFollowing]), "{kinds:?}");
    // The log is heard, and the store is not known to be of it.
    scene.pass(Duration::ZERO);
    assert_eq!(scene.readiness().reasons[0].kind, ReasonKind::NotFollowing);
}

#[test]
fn the_limit_of_blocks_is_exact_and_the_weight_falls_with_the_lag() {
    let mut scene = Scene::new();
    for (tip, weight) in [(101, 67), (102, 34)] {
        scene.publish(tip);
        scene.others_at(tip);
        assert_eq!(scene.is_ready().weight, weight);
    }
    scene.publish(103);
    scene.others_at(103);
    scene.refuses(ReasonKind::Behind, "3 blocks behind the fleet's newest, for 0.0 s");
    // Whoever asks may allow more, or less.
    let allow = |max_lag| Allowance { max_lag: Some(max_lag), ..Allowance::default() };
    let limits = scene.limits.clone();
    scene.limits = limits.allowing(&allow(3));
    assert_eq!(scene.is_ready().weight, 25);
    scene.limits = limits;
    scene.applies_to(101);
    scene.is_ready();
}

#[test]
fn the_limit_of_time_counts_from_when_the_fleet_had_the_block() {
    let mut scene = Scene::new();
    scene.publish(101);
    scene.others_at(101);
    scene.pass(seconds(30.0));
    scene.is_ready();
    scene.pass(seconds(0.1));
    scene.refuses(ReasonKind::Behind, "1 block behind the fleet's newest, for 30 s");
    // A newer block does not make it younger.
    scene.publish(102);
    assert!(!scene.readiness().ready);
    scene.applies_to(101);
    scene.is_ready();
}

/// Nothing arrives, and it was at the tip: only the time that passes shows it.
#[test]
fn silence_of_the_log_alone_makes_it_unfit() {
    let mut scene = Scene::new();
    scene.silence(seconds(2.0));
    scene.is_ready();
    scene.silence(seconds(0.1));
    scene.refuses(ReasonKind::LogSilent, "the log has not been heard for 2.1 s");
    scene.state.link.failed("no answer within 5 s".to_owned());
    scene.refuses(
        ReasonKind::LogSilent,
        "the log has not been heard for 2.1 s: no answer within 5 s",
    );
}

#[test]
fn after_a_silence_it_must_first_reach_what_the_log_has_now() {
    let mut scene = Scene::new();
    scene.silence(seconds(20.0));
    // The board may not have been heard yet: it still says 100.
    scene.state.heard_again(140, scene.now);
    scene.state.link.answered(scene.now);
    let said = scene.readiness();
    assert_eq!(said.reasons[0].kind, ReasonKind::CatchingUp, "{said:?}");
    scene.publish(140);
    scene.others_at(140);
    scene.applies_to(139);
    assert_eq!(scene.readiness().reasons[0].kind, ReasonKind::CatchingUp);
    scene.applies_to(140);
    scene.is_ready();
}

#[test]
fn catching_up_says_how_long_it_takes() {
    let mut scene = Scene::new();
    scene.silence(seconds(20.0));
    scene.state.heard_again(1_100, scene.now);
    scene.state.link.answered(scene.now);
    scene.publish(1_100);
    scene.refuses(
        ReasonKind::CatchingUp,
        "catching up: 1,000 blocks behind, 1,000 events; it does not come closer",
    );
    for second in 1..=4 {
        scene.pass(seconds(1.0));
        scene.applies_to(100 + 100 * second);
    }
    let said = scene.readiness();
    assert_eq!(said.reasons[0].kind, ReasonKind::CatchingUp);
    let left = said.catch_up_seconds.unwrap();
    assert!((4.0..=9.0).contains(&left), "600 events at 100 a second: {left}");
    // Nobody else is better, and it is not at the tip: a new one serves nothing old.
    scene.board.receipts.truncate(1);
    scene.hear();
    assert!(!scene.readiness().ready);
    scene.applies_to(1_099);
    assert!(!scene.readiness().ready, "what the log had when it began is not there yet");
    scene.applies_to(1_100);
    scene.is_ready();
}

#[test]
fn a_chain_that_stands_still_takes_nobody_out_and_is_shown() {
    let mut scene = Scene::new();
    for _ in 0..600 {
        scene.pass(seconds(1.0));
        assert!(
            scene.is_ready().stands_still
                == (scene.now - scene.state.fleet.blocks.last().unwrap().1 > seconds(60.0))
        );
    }
    assert_eq!(scene.is_ready().tip_unchanged_seconds, Some(600.0));
}

/// Not the same as a chain that stands still: nobody knows whether there are newer blocks.
#[test]
fn a_silent_primary_is_everyones_trouble() {
    let mut scene = Scene::new();
    scene.silence(seconds(16.0));
    scene.state.link.answered(scene.now);
    scene.serves_degraded(
        ReasonKind::PrimarySilent,
        "the primary has been silent for 16 s: nobody knows what is newer than block 100",
    );
    assert!(!scene.readiness().stands_still);
}

#[test]
fn if_everyone_is_behind_the_best_serve_and_say_so() {
    let mut scene = Scene::new();
    scene.publish(110);
    scene.serves_degraded(
        ReasonKind::EveryoneBehind,
        "everyone is behind; this one serves: 10 blocks, for 0.0 s",
    );
    // Somewhat better is no reason to leave it all to that one.
    scene.others_at(102);
    assert!(scene.readiness().ready);
    scene.others_at(103);
    scene.refuses(ReasonKind::Behind, "10 blocks behind the fleet's newest, for 0.0 s");
    // One that is near the tip.
    scene.others_at(108);
    assert!(!scene.readiness().ready);
}

#[test]
fn only_others_that_live_and_serve_the_same_are_better() {
    let mut scene = Scene::new();
    scene.publish(110);
    let better = |change: fn(&mut tipline_proto::Receipt)| {
        let mut other = receipt("replica-2", 110);
        change(&mut other);
        other
    };
    for (change, is_better) in [
        ((|_| {}) as fn(&mut tipline_proto::Receipt), true),
        (|other| other.role = Role::Backup, false),
        (|other| other.failure = Some("no space".to_owned()), false),
        (|other| other.consumer = "replica-1".parse().unwrap(), false),
    ] {
        scene.board.receipts = vec![better(change)];
        scene.hear();
        assert_eq!(scene.readiness().ready, !is_better, "{:?}", scene.board.receipts);
    }
    // One that is not heard of any more.
    scene.board.receipts = vec![better(|_| {})];
    scene.hear();
    scene.now += seconds(16.0);
    scene.state.link.answered(scene.now);
    assert!(scene.readiness().ready);
}

#[test]
fn a_store_that_is_stuck_or_lost_makes_it_unfit() {
    let mut scene = Scene::new();
    let now = scene.now;
    scene.phase_with(Phase::Following, |progress| progress.applying = Some(now));
    scene.pass(seconds(2.0));
    scene.is_ready();
    scene.pass(seconds(0.5));
    scene.refuses(ReasonKind::StoreStuck, "the store has been applying one batch for 2.5 s");
    scene.phase_with(Phase::Following, |progress| progress.applying = None);
    scene.is_ready();

    scene.state.store.asked(scene.now);
    scene.pass(seconds(2.5));
    scene.refuses(ReasonKind::StoreStuck, "the store has not answered for 2.5 s");
    scene.state.store.answered(Some("node.db is not there any more".to_owned()));
    scene.refuses(ReasonKind::StoreFailed, "node.db is not there any more");
    scene.state.store.answered(None);
    scene.is_ready();

    scene.phase_with(Phase::StoreStalled("no space".to_owned()), |_| {});
    scene.refuses(ReasonKind::StoreFailed, "no space");
    scene.phase_with(Phase::StoreAhead("the log ends at 7".to_owned()), |_| {});
    scene.refuses(ReasonKind::StoreAhead, "the log ends at 7");
    scene.phase_with(Phase::Stopped, |_| {});
    scene.refuses(ReasonKind::Stopping, "it has stopped");
}

/// Somebody makes a snapshot of its volume, which may take minutes.
#[test]
fn a_store_that_is_frozen_is_not_ready_and_does_not_hang() {
    let mut scene = Scene::new();
    let asked = scene.now;
    scene.state.store.asked(asked);
    let after = |minutes: u64| asked + seconds(60.0 * minutes as f64);
    scene.state.store.is_frozen(after(10));
    scene.pass(seconds(600.0));
    assert_eq!(scene.readiness().reasons[0].kind, ReasonKind::StoreStuck);
    let health = Health::new("replica", "replica-1", scene.limits.clone());
    health.set(Situation::Consumer(Box::new(scene.state)));
    assert!(health.liveness(after(12)).alive);
    // It thawed, and does not answer.
    assert!(!health.liveness(after(13)).alive);
}

/// The batch that it is at waits for the thaw, and so does every question.
#[test]
fn a_store_that_is_frozen_is_said_to_be_and_not_to_be_stuck() {
    let mut scene = Scene::new();
    let now = scene.now;
    scene.phase_with(Phase::Following, |progress| {
        (progress.frozen, progress.applying) = (Some(now), Some(now));
    });
    scene.state.store.asked(now);
    scene.pass(seconds(1.0));
    scene.is_ready();
    scene.pass(seconds(1.5));
    scene.refuses(ReasonKind::StoreFrozen, "the store has been frozen for a snapshot for 2.5 s");
    scene.phase_with(Phase::Following, |progress| progress.frozen = None);
    assert_eq!(scene.readiness().reasons[0].kind, ReasonKind::StoreStuck);
}

#[test]
fn a_subscription_that_is_gone_for_a_moment_is_nothing() {
    let mut scene = Scene::new();
    scene.phase_with(Phase::LogUnavailable("it was deleted".to_owned()), |_| {});
    scene.pass(seconds(1.0));
    scene.phase_with(Phase::Joining, |_| {});
    scene.pass(seconds(1.0));
    scene.is_ready();
    scene.phase_with(Phase::LogUnavailable("it was deleted".to_owned()), |_| {});
    scene.pass(seconds(0.5));
    scene.refuses(ReasonKind::NotFollowing, "no events have been pushed for 2.5 s: it was deleted");
    scene.applies_to(100);
    scene.is_ready();
}

/// The stream of the receipts may be away while that of the events is there.
#[test]
fn receipts_that_are_away_are_everyones_trouble_while_it_has_what_the_log_has() {
    let mut scene = Scene::new();
    scene.state.link.lost_board("no such stream".to_owned(), scene.now);
    scene.pass(seconds(2.0));
    scene.is_ready();
    scene.pass(seconds(0.5));
    let text = "what the others do has not been heard for 2.5 s: no such stream";
    scene.serves_degraded(ReasonKind::BoardSilent, text);
    // The log itself has more, and the replica does not get it.
    scene.phase_with(Phase::Following, |progress| progress.tail = Some(105));
    assert!(scene.readiness().ready);
    scene.silence(seconds(2.5));
    scene.state.link.answered(scene.now);
    let text = "what the others do has not been heard for 5.0 s: no such stream";
    scene.refuses(ReasonKind::BoardSilent, text);
}

/// Transactions and records, and no block.
#[test]
fn where_there_is_no_block_events_are_waited_for() {
    let mut scene = Scene::new();
    scene.state = super::ConsumerState::new(
        "replica-1".parse().unwrap(),
        Role::Replica,
        tipline_consumer::Progress::new(),
        scene.now,
    );
    let blockless = |tail| tipline_proto::Announcement { block_tip: None, ..announcement(tail) };
    let peer = |index| tipline_proto::Receipt { block_tip: None, ..receipt("replica-2", index) };
    scene.board.primary = Some(blockless(100));
    scene.board.receipts = vec![peer(100)];
    scene.hear();
    scene.state.heard_again(100, scene.now);
    scene.state.link.answered(scene.now);
    let mut own = cursor(100);
    own.block_tip = None;
    scene.phase_with(Phase::Following, |progress| progress.cursor = Some(own));
    assert_eq!(scene.is_ready().weight, 100);

    scene.board.primary = Some(blockless(1_000_100));
    scene.board.receipts = vec![peer(1_000_100)];
    scene.hear();
    scene.pass(seconds(15.0));
    assert_eq!(scene.is_ready().weight, 52);
    scene.pass(seconds(15.5));
    let text = "1,000,000 events behind the fleet's newest, for 30 s";
    scene.refuses(ReasonKind::Behind, text);
    // Nobody else has them either.
    scene.board.receipts = vec![peer(100)];
    scene.hear();
    let text = "everyone is behind; this one serves: 1,000,000 events, for 30 s";
    scene.serves_degraded(ReasonKind::EveryoneBehind, text);
}

/// The pool of the last resort has served from it while nobody heard the log, and goes on.
#[test]
fn one_that_was_near_the_tip_serves_the_last_resort_when_the_log_is_back() {
    let mut scene = Scene::new();
    scene.silence(seconds(20.0));
    scene.publish(140);
    scene.others_at(140);
    scene.state.heard_again(140, scene.now);
    scene.state.link.answered(scene.now);
    assert!(!scene.readiness().ready);
    let allowance = Allowance { max_silence: Some(seconds(60.0)), ..Allowance::default() };
    scene.limits = scene.limits.allowing(&allowance);
    let text = "catching up: 40 blocks behind, 40 events; it does not come closer";
    scene.serves_degraded(ReasonKind::CatchingUp, text);
    // What was new then is not new for ever.
    scene.pass(seconds(41.0));
    assert!(!scene.readiness().ready);
}

#[test]
fn proofs_have_limits_of_their_own() {
    let mut scene = Scene::new();
    let proven =
        |height, tip| tipline_proto::Announcement { proof_tip: Some(height), ..announcement(tip) };
    scene.board.primary = Some(proven(90, 100));
    scene.board.receipts[1].proof_tip = Some(90);
    scene.hear();
    let mut own = cursor(100);
    own.proof_tip = Some(80);
    scene.phase_with(Phase::Following, |progress| progress.cursor = Some(own));
    assert_eq!(scene.is_ready().proof_lag_blocks, Some(10));
    scene.pass(seconds(600.5));
    scene.refuses(
        ReasonKind::ProofsBehind,
        "its proofs are 10 blocks behind the fleet's, for 10 min",
    );
    scene.limits.max_proof_lag_time = seconds(3600.0);
    scene.is_ready();
    scene.limits.max_proof_lag = 9;
    scene.refuses(
        ReasonKind::ProofsBehind,
        "its proofs are 10 blocks behind the fleet's, for 10 min",
    );
    // All that are there.
    let mut own = cursor(100);
    own.proof_tip = Some(90);
    scene.phase_with(Phase::Following, |progress| progress.cursor = Some(own));
    scene.is_ready();
}

#[test]
fn proofs_that_are_late_everywhere_make_nobody_unfit() {
    let mut scene = Scene::new();
    let proven = |tip| tipline_proto::Announcement { proof_tip: Some(5_000), ..announcement(tip) };
    scene.state.heard_again(5_000, scene.now);
    scene.board.primary = Some(proven(5_000));
    let mut own = cursor(5_000);
    own.proof_tip = Some(80);
    scene.phase_with(Phase::Following, |progress| progress.cursor = Some(own));
    let text =
        "everyone's proofs are late; this one serves: 4,920 blocks behind the fleet's, for 0.0 s";
    for (proof, is_better) in [
        (None, false),
        (Some(80), false),
        (Some(1_080), false),
        (Some(1_081), true),
        (Some(4_000), true),
    ] {
        scene.board.receipts[1] =
            tipline_proto::Receipt { proof_tip: proof, ..receipt("replica-2", 5_000) };
        scene.hear();
        match is_better {
            true => scene.refuses(
                ReasonKind::ProofsBehind,
                "its proofs are 4,920 blocks behind the fleet's, for 0.0 s",
            ),
            false => scene.serves_degraded(ReasonKind::ProofsBehind, text),
        }
    }
    // By time alone: another one that is late too is no better for one block.
    scene.limits.max_proof_lag = 5_000;
    scene.board.receipts[1].proof_tip = Some(81);
    scene.pass(seconds(601.0));
    assert!(scene.readiness().ready);
    scene.board.receipts[1].proof_tip = Some(5_000);
    scene.hear();
    assert!(!scene.readiness().ready);
}

#[test]
fn a_block_that_the_chain_went_back_from_is_no_block_of_it() {
    let mut scene = Scene::new();
    let mut said = announcement(100);
    said.tail = super::at(103);
    said.block_tip = Some(Tip { height: 100, hash: "cd".parse().unwrap() });
    scene.board.primary = Some(said);
    scene.hear();
    assert_eq!(scene.readiness().lag_blocks, Some(1));
    scene.pass(seconds(30.5));
    assert!(!scene.readiness().ready, "{:?}", scene.readiness());
}
