//! Which checkpoints are kept, and which expire.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tipline_consumer::StoreHandle;
use tipline_proto::{SigningKey, Trust};
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

/// Whoever can write the place makes any number of them, as new as he likes.
#[tokio::test]
async fn what_nobody_vouches_for_takes_the_place_of_nothing_that_somebody_does() {
    use CheckpointRetention::{Expired, Last, LastGood, Unvouched};
    let directory = tempfile::tempdir().unwrap();
    let key = |seed: u8| Arc::new(SigningKey::from_seed(&[seed; 32]));
    let mut store = sqlite(directory.path());
    store.create(&log()).unwrap();
    let handle = StoreHandle::new(store).unwrap();
    let (set, mut made) = (set(directory.path()), vec![]);
    // From before anything was signed, three that are, and two of somebody else.
    for (time, by) in [None, Some(2), Some(2), Some(2), Some(3), None].into_iter().enumerate() {
        let set = set.clone().signing(by.map(key));
        made.push(set.create(&handle, at(time as u64), &job()).await.unwrap());
    }
    let consumer = ("b-1".parse().unwrap(), key(2).public());
    let trust = Trust::new(vec![key(1).public()], [consumer]);
    let requiring = set.clone().requiring(trust.clone());
    let keep = |last: usize| Keep { last, within: None };
    let planned = |last: usize| {
        let requiring = requiring.clone();
        async move { fates(&requiring.plan_expiry(&keep(last), at(9)).await.unwrap()) }
    };
    assert_eq!(planned(1).await, [Unvouched, Unvouched, Last, Expired, Expired, Expired]);
    assert_eq!(planned(3).await, [Unvouched, Unvouched, Last, Last, Last, Expired]);
    assert_eq!(planned(4).await, [Unvouched, Unvouched, Last, Last, Last, Unvouched]);
    // Who requires nothing counts them all; so does who trusts no consumer.
    for trust in [Trust::default(), Trust::new(vec![key(1).public()], [])] {
        let planned = set.clone().requiring(trust).plan_expiry(&keep(2), at(9)).await.unwrap();
        assert_eq!(fates(&planned), [Last, Last, Expired, Expired, Expired, Expired]);
    }
    // One that stays is good and vouched for, and the newest is not said to be by having no damage.
    let file = directory.path().join("set").join(made[3].id.as_str()).join("part-0/store.db");
    flip(&file, 4000);
    let expired = requiring.expire(&keep(1), at(9), None, &Throttle::none()).await.unwrap();
    assert_eq!(fates(&expired), [Unvouched, Unvouched, Last, LastGood, Expired, Expired]);
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
