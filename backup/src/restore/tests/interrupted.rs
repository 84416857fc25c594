//! The place to restore to, and what happens when the work ends in the middle.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tipline_store::StoreError;
use tipline_store::conformance::history::{History, log_with_lineage};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{RestoreProgress, Step, StorePlace, Target, restore};
use super::{KINDS, Kept, names_in, open, place, run, settings};
use crate::error::RestoreError;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_replaced_only_by_force() {
    for kinds in KINDS {
        let kept = Kept::of(History::random(21, 60)).await;
        kept.segments(60, 20).await;
        let directory = tempfile::tempdir().unwrap();
        let place = place(kinds, directory.path());
        open(&place).create(&log_with_lineage(9)).unwrap();
        let before = names_in(directory.path());
        let refused = run(kept.sources(), place.clone(), settings(Target::Latest, false)).await;
        assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
        let left: Vec<String> = names_in(directory.path());
        assert!(before.iter().all(|name| left.contains(name)), "{before:?}, then {left:?}");

        let held = open(&place);
        let mut force = settings(Target::Latest, false);
        force.force = true;
        let refused = run(kept.sources(), place.clone(), force.clone()).await;
        assert!(
            matches!(refused, Err(RestoreError::Store(StoreError::InUse { .. }))),
            "{refused:?}"
        );
        drop(held);
        run(kept.sources(), place.clone(), force).await.unwrap();
        kept.model(60).assert_is(&*open(&place).reader().unwrap(), "in the place of another");
        let left: Vec<String> = names_in(directory.path());
        assert!(!left.iter().any(|name| name.contains("replaced")), "{left:?}");
        assert!(!left.iter().any(|name| name.contains(".restoring")), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_restore_at_a_place() {
    let kept = Kept::of(History::random(22, 60)).await;
    kept.segments(60, 20).await;
    let directory = tempfile::tempdir().unwrap();
    let first = super::super::stage::Stage::acquire(place(&["sqlite"], directory.path()), false);
    let second =
        run(kept.sources(), place(&["sqlite"], directory.path()), settings(Target::Latest, false));
    assert!(matches!(second.await, Err(RestoreError::InUse { .. })));
    drop(first);
    run(kept.sources(), place(&["sqlite"], directory.path()), settings(Target::Latest, false))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_stopped_resumes() {
    for kinds in KINDS {
        let kept = Kept::of(History::random(23, 400)).await;
        kept.segments(400, 20).await;
        kept.checkpoint(kinds, 100).await;
        let directory = tempfile::tempdir().unwrap();
        let place = place(kinds, directory.path());
        let (progress, mut hears) = watch::channel(RestoreProgress::default());
        let stop = CancellationToken::new();
        let work = tokio::spawn(restore(
            kept.sources(),
            place.clone(),
            settings(Target::Latest, false),
            progress,
            stop.clone(),
        ));
        let begun = |at: &RestoreProgress| at.step == Step::Replaying && at.done > 0;
        // It may be faster than anybody looks.
        drop(hears.wait_for(begun).await);
        stop.cancel();
        match work.await.unwrap() {
            Err(RestoreError::Cancelled { at }) => {
                assert!((100..=400).contains(&at), "{at}");
                assert!(!place.parts[0].1.exists(), "not in place");
                let report = run(kept.sources(), place.clone(), settings(Target::Latest, false));
                let report = report.await.unwrap();
                assert!(report.resumed_at.is_some_and(|resumed| resumed >= at), "{report:?}");
            }
            done => drop(done.unwrap()),
        }
        kept.model(400).assert_is(&*open(&place).reader().unwrap(), "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logical_copy_that_was_stopped_starts_again() {
    for (of, into) in [("files", "sqlite"), ("sqlite", "files")] {
        let kept = Kept::of(History::random(26, 4000)).await;
        kept.checkpoint(&[of], 4000).await;
        let directory = tempfile::tempdir().unwrap();
        let place = place(&[into], directory.path());
        let (progress, mut hears) = watch::channel(RestoreProgress::default());
        let stop = CancellationToken::new();
        let (sources, settings) = (kept.sources(), settings(Target::Latest, false));
        let work = restore(sources, place.clone(), settings.clone(), progress, stop.clone());
        let work = tokio::spawn(work);
        // It may be faster than anybody looks.
        drop(hears.wait_for(|at| at.step == Step::Copying).await);
        stop.cancel();
        if let Err(error) = work.await.unwrap() {
            assert!(matches!(error, RestoreError::Cancelled { .. }), "{error:?}");
            assert!(!place.parts[0].1.exists(), "not in place");
            let report = run(kept.sources(), place.clone(), settings).await.unwrap();
            assert_eq!(report.resumed_at, None);
        }
        kept.model(4000).assert_is(&*open(&place).reader().unwrap(), into);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_for_another_point_is_not_used() {
    let kept = Kept::of(History::random(24, 100)).await;
    kept.segments(100, 20).await;
    let directory = tempfile::tempdir().unwrap();
    let place = place(&["sqlite"], directory.path());
    let paths = [directory.path().join("store-0.restoring")];
    let mut staged = (place.open)(&paths).unwrap();
    staged.create(&tipline_store::conformance::history::log()).unwrap();
    let mut model =
        tipline_store::conformance::model::Model::new(&tipline_store::conformance::history::log());
    staged.apply(&model.batch(&kept.entries()[..80])).unwrap();
    drop(staged);
    let report =
        run(kept.sources(), place.clone(), settings(Target::Index(50), false)).await.unwrap();
    assert_eq!(report.resumed_at, None, "80 is too far");
    kept.model(50).assert_is(&*open(&place).reader().unwrap(), "50");
}

/// Killed between staging what was fetched and removing the rest of what was fetched.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_attempt_fetched_does_not_stay_beside_the_store() {
    let kept = Kept::of(History::random(27, 60)).await;
    kept.segments(60, 20).await;
    let directory = tempfile::tempdir().unwrap();
    let place = place(&["sqlite"], directory.path());
    let mut staged = (place.open)(&[directory.path().join("store-0.restoring")]).unwrap();
    let log = tipline_store::conformance::history::log();
    staged.create(&log).unwrap();
    let mut model = tipline_store::conformance::model::Model::new(&log);
    staged.apply(&model.batch(&kept.entries()[..40])).unwrap();
    drop(staged);
    fs::create_dir(directory.path().join("store-0.fetching")).unwrap();
    fs::write(directory.path().join("store-0.fetching/part-0"), b"of a checkpoint").unwrap();
    fs::write(directory.path().join("store-0.carrying.lock"), b"").unwrap();
    let report = run(kept.sources(), place.clone(), settings(Target::Latest, false)).await.unwrap();
    assert_eq!(report.resumed_at, Some(40));
    let left = names_in(directory.path());
    let is_rest = |name: &String| name.contains("fetching") || name.contains("carrying");
    assert!(!left.iter().any(is_rest), "{left:?}");
}

/// A store that fails to open after it was staged: nothing is installed.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_inspected_is_not_installed() {
    let kept = Kept::of(History::random(25, 40)).await;
    kept.segments(40, 20).await;
    let directory = tempfile::tempdir().unwrap();
    let StorePlace { parts, open } = place(&["sqlite"], directory.path());
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let open_twice = move |paths: &[std::path::PathBuf]| {
        if count.fetch_add(1, Ordering::Relaxed) == 1 {
            let (place, at) = ("the store".to_owned(), "everywhere".to_owned());
            return Err(StoreError::Corrupt { place, at, source: None });
        }
        open(paths)
    };
    let place = StorePlace { parts: parts.clone(), open: Arc::new(open_twice) };
    let refused = run(kept.sources(), place, settings(Target::Latest, false)).await;
    assert!(matches!(refused, Err(RestoreError::Store(StoreError::Corrupt { .. }))), "{refused:?}");
    assert!(!fs::exists(&parts[0].1).unwrap());
}
