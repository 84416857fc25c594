//! The place to restore to, and what happens when the work ends in the middle.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tipline_store::conformance::history::{History, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::run::PreparedRestore;
use super::super::stage::Stage;
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
    let first = Stage::acquire(place(&["sqlite"], directory.path()), false);
    let second =
        run(kept.sources(), place(&["sqlite"], directory.path()), settings(Target::Latest, false));
    assert!(matches!(second.await, Err(RestoreError::InUse { .. })));
    drop(first);
    run(kept.sources(), place(&["sqlite"], directory.path()), settings(Target::Latest, false))
        .await
        .unwrap();
}

/// Or the next one would clear away, or resume, what is still being written.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_dropped_has_its_place_until_its_store_is_closed() {
    let kept = Kept::of(History::blocks(80, 512 << 10)).await;
    kept.segments(80, 10).await;
    let mut interrupted = 0;
    for round in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let place = place(&["sqlite"], directory.path());
        let (progress, mut seen) = watch::channel(RestoreProgress::default());
        let (never, settings) = (CancellationToken::new(), settings(Target::Latest, false));
        let restoring = restore(kept.sources(), place.clone(), settings, progress, never);
        let applied = seen.wait_for(|at| at.step == Step::Replaying && at.done > 0);
        tokio::select! {
            biased;
            applied = applied => drop(applied.unwrap()),
            // It was faster than anybody looks.
            ended = restoring => drop(ended.unwrap()),
        }
        let next = loop {
            match Stage::acquire(place.clone(), false) {
                Err(RestoreError::InUse { .. }) => tokio::task::yield_now().await,
                next => break next,
            }
        };
        if let Err(RestoreError::NotEmpty { .. }) = next {
            continue;
        }
        let staged = next.unwrap().open();
        assert!(staged.is_ok(), "{round}: {staged:?}");
        interrupted += 1;
    }
    assert!(interrupted > 0, "all were faster than anybody looks");
}

/// Tells a restore to stop when it opens a store of this name.
fn stops_at(place: &StorePlace, name: &'static str, stop: &CancellationToken) -> StorePlace {
    let (open, stop) = (Arc::clone(&place.open), stop.clone());
    let stopping = move |paths: &[std::path::PathBuf]| {
        if paths[0].to_str().unwrap().ends_with(name) {
            stop.cancel();
        }
        open(paths)
    };
    StorePlace { parts: place.parts.clone(), open: Arc::new(stopping) }
}

/// A store with the first entries of a history.
fn fill(kept: &Kept, place: &StorePlace, to: usize) -> Box<dyn Store> {
    let log = tipline_store::conformance::history::log();
    let mut store = open(place);
    store.create(&log).unwrap();
    store.apply(&Model::new(&log).batch(&kept.entries()[..to])).unwrap();
    store
}

/// Ended at every step of installing it in the place of another: the old store is there again, or
/// the new one is, and whatever looks at the place next leaves it there.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_ends_anywhere_leaves_one_whole_store() {
    for kinds in KINDS {
        let kept = Kept::of(History::random(28, 60)).await;
        kept.segments(60, 20).await;
        let (mut old, mut new) = (0, 0);
        for steps in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let place = place(kinds, directory.path());
            drop(fill(&kept, &place, 30));
            let mut force = settings(Target::Latest, false);
            force.force = true;
            let prepared = PreparedRestore::new(kept.sources(), place.clone(), force.clone());
            let prepared = prepared.await.unwrap();
            prepared.stage.steps.store(steps, Ordering::Relaxed);
            let (progress, _) = watch::channel(RestoreProgress::default());
            let ended = prepared.run(progress, CancellationToken::new()).await;
            if ended.is_ok() {
                break;
            }
            let looked = Stage::acquire(place.clone(), false).map(drop);
            assert!(matches!(looked, Err(RestoreError::NotEmpty { .. })), "{steps}: {looked:?}");
            let context = format!("{kinds:?}, ended after {steps} steps");
            let reader = open(&place).reader().unwrap();
            match reader.cursor().unwrap().unwrap().position.index {
                30 => old += 1,
                60 => new += 1,
                other => panic!("{context}: {other}"),
            }
            let at = if new > 0 { 60 } else { 30 };
            kept.model(at).assert_is(&*reader, &context);
            drop(reader);
            let left = names_in(directory.path());
            let is_rest = |name: &String| name.contains(".replaced") || name.contains(".placing");
            assert!(!left.iter().any(is_rest), "{context}: {left:?}");
            run(kept.sources(), place.clone(), force).await.unwrap();
            kept.model(60).assert_is(&*open(&place).reader().unwrap(), &context);
        }
        assert!(old >= 3 && new == 1, "{kinds:?}: {old} old, {new} new");
    }
}

/// What a link leads to is replaced, on its own disk, and not the link.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_stays_and_what_it_leads_to_is_replaced() {
    for (kinds, is_there) in [(["sqlite"], true), (["files"], true), (["sqlite"], false)] {
        let kept = Kept::of(History::random(30, 60)).await;
        kept.segments(60, 20).await;
        let directory = tempfile::tempdir().unwrap();
        let (place, disk) = (place(&kinds, directory.path()), directory.path().join("disk"));
        fs::create_dir(&disk).unwrap();
        let at = super::place(&kinds, &disk);
        if is_there {
            drop(fill(&kept, &at, 30));
        }
        std::os::unix::fs::symlink("disk/store-0", &place.parts[0].1).unwrap();
        let mut wanted = settings(Target::Latest, false);
        wanted.force = is_there;
        run(kept.sources(), place.clone(), wanted).await.unwrap();
        assert!(fs::symlink_metadata(&place.parts[0].1).unwrap().is_symlink());
        kept.model(60).assert_is(&*open(&at).reader().unwrap(), "where it leads to");
    }
}

/// Killed with -9, and its file removed by hand, but not what SQLite keeps beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_store_left_beside_its_file_is_no_part_of_the_new_one() {
    for (kinds, force) in
        [(&["sqlite"][..], false), (&["sqlite", "files"], false), (&["sqlite"], true)]
    {
        let kept = Kept::of(History::random(29, 60)).await;
        kept.segments(60, 20).await;
        let directory = tempfile::tempdir().unwrap();
        let place = place(kinds, directory.path());
        let file = place.parts[0].1.clone();
        let beside = |suffix: &str| directory.path().join(format!("store-0{suffix}"));
        let running = fill(&kept, &place, 40);
        let sides = ["-wal", "-shm"].map(|suffix| (suffix, fs::read(beside(suffix)).unwrap()));
        assert!(!sides[0].1.is_empty(), "the store keeps a WAL");
        let main = fs::read(&file).unwrap();
        drop(running);
        for (_, path) in &place.parts {
            crate::disk::remove(path).unwrap();
        }
        for (suffix, bytes) in sides {
            fs::write(beside(suffix), bytes).unwrap();
        }
        if force {
            fs::write(&file, main).unwrap();
        }
        let mut wanted = settings(Target::Latest, false);
        wanted.force = force;
        run(kept.sources(), place.clone(), wanted).await.unwrap();
        let left = names_in(directory.path());
        assert!(!left.iter().any(|name| name.ends_with("-wal")), "{left:?}");
        kept.model(60).assert_is(&*open(&place).reader().unwrap(), "the new one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_stopped_resumes() {
    for kinds in KINDS {
        let kept = Kept::of(History::random(23, 400)).await;
        kept.segments(400, 20).await;
        kept.checkpoint(kinds, 100).await;
        let directory = tempfile::tempdir().unwrap();
        let place = place(kinds, directory.path());
        let stop = CancellationToken::new();
        // As soon as the checkpoint is staged, and before all of the rest is applied.
        let stopping = stops_at(&place, ".restoring", &stop);
        let (progress, _) = watch::channel(RestoreProgress::default());
        let wanted = settings(Target::Latest, false);
        match restore(kept.sources(), stopping, wanted.clone(), progress, stop).await {
            Err(RestoreError::Cancelled { at }) => {
                assert!((100..400).contains(&at), "{at}");
                assert!(!place.parts[0].1.exists(), "not in place");
                let report = run(kept.sources(), place.clone(), wanted).await.unwrap();
                assert!(report.resumed_at.is_some_and(|resumed| resumed >= at), "{report:?}");
            }
            other => panic!("{other:?}"),
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
        let stop = CancellationToken::new();
        let stopping = stops_at(&place, ".carrying", &stop);
        let (progress, _) = watch::channel(RestoreProgress::default());
        let wanted = settings(Target::Latest, false);
        let stopped = restore(kept.sources(), stopping, wanted.clone(), progress, stop).await;
        assert!(matches!(stopped, Err(RestoreError::Cancelled { .. })), "{stopped:?}");
        assert!(!place.parts[0].1.exists(), "not in place");
        let report = run(kept.sources(), place.clone(), wanted).await.unwrap();
        assert_eq!(report.resumed_at, None);
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
    let mut model = Model::new(&tipline_store::conformance::history::log());
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
    let mut model = Model::new(&log);
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
