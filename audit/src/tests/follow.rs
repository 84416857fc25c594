//! A log as it grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tipline_consumer::Refusal;
use tipline_log::memory::rigged::append;
use tipline_log::{SignedLog, Signing};
use tipline_proto::{Entry, SigningKey, Trust};
use tipline_store::conformance::history::{History, log};
use tokio_util::sync::CancellationToken;

use super::{ALL, honest, of_log, seed};
use crate::{AuditError, Follow, Problem, replay};

async fn take(follow: &mut Follow, count: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(follow.next().await.unwrap().unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_given_as_it_comes() {
    let history = History::random(seed(), 60);
    let log_of = honest(&history.entries[..20]).await;
    let inner = log_of.inner.clone();
    let sources = of_log(log_of);
    let stop = CancellationToken::new();
    let mut replay = replay(Arc::clone(&sources), &log(), ALL, stop.clone()).await.unwrap();
    while replay.next().await.unwrap().is_some() {}
    let mut follow = replay.follow(sources.log.clone().unwrap()).unwrap();
    append(&inner, &history.entries[20..50]).await;
    assert_eq!(take(&mut follow, 30).await, history.entries[20..50]);
    append(&inner, &history.entries[50..]).await;
    assert_eq!(take(&mut follow, 10).await, history.entries[50..]);
    stop.cancel();
    assert!(follow.next().await.unwrap().is_none());

    let mut follow = Follow::from_origin(sources.log.clone().unwrap(), CancellationToken::new());
    assert_eq!(take(&mut follow, 60).await, history.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_once_is_asked_for_again_and_then_refused() {
    let history = History::blocks(40, 10);
    let lost = AtomicBool::new(true);
    let once = move |entry: Entry| match entry.index == 30 && lost.swap(false, Ordering::SeqCst) {
        true => vec![],
        false => vec![entry],
    };
    let log = Arc::new(honest(&history.entries).await.rigged(once));
    let mut follow = Follow::from_origin(log, CancellationToken::new());
    assert_eq!(take(&mut follow, 41).await, history.entries);

    let never = |entry: Entry| if entry.index == 30 { vec![] } else { vec![entry] };
    let log = Arc::new(honest(&history.entries).await.rigged(never));
    let mut follow = Follow::from_origin(log, CancellationToken::new());
    assert_eq!(take(&mut follow, 29).await, history.entries[..29]);
    let gap = follow.next().await.unwrap_err();
    assert!(
        matches!(gap, AuditError::Found(Problem::Refused(Refusal::Gap { expected: 30, .. }))),
        "{gap:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_is_not_given() {
    let history = History::blocks(40, 10);
    let forged = |mut entry: Entry| {
        entry.outbox_sequence += u64::from(entry.index == 30);
        vec![entry]
    };
    let log = Arc::new(honest(&history.entries).await.rigged(forged));
    let mut follow = Follow::from_origin(log, CancellationToken::new());
    assert_eq!(take(&mut follow, 29).await, history.entries[..29]);
    assert!(matches!(follow.next().await, Err(AuditError::Found(Problem::Refused(_)))));
}

/// However many good ones came with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_once_is_told() {
    let history = History::blocks(40, 10);
    for chunk in [1, 7, 1000] {
        let forge = AtomicBool::new(true);
        let once = move |mut entry: Entry| {
            let is_forged = entry.index == 30 && forge.swap(false, Ordering::SeqCst);
            entry.outbox_sequence += u64::from(is_forged);
            vec![entry]
        };
        let log = Arc::new(honest(&history.entries).await.rigged(once).chunked(chunk));
        let mut follow = Follow::from_origin(log, CancellationToken::new());
        assert_eq!(take(&mut follow, 29).await, history.entries[..29]);
        let forged = follow.next().await;
        assert!(matches!(forged, Err(AuditError::Found(Problem::Refused(_)))), "{forged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_once_is_asked_for_again_and_then_refused() {
    let history = History::blocks(40, 10);
    for chunk in [1, 7, 1000] {
        let again = AtomicBool::new(true);
        let once =
            move |entry: Entry| match entry.index == 30 && again.swap(false, Ordering::SeqCst) {
                true => vec![entry.clone(), entry],
                false => vec![entry],
            };
        let log = Arc::new(honest(&history.entries).await.rigged(once).chunked(chunk));
        let mut follow = Follow::from_origin(log, CancellationToken::new());
        assert_eq!(take(&mut follow, 41).await, history.entries);
    }
    // The one before it comes again, whoever asks for what is after that.
    let stuck = |entry: Entry| match entry.index == 30 {
        true => vec![entry.clone(), Entry { index: 31, ..entry }],
        false => vec![entry],
    };
    let log = Arc::new(honest(&history.entries).await.rigged(stuck));
    let mut follow = Follow::from_origin(log, CancellationToken::new());
    assert_eq!(take(&mut follow, 30).await, history.entries[..30]);
    assert!(follow.next().await.is_err());
}

/// Nobody has seen it before somebody vouches for it.
#[tokio::test(start_paused = true)]
async fn where_signatures_are_required_nothing_is_given_without() {
    let mut entries = History::blocks(59, 10).entries;
    let key = SigningKey::from_seed(&[1; 32]);
    for at in [1, 20, 40, 50] {
        key.sign_entry(log().lineage, &mut entries[at - 1]);
    }
    let log_of = honest(&entries[..20]).await;
    let inner = log_of.inner.clone();
    let trust = Trust::new(vec![key.public()], []);
    let signed = SignedLog::new(Arc::new(log_of), Signing { key: None, trust: trust.clone() });
    let mut follow = Follow::from_origin(Arc::new(signed), CancellationToken::new());
    assert_eq!(take(&mut follow, 20).await, entries[..20]);
    append(&inner, &entries[20..30]).await;
    append(&inner, &entries[30..45]).await;
    assert_eq!(take(&mut follow, 20).await, entries[20..40]);
    // Whoever takes his time finds what came meanwhile.
    tokio::time::advance(Duration::from_secs(600)).await;
    append(&inner, &entries[45..50]).await;
    assert_eq!(take(&mut follow, 10).await, entries[40..50]);
    append(&inner, &entries[50..55]).await;
    // Nobody vouches for the last five, and more do not come.
    let unsigned = follow.next().await.unwrap_err();
    assert!(
        matches!(
            unsigned,
            AuditError::Found(Problem::Refused(Refusal::Unsigned { index: 51, .. }))
        ),
        "{unsigned:?}"
    );
}
