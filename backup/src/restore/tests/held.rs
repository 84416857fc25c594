//! Damage at one place leaves the others what they are, and what a place says of itself is held to
//! what is known from elsewhere.

use std::fs;
use std::sync::Arc;

use tipline_proto::{Digest, Event};
use tipline_store::conformance::history::History;
use tipline_store::conformance::model::Model;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{PreparedRestore, RestoreProgress, RestoreSettings, Target, plan_for};
use super::{Kept, Restored, names_in, open, place, run, settings};
use crate::archive::ArchiveError;
use crate::error::RestoreError;
use crate::keys::Keys;
use crate::retention::{NotProven, ProvenKind};
use crate::sources::Sources;

/// An archive of 100 entries.
async fn kept(to: u64) -> Kept {
    let kept = Kept::of(History::blocks(99, 10)).await;
    kept.segments(to, 10).await;
    kept
}

/// A plan of many checkpoints of millions of files holds none of their names.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_no_files() {
    let kept = kept(100).await;
    let made = kept.checkpoint(&["sqlite"], 55).await;
    let inventory = kept.sources().inventory().await.unwrap();
    let (_, head, sizes) = &inventory.checkpoints[0];
    assert_eq!((&head.id, head.files.len()), (&made.id, 0));
    assert_eq!((sizes.kept, sizes.plain), (made.bytes(), made.bytes()));
    assert_eq!(sizes.parts, [made.bytes()]);
    // Its files are read again when they are needed.
    let found = kept.restore(&["sqlite"], Target::Index(60), false).await.unwrap();
    assert_eq!(found.report.checkpoint.as_ref().unwrap().index, 55);
    found.assert_is(&kept, 60, "from a checkpoint");
}

/// What may become of the description of an archive.
fn damage(kept: &Kept, how: usize) {
    let path = kept.backup().join("archive.json");
    let text = fs::read_to_string(&path).unwrap();
    let changed = match how {
        0 => return fs::remove_file(path).unwrap(),
        1 => String::new(),
        2 => text.replace("\"format\": 1", "\"format\": 7"),
        _ => text.replace("genesis", "genesiz"),
    };
    fs::write(path, changed).unwrap();
}

async fn sources(of: &[&Kept]) -> Sources {
    let mut all = Sources::default();
    for kept in of {
        all.extend(kept.opened(&Keys::default()).await.sources);
    }
    all
}

async fn restored(of: &Kept, sources: Sources, target: Target) -> Result<Restored, RestoreError> {
    let directory = tempfile::tempdir_in(of.directory.path()).unwrap();
    let place = place(&["sqlite"], directory.path());
    let report = run(sources.into(), place.clone(), settings(target, false)).await?;
    Ok(Restored { directory, place, report })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_place_does_without_the_archive_that_lost_its_description() {
    for how in 0..4 {
        let (one, other, short) = (kept(100).await, kept(100).await, kept(85).await);
        damage(&one, how);
        for places in [[&one, &other], [&other, &one]] {
            let found = restored(&one, sources(&places).await, Target::Latest).await.unwrap();
            found.assert_is(&one, 100, "from the other");
            let notes = found.report.notes.join("; ");
            assert!(notes.contains("archive.json"), "{notes}");
        }
        // What only the damaged one had is missed by name.
        let target = Target::Latest;
        match restored(&one, sources(&[&one, &short]).await, target).await {
            Err(RestoreError::Corrupt { needed: 86, what, .. }) => {
                assert!(what.contains("archive.json"), "{what}");
            }
            other => panic!("{how}: {:?}", other.map(|found| found.report)),
        }
        let target = Target::Index(85);
        let found = restored(&one, sources(&[&one, &short]).await, target).await.unwrap();
        found.assert_is(&one, 85, "from the other");
        // Alone it has nothing.
        match restored(&one, sources(&[&one]).await, Target::Latest).await {
            Err(RestoreError::Archive(
                ArchiveError::Corrupt { object, .. } | ArchiveError::Newer { object, .. },
            )) => assert_eq!(object, "archive.json"),
            other => panic!("{how}: {:?}", other.map(|found| found.report)),
        }
        // But for its checkpoints, which do not pass for all of it.
        one.checkpoint(&["sqlite"], 60).await;
        match restored(&one, sources(&[&one]).await, Target::Latest).await {
            Err(RestoreError::Corrupt { needed: 61, .. }) => {}
            other => panic!("{how}: {:?}", other.map(|found| found.report)),
        }
        let target = Target::Index(60);
        let found = restored(&one, sources(&[&one]).await, target).await.unwrap();
        found.assert_is(&one, 60, "from the checkpoint");
        let found = restored(&one, sources(&[&one, &other]).await, Target::Latest).await.unwrap();
        assert_eq!(found.report.checkpoint.as_ref().unwrap().index, 60);
        found.assert_is(&one, 100, "from the checkpoint and the other");
        // It proves nothing of what the log is to forget.
        let goes = tipline_log::Extent { first: 1, last: 50 };
        let alone = sources(&[&one]).await;
        for proven in [alone.prove(1).await, alone.read_back(goes).await] {
            let archive = proven.iter().find(|proven| proven.kind == ProvenKind::Archive).unwrap();
            assert!(matches!(archive.covered, Err(NotProven::Corrupt { .. })), "{archive:?}");
        }
    }
}

async fn expecting(
    kept: &Kept,
    target: Target,
    digest: Digest,
) -> Result<(), (RestoreError, Vec<String>)> {
    let directory = tempfile::tempdir_in(kept.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    let restore = async {
        let prepared = PreparedRestore::new(kept.sources(), into, settings(target, false)).await?;
        let (progress, _) = watch::channel(RestoreProgress::default());
        prepared.expecting(digest).await?.run(progress, CancellationToken::new()).await
    };
    match restore.await {
        Ok(_) => Ok(()),
        Err(error) => Err((error, names_in(directory.path()))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_held_to_a_digest_that_is_known_from_elsewhere() {
    let own = kept(100).await;
    own.checkpoint(&["sqlite"], 55).await;
    // Whoever can write to the place writes another history, whole in itself.
    let forged = Kept::of(History::blocks(99, 11)).await;
    forged.segments(100, 10).await;
    forged.checkpoint(&["sqlite"], 55).await;
    let digest = |index: usize| own.entries()[index - 1].digest;
    for index in [100, 55, 43] {
        let target = Target::Index(index as u64);
        expecting(&own, target.clone(), digest(index)).await.unwrap();
        plan_for(&forged.sources(), &[], &target, false).await.unwrap();
        let (refused, left) = expecting(&forged, target, digest(index)).await.unwrap_err();
        assert!(matches!(refused, RestoreError::Verification { .. }), "{index}: {refused}");
        assert!(refused.to_string().contains(&digest(index).to_string()), "{refused}");
        assert_eq!(left, Vec::<String>::new(), "{index}");
    }
    let (refused, _) = expecting(&own, Target::Latest, digest(99)).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Verification { .. }), "{refused}");
}

/// Its cursor is right, and one of its rows is not: no digest tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_held_to_a_digest_uses_no_checkpoint() {
    let own = kept(100).await;
    let mut history = History::blocks(99, 10);
    let Event::BlockCommitted { payload, .. } = &mut history.entries[29].event else { panic!() };
    *payload = b"forged".to_vec().into();
    let forged = Kept::of(history).await;
    forged.checkpoint(&["sqlite"], 55).await;
    let sources = |archive: &Kept| {
        let (archives, checkpoints) =
            (vec![archive.archive.clone()], vec![forged.checkpoints.clone()]);
        Arc::new(Sources { archives, checkpoints, ..Sources::default() })
    };
    let digest = own.entries()[59].digest;
    let directory = tempfile::tempdir_in(own.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    let settings = settings(Target::Index(60), false);
    let prepare = |from| PreparedRestore::new(from, into.clone(), settings.clone());
    // An earlier attempt began with it.
    let mut prepared = prepare(sources(&own)).await.unwrap();
    let mut staged = prepared.stage.open().unwrap();
    staged.create(&own.log).unwrap();
    staged.apply(&Model::new(&own.log).batch(&forged.entries()[..55])).unwrap();
    drop(staged);
    prepared = prepared.expecting(digest).await.unwrap();
    prepared.refresh().await.unwrap();
    let (progress, _) = watch::channel(RestoreProgress::default());
    let report = prepared.run(progress, CancellationToken::new()).await.unwrap();
    assert!(report.checkpoint.is_none() && report.resumed_at.is_none(), "{report:?}");
    own.model(60).assert_is(&*open(&into).reader().unwrap(), "held");
    // Where the first entries are no longer kept it is refused, and says why.
    let late = Kept::of(History::blocks(99, 10)).await;
    late.segment(51, 60).await;
    let again = RestoreSettings { force: true, ..settings.clone() };
    let prepared = PreparedRestore::new(sources(&late), into.clone(), again).await.unwrap();
    let refused = prepared.expecting(digest).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Verification { .. }), "{refused}");
    assert!(refused.to_string().contains("from the first entry on"), "{refused}");
}

/// The places say nothing before it is restored: then the result is compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_no_place_tells_is_compared_before_anything_is_installed() {
    let kept = kept(100).await;
    let names = kept.segments(100, 10).await;
    let digest = kept.entries()[99].digest;
    let directory = tempfile::tempdir_in(kept.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    let settings = settings(Target::Latest, false);
    let prepared = PreparedRestore::new(kept.sources(), into.clone(), settings.clone());
    let prepared = prepared.await.unwrap();
    // It is damaged when it is asked, and whole again when it is read.
    let path = kept.backup().join(names[9].to_string());
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[10] ^= 1;
    fs::write(&path, damaged).unwrap();
    let prepared = prepared.expecting(kept.entries()[98].digest).await.unwrap();
    fs::write(&path, whole).unwrap();
    let (progress, _) = watch::channel(RestoreProgress::default());
    let stop = CancellationToken::new();
    let refused = prepared.run(progress.clone(), stop.clone()).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Verification { .. }), "{refused}");
    assert_eq!(names_in(directory.path()), Vec::<String>::new());
    // Nothing of it is resumed.
    let prepared = PreparedRestore::new(kept.sources(), into, settings).await.unwrap();
    let report = prepared.expecting(digest).await.unwrap().run(progress, stop).await.unwrap();
    assert_eq!(report.resumed_at, None);
}
