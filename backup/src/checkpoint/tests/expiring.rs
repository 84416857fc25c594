//! Which checkpoints are kept, and which expire.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tipline_consumer::StoreHandle;
use tipline_store::conformance::history::log;

use super::{at, flip, job, set, sqlite, whole};
use crate::throttle::Throttle;
use crate::{CheckpointError, CheckpointRetention, Checkpoints, Keep, Listed, Manifest, PinnedBy};

fn fates(planned: &[(Listed, CheckpointRetention)]) -> Vec<CheckpointRetention> {
    planned.iter().map(|(_, retention)| *retention).collect()
}

/// Makes checkpoints of one store at these times.
async fn several(directory: &Path, times: &[u64]) -> (Checkpoints, Vec<Manifest>) {
    let mut store = sqlite(directory);
    store.create(&log()).unwrap();
    let handle = StoreHandle::new(store).unwrap();
    let (set, mut made) = (set(directory), vec![]);
    for time in times {
        made.push(set.create(&handle, at(*time), &job()).await.unwrap());
    }
    (set, made)
}

#[tokio::test]
async fn old_ones_expire_but_for_those_that_are_kept_and_young() {
    use CheckpointRetention::{Expired, Last, Pinned, Within};
    let directory = tempfile::tempdir().unwrap();
    const DAY: u64 = 86_400_000_000;
    let (set, made) = several(directory.path(), &[0, DAY, 2 * DAY, 3 * DAY, 4 * DAY]).await;
    let keep = Keep { last: 1, within: Some(Duration::from_micros(DAY)) };
    let now = at(4 * DAY);
    let planned = set.plan_expiry(&keep, now).await.unwrap();
    assert_eq!(fates(&planned), [Last, Within, Expired, Expired, Expired]);
    set.pin(&made[1].id).await.unwrap();
    assert_eq!(set.pinned().await.unwrap(), BTreeSet::from([made[1].id.clone()]));
    let planned = set.plan_expiry(&keep, now).await.unwrap();
    assert_eq!(fates(&planned), [Last, Within, Expired, Pinned, Expired]);
    assert_eq!(set.list().await.unwrap().len(), 5, "judging removed something");
    let expired = set.expire(&keep, now, None, &Throttle::none()).await.unwrap();
    assert_eq!(expired, planned);
    let left: Vec<_> = set.list().await.unwrap().into_iter().map(whole).collect();
    assert_eq!(left, [made[4].id.clone(), made[3].id.clone(), made[1].id.clone()]);
    set.unpin(&made[1].id).await.unwrap();
    set.expire(&keep, now, None, &Throttle::none()).await.unwrap();
    assert_eq!(set.list().await.unwrap().len(), 2);
    let missing = set.pin(&made[0].id).await;
    assert!(matches!(missing, Err(CheckpointError::NotFound { .. })), "{missing:?}");
}

/// None is removed if all that stay are damaged.
#[tokio::test]
async fn the_last_good_one_never_expires() {
    use CheckpointRetention::{Expired, Last, LastGood};
    let directory = tempfile::tempdir().unwrap();
    let (set, made) = several(directory.path(), &[0, 1, 2, 3]).await;
    let file = |manifest: &Manifest, name: &str| {
        directory.path().join("set").join(manifest.id.as_str()).join(name)
    };
    flip(&file(&made[3], "manifest.json"), 20);
    flip(&file(&made[2], "part-0/store.db"), 4000);
    let keep = Keep { last: 1, within: None };
    let expired = set.expire(&keep, at(9), None, &Throttle::none()).await.unwrap();
    assert_eq!(fates(&expired), [LastGood, Last, LastGood, Expired]);
    let left: Vec<_> = set.list().await.unwrap().iter().map(|l| l.id().clone()).collect();
    assert_eq!(left, [made[3].id.clone(), made[2].id.clone(), made[1].id.clone()]);
}

/// In whatever order the two pin and unpin it.
#[tokio::test]
async fn what_operator_and_archive_pinned_stays_until_both_have_unpinned_it() {
    let directory = tempfile::tempdir().unwrap();
    let (set, made) = several(directory.path(), &[0, 1]).await;
    let id = &made[0].id;
    let earlier = directory.path().join("set/kept").join(id.as_str());
    for (archive_first, operator_goes_first, is_earlier) in [
        (true, true, false),
        (true, false, false),
        (false, true, false),
        (false, false, false),
        (true, true, true),
        (true, false, true),
    ] {
        let context = format!("{archive_first} {operator_goes_first} {is_earlier}");
        if is_earlier {
            // As an earlier version wrote it.
            std::fs::write(&earlier, "archive").unwrap();
            assert!(!set.pin_for_archive(id).await.unwrap(), "{context}");
        } else if archive_first {
            assert!(set.pin_for_archive(id).await.unwrap(), "{context}");
            assert!(!set.pin_for_archive(id).await.unwrap(), "{context}");
        }
        set.pin(id).await.unwrap();
        if !archive_first {
            assert!(set.pin_for_archive(id).await.unwrap(), "{context}");
        }
        if operator_goes_first {
            assert_eq!(set.unpin(id).await.unwrap(), Some(PinnedBy::Archive), "{context}");
            assert!(set.pinned().await.unwrap().contains(id), "{context}");
            // However often it is asked for.
            assert_eq!(set.unpin(id).await.unwrap(), Some(PinnedBy::Archive), "{context}");
            set.unpin_for_archive(id).await.unwrap();
        } else {
            set.unpin_for_archive(id).await.unwrap();
            assert!(set.pinned().await.unwrap().contains(id), "{context}");
            set.unpin_for_archive(id).await.unwrap();
            assert_eq!(set.unpin(id).await.unwrap(), None, "{context}");
        }
        assert_eq!(set.pinned().await.unwrap(), BTreeSet::new(), "{context}");
    }
}

/// Two at once at object storage, where there is no lock.
#[tokio::test]
async fn an_archive_does_not_unpin_what_a_newer_expiry_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let (set, made) = several(directory.path(), &[0, 1, 2]).await;
    for manifest in &made {
        set.pin_for_archive(&manifest.id).await.unwrap();
    }
    set.unpin_for_archive_before(&made[1].id).await.unwrap();
    let left = BTreeSet::from([made[1].id.clone(), made[2].id.clone()]);
    assert_eq!(set.pinned().await.unwrap(), left);
}
