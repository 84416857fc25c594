use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::{Extent, Survey};
use tipline_proto::Level;

use super::super::{Holder, Proven, Reservation, RetentionPlan, RetentionRule, plan};
use super::{archive, at, checkpoint, elsewhere, lenient, receipt, receipt_at, survey, unread};

fn first(survey: &Survey, proven: &[Proven], rule: &RetentionRule) -> u64 {
    plan(survey, proven, rule).first
}

#[test]
fn without_a_proof_nothing_goes() {
    let seen = survey([receipt_at("backup-1", Level::Offsite, at(1000))]);
    assert_eq!(first(&seen, &[], &lenient()), 101);
    assert_eq!(first(&seen, &[unread("s3://b", "it does not answer")], &lenient()), 101);
    // One that cannot be read spoils the others: it was named because it matters.
    let proven = [archive(at(900)), unread("s3://b", "it does not answer")];
    assert_eq!(first(&seen, &proven, &lenient()), 101);
}

#[test]
fn the_least_of_all_decides() {
    let seen = survey([receipt("backup-1", 950)]);
    let rule = lenient();
    assert_eq!(first(&seen, &[archive(at(900))], &rule), 901);
    assert_eq!(first(&seen, &[archive(at(900)), checkpoint(at(700))], &rule), 701);
    assert_eq!(first(&seen, &[archive(at(600)), checkpoint(at(700))], &rule), 601);
    assert_eq!(first(&seen, &[archive(at(980)), checkpoint(at(970))], &rule), 951);
    assert_eq!(first(&seen, &[archive(at(100))], &rule), 101);
    assert_eq!(first(&seen, &[archive(at(3))], &rule), 101);
}

#[test]
fn the_policy_counts_levels_and_leaves_out_other_histories() {
    let proven = [archive(at(1000))];
    let two = RetentionRule {
        policy: "any 2 of backup-* at durable".parse().unwrap(),
        reserve: 0,
        ..lenient()
    };
    let both = [receipt("backup-1", 500), receipt("backup-2", 300)];
    assert_eq!(first(&survey(both.clone()), &proven, &two), 301);
    assert_eq!(first(&survey([both[0].clone()]), &proven, &two), 101);
    let applied = receipt_at("backup-2", Level::Applied, at(300));
    assert_eq!(first(&survey([both[0].clone(), applied]), &proven, &two), 101);
    let diverged = receipt_at("backup-2", Level::Durable, elsewhere(300));
    assert_eq!(first(&survey([both[0].clone(), diverged]), &proven, &two), 101);
    let ahead = receipt_at("backup-2", Level::Durable, elsewhere(1001));
    assert_eq!(first(&survey([both[0].clone(), ahead]), &proven, &two), 101);
}

#[test]
fn a_receipt_without_a_copy_moves_nothing() {
    // It says that it has everything, verified, elsewhere; the archive itself ends at 200.
    let liar = receipt_at("archive", Level::Offsite, at(1000));
    let rule =
        RetentionRule { policy: "any 1 of archive at offsite".parse().unwrap(), ..lenient() };
    assert_eq!(first(&survey([liar.clone()]), &[archive(at(200))], &rule), 201);
    assert_eq!(first(&survey([liar]), &[], &rule), 101);
}

#[test]
fn a_proof_of_another_history_is_none() {
    let seen = survey([receipt("backup-1", 1000)]);
    let held = |proven: Proven| {
        let plan = plan(&seen, &[proven], &lenient());
        assert_eq!(plan.first, 101);
        plan.ranges[0].kept_by[0].to_string()
    };
    assert!(held(archive(elsewhere(500))).contains("another history than the log, at event 500"));
    assert!(held(archive(at(1001))).contains("the log lost events"));
    assert!(held(unread("s3://b", "it refuses the key")).contains("it refuses the key"));
    let mut blind = survey([receipt("backup-1", 1000)]);
    blind.digests.clear();
    assert_eq!(first(&blind, &[archive(at(500))], &lenient()), 101);
}

#[test]
fn the_rule_keeps_the_newest_and_the_young() {
    let proven = [archive(at(1000))];
    let mut seen = survey([receipt("backup-1", 1000)]);
    assert_eq!(first(&seen, &proven, &lenient()), 1000);
    let rule = RetentionRule { keep_events: 300, ..lenient() };
    assert_eq!(first(&seen, &proven, &rule), 701);
    assert_eq!(first(&seen, &proven, &RetentionRule { keep_events: u64::MAX, ..lenient() }), 101);
    seen.young_from = 650;
    assert_eq!(first(&seen, &proven, &rule), 650);
}

#[test]
fn a_consumer_is_waited_for_then_at_risk_then_lost() {
    let rule = RetentionRule { reserve: 400, ..lenient() };
    let proven = [archive(at(900))];
    let of = |index| plan(&survey([receipt("archive", 1000), receipt("z", index)]), &proven, &rule);
    let standing = |plan: &RetentionPlan| {
        let found = plan.consumers.iter().find(|reserved| reserved.consumer.as_str() == "z");
        found.unwrap().reservation
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));

    let near = of(600);
    assert_eq!(near.first, 601);
    assert_eq!(standing(&near), Reservation::Reserved { at_risk_in: seconds(1) });
    assert_eq!(standing(&of(1000)), Reservation::Reserved { at_risk_in: seconds(401) });
    // One too many: it is not waited for, and what it needs goes with the next trim.
    let far = of(599);
    assert_eq!(far.first, 901);
    assert_eq!(standing(&far), Reservation::AtRisk { lost_in: seconds(0) });
    // The log is still kept by something else, for about as long as it takes to get there.
    let kept = RetentionRule { keep_events: 500, ..rule.clone() };
    let seen = survey([receipt("archive", 1000), receipt("z", 550)]);
    let far = plan(&seen, &proven, &kept);
    assert_eq!((far.first, standing(&far)), (501, Reservation::AtRisk { lost_in: seconds(51) }));
    // It needs the oldest entry, or the one before.
    assert_eq!(standing(&of(100)), Reservation::AtRisk { lost_in: seconds(0) });
    assert_eq!(standing(&of(99)), Reservation::Lost);
}

#[test]
fn what_is_only_written_is_still_needed() {
    let rule = lenient();
    let applied = receipt_at("z", Level::Applied, at(900));
    let mut seen = survey([receipt("archive", 1000), applied]);
    // It needs everything: it is lost already, because the log begins at 101.
    let found = plan(&seen, &[archive(at(1000))], &rule);
    assert_eq!(found.consumers[1].reservation, Reservation::Lost);
    seen.held.first = 1;
    assert_eq!(first(&seen, &[archive(at(1000))], &rule), 1);
}

#[test]
fn another_history_reserves_nothing() {
    for position in [elsewhere(300), elsewhere(2000)] {
        let stray = receipt_at("stray", Level::Durable, position);
        let seen = survey([receipt("archive", 1000), stray]);
        let found = plan(&seen, &[archive(at(900))], &lenient());
        assert_eq!(found.first, 901);
        assert_eq!(found.consumers[1].reservation, Reservation::Diverged);
    }
}

#[test]
fn every_range_says_who_keeps_it() {
    let seen = survey([receipt("archive", 1000), receipt("replica-1", 700)]);
    let rule = RetentionRule { keep_events: 100, ..lenient() };
    let found = plan(&seen, &[archive(at(900)), checkpoint(at(400))], &rule);
    let told: Vec<_> = found
        .ranges
        .iter()
        .map(|range| {
            let who = range.kept_by.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("{}–{}: {}", range.first, range.last, who.join("; "))
        })
        .collect();
    let checkpoint = "the checkpoint at dir:/points does not reach it";
    let archive = "the archive at dir:/archive does not reach it";
    let keep = "the newest 100 events are to be kept";
    assert_eq!(
        told,
        [
            "101–400: ".to_owned(),
            format!("401–700: {checkpoint}"),
            format!("701–900: {checkpoint}; replica-1 still needs it"),
            format!("901–999: {checkpoint}; replica-1 still needs it; {keep}; {archive}"),
            format!(
                "1000–1000: {checkpoint}; replica-1 still needs it; {keep}; {archive}; \
                 the newest event always stays"
            ),
        ]
    );
    assert_eq!(found.free(), 300);
}

#[test]
fn an_empty_log_has_nothing_to_keep() {
    let mut seen = survey([]);
    seen.held = Extent { first: 1, last: 0 };
    let found = plan(&seen, &[archive(at(0))], &lenient());
    assert_eq!((found.first, found.free(), found.ranges.len()), (1, 0, 0));
}

/// Whatever is seen: what goes is proven by everyone, backed up, and needed by nobody who is
/// waited for; and the ranges are all of the log, without a gap, and say the same.
#[test]
fn nothing_goes_that_anyone_keeps() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for case in 0..2000 {
        let mut position = |odds: f64| {
            let index = rng.random_range(0..=1100);
            if rng.random_bool(odds) { elsewhere(index) } else { at(index) }
        };
        let receipts = ["a", "b", "c"].map(|name| receipt_at(name, Level::Durable, position(0.1)));
        let proven = [archive(position(0.1)), checkpoint(position(0.05))];
        let proven = &proven[..rng.random_range(0..=2)];
        let rule = RetentionRule {
            policy: "any 2 of * at durable".parse().unwrap(),
            keep_events: rng.random_range(0..300),
            keep_for: Duration::ZERO,
            reserve: rng.random_range(0..1000),
        };
        let seen = survey(receipts);
        let found = plan(&seen, proven, &rule);
        assert_whole(&found, case);
        if found.free() > 0 {
            assert_free(&seen, proven, &rule, found.first);
        }
    }
}

fn assert_whole(plan: &RetentionPlan, case: usize) {
    let mut next = plan.held.first;
    for range in &plan.ranges {
        assert_eq!(range.first, next, "case {case}: {plan:?}");
        assert_eq!(range.kept_by.is_empty(), range.last < plan.first, "case {case}: {plan:?}");
        next = range.last + 1;
    }
    assert_eq!(next, plan.held.last + 1, "case {case}");
    let unkept = plan.ranges.iter().flat_map(|range| &range.kept_by);
    assert!(plan.free() > 0 || unkept.count() > 0, "case {case}: {plan:?}");
    let newest = plan.ranges.last().unwrap();
    assert!(newest.kept_by.contains(&Holder::Newest), "case {case}: {plan:?}");
}

fn assert_free(seen: &Survey, proven: &[Proven], rule: &RetentionRule, first: u64) {
    let gone = first - 1;
    assert!(!proven.is_empty());
    for proof in proven {
        let position = *proof.covered.as_ref().unwrap();
        assert!(position.index >= gone && position == at(position.index) && position.index <= 1000);
    }
    let honest = || {
        let positions = seen.receipts.iter().map(|r| r.reached.at(Level::Durable).unwrap());
        // An older position than the log holds is not compared, and counts for nothing either.
        positions.filter(|p| p.index < 101 || (p.index <= 1000 && *p == at(p.index)))
    };
    assert!(honest().filter(|position| position.index >= gone).count() >= 2);
    for position in honest().filter(|position| position.index >= 100) {
        assert!(position.index >= gone || 1000 - position.index > rule.reserve);
    }
    assert!(first <= 1000 && first <= 1001 - rule.keep_events.min(1001));
}
