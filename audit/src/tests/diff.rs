//! Where two of them differ.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tipline_backup::{RestoreProgress, Sources, StorePlace};
use tipline_proto::{Entry, Event, Key};
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{SqliteStore, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ALL, Place, honest, of_log, seed, store};
use crate::{AuditError, Depth, DiffReport, Range, content_as_of, diff_content, diff_entries};

async fn entries(a: Arc<Sources>, b: Arc<Sources>, depth: Depth) -> Result<DiffReport, AuditError> {
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    diff_entries(a, b, ALL, depth, &progress, &stop).await
}

fn content(a: &dyn Store, b: &dyn Store, depth: Depth) -> DiffReport {
    let (a, b) = (a.reader().unwrap(), b.reader().unwrap());
    diff_content(("a", &*a), ("b", &*b), depth, || Ok(())).unwrap()
}

/// The same history with other payloads from some entry on, once or for good.
fn changed(entries: &[Entry], at: usize) -> Vec<Entry> {
    let mut changed = entries[..at].to_vec();
    for entry in &entries[at..] {
        let previous = changed.last().map(Entry::position).unwrap();
        let mut event = entry.event.clone();
        if let Event::BlockCommitted { payload, .. } = &mut event
            && changed.len() == at
        {
            *payload = Bytes::from_static(b"another");
        }
        changed.push(Entry::seal(&previous, entry.epoch, entry.time, entry.outbox_sequence, event));
    }
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_entry_that_differs_is_named_and_then_all() {
    let history = History::blocks(120, 10);
    let other = changed(&history.entries, 50);
    let place = Place::filled(&history.entries[..110], 30).await;
    let same = entries(place.sources(), of_log(honest(&history.entries).await), Depth::All).await;
    let same = same.unwrap();
    assert!(same.same, "{same:?}");
    assert_eq!((same.items, &*same.compared), (110, "entries 1 to 110"));
    assert!(same.not_compared.iter().any(|what| what.contains("entries 111 to 121")), "{same:?}");

    let log = || async { of_log(honest(&other).await) };
    let first = entries(place.sources(), log().await, Depth::First).await.unwrap();
    assert!(!first.same && first.differences.len() == 1, "{first:?}");
    assert!(first.differences[0].starts_with("entry 51: payload, digest differ"), "{first:?}");
    assert!(first.not_compared.iter().any(|what| what.starts_with("entries 52 to 110")));
    let all = entries(place.sources(), log().await, Depth::All).await.unwrap();
    assert_eq!((all.different, all.items), (60, 110));
    assert!(all.differences[1..].iter().all(|one| one.contains("only the digest")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_entry_counts() {
    let history = History::random(seed(), 60);
    let entry = |index: u64| history.entries[index as usize - 1].clone();
    let alone = |index: u64, other: Entry| {
        move |e: Entry| if e.index == index { vec![other.clone()] } else { vec![e] }
    };
    let time = tipline_proto::Timestamp::from_micros(5);
    let others = [
        ("time", Entry { time, ..entry(20) }),
        ("epoch", Entry { epoch: 99, ..entry(20) }),
        ("outbox sequence", Entry { outbox_sequence: 9_999, ..entry(20) }),
        ("only the digest", Entry { digest: entry(1).digest, ..entry(20) }),
        ("kind", Entry { event: Event::Marked { name: "x".parse().unwrap() }, ..entry(20) }),
    ];
    for (what, other) in others {
        let rigged = honest(&history.entries).await.rigged(alone(20, other));
        let place = Place::filled(&history.entries, 60).await;
        let report = entries(of_log(rigged), place.sources(), Depth::All).await.unwrap();
        assert_eq!(report.different, 1, "{what}: {report:?}");
        assert!(report.differences[0].contains(what), "{what}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_has_is_a_difference() {
    let history = History::blocks(90, 10);
    let place = Place::filled(&history.entries, 30).await;
    let names = place.archive.segments().await.unwrap();
    std::fs::remove_file(place.path(&names[1])).unwrap();
    let log = of_log(
        honest(&history.entries).await.rigged(|e| if e.index == 80 { vec![] } else { vec![e] }),
    );
    let report = entries(place.sources(), Arc::clone(&log), Depth::All).await.unwrap();
    assert_eq!((report.different, report.items), (31, 91), "{report:?}");
    assert!(report.differences[0].starts_with("entry 31: block"), "{report:?}");
    assert!(
        report.differences[0].contains(&format!("not in dir:{}", place.directory.path().display())),
        "{report:?}"
    );
    assert!(report.differences[30].contains("not in the log"), "{report:?}");
    // A segment that cannot be read ends it.
    let mut bytes = std::fs::read(place.path(&names[2])).unwrap();
    bytes[30] ^= 1;
    std::fs::write(place.path(&names[2]), bytes).unwrap();
    let report = entries(place.sources(), log, Depth::All).await.unwrap();
    assert!(report.differences[30].contains("cannot be read"), "{report:?}");
    assert!(
        report.not_compared.iter().any(|what| what.starts_with("entries 61 to 91")),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_different_logs_are_not_compared() {
    let place = Place::filled(&History::blocks(10, 10).entries, 30).await;
    let other = History::of(&log_with_lineage(9), 4);
    let mut other = other;
    (0..5).for_each(|_| if other.entries.is_empty() { other.claim() } else { other.block() });
    let stranger = tipline_log::memory::rigged::RiggedLog::new(log_with_lineage(9), &other.entries);
    let error = entries(place.sources(), of_log(stranger.await), Depth::All).await;
    assert!(matches!(error, Err(AuditError::WrongLog { .. })), "{error:?}");
    let beyond = Range { from: Some(5), to: Some(50) };
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let twice = (place.sources(), place.sources());
    let error = diff_entries(twice.0, twice.1, beyond, Depth::All, &progress, &stop).await;
    assert!(matches!(error, Err(AuditError::Range { .. })), "{error:?}");
}

#[test]
fn stores_of_one_history_are_the_same_also_if_one_is_ahead() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..15 {
        let history = History::random(seed().wrapping_add(round), 250);
        let at = 40 + 13 * round as usize;
        let early = store(directory.path(), &history.entries[..at]);
        let late = store(directory.path(), &history.entries);
        for (a, b) in [(&early, &late), (&late, &early), (&late, &late)] {
            let report = content(&**a, &**b, Depth::All);
            assert!(report.same, "round {round}: {report:?}");
        }
        assert!(content(&*late, &*late, Depth::All).not_compared.is_empty());
    }
}

#[test]
fn one_item_that_differs_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::blocks(20, 10);
    history.record_of(1, Some("right".into()));
    history.transaction_of(1);
    let right = store(directory.path(), &history.entries);
    let with = |entries: &[Entry]| store(directory.path(), entries);
    // The store is given its cursor, whatever it applied.
    let altered = |index: usize, event: Event| {
        let mut entries = history.entries.clone();
        entries[index].event = event;
        with(&entries)
    };
    let key = Key::new(vec![b'k', 1]).unwrap();
    let wrong = altered(21, Event::StateRecorded { key: key.clone(), value: Some("wrong".into()) });
    let report = content(&*right, &*wrong, Depth::All);
    assert_eq!(report.differences.len(), 1, "{report:?}");
    assert!(report.differences[0].contains("record"), "{report:?}");
    let erased = altered(21, Event::StateRecorded { key, value: None });
    for (a, b) in [(&right, &erased), (&erased, &right)] {
        let report = content(&**a, &**b, Depth::All);
        assert_eq!(report.different, 1, "{report:?}");
        assert!(report.differences[0].contains("not in"), "{report:?}");
    }
    let mut block = history.entries[10].event.clone();
    if let Event::BlockCommitted { payload, .. } = &mut block {
        *payload = Bytes::from_static(b"x");
    }
    let report = content(&*altered(10, block), &*right, Depth::First);
    assert!(report.differences[0].contains("its content differs"), "{report:?}");
    // Another history with the same content.
    let fork = with(&changed(&history.entries, 22));
    let report = content(&*right, &*fork, Depth::First);
    assert!(report.differences.is_empty(), "{report:?}");
}

fn place(directory: &Path) -> StorePlace {
    let open = |paths: &[std::path::PathBuf]| {
        Ok(Box::new(SqliteStore::open(&paths[0])?) as Box<dyn Store>)
    };
    let parts = vec![("sqlite".to_owned(), directory.join("rebuilt.db"))];
    StorePlace { parts, open: Arc::new(open) }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_make_the_store_that_it_is_compared_with() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::random(seed(), 200);
    let archive = Place::filled(&history.entries, 50).await;
    let rebuilt = async |sources: Arc<Sources>, index: u64| {
        let scratch = tempfile::tempdir_in(directory.path()).unwrap();
        let progress = watch::Sender::new(RestoreProgress::default());
        let stop = CancellationToken::new();
        let made = content_as_of(sources, index, place(scratch.path()), progress, stop).await;
        made.map(|store| (store, scratch))
    };
    let held = store(directory.path(), &history.entries[..150]);
    for sources in [archive.sources(), of_log(honest(&history.entries).await)] {
        let (made, _scratch) = rebuilt(sources, 150).await.unwrap();
        let report = content(&*made, &*held, Depth::All);
        assert!(report.same && report.not_compared.is_empty(), "{report:?}");
    }
    // One byte of one payload, which nothing in the store itself tells.
    let mut entries = history.entries[..150].to_vec();
    let blocks = &Model::of(&log(), &entries).blocks;
    let kept = blocks.values().next().unwrap().index as usize - 1;
    if let Event::BlockCommitted { payload, .. } = &mut entries[kept].event {
        *payload = Bytes::from_static(b"not this");
    }
    let (made, _scratch) = rebuilt(archive.sources(), 150).await.unwrap();
    let report = content(&*made, &*store(directory.path(), &entries), Depth::All);
    assert_eq!(report.different, 1, "{report:?}");
    assert!(rebuilt(archive.sources(), 201).await.is_err());
    let trimmed = of_log(honest(&history.entries).await.trimmed(20));
    assert!(rebuilt(trimmed, 150).await.is_err());
}
