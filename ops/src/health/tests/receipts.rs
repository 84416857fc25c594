//! What the receipts of others are believed.

use tipline_consumer::Phase;
use tipline_proto::{Digest, Level, Position, Reached, Role};

use super::{ConsumerState, Scene, announcement, at, block, cursor, receipt, seconds};
use crate::health::readiness::ReasonKind;

/// The primary may be cut off while a consumer has more than it knows: then events are waited for.
#[test]
fn the_tip_is_the_fleets_not_what_the_primary_says_alone() {
    let mut scene = Scene::new();
    scene.board.receipts[1] = receipt("replica-2", 110);
    scene.state.fleet.knows(at(110));
    scene.state.fleet.hear(&scene.board, 110, scene.now);
    let said = scene.is_ready();
    assert_eq!((said.tip, said.lag_events), (Some(100), Some(10)));
    scene.pass(seconds(30.5));
    scene.refuses(ReasonKind::Behind, "10 events behind the fleet's newest, for 30 s");
}

#[test]
fn a_receipt_beyond_the_log_is_of_another_history_and_counts_for_nothing() {
    let mut scene = Scene::new();
    scene.board.receipts[1] = receipt("replica-2", 5_000);
    scene.hear();
    assert_eq!(scene.is_ready().tip, Some(100));
}

/// Whoever may put a receipt could otherwise take every replica out.
#[test]
fn what_a_receipt_says_beyond_the_announcement_makes_nobody_unfit() {
    let mut scene = Scene::new();
    let mut said = announcement(100);
    said.proof_tip = Some(90);
    scene.board.primary = Some(said);
    let mut own = cursor(100);
    own.proof_tip = Some(90);
    scene.phase_with(Phase::Following, |progress| progress.cursor = Some(own));
    // The position is the log's own, and what is said beside it is not so.
    let mut lies = receipt("replica-2", 100);
    (lies.block_tip, lies.proof_tip) = (block(1_000_000), Some(1_000_000));
    scene.board.receipts[1] = lies;
    scene.limits.max_proof_lag = 0;
    scene.hear();
    scene.pass(seconds(700.0));
    let said = scene.is_ready();
    assert_eq!((said.tip, said.lag_blocks, said.proof_lag_blocks), (Some(100), Some(0), Some(0)));
}

/// It would say that it has what nobody has, and the best that there are would leave.
#[test]
fn one_that_does_not_agree_with_the_log_is_not_better() {
    let mut scene = Scene::new();
    scene.publish(110);
    let text = "everyone is behind; this one serves: 10 blocks, for 0.0 s";
    let mut other = receipt("replica-2", 109);
    for index in [109, 110, 5_000] {
        let digest = Digest::from_bytes([0xff; 32]);
        other.reached = Reached::up_to(Position { index, digest }, Level::Durable);
        scene.board.receipts[1] = other.clone();
        scene.hear();
        scene.serves_degraded(ReasonKind::EveryoneBehind, text);
    }
}

/// The log is asked seldom: a receipt that comes meanwhile takes nothing back.
#[test]
fn one_that_was_found_better_is_until_its_receipt_is_refuted_or_gone() {
    let mut scene = Scene::new();
    scene.publish(110);
    scene.others_at(109);
    assert!(!scene.readiness().ready);
    scene.board.receipts[1] = receipt("replica-2", 111);
    scene.board.primary = Some(announcement(112));
    scene.state.fleet.hear(&scene.board, 112, scene.now);
    assert!(!scene.readiness().ready);
    let mut gone = scene.board.clone();
    gone.receipts.truncate(1);
    scene.state.fleet.hear(&gone, 112, scene.now);
    assert!(scene.readiness().ready);
}

/// Where no primary says what is new, those do that agree with the log, for as long as they say so.
#[test]
fn without_an_announcement_the_tip_is_that_of_the_receipts_and_falls_with_them() {
    let mut scene = Scene::new();
    let name = "replica-1".parse().unwrap();
    let progress = scene.state.progress.clone();
    scene.state = ConsumerState::new(name, Role::Replica, progress, scene.now);
    scene.board.primary = None;
    let mut other = receipt("replica-2", 104);
    other.proof_tip = Some(80);
    scene.board.receipts = vec![other];
    let hear = |scene: &mut Scene| scene.state.fleet.hear(&scene.board, 104, scene.now);
    let seen = |scene: &Scene| {
        let fleet = &scene.state.fleet;
        (fleet.height(), fleet.blocks.last().map(|b| b.0), fleet.proofs.last().map(|p| p.0))
    };
    hear(&mut scene);
    assert_eq!(seen(&scene), (None, None, None), "it is not compared yet");
    scene.state.fleet.knows(at(104));
    hear(&mut scene);
    assert_eq!(seen(&scene), (Some(104), Some(104), Some(80)));
    scene.board.receipts = vec![receipt("replica-2", 104)];
    scene.board.receipts[0].reached = Reached::up_to(at(103), Level::Durable);
    scene.state.fleet.knows(Position { index: 103, ..at(1) });
    hear(&mut scene);
    assert_eq!(seen(&scene), (None, None, None), "it is refuted");
    scene.board.receipts = vec![receipt("replica-2", 104)];
    hear(&mut scene);
    assert_eq!(seen(&scene).0, Some(104));
    scene.board.receipts.clear();
    hear(&mut scene);
    assert_eq!(seen(&scene), (None, None, None), "it is gone");
}
