use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{
    Against, Check, CheckedPlace, Checkpoints, Destination, Job, Newest, Record, Sample, verify,
};
use tipline_consumer::StoreHandle;
use tipline_log::{DropLimit, DropsAfter};
use tipline_proto::{Digest, Level, Position, Reached, Role, Timestamp};
use tipline_store::{Sink, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::super::checks::CheckState;
use super::super::finding::{Finding, Kind, Verdict};
use super::super::identities::IdentityReview;
use super::super::testing::{NOW, at, expectation, receipt, seconds_ago, seen};
use super::super::{Expectation, Seen};
use super::{
    ConditionState, Kept, NewestCheckpoint, PlaceState, RecoveryView, RunwayView, Unread,
    follow_places, recovery,
};
use crate::open_sources;

const PLACE: &str = "dir:b";
const HOUR: u64 = 3_600;

/// All that a recovery needs: an archive that lacks one event, for a second, and a place with a
/// checkpoint that was verified and drilled.
struct Scene {
    seen: Seen,
    expected: Expectation,
    checks: Vec<CheckState>,
    places: Vec<PlaceState>,
    identities: IdentityReview,
}

impl Scene {
    fn new() -> Scene {
        let mut seen = seen();
        seen.board.receipts.push(receipt("archive", Role::Archive, 19, 1014));
        let checkpoint = made(3 * HOUR);
        Scene {
            seen,
            expected: Expectation { max_restore: minutes(2), ..expectation() },
            checks: vec![check(Check::Verify, 15, 2 * HOUR), check(Check::Drill, 12, HOUR)],
            places: vec![PlaceState { place: PLACE.to_owned(), found: Ok(Some(checkpoint)) }],
            identities: IdentityReview { backed_up: Some(true), ..IdentityReview::default() },
        }
    }

    /// Nothing but the log.
    fn without_places() -> Scene {
        let (checks, places) = (Vec::new(), Vec::new());
        Scene { checks, places, identities: IdentityReview::default(), ..Scene::new() }
    }

    fn archive(&mut self, index: u64) {
        self.seen.board.receipts[2].reached = Reached::up_to(at(index), Level::Verified);
    }

    fn drops(&mut self, setting: &'static str, after: DropsAfter) {
        self.seen.drops.push(DropLimit { setting, after });
    }

    fn look(&self) -> (RecoveryView, Vec<Finding>) {
        let Scene { checks, places, identities, .. } = self;
        let kept = Kept { checks, places, identities };
        recovery(Some(&self.seen), kept, NOW, &self.expected)
    }

    fn runway(&self) -> RunwayView {
        self.look().0.runway
    }

    fn condition(&self, name: &str) -> (ConditionState, String) {
        let found = self.look().0.conditions.into_iter().find(|condition| condition.name == name);
        let condition = found.unwrap_or_else(|| panic!("no condition {name}"));
        (condition.state, condition.text)
    }
}

/// The checkpoint of event 10 that was made then.
fn made(ago: u64) -> NewestCheckpoint {
    let name = format!("{:020}-{:016}", 10, seconds_ago(ago).as_micros());
    NewestCheckpoint { index: 10, id: name.parse().unwrap() }
}

fn record(index: u64, ago: u64, ok: bool) -> Record {
    let summary = if ok { "nothing wrong" } else { "a segment is corrupt" }.to_owned();
    let checkpoint = Some(made(3 * HOUR).id.to_string());
    let (time_us, restored_ms) = (seconds_ago(ago).as_micros(), Some(90_000));
    Record { time_us, ok, index, summary, checkpoint, restored_ms }
}

fn check(check: Check, index: u64, ago: u64) -> CheckState {
    let record = Some(record(index, ago, true));
    let found = Ok(Newest { newest: record.clone(), succeeded: record, ahead: None });
    CheckState { place: PLACE.to_owned(), check, found, expected: None }
}

fn minutes(minutes: u64) -> Option<Duration> {
    Some(Duration::from_secs(minutes * 60))
}

#[test]
fn the_runway_ends_with_the_first_limit() {
    let mut scene = Scene::without_places();
    // An event a minute: one is lacking, and retention waits for 50.
    let view = scene.runway();
    assert_eq!((view.backup.as_deref(), view.index), (Some("archive"), Some(19)));
    assert_eq!((view.joins, view.left, view.limit), (Some(true), minutes(50), Some("reserve")));
    assert_eq!(view.text, "archive, up to event 19, joins the log: for 50 min (reserve)");

    scene.drops("max_msgs", DropsAfter::Events(41));
    assert_eq!((scene.runway().left, scene.runway().limit), (minutes(40), Some("max_msgs")));
    // The event that comes next is a second old.
    scene.drops("max_age", DropsAfter::Age(Duration::from_secs(1801)));
    assert_eq!((scene.runway().left, scene.runway().limit), (minutes(30), Some("max_age")));
    // It is not there yet.
    scene.archive(20);
    let most = Some(Duration::from_secs(1801));
    assert_eq!((scene.runway().left, scene.runway().limit), (most, Some("max_age")));
    // It waits for longer than the log holds it.
    scene.archive(18);
    scene.seen.times.insert(19, seconds_ago(5 * HOUR));
    assert_eq!(scene.runway().left, minutes(0));
}

#[test]
fn what_is_not_known_is_said_to_be_and_is_never_plenty() {
    let mut scene = Scene::without_places();
    scene.seen.board.receipts.truncate(2);
    let view = scene.runway();
    assert_eq!((view.joins, view.left, view.limit), (None, None, None));
    assert!(view.text.starts_with("not known: there is no archive"), "{}", view.text);

    // Without a pace nobody knows when so many events are there. It is no longer than by age.
    let mut scene = Scene::without_places();
    scene.seen.per_event = None;
    scene.drops("max_age", DropsAfter::Age(Duration::from_secs(1801)));
    let view = scene.runway();
    assert_eq!((view.joins, view.left), (Some(true), None));
    assert_eq!(
        view.text,
        "archive, up to event 19, joins the log: for 30 min at most (max_age); not known: how \
         long retention waits for it"
    );
    // Nor with a limit that nobody can date.
    let mut scene = Scene::without_places();
    scene.drops("retention", DropsAfter::Unknown);
    assert_eq!((scene.runway().left, scene.runway().limit), (None, None));

    let (view, findings) = recovery(
        None,
        Kept { checks: &[], places: &[], identities: &IdentityReview::default() },
        NOW,
        &expectation(),
    );
    assert_eq!(view.runway.text, "not known: the log cannot be read");
    assert!(view.conditions.iter().all(|one| one.state == ConditionState::Unknown), "{view:?}");
    assert_eq!(findings, []);
}

#[test]
fn the_newest_backup_is_the_furthest_that_is_of_this_log() {
    let mut scene = Scene::new();
    assert_eq!(scene.runway().backup.as_deref(), Some("archive"));
    scene.checks = vec![check(Check::Verify, 20, HOUR)];
    let view = scene.runway();
    assert_eq!((view.backup.as_deref(), view.index), (Some(PLACE), Some(20)));
    // Nobody here knows whether retention is told to wait for it.
    assert_eq!((view.joins, view.left), (Some(true), None));

    // The log has lost its end: what it has in its place by now is another history.
    scene.checks = vec![check(Check::Verify, 21, HOUR)];
    let view = scene.runway();
    assert_eq!((view.backup.as_deref(), view.index), (Some(PLACE), Some(21)));
    assert_eq!((view.joins, view.left), (None, None));
    assert_eq!(view.text, "not known: dir:b ends at event 21, after the log, which ends at 20");

    let mut scene = Scene::without_places();
    let other = Position { index: 19, digest: Digest::from_bytes([9; 32]) };
    scene.seen.board.receipts[2].reached = Reached::up_to(other, Level::Verified);
    assert_eq!(scene.runway().backup, None);
}

#[test]
fn a_runway_that_ends_soon_or_has_ended_is_a_finding() {
    let mut scene = Scene::without_places();
    // Retention that waits no longer is `at_risk`.
    assert_eq!(scene.look().1, []);
    scene.drops("max_age", DropsAfter::Age(Duration::from_secs(1801)));
    let found = |scene: &Scene| {
        let mut findings = scene.look().1;
        assert_eq!(findings.len(), 1, "{findings:?}");
        let Finding { kind, name, verdict, text } = findings.remove(0);
        assert_eq!(kind, Kind::RunwayShort);
        (name.unwrap(), verdict, text)
    };
    let (name, verdict, text) = found(&scene);
    assert_eq!((name.as_str(), verdict), ("archive", Verdict::Degraded));
    assert_eq!(
        text,
        "archive, the newest backup, ends at event 19: the log drops the next one in 30 min"
    );
    scene.expected.min_runway = Duration::from_secs(1_000);
    assert_eq!(scene.look().1, []);

    // What the log has dropped is still in a store, or nowhere.
    let mut scene = Scene::new();
    scene.seen.board.receipts.truncate(2);
    scene.seen.first = 18;
    let (name, verdict, text) = found(&scene);
    assert_eq!((name.as_str(), verdict), (PLACE, Verdict::Degraded));
    assert!(text.ends_with("the log has dropped events 16 to 17"), "{text}");
    assert_eq!((scene.runway().joins, scene.runway().left), (Some(false), minutes(0)));
    scene.seen.board.receipts.clear();
    assert_eq!(found(&scene).1, Verdict::Broken);
}

/// Each condition, as it is, and what makes it fail or leaves it unknown.
#[test]
fn a_fleet_that_can_be_recovered_has_every_condition() {
    let view = Scene::new().look().0;
    let names: Vec<_> = view.conditions.iter().map(|one| (one.name, one.state)).collect();
    let expected = [
        "archive_current",
        "backup_joins_log",
        "checkpoint_verified",
        "drilled",
        "restored_in_time",
        "identities_backed_up",
        "places_answer",
    ];
    assert_eq!(names, expected.map(|name| (name, ConditionState::Ok)));
}

#[track_caller]
fn expect(name: &str, state: ConditionState, text: &str, change: impl FnOnce(&mut Scene)) {
    let mut scene = Scene::new();
    change(&mut scene);
    assert_eq!(scene.condition(name), (state, text.to_owned()));
}

#[test]
fn an_archive_that_lags_is_silent_or_is_not_there_is_not_current() {
    use ConditionState::{Fail, Ok, Unknown};
    let name = "archive_current";
    expect(name, Ok, "archive has everything that is older than 60 s", |_| {});
    expect(name, Fail, "archive lacks events for 61 s", |scene| {
        scene.seen.times.insert(20, seconds_ago(61));
    });
    expect(name, Fail, "archive is silent for 40 s", |scene| {
        scene.seen.board.receipts[2].time = seconds_ago(40);
    });
    expect(name, Fail, "archive has failed", |scene| {
        scene.seen.board.receipts[2].failure = Some("no space".into());
    });
    expect(name, Fail, "archive holds another history than the log, or more", |scene| {
        scene.archive(21);
    });
    expect(name, Fail, "no archive has ever sent a receipt", |scene| {
        scene.seen.board.receipts.truncate(2);
    });
    let unknown = "for how long archive has lacked events is not known";
    expect(name, Unknown, unknown, |scene| scene.seen.times.clear());
    expect(name, Ok, "second has everything that is older than 60 s", |scene| {
        scene.seen.board.receipts.push(receipt("second", Role::Archive, 20, 1015));
        scene.seen.board.receipts[2].failure = Some("no space".into());
    });
}

#[test]
fn a_log_that_begins_after_the_newest_backup_is_not_joined() {
    let text = "archive, the newest backup, cannot be joined to the log: the log has dropped \
                events 17 to 17";
    expect("backup_joins_log", ConditionState::Fail, text, |scene| {
        scene.archive(16);
        scene.seen.first = 18;
    });
    let text = "archive, up to event 17, joins the log: for 48 min (reserve)";
    expect("backup_joins_log", ConditionState::Ok, text, |scene| {
        scene.archive(17);
        scene.seen.first = 18;
    });
}

#[test]
fn a_checkpoint_counts_when_a_verification_found_it() {
    use ConditionState::{Fail, Ok, Unknown};
    let name = "checkpoint_verified";
    let what = "the newest checkpoint at dir:b, of event 10,";
    expect(name, Ok, &format!("{what} was verified"), |_| {});
    let not = format!("{what} was not verified: tipline verify --from dir:b");
    expect(name, Fail, &not, |scene| {
        scene.places[0].found = Result::Ok(Some(made(HOUR)));
    });
    // It was made before the verification, and was not there yet.
    let earlier = [None, Some(made(4 * HOUR).id.to_string())];
    for checkpoint in earlier {
        expect(name, Fail, &not, |scene| {
            let found = scene.checks[0].found.as_mut().unwrap();
            found.succeeded.as_mut().unwrap().checkpoint = checkpoint;
        });
    }
    // One that was verified has expired since.
    expect(name, Ok, &format!("{what} was verified"), |scene| {
        let found = scene.checks[0].found.as_mut().unwrap();
        found.succeeded.as_mut().unwrap().checkpoint = Some(made(HOUR).id.to_string());
    });
    expect(name, Fail, &not, |scene| scene.checks[0].found = Result::Ok(Newest::default()));
    expect(name, Fail, "the last verify of dir:b: a segment is corrupt", |scene| {
        let newest = Some(record(15, 60, false));
        let succeeded = Some(record(15, 2 * HOUR, true));
        scene.checks[0].found = Result::Ok(Newest { newest, succeeded, ahead: None });
    });
    let archive = "what is at dir:b, where there is no checkpoint, was verified";
    expect(name, Ok, archive, |scene| scene.places[0].found = Result::Ok(None));
    expect(name, Unknown, "whether dir:b was verified is not known", |scene| {
        scene.checks[0].found = Err("it does not answer".into());
    });
    let unread = "no place of backups can be read";
    expect(name, Unknown, unread, |scene| scene.places[0].found = Err(away(false)));
    let nowhere = "where backups are is not said: --checks";
    expect(name, Unknown, nowhere, |scene| scene.places.clear());
}

fn away(denied: bool) -> Unread {
    Unread { why: "dir:b refuses access".to_owned(), denied }
}

#[test]
fn a_drill_counts_while_it_is_the_last_one_and_not_too_old() {
    use ConditionState::{Fail, Ok, Unknown};
    let name = "drilled";
    expect(name, Ok, "dir:b was drilled 60 min ago", |_| {});
    expect(name, Fail, "dir:b was drilled 60 min ago", |scene| {
        scene.checks[1].expected = Some(Duration::from_secs(HOUR - 1));
    });
    expect(name, Fail, "dir:b was never drilled", |scene| {
        scene.checks[1].found = Result::Ok(Newest::default());
    });
    expect(name, Fail, "the last drill of dir:b, 60 s ago: a segment is corrupt", |scene| {
        let newest = Some(record(15, 60, false));
        let succeeded = Some(record(12, HOUR, true));
        scene.checks[1].found = Result::Ok(Newest { newest, succeeded, ahead: None });
    });
    expect(name, Unknown, "whether dir:b was drilled is not known", |scene| {
        scene.checks[1].found = Err("it does not answer".into());
    });
    let nowhere = "where backups are is not said: --checks";
    expect(name, Unknown, nowhere, |scene| scene.checks.clear());
}

#[test]
fn a_restore_counts_as_in_time_by_the_drill_that_measured_it() {
    use ConditionState::{Fail, Ok, Unknown};
    let name = "restored_in_time";
    expect(name, Ok, "dir:b was restored in 90 s", |_| {});
    expect(name, Fail, "dir:b was restored in 90 s, and may take 89 s", |scene| {
        scene.expected.max_restore = Some(Duration::from_secs(89));
    });
    let unsaid = "how long it may take is not said: --max-restore; dir:b was restored in 90 s";
    expect(name, Unknown, unsaid, |scene| scene.expected.max_restore = None);
    expect(name, Unknown, "how long restoring dir:b takes is not known", |scene| {
        let found = scene.checks[1].found.as_mut().unwrap();
        found.succeeded.as_mut().unwrap().restored_ms = None;
    });
    expect(name, Fail, "dir:b was never restored", |scene| {
        scene.checks[1].found = Result::Ok(Newest::default());
    });
    expect(name, Unknown, "how long restoring dir:b takes is not known", |scene| {
        scene.checks[1].found = Err("it does not answer".into());
    });
    let nowhere = "where backups are is not said: --checks";
    expect(name, Unknown, nowhere, |scene| scene.checks.clear());
}

#[test]
fn identities_without_a_backup_and_places_that_refuse_are_named() {
    use ConditionState::{Fail, Ok, Unknown};
    let name = "identities_backed_up";
    let none = "no identity of a node is backed up at dir:keys: tipline identity backup";
    let said = |scene: &mut Scene, backed_up: Option<bool>| {
        let reminders = vec![none.to_owned()];
        scene.identities = IdentityReview { reminders, backed_up, ..IdentityReview::default() };
    };
    expect(name, Ok, "every one has a backup", |_| {});
    expect(name, Fail, none, |scene| said(scene, Some(false)));
    expect(name, Unknown, none, |scene| said(scene, None));
    expect(name, Unknown, "where they are is not said: --identities", |scene| {
        scene.identities = IdentityReview::default();
    });
    let name = "places_answer";
    expect(name, Ok, "dir:b can be read", |_| {});
    let refused = "dir:b refuses access";
    expect(name, Fail, refused, |scene| scene.places[0].found = Err(away(true)));
    expect(name, Unknown, refused, |scene| scene.places[0].found = Err(away(false)));
}

/// A time of the future in a receipt, or in the log, is no runway without end.
#[test]
fn clocks_that_are_ahead_do_not_make_it_longer() {
    let mut scene = Scene::without_places();
    scene.drops("max_age", DropsAfter::Age(Duration::from_secs(1801)));
    scene.seen.times.insert(20, Timestamp::from_micros(NOW.as_micros() + 9_000_000_000));
    assert_eq!(scene.runway().left, Some(Duration::from_secs(1801)));
}

/// Where uploads go, and where `tipline checkpoint` writes: what status takes for the newest is what a
/// verification has found.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_checkpoint_is_found_wherever_a_verification_finds_it() {
    for folder in ["checkpoints", ""] {
        let directory = tempfile::tempdir().unwrap();
        let place = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
        let mut store = SqliteStore::open(directory.path().join("store.db")).unwrap();
        store.create(&seen().identity).unwrap();
        let handle = StoreHandle::new(Box::new(store)).unwrap();
        let set = match folder {
            "" => place.clone(),
            folder => place.folder(folder),
        };
        std::fs::create_dir_all(set.directory().unwrap()).unwrap();
        let job = Arc::new(Job::new(CancellationToken::new(), None));
        let made = Checkpoints::at(set).create(&handle, NOW, &job).await.unwrap();

        let states = follow_places(vec![place.clone()]).await;
        let found = states.borrow()[0].found.clone().unwrap().expect("it is there");
        assert_eq!((found.index, found.id.as_str()), (0, made.id.as_str()), "{folder:?}");
        let sources = open_sources(&place, &[]).await.unwrap();
        let places = [CheckedPlace { destination: place, sources }];
        let (sample, mut random) = (Sample::Structure, || 0.0);
        let stop = CancellationToken::new();
        let report = verify(&places, Against::default(), sample, &mut random, &stop).await.unwrap();
        assert_eq!(report.checkpoint(), Some(made.id.to_string()), "{folder:?}");
    }
}
