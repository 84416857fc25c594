//! Entries of any source that has some.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tipline_backup::{RestoreError, Sources};
use tipline_log::{LogError, error_chain};
use tipline_proto::Entry;
use tipline_store::conformance::history::{History, log};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ALL, Place, from, honest, of_log, seed, verify};
use crate::replay::still_held;
use crate::{AuditError, Problem, Range, replay};

const WITHIN: Duration = Duration::from_secs(10);

async fn all(sources: Arc<Sources>, range: Range) -> Result<Vec<Entry>, AuditError> {
    let mut replay = replay(sources, &log(), range, CancellationToken::new()).await?;
    let mut all = Vec::new();
    while let Some(entries) = replay.next().await? {
        all.extend(entries);
    }
    replay.into_result()?;
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_gives_the_same_entries() {
    let history = History::random(seed(), 400);
    let entries = &history.entries;
    let place = Place::filled(entries, 37).await;
    let both = Arc::new(Sources {
        log: Some(Arc::new(honest(entries).await)),
        ..(*place.sources()).clone()
    });
    for sources in [place.sources(), of_log(honest(entries).await), both] {
        assert_eq!(all(Arc::clone(&sources), ALL).await.unwrap(), *entries);
        let some = Range { from: Some(90), to: Some(210) };
        assert_eq!(all(Arc::clone(&sources), some).await.unwrap(), entries[89..210]);
        let one = Range { from: Some(400), to: None };
        assert_eq!(all(sources, one).await.unwrap(), entries[399..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_entry_that_is_held_is_taken_on_trust() {
    let history = History::random(seed(), 100);
    let sources = of_log(honest(&history.entries).await.trimmed(41));
    let started =
        replay(Arc::clone(&sources), &log(), ALL, CancellationToken::new()).await.unwrap();
    assert_eq!(started.trusted(), Some(history.entries[40].position()));
    assert_eq!(all(Arc::clone(&sources), ALL).await.unwrap(), history.entries[41..]);
    let later =
        replay(Arc::clone(&sources), &log(), from(60), CancellationToken::new()).await.unwrap();
    assert_eq!(later.trusted(), Some(history.entries[58].position()));
    for range in [from(40), from(101), Range { from: Some(50), to: Some(101) }] {
        let refused = all(Arc::clone(&sources), range).await.unwrap_err();
        assert!(matches!(refused, AuditError::Range { first: 41, last: 100, .. }), "{refused:?}");
    }
    // One entry says nothing by itself.
    let one = of_log(honest(&history.entries).await.trimmed(100));
    assert!(matches!(all(one, ALL).await, Err(AuditError::Range { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_not_an_empty_history() {
    let empty = all(of_log(honest(&[]).await), ALL).await.unwrap_err();
    assert!(matches!(empty, AuditError::Source(RestoreError::NotFound { .. })), "{empty:?}");
    let archive = all(Place::new().await.sources(), ALL).await.unwrap_err();
    assert!(matches!(archive, AuditError::Source(RestoreError::NotFound { .. })), "{archive:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_at_the_end_of_a_range_is_not_waited_for() {
    let history = History::blocks(40, 10);
    let log = honest(&history.entries).await;
    let log = log.rigged(|entry| if entry.index == 30 { vec![] } else { vec![entry] });
    let range = Range { from: None, to: Some(30) };
    let found = timeout(Duration::from_secs(30), all(of_log(log), range)).await;
    let missing = found.expect("it ends").unwrap_err();
    let is_30 = matches!(missing, AuditError::Found(Problem::Missing { first: 30, last: 30 }));
    assert!(is_30, "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_told_to_stop() {
    let history = History::blocks(300, 10);
    let stop = CancellationToken::new();
    let sources = of_log(honest(&history.entries).await);
    let mut replay = replay(sources, &log(), ALL, stop.clone()).await.unwrap();
    assert!(replay.next().await.unwrap().is_some());
    stop.cancel();
    assert!(matches!(replay.next().await, Err(AuditError::Cancelled { at }) if at > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_may_begin_behind_a_gap_and_not_in_it() {
    let history = History::random(seed(), 90);
    let place = Place::filled(&history.entries, 30).await;
    let names = place.archive.segments().await.unwrap();
    std::fs::remove_file(place.path(&names[1])).unwrap();
    assert_eq!(all(place.sources(), from(61)).await.unwrap(), history.entries[61..]);
    let inside = all(place.sources(), from(40)).await.unwrap_err();
    assert!(inside.to_string().ends_with("but not entries 31 to 60"), "{inside}");
}

/// As a log on a broker looks that was trimmed while it was read.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_not_missing() {
    let history = History::blocks(60, 10);
    let sources = of_log(honest(&history.entries).await.trimmed(41));
    assert!(still_held(&sources, 41).await.is_ok());
    let trimmed = still_held(&sources, 40).await.unwrap_err();
    assert!(
        matches!(
            trimmed,
            AuditError::Source(RestoreError::Log(LogError::OutOfRange {
                asked: 40,
                first: 41,
                ..
            }))
        ),
        "{trimmed:?}"
    );
}

/// Whoever asks again after an error is not told that all is verified.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_not_the_end() {
    let history = History::blocks(60, 10);
    let missing = |entry: Entry| if entry.index == 30 { vec![] } else { vec![entry] };
    let log_of = honest(&history.entries).await.rigged(missing);
    let first = Arc::clone(&log_of.first);
    let mut replay = replay(of_log(log_of), &log(), ALL, CancellationToken::new()).await.unwrap();
    // It is trimmed meanwhile, so nobody knows whether the entry was there.
    first.store(41, Ordering::SeqCst);
    let ended = loop {
        match replay.next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Err(AuditError::Source(RestoreError::Log(_)))), "{ended:?}");
    let again = replay.next().await;
    assert!(again.is_err(), "{again:?}");
    let log = of_log(honest(&history.entries).await).log.clone().unwrap();
    assert!(replay.follow(log).is_err());
}

/// A broker that gives nothing more holds up neither what was found nor whoever has enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_falls_silent_holds_up_nobody() {
    let history = History::random(seed(), 100);
    let silent = async |altered: u64| {
        of_log(honest(&history.entries).await.rigged(move |mut entry| {
            if entry.index == altered {
                entry.outbox_sequence += 1;
            }
            if entry.index <= 30 { vec![entry] } else { vec![] }
        }))
    };
    let found = timeout(WITHIN, verify(silent(30).await, ALL)).await.expect("it is held up");
    let report = found.unwrap();
    assert!(!report.ok && report.verified == Some((1, 29)), "{report:?}");

    let sources = silent(0).await;
    let reading = Arc::downgrade(&sources);
    let mut replay = replay(sources, &log(), ALL, CancellationToken::new()).await.unwrap();
    assert_eq!(replay.next().await.unwrap().unwrap(), history.entries[..30]);
    drop(replay);
    let ended = async {
        while reading.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(WITHIN, ended).await.expect("it is read on");
}

/// It says that it holds them, so it is not waited for without end.
#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_send_what_it_holds_is_unavailable() {
    let history = History::blocks(99, 10);
    let silent = honest(&history.entries).await.rigged(|entry| match entry.index {
        ..=30 => vec![entry],
        _ => vec![],
    });
    let error = verify(of_log(silent), ALL).await.unwrap_err();
    assert!(error_chain(&error).contains("entry 31, which it says it holds"), "{error:?}");
}

/// Nobody waits for the thread that checks.
#[test]
fn a_runtime_ends_while_a_replay_is_kept() {
    let history = History::blocks(9, 10);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let replay = runtime.block_on(async {
        let sources = of_log(honest(&history.entries).await.chunked(1));
        replay(sources, &log(), ALL, CancellationToken::new()).await.unwrap()
    });
    let (ended, waits) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        drop(runtime);
        ended.send(()).unwrap();
    });
    waits.recv_timeout(WITHIN).expect("it waits for the replay");
    drop(replay);
}
